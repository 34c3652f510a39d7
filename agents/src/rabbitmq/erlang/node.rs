//! A connection to an Erlang node (erts, "Distribution Protocol"): epmd tells its port, a challenge with the cookie opens it,
//! and functions are called through its `rex` server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::md5;
use super::term::{self, Term, VERSION};

/// Longest message that is read.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Longest part of a handshake; names have at most 255 bytes.
const HANDSHAKE_BYTES_MAX: usize = 1024;
/// Longest cookie; Erlang's own limit.
const COOKIE_BYTES_MAX: u64 = 255;
/// Expressions that are kept parsed.
const PARSED_MAX: usize = 32;
/// What we can do: everything that nodes since OTP 23 ask for, and neither atom caches nor fragments. Without the first bit the
/// node is hidden: nobody connects back or tells others of it.
const FLAGS: u64 = 0x4 // extended references
    | 0x10 | 0x80 | 0x200 // funs
    | 0x100 // extended pids and ports
    | 0x400 | 0x800 // bits, new floats
    | 0x1_0000 | 0x2_0000 | 0x4_0000 // atoms in UTF-8, maps, big creations
    | 0x100_0000 // this handshake
    | 0x200_0000 // unlinking with a number
    | 0x4_0000_0000; // pids and ports of version 4

/// A control message that carries something for a process of ours.
const SEND: i64 = 2;
/// One for a process with a name.
const REG_SEND: i64 = 6;
/// Messages without an atom cache begin with it.
const PASS_THROUGH: u8 = 112;

/// Where a node is, and who asks.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name, `rabbit@db1`.
    pub name: String,
    /// Our own name, the same each time: nodes never forget a name.
    pub own_name: String,
    /// epmd's port.
    pub epmd_port: u16,
    /// The file with the secret that all nodes share.
    pub cookie_file: PathBuf,
    /// Longest time for what is not a call.
    pub limit: Duration,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such node runs: nothing listens, or epmd does not know it.
    #[error("{0} does not run")]
    Absent(String),
    /// It runs and cannot be talked to.
    #[error("{0}")]
    Connection(String),
    /// Not in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It does not take the cookie.
    #[error("{name} does not let us in: the cookie in {} is not its own", .file.display())]
    Cookie {
        /// The node.
        name: String,
        /// Where the cookie came from.
        file: PathBuf,
    },
    /// It ran, and failed there.
    #[error("the broker said {0}")]
    Failed(String),
    /// Something that no Erlang node says.
    #[error("what listens there is no Erlang node of OTP 23 or later")]
    Malformed,
}

/// An open connection.
pub struct Node {
    stream: TcpStream,
    unread: Vec<u8>,
    own_name: String,
    creation: u32,
    calls: u32,
    parsed: BTreeMap<String, Term>,
}

impl Node {
    /// Connects.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn connect(site: &Site) -> Result<Node, Fault> {
        let attempt = Node::open(site);
        timeout(site.limit, attempt)
            .await
            .unwrap_or(Err(Fault::Silent(site.limit)))
    }

    async fn open(site: &Site) -> Result<Node, Fault> {
        let absent = || Fault::Absent(site.name.clone());
        let (short, host) = site.name.split_once('@').ok_or_else(absent)?;
        let cookie = cookie(&site.cookie_file).await.map_err(Fault::Connection)?;
        let found = tokio::net::lookup_host((host, site.epmd_port)).await;
        let mut found = found.map_err(|error| Fault::Connection(format!("{host}: {error}")))?;
        let epmd = found.next().ok_or_else(absent)?;
        let port = ask_epmd(epmd, short).await?.ok_or_else(absent)?;
        let stream = TcpStream::connect((epmd.ip(), port)).await;
        let mut stream = stream.map_err(|_| absent())?;
        // Delays of the kernel would be added to every call.
        let _ = stream.set_nodelay(true);
        let creation = random()?.max(4);
        handshake(&mut stream, site, &cookie, creation).await?;
        Ok(Node {
            stream,
            unread: Vec::new(),
            own_name: site.own_name.clone(),
            creation,
            calls: 0,
            parsed: BTreeMap::new(),
        })
    }

    /// Evaluates Erlang expressions there: the value of the last one. After an error the connection is of no use any more, unless
    /// the expressions themselves [`Fault::Failed`].
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn eval(&mut self, text: &str, limit: Duration) -> Result<Term, Fault> {
        let attempt = async {
            let forms = self.parse(text).await?;
            let no_variables = Term::List(Vec::new());
            let value = self.ask("erl_eval", "exprs", vec![forms, no_variables]).await?;
            match value.tagged("value", 2) {
                Some([value, _]) => Ok(value.clone()),
                _ => Err(Fault::Malformed),
            }
        };
        timeout(limit, attempt).await.unwrap_or(Err(Fault::Silent(limit)))
    }

    /// Expressions as the node's own parser reads them.
    async fn parse(&mut self, text: &str) -> Result<Term, Fault> {
        if let Some(forms) = self.parsed.get(text) {
            return Ok(forms.clone());
        }
        let tokens = self.ask("erl_scan", "string", vec![Term::text(text)]).await?;
        let Some([tokens, _]) = tokens.tagged("ok", 2) else {
            return Err(Fault::Failed(tokens.shown()));
        };
        let forms = self.ask("erl_parse", "parse_exprs", vec![tokens.clone()]).await?;
        let Some([forms]) = forms.tagged("ok", 1) else {
            return Err(Fault::Failed(forms.shown()));
        };
        if self.parsed.len() >= PARSED_MAX {
            self.parsed.clear();
        }
        self.parsed.insert(text.to_owned(), forms.clone());
        Ok(forms.clone())
    }

    async fn ask(&mut self, module: &str, function: &str, arguments: Vec<Term>) -> Result<Term, Fault> {
        self.calls = self.calls.wrapping_add(1);
        let pid = Term::Other(self.pid());
        let reference = self.reference();
        let call = Term::Tuple(vec![
            Term::atom("call"),
            Term::atom(module),
            Term::atom(function),
            Term::List(arguments),
            pid.clone(),
        ]);
        let from = Term::Tuple(vec![pid.clone(), Term::Other(reference.clone())]);
        let message = Term::Tuple(vec![Term::atom("$gen_call"), from, call]);
        let control = [Term::Int(REG_SEND), pid, Term::atom(""), Term::atom("rex")];
        let mut packet = vec![PASS_THROUGH, VERSION];
        term::encode(&mut packet, &Term::Tuple(control.to_vec()));
        packet.push(VERSION);
        term::encode(&mut packet, &message);
        let length = u32::try_from(packet.len()).map_err(|_| Fault::Malformed)?;
        let packet = [&length.to_be_bytes(), packet.as_slice()].concat();
        self.stream.write_all(&packet).await.map_err(told)?;
        loop {
            let packet = self.packet().await?;
            if let Some(answer) = answer(&packet, &reference)? {
                return match answer.tagged("badrpc", 1) {
                    Some([why]) => Err(Fault::Failed(why.shown())),
                    _ => Ok(answer),
                };
            }
        }
    }

    /// The next message. Empty ones only show that the other side lives, and want to be answered.
    async fn packet(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some(head) = self.unread.first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Fault::Malformed)?;
                if length > MESSAGE_BYTES_MAX {
                    return Err(Fault::Malformed);
                }
                if self.unread.len() >= 4 + length {
                    let packet = self.unread[4..4 + length].to_vec();
                    self.unread.drain(..4 + length);
                    if !packet.is_empty() {
                        return Ok(packet);
                    }
                    self.stream.write_all(&[0; 4]).await.map_err(told)?;
                    continue;
                }
            }
            if self.stream.read_buf(&mut self.unread).await.map_err(told)? == 0 {
                return Err(Fault::Connection("it closed the connection".into()));
            }
        }
    }

    fn pid(&self) -> Vec<u8> {
        let mut pid = vec![88];
        term::encode(&mut pid, &Term::atom(&self.own_name));
        for word in [1, 0, self.creation] {
            pid.extend_from_slice(&word.to_be_bytes());
        }
        pid
    }

    fn reference(&self) -> Vec<u8> {
        let mut reference = vec![90, 0, 3];
        term::encode(&mut reference, &Term::atom(&self.own_name));
        for word in [self.creation, self.calls & 0x3_ffff, 0, 0] {
            reference.extend_from_slice(&word.to_be_bytes());
        }
        reference
    }
}

/// What was returned to the call with this reference; None of any other message.
fn answer(packet: &[u8], reference: &[u8]) -> Result<Option<Term>, Fault> {
    let [PASS_THROUGH, VERSION, rest @ ..] = packet else {
        return Err(Fault::Malformed);
    };
    let (control, rest) = term::decode(rest).ok_or(Fault::Malformed)?;
    let (Term::Tuple(control), [VERSION, rest @ ..]) = (control, rest) else {
        return Ok(None);
    };
    if control.first().and_then(Term::int) != Some(SEND) {
        return Ok(None);
    }
    let (message, _) = term::decode(rest).ok_or(Fault::Malformed)?;
    let Term::Tuple(mut parts) = message else {
        return Ok(None);
    };
    let is_ours = matches!(parts.as_slice(), [Term::Other(own), _] if own == reference);
    Ok(parts.pop().filter(|_| is_ours))
}

fn told(error: std::io::Error) -> Fault {
    Fault::Connection(error.to_string())
}

fn random() -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Fault::Connection("the kernel gives no random numbers".into()))?;
    Ok(u32::from_be_bytes(bytes))
}

/// The secret in `file`.
async fn cookie(file: &Path) -> Result<String, String> {
    let told = |error| format!("cannot read the cookie in {}: {error}", file.display());
    let found = tokio::fs::metadata(file).await.map_err(told)?;
    if !found.is_file() || found.len() > COOKIE_BYTES_MAX {
        return Err(format!("{} holds no cookie", file.display()));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(told)?;
    Ok(text.trim_end().to_owned())
}

/// The port of the node `name` on this host; None if it does not run there.
async fn ask_epmd(epmd: SocketAddr, name: &str) -> Result<Option<u16>, Fault> {
    let Ok(mut stream) = TcpStream::connect(epmd).await else {
        return Ok(None);
    };
    let length = u16::try_from(name.len() + 1).map_err(|_| Fault::Malformed)?;
    let request = [&length.to_be_bytes(), &b"z"[..], name.as_bytes()].concat();
    stream.write_all(&request).await.map_err(told)?;
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.map_err(told)?;
    match head {
        [119, 0] => stream.read_u16().await.map(Some).map_err(told),
        [119, _] => Ok(None),
        _ => Err(Fault::Malformed),
    }
}

/// Each side proves that it knows the cookie without saying it.
async fn handshake(stream: &mut TcpStream, site: &Site, cookie: &str, creation: u32) -> Result<(), Fault> {
    let wrong = || Fault::Cookie {
        name: site.name.clone(),
        file: site.cookie_file.clone(),
    };
    let mut hello = vec![b'N'];
    hello.extend_from_slice(&FLAGS.to_be_bytes());
    hello.extend_from_slice(&creation.to_be_bytes());
    let name_bytes = u16::try_from(site.own_name.len()).map_err(|_| Fault::Malformed)?;
    hello.extend_from_slice(&name_bytes.to_be_bytes());
    hello.extend_from_slice(site.own_name.as_bytes());
    say(stream, &hello).await?;
    let status = hear(stream).await?;
    match status.as_slice() {
        b"sok" | b"sok_simultaneous" => {}
        // It still has our connection of before: it is to drop that.
        b"salive" => say(stream, b"strue").await?,
        [b's', why @ ..] => {
            let why = String::from_utf8_lossy(why).into_owned();
            return Err(Fault::Connection(format!(
                "{} does not let us in: {why}",
                site.name
            )));
        }
        _ => return Err(Fault::Malformed),
    }
    let challenge = hear(stream).await?;
    let ([b'N', ..], Some(theirs)) = (challenge.as_slice(), challenge.get(9..13)) else {
        return Err(Fault::Malformed);
    };
    let theirs = theirs
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let proof = |challenge: u32| md5::digest(format!("{cookie}{challenge}").as_bytes());
    let ours = random()?;
    let reply = [&b"r"[..], &ours.to_be_bytes(), &proof(theirs)].concat();
    say(stream, &reply).await?;
    // With another cookie it hangs up.
    let acknowledged = hear(stream).await.map_err(|_| wrong())?;
    if acknowledged.as_slice() == [&b"a"[..], &proof(ours)].concat() {
        Ok(())
    } else {
        Err(wrong())
    }
}

async fn say(stream: &mut TcpStream, part: &[u8]) -> Result<(), Fault> {
    let length = u16::try_from(part.len()).map_err(|_| Fault::Malformed)?;
    let bytes = [&length.to_be_bytes(), part].concat();
    stream.write_all(&bytes).await.map_err(told)
}

async fn hear(stream: &mut TcpStream) -> Result<Vec<u8>, Fault> {
    let length = usize::from(stream.read_u16().await.map_err(told)?);
    if length > HANDSHAKE_BYTES_MAX {
        return Err(Fault::Malformed);
    }
    let mut part = vec![0; length];
    stream.read_exact(&mut part).await.map_err(told)?;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use tokio::process::{Child, Command};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    /// A real Erlang node with an epmd of its own.
    struct Erlang {
        site: Site,
        _node: Child,
        _epmd: Child,
        _folder: tempfile::TempDir,
    }

    fn free_port() -> u16 {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    }

    fn erlang() -> Option<Erlang> {
        let folder = tempfile::tempdir().unwrap();
        let cookie_file = folder.path().join("cookie");
        std::fs::write(&cookie_file, "SECRET").unwrap();
        let epmd_port = free_port();
        let (epmd_word, quiet) = (epmd_port.to_string(), || Stdio::null());
        let epmd = Command::new("epmd")
            .args(["-port", &epmd_word, "-address", "127.0.0.1"])
            .stdout(quiet())
            .stderr(quiet())
            .kill_on_drop(true)
            .spawn();
        let Ok(epmd) = epmd else {
            eprintln!("not run: Erlang is not installed");
            return None;
        };
        let node = Command::new("erl")
            .args(["-noinput", "-sname", "shop@localhost", "-setcookie", "SECRET"])
            .args(["-start_epmd", "false"])
            .env("ERL_EPMD_PORT", &epmd_word)
            .env("HOME", folder.path())
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .kill_on_drop(true)
            .spawn();
        let site = Site {
            name: "shop@localhost".into(),
            own_name: "holdfast-shop@localhost".into(),
            epmd_port,
            cookie_file,
            limit: LIMIT,
        };
        Some(Erlang {
            site,
            _node: node.unwrap(),
            _epmd: epmd,
            _folder: folder,
        })
    }

    async fn connected(site: &Site) -> Node {
        let until = tokio::time::Instant::now() + LIMIT;
        loop {
            match Node::connect(site).await {
                Ok(node) => return node,
                Err(Fault::Absent(_)) if tokio::time::Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(fault) => panic!("{fault}"),
            }
        }
    }

    #[tokio::test]
    async fn functions_of_a_real_node_are_called() {
        let Some(erlang) = erlang() else { return };
        let mut node = connected(&erlang.site).await;
        let own = node.eval("node().", LIMIT).await;
        assert_eq!(own, Ok(Term::atom("shop@localhost")));
        let sum = "X = [1, 2, 3], {lists:sum(X), self() =/= x, nodes(hidden)}.";
        for _ in 0..2 {
            let told = node.eval(sum, LIMIT).await.unwrap().shown();
            assert_eq!(told, "{6,true,[holdfast-shop@localhost]}");
        }
        let fault = node.eval("exit(no_such_queue).", LIMIT).await.unwrap_err();
        assert!(
            matches!(&fault, Fault::Failed(why) if why.contains("no_such_queue")),
            "{fault}"
        );
        assert!(matches!(node.eval("1 +.", LIMIT).await, Err(Fault::Failed(_))));
        assert_eq!(node.eval("ok.", LIMIT).await, Ok(Term::atom("ok")));
        // A second connection under the same name takes the place of the first.
        let mut again = Node::connect(&erlang.site).await.unwrap();
        assert_eq!(again.eval("ok.", LIMIT).await, Ok(Term::atom("ok")));
    }

    #[tokio::test]
    async fn another_cookie_is_told_and_a_node_that_is_not_there_is_absent() {
        let Some(erlang) = erlang() else { return };
        drop(connected(&erlang.site).await);
        let elsewhere = Site {
            name: "other@localhost".into(),
            ..erlang.site.clone()
        };
        let fault = Node::connect(&elsewhere).await.map(drop).unwrap_err();
        assert_eq!(fault, Fault::Absent("other@localhost".into()));
        std::fs::write(&erlang.site.cookie_file, "OTHER\n").unwrap();
        let fault = Node::connect(&erlang.site).await.map(drop).unwrap_err();
        assert!(matches!(fault, Fault::Cookie { .. }), "{fault}");
        assert!(!fault.to_string().contains("OTHER"));
    }

    #[test]
    fn other_messages_are_passed_over() {
        let reference = [90, 0, 1, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 9];
        let packet = |kind: i64, reference: &[u8]| {
            let mut packet = vec![PASS_THROUGH, VERSION];
            term::encode(&mut packet, &Term::Tuple(vec![Term::Int(kind)]));
            packet.push(VERSION);
            let message = vec![Term::Other(reference.to_vec()), Term::atom("ok")];
            term::encode(&mut packet, &Term::Tuple(message));
            packet
        };
        let ours = answer(&packet(SEND, &reference), &reference);
        assert_eq!(ours, Ok(Some(Term::atom("ok"))));
        assert_eq!(answer(&packet(8, &reference), &reference), Ok(None));
        let mut other = reference;
        other[13] = 8;
        assert_eq!(answer(&packet(SEND, &other), &reference), Ok(None));
        assert_eq!(answer(b"GET /", &reference), Err(Fault::Malformed));
    }
}

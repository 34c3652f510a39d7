//! A connection to an Erlang node (erts, "Distribution Protocol"), whose functions are called through its `rex` server.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handshake;
use super::term::{self, Term, VERSION};

/// Longest message that is read.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Expressions that are kept parsed.
const PARSED_MAX: usize = 32;

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
    unread: BytesMut,
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
        let (stream, creation) = handshake::open(site).await?;
        Ok(Node {
            stream,
            unread: BytesMut::new(),
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
        let call = call_of(forms);
        self.parsed.insert(text.to_owned(), call.clone());
        Ok(call)
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
    async fn packet(&mut self) -> Result<BytesMut, Fault> {
        loop {
            match whole(&mut self.unread)? {
                Some(packet) if packet.is_empty() => {
                    self.stream.write_all(&[0; 4]).await.map_err(told)?;
                    continue;
                }
                Some(packet) => return Ok(packet),
                None => {}
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

/// The expressions in a function that is called at once: what they bind is of no use here, and comes back with the value if it is
/// not bound in a function.
fn call_of(expressions: &Term) -> Term {
    let line = || Term::Int(1);
    let none = || Term::List(Vec::new());
    let clause = vec![Term::atom("clause"), line(), none(), none(), expressions.clone()];
    let clauses = vec![Term::atom("clauses"), Term::List(vec![Term::Tuple(clause)])];
    let function = vec![Term::atom("fun"), line(), Term::Tuple(clauses)];
    let call = vec![Term::atom("call"), line(), Term::Tuple(function), none()];
    Term::List(vec![Term::Tuple(call)])
}

/// Takes the first message out of what was read; None while it is not there in full.
pub(in crate::rabbitmq) fn whole(unread: &mut BytesMut) -> Result<Option<BytesMut>, Fault> {
    let Some(head) = unread.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*head)).map_err(|_| Fault::Malformed)?;
    if length > MESSAGE_BYTES_MAX {
        return Err(Fault::Malformed);
    }
    if unread.len() < 4 + length {
        return Ok(None);
    }
    let mut packet = unread.split_to(4 + length);
    packet.advance(4);
    Ok(Some(packet))
}

/// What was returned to the call with this reference; None of any other message.
pub(in crate::rabbitmq) fn answer(packet: &[u8], reference: &[u8]) -> Result<Option<Term>, Fault> {
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

pub(super) fn told(error: std::io::Error) -> Fault {
    Fault::Connection(error.to_string())
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
        // Only the value comes back: what is bound on the way may be larger than any message that is read.
        let bytes = MESSAGE_BYTES_MAX + 1;
        let large = format!("Large = binary:copy(<<0>>, {bytes}), byte_size(Large).");
        let size = node.eval(&large, LIMIT).await.map(|size| size.int());
        assert_eq!(size, Ok(i64::try_from(bytes).ok()));
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
    fn messages_are_taken_whole_and_bounded() {
        let mut unread = BytesMut::from(&b"\0\0\0\0\0\0\0\x02ab\0\0\0\x01"[..]);
        assert_eq!(whole(&mut unread), Ok(Some(BytesMut::new())));
        assert_eq!(whole(&mut unread), Ok(Some(BytesMut::from("ab"))));
        assert_eq!(whole(&mut unread), Ok(None));
        assert_eq!(unread.len(), 4, "what is not whole stays");
        let mut unread = BytesMut::from("GET / HTTP");
        assert_eq!(whole(&mut unread), Err(Fault::Malformed));
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

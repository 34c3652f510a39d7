//! As much of AMQP 0-9-1 as it takes to see whether a broker can be used: the handshake, and with an account the opening
//! of a virtual host. No Erlang VM has to be started for that, which would cost a second of processor time each.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a client says first: AMQP 0-9-1.
const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Longest frame that is read. `Connection.Start` has some hundred bytes.
const FRAME_BYTES_MAX: usize = 128 << 10;
/// Type, channel and length before a frame's payload.
const HEAD_BYTES: usize = 7;
/// The byte after it.
const FRAME_END: u8 = 0xCE;
/// Class `connection`, and its methods.
const CONNECTION: u16 = 10;
const START: u16 = 10;
const START_OK: u16 = 11;
const TUNE: u16 = 30;
const TUNE_OK: u16 = 31;
const OPEN: u16 = 40;
const OPEN_OK: u16 = 41;
const CLOSE: u16 = 50;
const CLOSE_OK: u16 = 51;
/// Longest word of a broker that is shown.
const SAID_CHARS: usize = 200;

/// An account of the broker, and the virtual host that it opens.
#[derive(Clone)]
pub struct Account {
    pub user: String,
    pub password: String,
    pub vhost: String,
}

/// Why it cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing listens, or it hung up.
    #[error("{0}")]
    Connection(String),
    /// Not in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It does not let the account in, or does not serve the virtual host.
    #[error("it refused: {0}")]
    Refused(String),
    /// Something else listens there.
    #[error("what listens there is no AMQP 0-9-1 broker")]
    Malformed,
}

/// A method that a broker sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    class: u16,
    method: u16,
    arguments: Vec<u8>,
}

/// Reads one frame with a method from the start of `bytes`: it and its length. None while it is not complete.
///
/// # Errors
/// It is none.
pub fn decode(bytes: &[u8]) -> Result<Option<(Method, usize)>, Fault> {
    // A broker that speaks another version answers with its greeting.
    if bytes.first().is_some_and(|kind| *kind != 1) {
        return Err(Fault::Malformed);
    }
    let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let length = usize::try_from(length).map_err(|_| Fault::Malformed)?;
    if !(4..=FRAME_BYTES_MAX).contains(&length) {
        return Err(Fault::Malformed);
    }
    let Some(payload) = bytes.get(HEAD_BYTES..HEAD_BYTES + length + 1) else {
        return Ok(None);
    };
    if payload[length] != FRAME_END {
        return Err(Fault::Malformed);
    }
    let method = Method {
        class: u16::from_be_bytes([payload[0], payload[1]]),
        method: u16::from_be_bytes([payload[2], payload[3]]),
        arguments: payload[4..length].to_vec(),
    };
    Ok(Some((method, HEAD_BYTES + length + 1)))
}

/// A frame with a method on channel 0.
#[must_use]
pub fn encode(class: u16, method: u16, arguments: &[u8]) -> Vec<u8> {
    let length = u32::try_from(arguments.len() + 4).unwrap_or(u32::MAX);
    let mut bytes = vec![1, 0, 0];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&class.to_be_bytes());
    bytes.extend_from_slice(&method.to_be_bytes());
    bytes.extend_from_slice(arguments);
    bytes.push(FRAME_END);
    bytes
}

/// What a broker says when it closes: a code and a short text.
#[must_use]
pub fn closing(arguments: &[u8]) -> String {
    let length = arguments.get(2).copied().map_or(0, usize::from);
    let text = arguments.get(3..3 + length).unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    text.chars()
        .filter(|c| !c.is_control())
        .take(SAID_CHARS)
        .collect()
}

/// A text with its length in one byte.
fn short_string(text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    let mut all = vec![u8::try_from(bytes.len()).unwrap_or(u8::MAX)];
    all.extend_from_slice(bytes);
    all
}

/// A text with its length in four bytes.
fn long_string(bytes: &[u8]) -> Vec<u8> {
    let mut all = u32::try_from(bytes.len())
        .unwrap_or(u32::MAX)
        .to_be_bytes()
        .to_vec();
    all.extend_from_slice(bytes);
    all
}

/// Looks whether the broker at `address` can be used: it answers the greeting, and with an account it opens the virtual
/// host, which it does only when that has recovered.
///
/// # Errors
/// See [`Fault`].
pub async fn look(
    address: IpAddr,
    port: u16,
    account: Option<&Account>,
    limit: Duration,
) -> Result<(), Fault> {
    let attempt = async {
        let stream = TcpStream::connect((address, port)).await.map_err(told)?;
        let mut peer = Peer {
            stream,
            unread: Vec::new(),
        };
        peer.stream.write_all(GREETING).await.map_err(told)?;
        peer.expect(START).await?;
        match account {
            None => Ok(()),
            Some(account) => peer.open(account).await,
        }
    };
    timeout(limit, attempt).await.unwrap_or(Err(Fault::Silent(limit)))
}

fn told(error: std::io::Error) -> Fault {
    Fault::Connection(error.to_string())
}

struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Peer {
    async fn open(&mut self, account: &Account) -> Result<(), Fault> {
        let secret = format!("\0{}\0{}", account.user, account.password);
        // No properties of the client; the mechanism, its secret, and a language.
        let words = [
            long_string(&[]),
            short_string("PLAIN"),
            long_string(secret.as_bytes()),
            short_string("en_US"),
        ];
        self.send(START_OK, &words.concat()).await?;
        let tune = self.expect(TUNE).await.map_err(|fault| match fault {
            // An account that is wrong is hung up on, without a word in old versions.
            Fault::Connection(_) => Fault::Refused(format!("it does not let user {} in", account.user)),
            fault => fault,
        })?;
        // Its own limits, and no heartbeats.
        let mut limits = tune.get(..6).ok_or(Fault::Malformed)?.to_vec();
        limits.extend_from_slice(&[0, 0]);
        self.send(TUNE_OK, &limits).await?;
        let place = [short_string(&account.vhost), short_string(""), vec![0]];
        self.send(OPEN, &place.concat()).await?;
        self.expect(OPEN_OK).await?;
        let goodbye = [200_u16.to_be_bytes().to_vec(), short_string("looked"), vec![0; 4]];
        self.send(CLOSE, &goodbye.concat()).await?;
        self.expect(CLOSE_OK).await.map(drop)
    }

    async fn send(&mut self, method: u16, arguments: &[u8]) -> Result<(), Fault> {
        let frame = encode(CONNECTION, method, arguments);
        self.stream.write_all(&frame).await.map_err(told)
    }

    /// Waits for this method: its arguments.
    async fn expect(&mut self, wanted: u16) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some((method, length)) = decode(&self.unread)? {
                self.unread.drain(..length);
                return match (method.class, method.method) {
                    (CONNECTION, method_id) if method_id == wanted => Ok(method.arguments),
                    (CONNECTION, CLOSE) => Err(Fault::Refused(closing(&method.arguments))),
                    _ => Err(Fault::Malformed),
                };
            }
            if self.stream.read_buf(&mut self.unread).await.map_err(told)? == 0 {
                return Err(Fault::Connection("it closed the connection".into()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A broker that answers with these frames, one after each thing it is told.
    async fn broker(answers: Vec<Vec<u8>>) -> (IpAddr, u16) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(&answer).await;
            }
            let mut rest = [0; 4096];
            while stream.read(&mut rest).await.is_ok_and(|bytes| bytes > 0) {}
        });
        (place.ip(), place.port())
    }

    fn account() -> Account {
        Account {
            user: "probe".into(),
            password: "secret".into(),
            vhost: "/".into(),
        }
    }

    #[tokio::test]
    async fn the_handshake_is_enough_without_an_account() {
        let start = encode(CONNECTION, START, &[0, 9]);
        let (address, port) = broker(vec![start]).await;
        assert_eq!(look(address, port, None, LIMIT).await, Ok(()));
        let (address, port) = broker(vec![b"AMQP\x00\x01\x00\x00".to_vec()]).await;
        assert_eq!(look(address, port, None, LIMIT).await, Err(Fault::Malformed));
        let short = Duration::from_millis(1);
        let (address, port) = broker(vec![]).await;
        assert!(matches!(
            look(address, port, None, short).await,
            Err(Fault::Silent(_))
        ));
    }

    #[tokio::test]
    async fn an_account_that_is_refused_is_told_without_its_password() {
        let start = encode(CONNECTION, START, &[0, 9]);
        let said = [
            403_u16.to_be_bytes().to_vec(),
            short_string("ACCESS_REFUSED\n"),
            vec![0; 4],
        ]
        .concat();
        let close = encode(CONNECTION, CLOSE, &said);
        let (address, port) = broker(vec![start, close]).await;
        let fault = look(address, port, Some(&account()), LIMIT).await.unwrap_err();
        assert_eq!(fault.to_string(), "it refused: ACCESS_REFUSED");
    }

    #[test]
    fn frames_are_read_whole_and_bounded() {
        let frame = encode(CONNECTION, OPEN_OK, &[1, 2, 3]);
        for end in 0..frame.len() {
            assert_eq!(decode(&frame[..end]), Ok(None), "{end}");
        }
        let (method, length) = decode(&frame).unwrap().unwrap();
        assert_eq!((method.class, method.method, length), (10, 41, frame.len()));
        let mut damaged = frame.clone();
        *damaged.last_mut().unwrap() = 0;
        assert_eq!(decode(&damaged), Err(Fault::Malformed));
        assert_eq!(decode(&[1, 0, 0, 0xff, 0xff, 0xff, 0xff]), Err(Fault::Malformed));
        assert_eq!(decode(&[1, 0, 0, 0, 0, 0, 1]), Err(Fault::Malformed));
        assert_eq!(decode(b"HTTP/1.1"), Err(Fault::Malformed));
        assert_eq!(closing(&[0]), "");
        assert_eq!(closing(&[1, 1, 9, b'x']), "");
    }
}

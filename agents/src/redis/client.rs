//! A connection to one Redis: commands one after the other, each with a bound on time.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::resp::{self, Malformed, Value};

/// Most bytes read at a time.
const PIECE_BYTES: usize = 16 << 10;

/// Longest error of its that is shown.
const SAID_CHARS: usize = 200;

/// Where a Redis listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// TCP.
    Tcp(IpAddr, u16),
    /// A unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Tcp(address, port) => write!(f, "{}", std::net::SocketAddr::new(*address, *port)),
            Place::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Who we are to it.
#[derive(Clone, Default)]
pub struct Login {
    /// User of the access control lists; None for the default one.
    pub user: Option<String>,
    /// None: no password is needed.
    pub password: Option<String>,
}

/// Why there is no answer that could be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Nothing listens, or it hung up.
    #[error("{0}")]
    Connection(String),
    /// Not in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Silent(Duration),
    /// It answered with an error.
    #[error("it answered: {0}")]
    Refused(String),
    /// It answered something else.
    #[error("{0}")]
    Malformed(#[from] Malformed),
    /// An answer of another kind than the command has.
    #[error("its answer to {0} makes no sense")]
    Unexpected(&'static str),
}

impl Fault {
    /// True when there is a Redis that answers, if only that it cannot do this now.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        matches!(self, Fault::Refused(_) | Fault::Unexpected(_))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection. A command that was dropped half way leaves an answer under way: the connection is closed then, and
/// made anew for the next command.
pub struct Client {
    place: Place,
    login: Login,
    limit: Duration,
    stream: Option<Box<dyn Stream>>,
    unread: Vec<u8>,
}

impl Client {
    /// Connects with the first command. `limit` bounds each command, and the connecting before it.
    #[must_use]
    pub fn new(place: Place, login: Login, limit: Duration) -> Client {
        Client {
            place,
            login,
            limit,
            stream: None,
            unread: Vec::new(),
        }
    }

    /// Sends a command and waits for its answer, which is no error.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn ask(&mut self, words: &[&str]) -> Result<Value, Fault> {
        self.ask_within(words, self.limit).await
    }

    /// The same with a bound of its own.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn ask_within(&mut self, words: &[&str], limit: Duration) -> Result<Value, Fault> {
        // Taken out while it is in use: so it is closed when this future is dropped.
        let taken = self.stream.take();
        let exchange = async {
            let mut stream = match taken {
                Some(stream) => stream,
                None => self.connect().await?,
            };
            let value = exchange(&mut *stream, &mut self.unread, words).await?;
            Ok::<_, Fault>((stream, value))
        };
        let (stream, value) = timeout(limit, exchange)
            .await
            .map_err(|_| Fault::Silent(limit))??;
        self.stream = Some(stream);
        match value {
            Value::Error(text) => Err(Fault::Refused(one_line(&text))),
            value => Ok(value),
        }
    }

    /// The answer to a command that is a text.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn text(&mut self, words: &[&str], what: &'static str) -> Result<String, Fault> {
        match self.ask(words).await? {
            Value::Bulk(Some(text)) | Value::Simple(text) => Ok(text),
            _ => Err(Fault::Unexpected(what)),
        }
    }

    async fn connect(&mut self) -> Result<Box<dyn Stream>, Fault> {
        self.unread.clear();
        let told = |error: std::io::Error| Fault::Connection(error.to_string());
        let mut stream: Box<dyn Stream> = match &self.place {
            Place::Tcp(address, port) => {
                let stream = TcpStream::connect((*address, *port)).await.map_err(told)?;
                let _ = stream.set_nodelay(true); // It only costs time otherwise.
                Box::new(stream)
            }
            Place::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(told)?),
        };
        let Some(password) = self.login.password.clone() else {
            return Ok(stream);
        };
        let words = match &self.login.user {
            Some(user) => vec!["AUTH", user.as_str(), password.as_str()],
            None => vec!["AUTH", password.as_str()],
        };
        match exchange(&mut *stream, &mut self.unread, &words).await? {
            // A Redis that was started without a password, and says so: it is as well.
            Value::Error(text) if text.contains("without any password configured") => Ok(stream),
            Value::Error(text) => Err(Fault::Refused(one_line(&text))),
            _ => Ok(stream),
        }
    }
}

/// What it says, for people: it may come from anybody.
fn one_line(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(SAID_CHARS)
        .collect()
}

async fn exchange(stream: &mut dyn Stream, unread: &mut Vec<u8>, words: &[&str]) -> Result<Value, Fault> {
    let told = |error: std::io::Error| Fault::Connection(error.to_string());
    stream.write_all(&resp::encode(words)).await.map_err(told)?;
    loop {
        if let Some((value, length)) = resp::decode(unread)? {
            unread.drain(..length);
            return Ok(value);
        }
        unread.reserve(PIECE_BYTES);
        if stream.read_buf(unread).await.map_err(told)? == 0 {
            return Err(Fault::Connection("it closed the connection".into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn serve(answers: Vec<&'static [u8]>) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 512];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(answer).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            }
        });
        let place = Place::Tcp("127.0.0.1".parse().unwrap(), port);
        Client::new(place, Login::default(), Duration::from_secs(20))
    }

    #[tokio::test]
    async fn an_error_is_an_answer_and_the_end_of_the_connection_is_none() {
        let mut client = serve(vec![b"-LOADING it is\r\n"]).await;
        let fault = client.ask(&["PING"]).await.unwrap_err();
        assert!(
            fault.is_answer() && fault.to_string().contains("LOADING"),
            "{fault}"
        );
        assert!(!client.ask(&["PING"]).await.unwrap_err().is_answer());
        let mut other = serve(vec![b"SSH-2.0-x\r\n"]).await;
        assert!(matches!(other.ask(&["PING"]).await, Err(Fault::Malformed(_))));
    }

    #[tokio::test]
    async fn a_command_that_was_given_up_leaves_no_answer_for_the_next() {
        let mut client = serve(vec![b"", b"+LATE\r\n"]).await;
        let limit = Duration::from_millis(1);
        assert!(matches!(
            client.ask_within(&["PING"], limit).await,
            Err(Fault::Silent(_))
        ));
        assert!(client.stream.is_none(), "it is closed");
    }
}

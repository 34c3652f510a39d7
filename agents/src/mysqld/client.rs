//! A connection to a server: over its socket as root, or over the network as the account of replication.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::server::Server;
use super::tls::Tls;
use super::wire::{self, Answer, Login, Malformed, RowOrEnd, ServerError};

/// What a connection to a server may be made of.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The connection does not exist, or broke.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server answered with an error.
    #[error("error {}: {}", .0.code, .0.text)]
    Server(ServerError),
    /// The answer makes no sense.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The account has a password, or TLS was refused: a sentence for the operator.
    #[error("{0}")]
    Login(String),
    /// No answer in this time.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
}

impl SqlError {
    /// The server's number of the error.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            SqlError::Server(error) => Some(error.code),
            _ => None,
        }
    }

    /// True when there is no server behind the socket, as before its start and after its end.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, SqlError::Io(error) if absent.contains(&error.kind()))
    }
}

/// The rows of an answer, values as text.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
}

/// One row, asked by the names of its columns.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    columns: &'a [String],
    values: &'a [Option<String>],
}

impl Rows {
    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|values| Row {
            columns: &self.columns,
            values,
        })
    }

    /// The first row.
    #[must_use]
    pub fn first(&self) -> Option<Row<'_>> {
        self.iter().next()
    }
}

impl<'a> Row<'a> {
    /// The value under the first of `names` that is a column; empty for NULL and for no such column.
    #[must_use]
    pub fn text(&self, names: &[&str]) -> &'a str {
        self.value(names).unwrap_or_default()
    }

    /// The same; None for NULL.
    #[must_use]
    pub fn value(&self, names: &[&str]) -> Option<&'a str> {
        let at = self
            .columns
            .iter()
            .position(|column| names.iter().any(|name| column.eq_ignore_ascii_case(name)))?;
        self.values.get(at)?.as_deref()
    }

    /// The value at place `index`; empty for NULL.
    #[must_use]
    pub fn at(&self, index: usize) -> &'a str {
        self.values
            .get(index)
            .and_then(Option::as_deref)
            .unwrap_or_default()
    }

    /// A number; None for NULL and for what is none.
    #[must_use]
    pub fn number(&self, names: &[&str]) -> Option<u64> {
        self.value(names)?.parse().ok()
    }
}

/// A connection.
pub struct Client {
    stream: Box<dyn Stream>,
    server: Server,
    connection: u32,
    limit: Duration,
    /// A statement was begun and its answer not read to its end.
    midway: bool,
}

impl Client {
    /// Connects over the server's socket as `root`: the server knows us by our uid, nothing is told.
    ///
    /// # Errors
    /// No server, or one that does not let root in by its uid. Each step and each later statement may take `limit`.
    pub async fn local(socket: &Path, limit: Duration) -> Result<Client, SqlError> {
        let open = async {
            let stream = UnixStream::connect(socket).await?;
            Self::log_in(Box::new(stream), "root", limit, None).await
        };
        let mut client = bounded(limit, open).await?;
        // What the operator set for all sessions must not end or change this one.
        let session = "SET SESSION sql_mode='', wait_timeout=31536000, autocommit=1";
        client.run(session).await?;
        Ok(client)
    }

    /// Connects over the network as the account of replication.
    ///
    /// # Errors
    /// No such server or account.
    pub async fn remote(
        address: SocketAddr,
        user: &str,
        tls: Option<&Tls>,
        limit: Duration,
    ) -> Result<Client, SqlError> {
        let open = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Self::log_in(Box::new(stream), user, limit, tls).await
        };
        bounded(limit, open).await
    }

    pub(super) async fn log_in(
        mut stream: Box<dyn Stream>,
        user: &str,
        limit: Duration,
        tls: Option<&Tls>,
    ) -> Result<Client, SqlError> {
        let (_, first) = receive(&mut stream).await?;
        let greeting = wire::greeting(&first)?.map_err(SqlError::Server)?;
        let server = Server::parse(&greeting.version);
        let mut sequence = 1;
        if let Some(tls) = tls {
            if greeting.capabilities & wire::SSL == 0 {
                let text = "the server offers no TLS: set ssl_ca, ssl_cert and ssl_key in its configuration";
                return Err(SqlError::Login(text.into()));
            }
            send(&mut stream, sequence, &wire::tls_request()).await?;
            stream = Box::new(tls.wrap(stream).await?);
            sequence += 1;
        }
        let plugin = if server.mariadb {
            "mysql_native_password"
        } else {
            "caching_sha2_password"
        };
        send(&mut stream, sequence, &wire::login(user, plugin, tls.is_some())).await?;
        loop {
            let (sequence, packet) = receive(&mut stream).await?;
            match wire::login_answer(&packet)? {
                Login::Done => break,
                // Fast authentication worked; the end follows.
                Login::More(3) => {}
                Login::More(_) => return Err(wants_password(user)),
                Login::Refused(error) => return Err(SqlError::Server(error)),
                Login::Switch(plugin) => {
                    let answer = wire::without_password(&plugin).ok_or_else(|| wants_password(user))?;
                    send(&mut stream, sequence.wrapping_add(1), answer).await?;
                }
            }
        }
        Ok(Client {
            stream,
            server,
            connection: greeting.connection,
            limit,
            midway: false,
        })
    }

    /// What the server is.
    #[must_use]
    pub fn server(&self) -> Server {
        self.server
    }

    /// The number of this connection.
    #[must_use]
    pub fn connection(&self) -> u32 {
        self.connection
    }

    /// Runs a statement whose rows are of no interest.
    ///
    /// # Errors
    /// It failed.
    pub async fn run(&mut self, statement: &str) -> Result<(), SqlError> {
        self.rows(statement).await.map(|_| ())
    }

    /// Runs a statement that may take longer than others.
    ///
    /// # Errors
    /// It failed, or took longer than `limit`.
    pub async fn run_within(&mut self, statement: &str, limit: Duration) -> Result<(), SqlError> {
        let usual = std::mem::replace(&mut self.limit, limit);
        let done = self.run(statement).await;
        self.limit = usual;
        done
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// It failed. After anything else than a server's error the connection is of no use any more.
    pub async fn rows(&mut self, statement: &str) -> Result<Rows, SqlError> {
        if self.midway {
            return Err(SqlError::Io(io::ErrorKind::BrokenPipe.into()));
        }
        self.midway = true;
        let limit = self.limit;
        let outcome = bounded(limit, self.exchange(statement)).await;
        // A future that was dropped before this line leaves the mark, and with it a connection that is not used again.
        self.midway = !matches!(outcome, Ok(_) | Err(SqlError::Server(_)));
        outcome
    }

    /// The only value of a statement that gives one; empty for NULL.
    ///
    /// # Errors
    /// It failed.
    pub async fn value(&mut self, statement: &str) -> Result<String, SqlError> {
        let rows = self.rows(statement).await?;
        Ok(rows.first().map(|row| row.at(0).to_owned()).unwrap_or_default())
    }

    async fn exchange(&mut self, statement: &str) -> Result<Rows, SqlError> {
        send(&mut self.stream, 0, &wire::query(statement)).await?;
        let (_, first) = receive(&mut self.stream).await?;
        let count = match wire::answer(&first)? {
            Answer::Done => return Ok(Rows::default()),
            Answer::Refused(error) => return Err(SqlError::Server(error)),
            Answer::Columns(count) => count,
        };
        let mut result = Rows::default();
        for _ in 0..count {
            let (_, packet) = receive(&mut self.stream).await?;
            result.columns.push(wire::column_name(&packet)?);
        }
        let (_, end) = receive(&mut self.stream).await?;
        if !wire::is_end(&end) {
            return Err(Malformed("the columns have no end").into());
        }
        let mut bytes = 0;
        loop {
            let (_, packet) = receive(&mut self.stream).await?;
            match wire::row(&packet, result.columns.len())? {
                RowOrEnd::End => return Ok(result),
                RowOrEnd::Refused(error) => return Err(SqlError::Server(error)),
                RowOrEnd::Row(values) => result.rows.push(values),
            }
            bytes += packet.len();
            if bytes > wire::PACKET_BYTES_MAX || result.rows.len() > wire::ROWS_MAX {
                return Err(Malformed("a result is too long").into());
            }
        }
    }
}

fn wants_password(user: &str) -> SqlError {
    SqlError::Login(format!(
        "the account {user} has a password, and Holdfast keeps none: let root in by its uid (MariaDB: IDENTIFIED VIA \
         unix_socket, MySQL: IDENTIFIED WITH auth_socket)"
    ))
}

async fn bounded<T>(limit: Duration, what: impl Future<Output = Result<T, SqlError>>) -> Result<T, SqlError> {
    timeout(limit, what)
        .await
        .unwrap_or_else(|_| Err(SqlError::Late(limit)))
}

async fn send(stream: &mut Box<dyn Stream>, sequence: u8, payload: &[u8]) -> Result<(), SqlError> {
    // Statements of the agent are short; one that were not would be split by the protocol.
    if payload.len() >= 0xff_ffff {
        return Err(Malformed("a statement is too long").into());
    }
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let packet = [&length[..3], &[sequence], payload].concat();
    stream.write_all(&packet).await?;
    stream.flush().await?;
    Ok(())
}

async fn receive(stream: &mut Box<dyn Stream>) -> Result<(u8, Vec<u8>), SqlError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
    if length > wire::PACKET_BYTES_MAX {
        return Err(Malformed("a packet is too long").into());
    }
    // As it arrives: four bytes that only promise megabytes reserve nothing.
    let mut payload = Vec::new();
    stream.take(length as u64).read_to_end(&mut payload).await?;
    if payload.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((head[3], payload))
}

/// A text as a literal of a statement.
#[must_use]
pub fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for letter in text.chars() {
        if matches!(letter, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_packet_that_is_shorter_than_it_promises_is_a_broken_connection() {
        let bytes: &[u8] = &[0, 0, 0x70, 0, 10];
        let mut stream: Box<dyn Stream> = Box::new(tokio::io::join(bytes, tokio::io::sink()));
        let error = receive(&mut stream).await.unwrap_err();
        assert!(matches!(&error, SqlError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof));
    }

    #[test]
    fn literals_end_where_they_should() {
        assert_eq!(quote("it's \\"), "'it\\'s \\\\'");
    }
}

//! A table of MariaDB or MySQL behind the virtual address: each write inserts its number, and the server answers with the row's.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::store::{ANSWER, CONNECT, Outcome, Store, odd};
use super::wire::{self, Login, Reply};

/// Reading the whole table at the end may take longer than a write.
const LARGE: std::time::Duration = std::time::Duration::from_secs(20);

/// A client with one connection, made anew after every error.
#[derive(Debug)]
pub struct MariaDb {
    at: SocketAddr,
    connection: Option<Connection>,
}

/// A connection that is logged in.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
}

impl MariaDb {
    /// For the server at `at`, not connected yet.
    #[must_use]
    pub fn new(at: SocketAddr) -> MariaDb {
        MariaDb { at, connection: None }
    }

    fn connect(&mut self) -> io::Result<&mut Connection> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(self.at)?);
        }
        self.connection.as_mut().ok_or_else(|| odd("no connection"))
    }
}

impl Store for MariaDb {
    fn write(&mut self, id: u64) -> Outcome {
        let connection = match self.connect() {
            Ok(connection) => connection,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let insert = format!("INSERT INTO writes (id) VALUES ({id})");
        let outcome = match connection.ask(&insert) {
            Ok(Reply::Done { row }) => return Outcome::Acknowledged(row),
            // Not always before it did anything: an error at commit leaves it open whether it will be there.
            Ok(Reply::Error(text)) => Outcome::Unknown(text),
            Ok(Reply::Columns(_)) => Outcome::Unknown("rows for an answer".into()),
            Err(error) => Outcome::Unknown(error.to_string()),
        };
        self.connection = None;
        outcome
    }

    fn read_all(&mut self) -> io::Result<Vec<u64>> {
        let connection = self.connect()?;
        let read = connection.numbers("SELECT id FROM writes ORDER BY number");
        self.connection = None;
        read
    }
}

impl Connection {
    fn open(at: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&at, CONNECT)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream };
        let (number, greeting) = connection.packet()?;
        wire::greeting(&greeting)?;
        connection.send(number.wrapping_add(1), &wire::login("torture", "torture"))?;
        loop {
            let (number, answer) = connection.packet()?;
            match wire::login_reply(&answer)? {
                Login::Done => return Ok(connection),
                Login::Say(words) => connection.send(number.wrapping_add(1), words)?,
                Login::Wait => {}
            }
        }
    }

    fn ask(&mut self, statement: &str) -> io::Result<Reply> {
        self.send(0, &wire::query(statement))?;
        wire::reply(&self.packet()?.1)
    }

    /// The rows of a statement with one column of numbers.
    fn numbers(&mut self, statement: &str) -> io::Result<Vec<u64>> {
        self.stream.set_read_timeout(Some(LARGE))?;
        let columns = match self.ask(statement)? {
            Reply::Columns(columns) => columns,
            other => return Err(odd(format!("{statement}: {other:?}"))),
        };
        // Their definitions, and what ends them.
        for _ in 0..=columns {
            self.packet()?;
        }
        let mut numbers = Vec::new();
        loop {
            match wire::row(&self.packet()?.1)? {
                Some(number) => numbers.push(number),
                None => return Ok(numbers),
            }
        }
    }

    fn send(&mut self, number: u8, payload: &[u8]) -> io::Result<()> {
        self.stream.write_all(&wire::frame(number, payload)?)
    }

    fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut head = [0; 4];
        self.stream.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok((head[3], payload))
    }
}

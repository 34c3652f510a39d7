//! A redis list behind the virtual address: each write appends its number, and redis answers with the new length.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::store::{ANSWER, CONNECT, Outcome, Store, odd};

/// The list's name.
const KEY: &str = "torture";
/// How long a write waits for a replica, in milliseconds.
const WAIT_MS: &str = "300";
/// Longest text in an answer; the numbers are short.
const TEXT_MAX: usize = 4096;

/// A client with one connection, made anew after every error.
#[derive(Debug)]
pub struct Redis {
    at: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
    /// After each write it asks how many replicas have it.
    waits: bool,
}

/// An answer of the server (RESP 2, redis.io/docs/reference/protocol-spec).
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Number(u64),
    Text(String),
    Error(String),
    List(usize),
}

impl Redis {
    /// For the server at `at`, not connected yet.
    #[must_use]
    pub fn new(at: SocketAddr) -> Redis {
        Redis {
            at,
            connection: None,
            waits: false,
        }
    }

    /// The same; the number of an acknowledged write is that of the replicas that have it (`WAIT`).
    #[must_use]
    pub fn waiting(at: SocketAddr) -> Redis {
        Redis {
            waits: true,
            ..Redis::new(at)
        }
    }

    /// How many replicas have what this connection wrote.
    fn replicas(connection: &mut BufReader<TcpStream>) -> io::Result<u64> {
        match Redis::ask(connection, &["WAIT", "1", WAIT_MS])? {
            Answer::Number(replicas) => Ok(replicas),
            other => Err(odd(format!("WAIT: {other:?}"))),
        }
    }

    fn connect(&mut self) -> io::Result<&mut BufReader<TcpStream>> {
        if self.connection.is_none() {
            let stream = TcpStream::connect_timeout(&self.at, CONNECT)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.set_write_timeout(Some(ANSWER))?;
            stream.set_nodelay(true)?;
            self.connection = Some(BufReader::new(stream));
        }
        self.connection.as_mut().ok_or_else(|| odd("no connection"))
    }

    fn ask(connection: &mut BufReader<TcpStream>, words: &[&str]) -> io::Result<Answer> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        connection.get_mut().write_all(text.as_bytes())?;
        answer(connection)
    }
}

impl Store for Redis {
    fn write(&mut self, id: u64) -> Outcome {
        let waits = self.waits;
        let connection = match self.connect() {
            Ok(connection) => connection,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        let written = Redis::ask(connection, &["RPUSH", KEY, &id.to_string()]);
        let outcome = match written {
            Ok(Answer::Number(_)) if waits => match Redis::replicas(connection) {
                Ok(replicas) => return Outcome::Acknowledged(replicas),
                Err(error) => Outcome::Unknown(error.to_string()),
            },
            Ok(Answer::Number(length)) => return Outcome::Acknowledged(length),
            // It says so before it does anything: LOADING, MISCONF, READONLY.
            Ok(Answer::Error(text)) => Outcome::Failed(text),
            Ok(other) => Outcome::Unknown(format!("an odd answer: {other:?}")),
            Err(error) => Outcome::Unknown(error.to_string()),
        };
        self.connection = None;
        outcome
    }

    fn read_all(&mut self) -> io::Result<Vec<u64>> {
        let connection = self.connect()?;
        let read = Redis::ask(connection, &["LRANGE", KEY, "0", "-1"]).and_then(|first| {
            let Answer::List(length) = first else {
                return Err(odd(format!("LRANGE: {first:?}")));
            };
            (0..length).map(|_| element(connection)).collect()
        });
        self.connection = None;
        read
    }
}

/// Reads an element of a list of numbers.
fn element(from: &mut impl BufRead) -> io::Result<u64> {
    match answer(from)? {
        Answer::Text(text) => text.parse().map_err(|_| odd(format!("element '{text}'"))),
        other => Err(odd(format!("an element: {other:?}"))),
    }
}

/// Reads one answer, or the head of a list.
fn answer(from: &mut impl BufRead) -> io::Result<Answer> {
    let head = line(from)?;
    let (kind, rest) = head.split_at_checked(1).ok_or_else(|| odd("an empty line"))?;
    let number = || rest.parse::<u64>().map_err(|_| odd(format!("number '{rest}'")));
    match kind {
        ":" => Ok(Answer::Number(number()?)),
        "-" => Ok(Answer::Error(rest.into())),
        "+" => Ok(Answer::Text(rest.into())),
        "*" => Ok(Answer::List(usize::try_from(number()?).map_err(odd_number)?)),
        "$" => {
            let length = usize::try_from(number()?).map_err(odd_number)?;
            if length > TEXT_MAX {
                return Err(odd(format!("a text of {length} bytes")));
            }
            let mut bytes = vec![0; length + 2];
            from.read_exact(&mut bytes)?;
            bytes.truncate(length);
            Ok(Answer::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        _ => Err(odd(format!("an answer that begins with '{kind}'"))),
    }
}

fn odd_number(error: std::num::TryFromIntError) -> io::Error {
    odd(error.to_string())
}

fn line(from: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    from.take(TEXT_MAX as u64).read_line(&mut text)?;
    // Without its end it was cut off, and half a number is a number too.
    match text.strip_suffix("\r\n") {
        Some(line) => Ok(line.into()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        let read = |text: &str| answer(&mut text.as_bytes()).unwrap();
        assert_eq!(read(":17\r\n"), Answer::Number(17));
        assert_eq!(read("$2\r\n42\r\n"), Answer::Text("42".into()));
        assert_eq!(read("-LOADING data\r\n"), Answer::Error("LOADING data".into()));
        assert_eq!(read("*3\r\n"), Answer::List(3));
    }

    #[test]
    fn half_an_answer_is_none() {
        for text in ["", ":1", ":17\r", "$5\r\n12", "?\r\n", "$99999\r\n"] {
            assert!(answer(&mut text.as_bytes()).is_err(), "{text:?}");
        }
    }
}

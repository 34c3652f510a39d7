//! A RabbitMQ queue behind the virtual address: each write publishes its number and waits for the broker's confirm.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::amqp::{self, Frame, Id};
use super::store::{ANSWER, CONNECT, Outcome, Store, odd};

/// The queue's name.
const QUEUE: &str = "torture";
/// The channel that is used.
const CHANNEL: u16 = 1;
/// An account that every broker has at first.
const USER: &str = "guest";
/// While everything is read, so long without a message and there is none left.
const SILENCE: Duration = Duration::from_secs(5);

/// So many messages are acknowledged at once; a quorum queue gives out 2000 at most that are not.
const BATCH: u64 = 500;

/// A client with one connection, made anew after every error.
#[derive(Debug)]
pub struct Rabbitmq {
    at: SocketAddr,
    /// `classic` or `quorum`.
    kind: &'static str,
    connection: Option<Connection>,
    /// What was read, also when the reading broke off: it is not in the queue any more.
    read: Vec<u64>,
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<TcpStream>,
    /// Messages published on it.
    published: u64,
    /// Messages that were in the queue when it was opened.
    count: u32,
}

impl Rabbitmq {
    /// For the broker at `at`, not connected yet, with a queue of the type `kind`.
    #[must_use]
    pub fn new(at: SocketAddr, kind: &'static str) -> Rabbitmq {
        Rabbitmq {
            at,
            kind,
            connection: None,
            read: Vec::new(),
        }
    }

    fn connect(&mut self) -> io::Result<&mut Connection> {
        if self.connection.is_none() {
            self.connection = Some(Connection::open(self.at, self.kind)?);
        }
        self.connection.as_mut().ok_or_else(|| odd("no connection"))
    }
}

impl Store for Rabbitmq {
    fn write(&mut self, id: u64) -> Outcome {
        let connection = match self.connect() {
            Ok(connection) => connection,
            Err(error) => return Outcome::Failed(error.to_string()),
        };
        match connection.publish(id) {
            Ok(outcome @ Outcome::Acknowledged(_)) => outcome,
            Ok(outcome) => {
                self.connection = None;
                outcome
            }
            Err(error) => {
                self.connection = None;
                Outcome::Unknown(error.to_string())
            }
        }
    }

    /// Consumes the queue: it is empty afterwards.
    fn read_all(&mut self) -> io::Result<Vec<u64>> {
        self.connection = None;
        let mut connection = Connection::open(self.at, self.kind)?;
        connection.read_all(&mut self.read)?;
        Ok(self.read.clone())
    }
}

impl Connection {
    fn open(at: SocketAddr, kind: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&at, CONNECT)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        let mut connection = Connection {
            stream: BufReader::new(stream),
            published: 0,
            count: 0,
        };
        connection.send(amqp::GREETING)?;
        connection.expect(amqp::CONNECTION_START)?;
        connection.say(0, amqp::CONNECTION_START_OK, &amqp::login(USER, USER))?;
        let tune = connection.expect(amqp::CONNECTION_TUNE)?;
        // Its own limits, and no heartbeats.
        let limits = tune.get(..6).ok_or_else(|| odd("half of its limits"))?;
        connection.say(0, amqp::CONNECTION_TUNE_OK, &[limits, &[0, 0]].concat())?;
        let vhost = [amqp::short("/"), amqp::short(""), vec![0]].concat();
        connection.say(0, amqp::CONNECTION_OPEN, &vhost)?;
        connection.expect(amqp::CONNECTION_OPEN_OK)?;
        connection.say(CHANNEL, amqp::CHANNEL_OPEN, &amqp::short(""))?;
        connection.expect(amqp::CHANNEL_OPEN_OK)?;
        connection.say(CHANNEL, amqp::QUEUE_DECLARE, &amqp::queue(QUEUE, kind))?;
        let declared = connection.expect(amqp::QUEUE_DECLARE_OK)?;
        connection.count = amqp::count(&declared)?;
        connection.say(CHANNEL, amqp::CONFIRM_SELECT, &[0])?;
        connection.expect(amqp::CONFIRM_SELECT_OK)?;
        Ok(connection)
    }

    /// Publishes `id`, and waits until the broker has taken it over.
    fn publish(&mut self, id: u64) -> io::Result<Outcome> {
        self.published += 1;
        self.send(&amqp::publish(CHANNEL, QUEUE, id.to_string().as_bytes()))?;
        let mut returned = false;
        loop {
            match amqp::read(&mut self.stream)? {
                // It is confirmed too, after it came back.
                Frame::Method(amqp::BASIC_RETURN, _) => returned = true,
                Frame::Method(amqp::BASIC_ACK, _) if returned => {
                    return Ok(Outcome::Failed("the queue is not there".into()));
                }
                // One message at a time is under way.
                Frame::Method(amqp::BASIC_ACK, _) => return Ok(Outcome::Acknowledged(self.published)),
                Frame::Method(amqp::BASIC_NACK, _) => {
                    return Ok(Outcome::Unknown("the broker did not take it over".into()));
                }
                Frame::Header(_) | Frame::Body(_) => {}
                Frame::Method(id, arguments) => return Err(unexpected(id, &arguments)),
            }
        }
    }

    fn read_all(&mut self, found: &mut Vec<u64>) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(SILENCE))?;
        self.say(CHANNEL, amqp::BASIC_CONSUME, &amqp::consume(QUEUE))?;
        self.expect(amqp::BASIC_CONSUME_OK)?;
        let (mut tag, mut came) = (0, 0);
        loop {
            match amqp::read(&mut self.stream) {
                Ok(Frame::Method(amqp::BASIC_DELIVER, arguments)) => tag = amqp::tag(&arguments)?,
                Ok(Frame::Body(text)) => {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    found.push(text.parse().map_err(|_| odd(format!("message '{text}'")))?);
                    came += 1;
                    if tag % BATCH == 0 {
                        self.say(CHANNEL, amqp::BASIC_ACK, &amqp::done(tag))?;
                    }
                }
                Ok(Frame::Header(_)) => {}
                Ok(Frame::Method(id, arguments)) => return Err(unexpected(id, &arguments)),
                Err(error) if is_silence(&error) => break,
                Err(error) => return Err(error),
            }
        }
        if came < self.count {
            return Err(odd(format!("{came} of {} messages came", self.count)));
        }
        Ok(())
    }

    fn say(&mut self, channel: u16, id: Id, arguments: &[u8]) -> io::Result<()> {
        self.send(&amqp::method(channel, id, arguments))
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The arguments of this method, which is what comes next.
    fn expect(&mut self, wanted: Id) -> io::Result<Vec<u8>> {
        match amqp::read(&mut self.stream)? {
            Frame::Method(id, arguments) if id == wanted => Ok(arguments),
            Frame::Method(id, arguments) => Err(unexpected(id, &arguments)),
            other => Err(odd(format!("{other:?}"))),
        }
    }
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn unexpected(id: Id, arguments: &[u8]) -> io::Error {
    match id {
        amqp::CONNECTION_CLOSE | amqp::CHANNEL_CLOSE => odd(amqp::closing(arguments)),
        _ => odd(format!("method {}.{}", id >> 16, id & 0xffff)),
    }
}

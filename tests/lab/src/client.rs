//! The client: asks a service at a virtual address again and again, and knows when it got no answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::net::{Net, VIP};
use crate::sh;

/// Port of redis.
const PORT: u16 = 6379;
/// A request without an answer within this time has failed.
const PATIENCE: Duration = Duration::from_secs(1);
/// Pause between requests.
const PACE: Duration = Duration::from_millis(5);

/// What a client asks.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Where.
    pub at: SocketAddr,
    /// A request without an answer within this time has failed.
    pub patience: Duration,
    /// Asks on a connection of its own.
    pub ask: fn(&mut TcpStream) -> std::io::Result<()>,
}

/// What the client saw since [`Client::begin`].
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Answered requests.
    pub answered: u64,
    /// Requests without an answer.
    pub failed: u64,
    /// Longest time from one answer to the next.
    pub gap: Duration,
    last: Instant,
}

impl Seen {
    fn new() -> Seen {
        Seen {
            answered: 0,
            failed: 0,
            gap: Duration::ZERO,
            last: Instant::now(),
        }
    }
}

/// A running client; ends when dropped.
#[derive(Debug)]
pub struct Client {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Client {
    /// Starts asking redis at its virtual address.
    pub fn start(net: &Net) -> Result<Client> {
        let at = format!("{VIP}:{PORT}").parse().context("the virtual address")?;
        Client::asking(
            net,
            Question {
                at,
                patience: PATIENCE,
                ask: ping,
            },
        )
    }

    /// Starts asking, from the lab's network.
    pub fn asking(net: &Net, question: Question) -> Result<Client> {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (net, log, end) = (net.clone(), Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("client".into()).spawn(move || {
            if let Err(error) = net.enter() {
                eprintln!("lab: the client cannot enter the network: {error:#}");
                return;
            }
            while !end.load(Ordering::Relaxed) {
                let answered = ask(&question).is_ok();
                note(&mut log.lock().unwrap_or_else(PoisonError::into_inner), answered);
                std::thread::sleep(PACE);
            }
        })?;
        Ok(Client {
            seen,
            stop,
            thread: Some(thread),
        })
    }

    /// Begins a new count.
    pub fn begin(&self) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Seen::new();
    }

    /// What was seen since the count began.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the service answers requests sent from now on.
    pub fn answered(&self, limit: Duration) -> Result<()> {
        let before = self.seen().answered;
        // The first answer may be to a request that was under way.
        sh::wait("the service to answer at the virtual address", limit, || {
            (self.seen().answered > before + 1).then_some(())
        })
    }

    /// Fails if any request since the count began had no answer.
    pub fn no_outage(&self) -> Result<()> {
        self.answered(Duration::from_secs(10))?;
        let seen = self.seen();
        if seen.failed > 0 {
            bail!(
                "an outage: {} requests failed, longest gap {} ms",
                seen.failed,
                seen.gap.as_millis()
            );
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn note(seen: &mut Seen, answered: bool) {
    if answered {
        seen.gap = seen.gap.max(seen.last.elapsed());
        seen.last = Instant::now();
        seen.answered += 1;
    } else {
        seen.failed += 1;
    }
}

/// One request on a connection of its own.
fn ask(question: &Question) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&question.at, question.patience)?;
    stream.set_read_timeout(Some(question.patience))?;
    (question.ask)(&mut stream)
}

fn ping(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"PING\r\n")?;
    let mut reply = [0; 7];
    stream.read_exact(&mut reply)?;
    if &reply == b"+PONG\r\n" {
        Ok(())
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

//! The client: asks the service at the virtual address again and again, and knows when it got no answer.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::beacon::SERVICE;
use crate::net::{Net, VIP};
use crate::sh;

/// A request without an answer within this time has failed; the accuracy of an outage.
const PATIENCE: Duration = Duration::from_millis(250);
/// Pause between requests.
const PACE: Duration = Duration::from_millis(10);

/// What the client saw since [`Client::begin`].
#[derive(Clone, Debug)]
pub struct Seen {
    /// Answered requests.
    pub answered: u64,
    /// Longest time from one answer to the next.
    pub gap: Duration,
    /// Who answered last.
    pub node: String,
    last: Instant,
}

impl Seen {
    fn new() -> Seen {
        Seen {
            answered: 0,
            gap: Duration::ZERO,
            node: String::new(),
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
    /// Starts asking, from the harness' address.
    pub fn start(net: &Net) -> Result<Client> {
        let seen = Arc::new(Mutex::new(Seen::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (net, log, end) = (net.clone(), Arc::clone(&seen), Arc::clone(&stop));
        let at: SocketAddr = format!("{VIP}:{SERVICE}")
            .parse()
            .context("the virtual address")?;
        let thread = std::thread::Builder::new().name("client".into()).spawn(move || {
            if let Err(error) = net.enter() {
                eprintln!("vm: the client cannot enter the network: {error:#}");
                return;
            }
            while !end.load(Ordering::Relaxed) {
                if let Ok(node) = ask(at) {
                    note(&mut log.lock().unwrap_or_else(PoisonError::into_inner), node);
                }
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
        *self.lock() = Seen::new();
    }

    /// What was seen since the count began.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.lock().clone()
    }

    /// Waits until the service on `node` answers requests sent from now on.
    pub fn answered_by(&self, node: &str, limit: Duration) -> Result<()> {
        let before = self.seen().answered;
        // The first answer may be to a request that was under way.
        sh::wait(&format!("{node} to answer at the virtual address"), limit, || {
            let seen = self.seen();
            (seen.answered > before + 1 && seen.node == node).then_some(())
        })
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
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

fn note(seen: &mut Seen, node: String) {
    seen.gap = seen.gap.max(seen.last.elapsed());
    seen.last = Instant::now();
    seen.answered += 1;
    seen.node = node;
}

/// One request on a connection of its own; the name of the node that answered.
fn ask(at: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut name = String::new();
    stream.read_to_string(&mut name)?;
    if name.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(name)
}

//! One more client: it asks for the primary as it would ask Sentinel, and does not use the virtual address. It has to find the
//! new primary each time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net::Net;
use crate::sh;
use crate::torture::history::Clock;

/// Debian's own, which has Debian's packages.
const PYTHON: &str = "/usr/bin/python3";
/// The program, below the source.
const PROGRAM: &str = "tests/lab/files/failovers-sentinel.py";

/// A write that was acknowledged: when that was heard, and by which address.
type Ack = (u64, String);

/// The running client; ends when dropped.
#[derive(Debug)]
pub struct Follower {
    child: Child,
    acks: Arc<Mutex<Vec<Ack>>>,
    /// How many there were when the round began.
    begun: usize,
}

impl Follower {
    /// Starts it, with the addresses of those it asks.
    pub fn start(
        source: &Path,
        port: u16,
        addresses: &[String],
        net: &Net,
        clock: Clock,
    ) -> Result<Follower> {
        let probe = Command::new(PYTHON)
            .args(["-c", "import redis.sentinel"])
            .output();
        anyhow::ensure!(
            probe.is_ok_and(|output| output.status.success()),
            "a client of Sentinel is needed here: install python3-redis"
        );
        let mut command = Command::new(PYTHON);
        command
            .arg(source.join(PROGRAM))
            .arg(port.to_string())
            .args(addresses)
            .stdout(Stdio::piped());
        let net = net.clone();
        let started = std::thread::spawn(move || {
            net.enter()?;
            command.spawn().context(PYTHON)
        });
        let mut child = started
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        let output = child.stdout.take().context("its output")?;
        let acks: Arc<Mutex<Vec<Ack>>> = Arc::default();
        let heard = Arc::clone(&acks);
        std::thread::Builder::new()
            .name("sentinel".into())
            .spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    let ack = (clock.now_ms(), line);
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(ack);
                }
            })?;
        Ok(Follower {
            child,
            acks,
            begun: 0,
        })
    }

    /// A round begins.
    pub fn begin(&mut self) {
        let count = self.acks().len();
        self.begun = count.saturating_sub(1);
    }

    /// Waits until the primary at `address` acknowledges its writes.
    pub fn follows(&self, address: &str, limit: Duration) -> Result<()> {
        let from = self.acks().len();
        sh::wait("the client of Sentinel to write at the primary", limit, || {
            let acks = self.acks();
            acks.get(from..)?.last().filter(|(_, at)| at == address).map(drop)
        })
    }

    /// Longest time without an acknowledged write in this round.
    pub fn outage_ms(&self) -> Option<u64> {
        let acks = self.acks();
        let round = acks.get(self.begun..)?;
        round.windows(2).map(|pair| pair[1].0 - pair[0].0).max()
    }

    fn acks(&self) -> std::sync::MutexGuard<'_, Vec<Ack>> {
        self.acks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

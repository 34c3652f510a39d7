//! Clients that write one number after the other: one at the virtual address, as clients of the service do, and one at
//! each node's own address, which only the promoted one may answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use super::service::Service;
use crate::net::Net;
use crate::torture::history::Clock;
use crate::torture::workloads::attempt::{Attempt, Outcome};

/// Pause between writes at the virtual address.
const PACE: Duration = Duration::from_millis(5);
/// The same at a node's own address: it is there to find a second primary.
const SLOW_PACE: Duration = Duration::from_millis(40);

/// Where a client writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The virtual address.
    Vip,
    /// The node's own address.
    Node(String),
}

/// A running client; ends when dropped.
#[derive(Debug)]
pub struct Writer {
    /// Where it writes.
    pub target: Target,
    done: Arc<Mutex<Vec<Attempt>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Starts writing. Of its numbers each is `offset` more than a multiple of `stride`, so that several never write the same.
    pub fn start(
        service: &Service,
        (target, at): (Target, SocketAddr),
        (offset, stride): (u64, u64),
        net: &Net,
        clock: Clock,
    ) -> Result<Writer> {
        let (done, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, end, net) = (Arc::clone(&done), Arc::clone(&stop), net.clone());
        let mut store = (service.store)(at);
        let pace = if target == Target::Vip { PACE } else { SLOW_PACE };
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
            if let Err(error) = net.enter() {
                eprintln!("lab: a client cannot enter the network: {error:#}");
                return;
            }
            let mut id = offset;
            while !end.load(Ordering::Relaxed) {
                id += stride;
                let attempt = Attempt::make(store.as_mut(), id, clock);
                log.lock().unwrap_or_else(PoisonError::into_inner).push(attempt);
                std::thread::sleep(pace);
            }
        })?;
        Ok(Writer {
            target,
            done,
            stop,
            thread: Some(thread),
        })
    }

    /// How many attempts there were.
    pub fn count(&self) -> usize {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Those from number `first` on.
    pub fn since(&self, first: usize) -> Vec<Attempt> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.get(first..).unwrap_or_default().to_vec()
    }

    /// When the newest acknowledged write was sent.
    pub fn last_ack_ms(&self) -> Option<u64> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let acknowledged = |attempt: &&Attempt| attempt.outcome == Outcome::Acknowledged;
        done.iter()
            .rev()
            .find(acknowledged)
            .map(|attempt| attempt.start_ms)
    }

    /// Ends it; all that it tried.
    pub fn finish(mut self) -> Vec<Attempt> {
        self.end();
        self.since(0)
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end();
    }
}

//! The observer: hears the services say where they run, and knows whether two did so at once.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::beacon::OBSERVER;
use crate::net::{HARNESS, MANAGEMENT, Net, address};
use crate::sh;

/// One service that was heard: a run of it in one boot of one node.
#[derive(Clone, Debug)]
pub struct Run {
    /// The node.
    pub node: String,
    /// Node, boot and epoch.
    pub word: String,
    /// First time it was heard.
    pub first: Instant,
    /// Last time it was heard.
    pub last: Instant,
}

/// The observer; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    runs: Arc<Mutex<Vec<Run>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    /// Starts listening in the management network.
    pub fn start(net: &Net) -> Result<Watch> {
        let runs: Arc<Mutex<Vec<Run>>> = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (net, log, end) = (net.clone(), Arc::clone(&runs), Arc::clone(&stop));
        let (ready, listening) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("watch".into()).spawn(move || {
            let socket = net.enter().and_then(|()| open());
            let socket = match socket {
                Ok(socket) => socket,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            let mut buffer = [0; 128];
            while !end.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut buffer) {
                    let word = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    note(&mut log.lock().unwrap_or_else(PoisonError::into_inner), word);
                }
            }
        })?;
        listening.recv().context("the observer did not start")??;
        Ok(Watch {
            runs,
            stop,
            thread: Some(thread),
        })
    }

    /// Forgets what was heard.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// Every run that was heard, in the order in which they began.
    #[must_use]
    pub fn runs(&self) -> Vec<Run> {
        self.lock().clone()
    }

    /// Waits until a run on `node` is heard that began after `since`; when it began.
    pub fn began(&self, node: &str, since: Instant, limit: Duration) -> Result<Instant> {
        sh::wait(&format!("the service to run on {node}"), limit, || {
            let runs = self.lock();
            let found = runs.iter().find(|run| run.node == node && run.first > since);
            found.map(|run| run.first)
        })
    }

    /// For how long two runs were heard at once, at the worst.
    #[must_use]
    pub fn dual(&self) -> Duration {
        dual(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> Result<UdpSocket> {
    let at = format!("{}:{OBSERVER}", address(MANAGEMENT, HARNESS));
    let socket = UdpSocket::bind(&at).with_context(|| at)?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    Ok(socket)
}

fn note(runs: &mut Vec<Run>, word: String) {
    let now = Instant::now();
    match runs.iter_mut().find(|run| run.word == word) {
        Some(run) => run.last = now,
        None => runs.push(Run {
            node: word.split(' ').next().unwrap_or_default().into(),
            word,
            first: now,
            last: now,
        }),
    }
}

fn dual(runs: &[Run]) -> Duration {
    let mut worst = Duration::ZERO;
    for (at, one) in runs.iter().enumerate() {
        for other in &runs[at + 1..] {
            let (begin, end) = (one.first.max(other.first), one.last.min(other.last));
            worst = worst.max(end.saturating_duration_since(begin));
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_overlap_for_as_long_as_both_were_heard() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let run = |word: &str, first, last| Run {
            node: "n1".into(),
            word: word.into(),
            first: at(first),
            last: at(last),
        };
        assert_eq!(dual(&[run("a", 0, 100), run("b", 100, 300)]), Duration::ZERO);
        assert_eq!(dual(&[run("a", 0, 100), run("b", 101, 300)]), Duration::ZERO);
        let three = [run("a", 0, 100), run("b", 60, 300), run("c", 290, 400)];
        assert_eq!(dual(&three), Duration::from_millis(40));
    }
}

//! Two eyes, each fixed on one node: whether it answers on the virtual IP, whoever else does.
//!
//! An eye is a machine on the first switch whose neighbour table says, for good, that the virtual IP is at its node's
//! hardware address. It asks by UDP every millisecond. The service answers with its own clock, which all namespaces
//! share, so what is compared is when each node answered, not when that was heard.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use super::clock::now_us;
use super::cluster::NODES;
use super::service::PORT;
use super::switch::VIP;
use super::{link, switch, sys};

/// Time between asks.
const INTERVAL: Duration = Duration::from_millis(1);
/// Before a fault, its node must have been seen answering within this.
const SEEN_WITHIN_US: u64 = 200_000;

/// An answer that reached an eye.
#[derive(Clone, Copy, Debug)]
struct Answer {
    node: &'static str,
    /// When the service gave it.
    at_us: u64,
}

/// The eyes.
#[derive(Default)]
pub struct Eyes {
    answers: Mutex<Vec<Answer>>,
}

/// What the eyes saw of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How long both nodes answered.
    pub dual_us: u64,
    /// From the last answer of one node to the first of the other.
    pub gap_us: u64,
}

impl Eyes {
    /// Opens an eye on each node.
    ///
    /// # Errors
    /// When a namespace or socket cannot be made.
    pub fn open() -> io::Result<Arc<Eyes>> {
        let eyes = Arc::new(Eyes::default());
        for node in NODES {
            let namespace = switch::eye(node)?;
            let socket = link::inside(&namespace, || {
                let socket = UdpSocket::bind("0.0.0.0:0")?;
                socket.connect(SocketAddr::new(VIP.into(), PORT))?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })?;
            let eyes = Arc::clone(&eyes);
            std::thread::Builder::new()
                .name("eye".into())
                .spawn(move || eyes.watch(node, &socket, &namespace))?;
        }
        Ok(eyes)
    }

    /// Asks for ever. The namespace lives as long as somebody holds it.
    fn watch(&self, node: &'static str, socket: &UdpSocket, _namespace: &OwnedFd) {
        sys::hurry();
        let mut answer = [0; 64];
        loop {
            // A node that does not answer, or refuses to, is what may be seen.
            let _ = socket.send(b"?");
            let next_us = now_us() + INTERVAL.as_micros() as u64;
            while let Some(left_us) = next_us.checked_sub(now_us()).filter(|left_us| *left_us > 0) {
                let span = TimeSpec::from_duration(Duration::from_micros(left_us));
                let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                let _ = ppoll(&mut fds, Some(span), None);
                while let Ok(length) = socket.recv(&mut answer) {
                    let text = String::from_utf8_lossy(&answer[..length]);
                    if let Some(at_us) = instant(&text, node) {
                        self.lock().push(Answer { node, at_us });
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was seen.
    pub fn forget(&self) {
        self.lock().clear();
    }

    /// What was seen since `struck` was struck at `struck_us`.
    ///
    /// # Errors
    /// When the eyes did not see the node answer before, so that they prove nothing.
    pub fn seen(&self, struck: &str, struck_us: u64) -> anyhow::Result<Seen> {
        let answers = self.lock();
        let before = answers.iter().rfind(|answer| answer.at_us <= struck_us);
        before
            .filter(|answer| answer.node == struck && answer.at_us + SEEN_WITHIN_US > struck_us)
            .with_context(|| format!("{struck} was not seen answering before it was struck"))?;
        let since: Vec<Answer> = answers
            .iter()
            .filter(|answer| answer.at_us > struck_us)
            .copied()
            .collect();
        Ok(seen(&since, struck_us))
    }
}

/// The instant in an answer of `node`.
fn instant(text: &str, node: &str) -> Option<u64> {
    let (name, at_us) = text.trim().split_once(' ')?;
    (name == node).then(|| at_us.parse().ok())?
}

/// A node answers from its first answer to its last: whatever it did in between, it was not silent for good.
fn seen(answers: &[Answer], since_us: u64) -> Seen {
    let [one, other] = NODES.map(|node| {
        let times = || {
            answers
                .iter()
                .filter(|answer| answer.node == node)
                .map(|answer| answer.at_us)
        };
        (times().min(), times().max())
    });
    let (Some(one_first), Some(one_last), Some(other_first), Some(other_last)) =
        (one.0, one.1, other.0, other.1)
    else {
        // One node alone answered: nothing is known of the other but that it was silent.
        let first = one.0.or(other.0).unwrap_or(since_us);
        return Seen {
            dual_us: 0,
            gap_us: first.saturating_sub(since_us),
        };
    };
    let (later_first, earlier_last) = (one_first.max(other_first), one_last.min(other_last));
    Seen {
        dual_us: earlier_last.saturating_sub(later_first),
        gap_us: later_first.saturating_sub(earlier_last),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_nodes_answer_when_one_begins_before_the_other_ends() {
        let at = |node, at_us| Answer { node, at_us };
        let handover = [at("n1", 10), at("n1", 20), at("n2", 27), at("n2", 40)];
        assert_eq!(
            seen(&handover, 5),
            Seen {
                dual_us: 0,
                gap_us: 7
            }
        );
        let mut both = handover.to_vec();
        both.push(at("n1", 30));
        assert_eq!(
            seen(&both, 5),
            Seen {
                dual_us: 3,
                gap_us: 0
            }
        );
        assert_eq!(
            seen(&handover[2..], 5),
            Seen {
                dual_us: 0,
                gap_us: 22
            }
        );
    }

    #[test]
    fn an_answer_counts_for_the_node_that_gave_it() {
        assert_eq!(instant("n1 77\n", "n1"), Some(77));
        assert_eq!(instant("n2 77\n", "n1"), None);
        assert_eq!(instant("n1", "n1"), None);
    }
}

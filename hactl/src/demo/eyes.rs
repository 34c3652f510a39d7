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
    /// How long the old node still answered when the group was the other's already.
    pub dual_us: u64,
    /// How long it had been silent when the group became the other's.
    pub silent_us: u64,
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

    /// What was seen since `struck` was struck at `struck_us`. The group was given to the other node at `assigned_us`.
    ///
    /// # Errors
    /// When the eyes did not see the node answer before, or the group was not given away: then they prove nothing.
    pub fn seen(&self, struck: &str, struck_us: u64, assigned_us: Option<u64>) -> anyhow::Result<Seen> {
        let assigned_us = assigned_us.context("the group was not given to the other node")?;
        let answers = self.lock();
        let before = answers.iter().rfind(|answer| answer.at_us <= struck_us);
        before
            .filter(|answer| answer.node == struck && answer.at_us + SEEN_WITHIN_US > struck_us)
            .with_context(|| format!("{struck} was not seen answering before it was struck"))?;
        let since = answers.iter().filter(|answer| answer.at_us > struck_us);
        Ok(seen(since, struck, struck_us, assigned_us))
    }
}

/// The instant in an answer of `node`.
fn instant(text: &str, node: &str) -> Option<u64> {
    let (name, at_us) = text.trim().split_once(' ')?;
    (name == node).then(|| at_us.parse().ok())?
}

/// The other node has the group from when it was given to it, or from its first answer if that should be earlier.
fn seen<'a>(
    answers: impl Iterator<Item = &'a Answer>,
    struck: &str,
    struck_us: u64,
    assigned_us: u64,
) -> Seen {
    let (old, new): (Vec<&Answer>, Vec<&Answer>) = answers.partition(|answer| answer.node == struck);
    let last_us = old.iter().map(|answer| answer.at_us).max().unwrap_or(struck_us);
    let first_us = new.iter().map(|answer| answer.at_us).min();
    let begun_us = assigned_us.min(first_us.unwrap_or(assigned_us));
    Seen {
        dual_us: last_us.saturating_sub(begun_us),
        silent_us: begun_us.saturating_sub(last_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_active_when_the_old_node_answers_after_the_group_became_the_others() {
        let at = |node, at_us| Answer { node, at_us };
        let mut answers = vec![at("n1", 10), at("n1", 20), at("n2", 37), at("n2", 40)];
        let seen = |answers: &[Answer], assigned_us| seen(answers.iter(), "n1", 5, assigned_us);
        let whole = |dual_us, silent_us| Seen { dual_us, silent_us };
        assert_eq!(seen(&answers, 27), whole(0, 7));
        assert_eq!(seen(&answers, 18), whole(2, 0));
        assert_eq!(
            seen(&answers, 99),
            whole(0, 17),
            "its first answer comes before the word"
        );
        assert_eq!(seen(&answers[2..], 27), whole(0, 22));
        answers.push(at("n1", 30));
        assert_eq!(seen(&answers, 27), whole(3, 0));
    }

    #[test]
    fn an_answer_counts_for_the_node_that_gave_it() {
        assert_eq!(instant("n1 77\n", "n1"), Some(77));
        assert_eq!(instant("n2 77\n", "n1"), None);
        assert_eq!(instant("n1", "n1"), None);
    }
}

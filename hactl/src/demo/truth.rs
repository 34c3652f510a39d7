//! What is really active where, seen from outside the cluster: which node's kernel has the virtual IP, and on which
//! node a service process lives.
//!
//! One thread listens to the route netlink of every node's network namespace and to one unix connection per service
//! process, which the kernel closes when the process is gone. A time stamp is taken when the news is read, so an
//! overlap of two nodes can only look longer than it was, by the delay of this thread.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::Pid;

use super::clock::now_us;
use super::netlink::Netlink;
use super::story::Story;
use super::switch::VIP;
use super::sys;

/// A node's activity changed.
#[derive(Clone, Debug)]
struct Change {
    at_us: u64,
    node: String,
    active: bool,
    vip: bool,
}

enum Source {
    Addresses {
        node: String,
        netlink: Netlink,
    },
    Listener(UnixListener),
    Service {
        node: String,
        stream: UnixStream,
        pid: Pid,
    },
}

#[derive(Default)]
struct Seen {
    sources: BTreeMap<u64, Source>,
    vips: BTreeMap<String, bool>,
    changes: Vec<Change>,
    next: u64,
}

/// The monitor.
pub struct Truth {
    epoll: Epoll,
    seen: Mutex<Seen>,
    story: Arc<Story>,
}

impl Truth {
    /// Starts the monitor; service processes report to the socket at `path`.
    pub fn start(path: &Path, story: Arc<Story>) -> std::io::Result<Arc<Truth>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let truth = Arc::new(Truth {
            epoll,
            seen: Mutex::default(),
            story,
        });
        truth.add(&mut truth.lock(), Source::Listener(UnixListener::bind(path)?))?;
        let thread = Arc::clone(&truth);
        std::thread::Builder::new()
            .name("truth".into())
            .spawn(move || thread.watch())?;
        Ok(truth)
    }

    /// Begins to watch the addresses of `node`; `netlink` was opened in its namespace.
    pub fn watch_addresses(&self, node: &str, netlink: Netlink) -> std::io::Result<()> {
        self.add(
            &mut self.lock(),
            Source::Addresses {
                node: node.into(),
                netlink,
            },
        )
    }

    /// Stops watching the addresses of `node`, whose interfaces are gone.
    pub fn forget_addresses(&self, node: &str) {
        let mut seen = self.lock();
        seen.sources
            .retain(|_, source| !matches!(source, Source::Addresses { node: of, .. } if of == node));
        self.set_vip(&mut seen, node, false, now_us());
    }

    /// The process that serves on `node`, as this PID namespace numbers it.
    pub fn service_pid(&self, node: &str) -> Option<Pid> {
        self.lock().sources.values().find_map(|source| match source {
            Source::Service { node: of, pid, .. } if of == node => Some(*pid),
            _ => None,
        })
    }

    /// True when `node` has the virtual IP now.
    pub fn has_vip(&self, node: &str) -> bool {
        self.lock().vips.get(node).copied().unwrap_or(false)
    }

    /// The node that has the virtual IP now.
    pub fn vip_owner(&self) -> Option<String> {
        self.lock()
            .vips
            .iter()
            .find(|(_, present)| **present)
            .map(|(node, _)| node.clone())
    }

    /// How long more than one node was active since `since_us`, in microseconds.
    pub fn dual_active_us(&self, since_us: u64) -> u64 {
        overlap(&self.lock().changes, since_us, now_us())
    }

    /// How long more than one node had the virtual IP since `since_us`, in microseconds.
    pub fn dual_vip_us(&self, since_us: u64) -> u64 {
        span_where(
            &self.lock().changes,
            since_us,
            now_us(),
            |change| change.vip,
            |count| count > 1,
        )
    }

    /// How long no node had the virtual IP since `since_us`, in microseconds.
    pub fn vip_gone_us(&self, since_us: u64) -> u64 {
        span_where(
            &self.lock().changes,
            since_us,
            now_us(),
            |change| change.vip,
            |count| count == 0,
        )
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, seen: &mut Seen, source: Source) -> std::io::Result<()> {
        seen.next += 1;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, seen.next);
        match &source {
            Source::Addresses { netlink, .. } => self.epoll.add(netlink, event)?,
            Source::Listener(listener) => self.epoll.add(listener, event)?,
            Source::Service { stream, .. } => self.epoll.add(stream, event)?,
        }
        let key = seen.next;
        seen.sources.insert(key, source);
        Ok(())
    }

    fn watch(&self) {
        sys::hurry();
        let mut events = [EpollEvent::empty(); 16];
        loop {
            let Ok(count) = self.epoll.wait(&mut events, EpollTimeout::NONE) else {
                continue;
            };
            let at_us = now_us();
            let mut seen = self.lock();
            for event in &events[..count] {
                self.look(&mut seen, event.data(), at_us);
            }
        }
    }

    fn look(&self, seen: &mut Seen, key: u64, at_us: u64) {
        // Taken out while it is looked at, and put back unless it has ended.
        let Some(source) = seen.sources.remove(&key) else {
            return;
        };
        match source {
            Source::Listener(listener) => {
                if let Ok((stream, _)) = listener.accept() {
                    self.greet(seen, stream, at_us);
                }
                seen.sources.insert(key, Source::Listener(listener));
            }
            Source::Addresses { node, netlink } => {
                let mut buffer = [0; 16384];
                while let Ok(changes) = netlink.changes(&mut buffer) {
                    if changes.is_empty() && !readable(&netlink) {
                        break;
                    }
                    for change in changes.iter().filter(|change| change.address == VIP) {
                        self.set_vip(seen, &node, change.present, at_us);
                    }
                }
                seen.sources.insert(key, Source::Addresses { node, netlink });
            }
            Source::Service { node, stream, .. } => {
                drop(stream);
                self.story.add(
                    at_us,
                    "truth",
                    "service-gone",
                    format!("the service process on {node} is gone"),
                );
                self.record(seen, &node, at_us);
            }
        }
    }

    /// A service process says where it runs; from now on it lives until its connection closes.
    fn greet(&self, seen: &mut Seen, mut stream: UnixStream, at_us: u64) {
        let mut name = [0; 16];
        let told = stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .and_then(|()| stream.read(&mut name));
        let (Ok(length), Ok(peer)) = (told, getsockopt(&stream.as_fd(), PeerCredentials)) else {
            return;
        };
        let node = String::from_utf8_lossy(&name[..length]).into_owned();
        let pid = Pid::from_raw(peer.pid());
        self.story.add(
            at_us,
            "truth",
            "service-there",
            format!("a service process runs on {node}"),
        );
        if self
            .add(
                seen,
                Source::Service {
                    node: node.clone(),
                    stream,
                    pid,
                },
            )
            .is_ok()
        {
            self.record(seen, &node, at_us);
        }
    }

    fn set_vip(&self, seen: &mut Seen, node: &str, present: bool, at_us: u64) {
        if seen.vips.insert(node.into(), present).unwrap_or(false) == present {
            return;
        }
        let (kind, text) = if present {
            ("vip-there", format!("{node}'s kernel has the virtual IP"))
        } else {
            (
                "vip-gone",
                format!("{node}'s kernel no longer has the virtual IP"),
            )
        };
        self.story.add(at_us, "truth", kind, text);
        self.record(seen, node, at_us);
    }

    fn record(&self, seen: &mut Seen, node: &str, at_us: u64) {
        let serves = seen
            .sources
            .values()
            .any(|source| matches!(source, Source::Service { node: of, .. } if of == node));
        let vip = seen.vips.get(node).copied().unwrap_or(false);
        seen.changes.push(Change {
            at_us,
            node: node.into(),
            active: serves || vip,
            vip,
        });
    }
}

fn readable(netlink: &Netlink) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(
        &mut [PollFd::new(netlink.as_fd(), PollFlags::POLLIN)],
        PollTimeout::ZERO,
    )
    .is_ok_and(|ready| ready > 0)
}

/// Time from `since_us` to `until_us` during which more than one node was active.
fn overlap(changes: &[Change], since_us: u64, until_us: u64) -> u64 {
    span_where(
        changes,
        since_us,
        until_us,
        |change| change.active,
        |count| count > 1,
    )
}

/// Time from `since_us` to `until_us` during which the number of nodes whose latest change `is` so was as `wanted`.
fn span_where(
    changes: &[Change],
    since_us: u64,
    until_us: u64,
    is: impl Fn(&Change) -> bool,
    wanted: impl Fn(usize) -> bool,
) -> u64 {
    let mut latest: BTreeMap<&str, bool> = BTreeMap::new();
    let mut total = 0;
    for (index, change) in changes.iter().enumerate() {
        latest.insert(&change.node, is(change));
        let end = changes.get(index + 1).map_or(until_us, |next| next.at_us);
        if wanted(latest.values().filter(|so| **so).count()) {
            total += end.saturating_sub(change.at_us.max(since_us));
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(at_us: u64, node: &str, active: bool) -> Change {
        Change {
            at_us,
            node: node.into(),
            active,
            vip: active,
        }
    }

    #[test]
    fn overlap_counts_only_time_with_two_active_nodes() {
        let handover = [
            change(10, "n1", true),
            change(20, "n1", false),
            change(25, "n2", true),
        ];
        assert_eq!(overlap(&handover, 0, 100), 0);
        let both = [
            change(10, "n1", true),
            change(20, "n2", true),
            change(26, "n1", false),
        ];
        assert_eq!(overlap(&both, 0, 100), 6);
        assert_eq!(overlap(&both, 24, 100), 2);
        assert_eq!(overlap(&both[..2], 0, 100), 80);
    }
}

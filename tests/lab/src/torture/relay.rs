//! A box in the path of one cable that delays frames, reorders them and repeats some: what `netem` does elsewhere.
//!
//! The switch's end of the cable is taken off the bridge; the box reads and writes raw frames there and at one end of a
//! new pair whose other end is the bridge's port instead. Cards compute checksums themselves ([`Net::attach`]), so
//! frames can be passed on as they are.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, SockAddr, Socket, Type};

use super::rng::Rng;
use crate::net::{Net, port};

/// All kinds of frames.
const ETH_P_ALL: u16 = 0x0003;
/// Longest frame.
const FRAME_MAX: usize = 2048;
/// Frames that wait at most; more are dropped, as a full queue does.
const QUEUE_MAX: usize = 4096;
/// How often a box without a cable looks for it.
const LOOK: Duration = Duration::from_millis(100);

/// What a box does to frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Habit {
    /// Delay of what the node sends.
    pub out_ms: u64,
    /// Delay of what is sent to the node.
    pub in_ms: u64,
    /// A random delay of up to that much comes on top: frames overtake each other.
    pub jitter_ms: u64,
    /// So many of a hundred frames arrive twice.
    pub twice_percent: u64,
}

/// A running box; the cable is as before when it is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Relay {
    /// Puts a box into the cable of the node `name` in network `lan`.
    pub fn start(net: &Net, name: &str, lan: u8, habit: Habit, seed: u64) -> Result<Relay> {
        let stop = Arc::new(AtomicBool::new(false));
        let work = Work {
            net: net.clone(),
            port: port(name, lan),
            outer: format!("r{}", port(name, lan)),
            inner: format!("q{}", port(name, lan)),
            bridge: format!("br{lan}"),
            habit,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new().name("relay".into()).spawn(move || {
            let done = work.net.enter().and_then(|()| work.run(Rng::new(seed, 0)));
            if let Err(error) = done {
                eprintln!("lab: the box in {} ended: {error:#}", work.port);
            }
            work.take_out();
        })?;
        Ok(Relay {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A frame that waits for its time.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Instant,
    number: u64,
    /// From the node, not to it.
    out: bool,
    frame: Vec<u8>,
}

/// What the thread of a box knows.
struct Work {
    net: Net,
    port: String,
    outer: String,
    inner: String,
    bridge: String,
    habit: Habit,
    stop: Arc<AtomicBool>,
}

impl Work {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Works until it is stopped; a node that loses its power takes its cable away, and brings another.
    fn run(&self, mut rng: Rng) -> Result<()> {
        self.net.ip(&[
            "link",
            "add",
            &self.outer,
            "type",
            "veth",
            "peer",
            "name",
            &self.inner,
        ])?;
        self.net.ip(&["link", "set", &self.inner, "up"])?;
        self.net
            .ip(&["link", "set", &self.outer, "master", &self.bridge, "up"])?;
        let inner = raw(&self.inner)?;
        while !self.is_over() {
            if self.net.ip(&["link", "set", &self.port, "nomaster"]).is_err() {
                std::thread::sleep(LOOK);
                continue;
            }
            // Gone again before it could be opened: looked for once more.
            let Ok(cable) = raw(&self.port) else { continue };
            let _ = self.pass(&cable, &inner, &mut rng);
        }
        Ok(())
    }

    /// Passes frames until the cable is gone.
    fn pass(&self, cable: &Socket, inner: &Socket, rng: &mut Rng) -> Result<()> {
        let mut queue: BinaryHeap<Reverse<Waiting>> = BinaryHeap::new();
        let mut number = 0;
        while !self.is_over() {
            let now = Instant::now();
            while queue.peek().is_some_and(|first| first.0.due <= now) {
                let Some(Reverse(first)) = queue.pop() else { break };
                // A frame that a card does not take is lost, as frames are.
                let _ = if first.out { inner } else { cable }.send(&first.frame);
            }
            wait(cable, inner, queue.peek().map(|first| first.0.due))?;
            for (socket, out) in [(cable, true), (inner, false)] {
                while let Some(frame) = receive(socket)? {
                    let base = if out { self.habit.out_ms } else { self.habit.in_ms };
                    let copies = if rng.percent(self.habit.twice_percent) {
                        2
                    } else {
                        1
                    };
                    for _ in 0..copies {
                        let delay = base + rng.range(0, self.habit.jitter_ms);
                        number += 1;
                        if queue.len() < QUEUE_MAX {
                            queue.push(Reverse(Waiting {
                                due: Instant::now() + Duration::from_millis(delay),
                                number,
                                out,
                                frame: frame.clone(),
                            }));
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts the cable back on the bridge, if it is there.
    fn take_out(&self) {
        let _ = self.net.ip(&["link", "del", &self.outer]);
        let _ = self.net.ip(&["link", "set", &self.port, "master", &self.bridge]);
    }
}

/// Waits for a frame or until `due`, never long, so that the end of the box is noticed.
fn wait(cable: &Socket, inner: &Socket, due: Option<Instant>) -> Result<()> {
    let left = due.map_or(LOOK, |due| {
        due.saturating_duration_since(Instant::now()).min(LOOK)
    });
    // Rounded up: waking early would only mean to wait once more.
    let millis = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
    let mut fds = [cable, inner].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
    match poll(&mut fds, PollTimeout::from(millis)) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The next frame, if one is there.
fn receive(socket: &Socket) -> Result<Option<Vec<u8>>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); FRAME_MAX];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            // SAFETY: the kernel has written that many bytes.
            let frame = buffer[..length].iter().map(|byte| unsafe { byte.assume_init() });
            Ok(Some(frame.collect()))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        // A cable that was pulled for a moment says so once.
        Err(error) if error.raw_os_error() == Some(nix::libc::ENETDOWN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Only what arrives at the card is passed on: a frame of another node that went out there would come back to the switch, which
/// would then look for that node here.
fn ignore_outgoing(socket: &Socket) -> Result<()> {
    let yes: nix::libc::c_int = 1;
    // SAFETY: the pointer is to an int that outlives the call, with its length.
    let set = unsafe {
        nix::libc::setsockopt(
            socket.as_raw_fd(),
            nix::libc::SOL_PACKET,
            nix::libc::PACKET_IGNORE_OUTGOING,
            (&raw const yes).cast(),
            size_of::<nix::libc::c_int>() as nix::libc::socklen_t,
        )
    };
    nix::errno::Errno::result(set).context("PACKET_IGNORE_OUTGOING")?;
    Ok(())
}

/// A socket for whole frames at the card `name` of the thread's network namespace.
fn raw(name: &str) -> Result<Socket> {
    // Without a protocol until it is bound: it would get frames of every card.
    let socket = Socket::new(Domain::PACKET, Type::RAW, None).context("a packet socket")?;
    let index = nix::net::if_::if_nametoindex(name).with_context(|| format!("card {name}"))?;
    // SAFETY: the storage is zeroed, aligned and larger than a sockaddr_ll; the length is set to what was written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let link = storage.cast::<nix::libc::sockaddr_ll>();
            (*link).sll_family = nix::libc::AF_PACKET as u16;
            (*link).sll_protocol = ETH_P_ALL.to_be();
            (*link).sll_ifindex = index as i32;
            *length = size_of::<nix::libc::sockaddr_ll>() as nix::libc::socklen_t;
            Ok(())
        })
    }?;
    socket.bind(&address).with_context(|| format!("bind to {name}"))?;
    ignore_outgoing(&socket).with_context(|| format!("card {name}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

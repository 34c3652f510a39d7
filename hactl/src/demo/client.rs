//! The client: asks the virtual IP every 2 ms and notes when each ask was answered.
//!
//! Asks are independent of each other, each with a connection of its own, so that no retransmission timer of a
//! connection that was cut hides when the service was there again.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, connect, recv, send, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use super::clock::now_us;
use super::service::PORT;
use super::switch::VIP;
use super::{Service, sys};

/// Time between asks.
const INTERVAL_US: u64 = 2_000;
/// A client at rest looks this often whether it is to ask again.
const REST_US: u64 = 50_000;
/// An ask is given up after this.
pub const GIVE_UP: Duration = Duration::from_millis(100);
/// An answer that took longer than this counts as missed: the service was not there when it was asked.
const LATE_US: u64 = 20_000;

/// One ask and how it ended.
#[derive(Clone, Debug)]
pub struct Ask {
    /// When it was sent.
    pub sent_us: u64,
    /// When the answer was read.
    pub answered_us: Option<u64>,
    /// Time in which this client itself did not run while the ask was under way.
    pub stalled_us: u64,
    /// The answer, if it is text.
    pub text: String,
}

impl Ask {
    fn missed(&self) -> bool {
        self.answered_us
            .is_none_or(|at| at.saturating_sub(self.sent_us + self.stalled_us) > LATE_US)
    }
}

/// The client.
pub struct Client {
    asks: Mutex<Vec<Ask>>,
    resting: AtomicBool,
}

impl Client {
    /// Starts to ask from network namespace `namespace`.
    pub fn start(namespace: OwnedFd, service: Service) -> io::Result<Arc<Client>> {
        let client = Arc::new(Client {
            asks: Mutex::default(),
            resting: AtomicBool::new(false),
        });
        let thread = Arc::clone(&client);
        std::thread::Builder::new().name("client".into()).spawn(move || {
            sys::hurry();
            // The namespace was made by this process; entering it cannot fail for want of rights.
            if setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET).is_ok() {
                Asker::new(thread, service).run();
            }
        })?;
        Ok(client)
    }

    /// Stops asking, or begins again: an idle cluster has no client.
    pub fn rest(&self, resting: bool) {
        self.resting.store(resting, Ordering::Relaxed);
    }

    /// Forgets the asks sent before `since_us`.
    pub fn forget_before(&self, since_us: u64) {
        self.asks().retain(|ask| ask.sent_us >= since_us);
    }

    /// The asks sent since `since_us`, in the order they were sent.
    pub fn since(&self, since_us: u64) -> Vec<Ask> {
        let mut asks: Vec<Ask> = self
            .asks()
            .iter()
            .filter(|ask| ask.sent_us >= since_us)
            .cloned()
            .collect();
        asks.sort_by_key(|ask| ask.sent_us);
        asks
    }

    fn asks(&self) -> MutexGuard<'_, Vec<Ask>> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long the service did not answer, in microseconds: each stretch from the first missed ask to the next answer.
/// None if it still does not answer at the end.
pub fn outage_us(asks: &[Ask]) -> Option<u64> {
    let (mut total, mut until) = (0, 0);
    for (index, ask) in asks.iter().enumerate() {
        if ask.missed() && ask.sent_us >= until {
            until = asks[index..].iter().filter_map(|later| later.answered_us).min()?;
            total += until.saturating_sub(ask.sent_us);
        }
    }
    Some(total)
}

/// The first answer after the first missed ask.
pub fn first_answer(asks: &[Ask]) -> Option<Ask> {
    let missed = asks.iter().position(Ask::missed)?;
    asks[missed..]
        .iter()
        .filter(|ask| ask.answered_us.is_some())
        .min_by_key(|ask| ask.answered_us)
        .cloned()
}

enum Line {
    Connecting(OwnedFd),
    Asked(OwnedFd),
    Echo(u16),
}

struct Flight {
    line: Line,
    ask: Ask,
}

struct Asker {
    client: Arc<Client>,
    service: Service,
    flights: Vec<Flight>,
    raw: Option<OwnedFd>,
    number: u16,
}

impl Asker {
    fn new(client: Arc<Client>, service: Service) -> Asker {
        let raw = (service == Service::None)
            .then(|| {
                socket(
                    AddressFamily::Inet,
                    SockType::Raw,
                    nonblocking(),
                    SockProtocol::Icmp,
                )
                .ok()
            })
            .flatten();
        Asker {
            client,
            service,
            flights: Vec::new(),
            raw,
            number: 0,
        }
    }

    fn run(mut self) {
        let mut next_us = now_us();
        loop {
            let wait_us = next_us.saturating_sub(now_us());
            let deadline_us = now_us() + wait_us;
            self.wait(Duration::from_micros(wait_us));
            let late_us = now_us().saturating_sub(deadline_us);
            if late_us > INTERVAL_US {
                self.flights
                    .iter_mut()
                    .for_each(|flight| flight.ask.stalled_us += late_us);
            }
            self.progress();
            if now_us() >= next_us {
                if self.client.resting.load(Ordering::Relaxed) {
                    next_us = now_us() + REST_US;
                    continue;
                }
                self.ask();
                next_us = (next_us + INTERVAL_US).max(now_us());
            }
        }
    }

    fn wait(&self, span: Duration) {
        let lines = self.flights.iter().filter_map(|flight| match &flight.line {
            Line::Connecting(fd) => Some(PollFd::new(fd.as_fd(), PollFlags::POLLOUT)),
            Line::Asked(fd) => Some(PollFd::new(fd.as_fd(), PollFlags::POLLIN)),
            Line::Echo(_) => None,
        });
        let raw = self
            .raw
            .iter()
            .map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        let mut fds: Vec<PollFd<'_>> = lines.chain(raw).collect();
        // Interrupted or not, the caller looks at every flight.
        let _ = ppoll(&mut fds, Some(TimeSpec::from_duration(span)), None);
    }

    fn ask(&mut self) {
        let ask = Ask {
            sent_us: now_us(),
            answered_us: None,
            stalled_us: 0,
            text: String::new(),
        };
        let line = if self.raw.is_some() {
            self.echo()
        } else {
            self.dial()
        };
        match line {
            Some(line) => self.flights.push(Flight { line, ask }),
            None => self.client.asks().push(ask),
        }
    }

    fn dial(&self) -> Option<Line> {
        let fd = socket(AddressFamily::Inet, SockType::Stream, nonblocking(), None).ok()?;
        // Closing resets the connection: no TIME_WAIT, or the ports would run out within a minute.
        setsockopt(
            &fd,
            sockopt::Linger,
            &libc::linger {
                l_onoff: 1,
                l_linger: 0,
            },
        )
        .ok()?;
        let [a, b, c, d] = VIP.octets();
        match connect(fd.as_raw_fd(), &SockaddrIn::new(a, b, c, d, PORT)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Some(Line::Connecting(fd)),
            Err(_) => None,
        }
    }

    fn echo(&mut self) -> Option<Line> {
        let raw = self.raw.as_ref()?;
        self.number = self.number.wrapping_add(1);
        let [a, b, c, d] = VIP.octets();
        let packet = echo_request(self.number);
        sendto(
            raw.as_raw_fd(),
            &packet,
            &SockaddrIn::new(a, b, c, d, 0),
            MsgFlags::empty(),
        )
        .ok()?;
        Some(Line::Echo(self.number))
    }

    fn progress(&mut self) {
        let now = now_us();
        if let Some(raw) = &self.raw {
            let mut packet = [0; 256];
            while let Ok(length) = recv(raw.as_raw_fd(), &mut packet, MsgFlags::empty()) {
                let number = echo_reply(&packet[..length]);
                let flight = self
                    .flights
                    .iter_mut()
                    .find(|flight| matches!(flight.line, Line::Echo(of) if Some(of) == number));
                if let Some(flight) = flight {
                    flight.ask.answered_us = Some(now);
                }
            }
        }
        let request = self.request();
        let mut done = Vec::new();
        for mut flight in std::mem::take(&mut self.flights) {
            let open = flight.ask.answered_us.is_none() && flight.step(request, now);
            let expired =
                now.saturating_sub(flight.ask.sent_us + flight.ask.stalled_us) > GIVE_UP.as_micros() as u64;
            if open && !expired {
                self.flights.push(flight);
            } else {
                done.push(flight.ask);
            }
        }
        self.client.asks().append(&mut done);
    }

    fn request(&self) -> &'static [u8] {
        match self.service {
            Service::Redis => b"CONFIG GET dir\r\n",
            _ => b"who\n",
        }
    }
}

impl Flight {
    /// Does what can be done without waiting. False when the connection has ended.
    fn step(&mut self, request: &[u8], now: u64) -> bool {
        if let Line::Connecting(fd) = &self.line {
            match send(fd.as_raw_fd(), request, MsgFlags::MSG_NOSIGNAL) {
                Ok(_) => {}
                Err(Errno::EAGAIN | Errno::ENOTCONN) => return true,
                Err(_) => return false,
            }
            let taken = std::mem::replace(&mut self.line, Line::Echo(0));
            if let Line::Connecting(fd) = taken {
                self.line = Line::Asked(fd);
            }
        }
        let Line::Asked(fd) = &self.line else { return true };
        let mut answer = [0; 256];
        match recv(fd.as_raw_fd(), &mut answer, MsgFlags::empty()) {
            Ok(0) => false,
            Ok(length) => {
                self.ask.answered_us = Some(now);
                self.ask.text = String::from_utf8_lossy(&answer[..length]).into_owned();
                false
            }
            Err(Errno::EAGAIN) => true,
            Err(_) => false,
        }
    }
}

fn nonblocking() -> SockFlag {
    SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC
}

const ECHO_ID: u16 = 0x4846;

fn echo_request(number: u16) -> [u8; 8] {
    let (id, number) = (ECHO_ID.to_be_bytes(), number.to_be_bytes());
    let sum = 0x0800 + u32::from(ECHO_ID) + u32::from(u16::from_be_bytes(number));
    let sum = (sum & 0xffff) + (sum >> 16);
    let [high, low] = (!(sum as u16)).to_be_bytes();
    [8, 0, high, low, id[0], id[1], number[0], number[1]]
}

/// The number of the echo reply in IPv4 packet `packet`, if it is one of ours.
fn echo_reply(packet: &[u8]) -> Option<u16> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let icmp = packet.get(header..header + 8)?;
    let id = u16::from_be_bytes([icmp[4], icmp[5]]);
    (icmp[0] == 0 && id == ECHO_ID).then(|| u16::from_be_bytes([icmp[6], icmp[7]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(sent_us: u64, answered_us: Option<u64>) -> Ask {
        Ask {
            sent_us,
            answered_us,
            stalled_us: 0,
            text: String::new(),
        }
    }

    #[test]
    fn outage_runs_from_the_first_missed_ask_to_the_next_answer() {
        let asks = [
            ask(0, Some(300)),
            ask(2_000, None),
            ask(4_000, None),
            ask(6_000, Some(6_400)),
            ask(8_000, Some(8_300)),
        ];
        assert_eq!(outage_us(&asks), Some(4_400));
        assert_eq!(outage_us(&asks[..1]), Some(0));
        assert_eq!(outage_us(&asks[..3]), None);
    }

    #[test]
    fn a_late_answer_is_an_outage_and_a_stalled_client_is_not() {
        let mut late = ask(0, Some(50_000));
        assert_eq!(outage_us(&[late.clone()]), Some(50_000));
        late.stalled_us = 45_000;
        assert_eq!(outage_us(&[late]), Some(0));
    }

    #[test]
    fn echo_packets_carry_a_right_checksum() {
        let packet = echo_request(0xfffe);
        let sum: u32 = packet
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}

//! A service on virtual addresses in the left namespace, and clients in the right one that know which asks will never be
//! answered.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use holdfast_agents::clock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpFreebind;

use super::Pair;

const PORT: u16 = 7001;
/// Far beyond anything that is waited for: reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const VIP4: &str = "10.77.0.100";
pub const VIP6: &str = "fd77::100";

/// A service in the left namespace on the virtual addresses and the node's own: it answers with what it was asked, until
/// the test's process ends.
pub fn serve() {
    for (vip, plain) in [(VIP4, "10.77.0.1"), (VIP6, "fd77::1")] {
        let [vip, plain] = [vip, plain].map(|ip| bind(ip.parse().unwrap()));
        std::thread::spawn(move || {
            loop {
                let mut asked = [&vip, &plain].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
                poll(&mut asked, PollTimeout::NONE).unwrap();
                // What came to the node's own address came after what is waiting at the other.
                let later = receive(&plain);
                while let Some((ask, from)) = receive(&vip) {
                    let _ = vip.send_to(&ask, from);
                }
                if let Some((ask, from)) = later {
                    let _ = plain.send_to(&ask, from);
                }
            }
        });
    }
}

/// A socket on an address that need not be there yet.
fn bind(ip: IpAddr) -> UdpSocket {
    let domain = socket2::Domain::for_address(SocketAddr::new(ip, PORT));
    let socket = socket2::Socket::new(domain, socket2::Type::DGRAM, None).unwrap();
    setsockopt(&socket, IpFreebind, &true).unwrap();
    socket.bind(&SocketAddr::new(ip, PORT).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

fn receive(socket: &UdpSocket) -> Option<([u8; 8], SocketAddr)> {
    let mut ask = [0; 8];
    socket.recv_from(&mut ask).ok().map(|(_, from)| (ask, from))
}

/// A client in the right namespace.
pub struct Client {
    socket: UdpSocket,
    plain: SocketAddr,
    pub vip: SocketAddr,
    number: u64,
}

impl Client {
    pub fn new(pair: &Pair, plain: &str, vip: &str) -> Client {
        let to = |text: &str| SocketAddr::new(text.parse().unwrap(), PORT);
        let (plain, vip) = (to(plain), to(vip));
        let own = if plain.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = pair.in_right(move || UdpSocket::bind(own).unwrap());
        let mut client = Client {
            socket,
            plain,
            vip,
            number: 0,
        };
        client.reach();
        client
    }

    /// Asks the node's own address until it answers: the first asks may come before the link is there at both ends.
    fn reach(&mut self) {
        let begun = clock::now();
        self.socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        loop {
            // Refused while nobody serves there yet.
            let _ = self.socket.send_to(&0u64.to_be_bytes(), self.plain);
            if self.socket.recv_from(&mut [0; 8]).is_ok() {
                break;
            }
            assert!(
                clock::now().since(begun) < PATIENCE,
                "{} does not answer",
                self.plain
            );
        }
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// Asks the virtual address, then the node's own until that answers: what was asked first was answered by then, or
    /// never will be. The node's own address has a known neighbour, so it is never dropped on the way.
    pub fn is_answered(&mut self) -> bool {
        self.number += 2;
        self.socket.send_to(&self.number.to_be_bytes(), self.vip).unwrap();
        self.socket
            .send_to(&(self.number + 1).to_be_bytes(), self.plain)
            .unwrap();
        let mut answered = false;
        let mut answer = [0; 8];
        loop {
            let (_, from) = self.socket.recv_from(&mut answer).unwrap_or_else(|error| {
                panic!("no answer from {} to {}: {error}", self.plain, self.number + 1)
            });
            match u64::from_be_bytes(answer) {
                number if number == self.number => answered |= from == self.vip,
                number if number == self.number + 1 => return answered,
                _ => {}
            }
        }
    }
}

pub fn clients(pair: &Pair) -> [Client; 2] {
    [
        Client::new(pair, "10.77.0.1", VIP4),
        Client::new(pair, "fd77::1", VIP6),
    ]
}

/// Asks until neighbours are known, so that later asks go out at once.
pub fn warm_up(clients: &mut [Client]) {
    for client in clients {
        let begun = clock::now();
        while !client.is_answered() {
            // Asks to a neighbour that is not known queue up in the sender's own buffer.
            std::thread::sleep(Duration::from_millis(20));
            assert!(
                clock::now().since(begun) < PATIENCE,
                "{} does not answer",
                client.vip
            );
        }
    }
}

//! The netlink socket of nf_tables: batches that are applied as a whole or not at all, and dumps.
//!
//! A batch waits in the kernel while another program changes anything of nf_tables in this network namespace, so this
//! is for a thread that may wait.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::super::codec::{Message, error_code, messages};
use super::codec::{self, Family};

/// Largest datagram the kernel makes for us.
const RECV_BYTES: usize = 64 << 10;
/// Room for a batch of thousands of elements.
const SEND_BYTES: usize = 8 << 20;
const ERESTART: i32 = 85;

/// Why a batch was not applied.
#[derive(Debug)]
pub enum Refusal {
    /// Somebody changed something since the generation that it named.
    Overtaken,
    /// A table, set or element is not there.
    Missing,
    /// Anything else.
    Failed(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        match error.raw_os_error() {
            Some(ERESTART) => Refusal::Overtaken,
            Some(libc::ENOENT) => Refusal::Missing,
            _ => Refusal::Failed(error),
        }
    }
}

impl From<Refusal> for io::Error {
    fn from(refusal: Refusal) -> io::Error {
        match refusal {
            Refusal::Overtaken => io::Error::from_raw_os_error(ERESTART),
            Refusal::Missing => io::Error::from_raw_os_error(libc::ENOENT),
            Refusal::Failed(error) => error,
        }
    }
}

/// The socket.
#[derive(Debug)]
pub struct NftSocket {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl NftSocket {
    /// Opens one in the network namespace of this thread.
    ///
    /// # Errors
    /// The kernel has no netfilter.
    pub fn open() -> io::Result<NftSocket> {
        let fd = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        bind(fd.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        // Without the room only the largest batches fail, and say so.
        let _ = setsockopt(&fd, sockopt::SndBufForce, &SEND_BYTES);
        // The kernel answers before `send` returns; the limit is for a kernel that does not.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::new(2, 0))?;
        Ok(NftSocket {
            fd,
            buffer: vec![0; RECV_BYTES],
        })
    }

    /// Applies `changes` as a whole, or nothing of them: only if the tables are of `generation`, if one is given.
    ///
    /// # Errors
    /// Nothing was applied.
    pub fn apply(&mut self, generation: Option<u32>, mut changes: Vec<Vec<u8>>) -> Result<(), Refusal> {
        let Some(last) = changes.last_mut() else {
            return Ok(());
        };
        acknowledge(last);
        changes.insert(0, codec::begin(generation));
        changes.push(codec::end());
        for (seq, change) in (1u32..).zip(&mut changes) {
            change[8..12].copy_from_slice(&seq.to_ne_bytes());
        }
        self.drain();
        send(self.fd.as_raw_fd(), &changes.concat(), MsgFlags::empty()).map_err(io::Error::from)?;
        let last = changes.len() as u32 - 1;
        let mut applied = false;
        let mut refused = None;
        // Whatever failed was answered before what was acknowledged.
        while !applied && refused.is_none() {
            let datagram = receive(&self.fd, &mut self.buffer)?;
            for message in messages(datagram).filter(is_verdict) {
                match error_code(&message) {
                    Some(0) => applied |= message.seq == last,
                    code => {
                        let code = code.unwrap_or(-libc::EPROTO).saturating_neg();
                        refused.get_or_insert_with(|| io::Error::from_raw_os_error(code));
                    }
                }
            }
        }
        refused.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Answers that nobody waited for.
    fn drain(&mut self) {
        while recvfrom_now(&self.fd, &mut self.buffer).is_ok() {}
    }

    /// Number of the present generation of all tables here: it grows by one with each batch of anybody.
    ///
    /// # Errors
    /// The kernel has no nf_tables, or refuses.
    pub fn generation(&mut self) -> io::Result<u32> {
        let mut number = None;
        self.ask(codec::get_generation(), |message| {
            number = number.or(codec::generation(message.payload));
        })?;
        number.ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    /// Chains and rules of our table in `family`, as the kernel tells them: the same bytes as long as nobody touches
    /// them. Empty when there are none.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn shape(&mut self, family: Family) -> io::Result<Vec<u8>> {
        let mut shape = Vec::new();
        for what in [libc::NFT_MSG_GETCHAIN, libc::NFT_MSG_GETRULE] {
            let told = self.ask(codec::dump(what, family), |message| {
                if codec::is_ours(message.payload) {
                    // Before the attributes stands the generation.
                    shape.extend(message.payload.get(4..).unwrap_or_default());
                }
            });
            match told {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                other => other?,
            }
        }
        Ok(shape)
    }

    /// Sends a question and feeds each message of the answer to `each`. A dump ends with a message of its own, any
    /// other answer with an acknowledgement.
    fn ask(&mut self, mut question: Vec<u8>, mut each: impl FnMut(&Message<'_>)) -> io::Result<()> {
        acknowledge(&mut question);
        self.drain();
        send(self.fd.as_raw_fd(), &question, MsgFlags::empty())?;
        loop {
            for message in messages(receive(&self.fd, &mut self.buffer)?) {
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = error_code(&message).unwrap_or(-libc::EPROTO).saturating_neg();
                        return match code {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(code)),
                        };
                    }
                    _ => each(&message),
                }
            }
        }
    }
}

fn is_verdict(message: &Message<'_>) -> bool {
    i32::from(message.kind) == libc::NLMSG_ERROR
}

/// Has the kernel answer this message, whatever comes of it.
fn acknowledge(message: &mut [u8]) {
    let flags = u16::from_ne_bytes([message[6], message[7]]) | libc::NLM_F_ACK as u16;
    message[6..8].copy_from_slice(&flags.to_ne_bytes());
}

/// Receives one datagram of the kernel; datagrams of anybody else are dropped.
fn receive<'a>(fd: &OwnedFd, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    loop {
        match recvfrom::<NetlinkAddr>(fd.as_raw_fd(), buffer) {
            Ok((length, Some(from))) if from.pid() == 0 => return Ok(&buffer[..length.min(RECV_BYTES)]),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn recvfrom_now(fd: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    nix::sys::socket::recv(fd.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)
}

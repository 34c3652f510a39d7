//! For how long the active node is silent between two packets, seen from the switch.
//!
//! A cluster manager gives a node up when it has heard nothing from it for the detection time. What it hears is packets,
//! so the longest silence under load is how near a healthy node came to being given up, whatever the protocol. Packets
//! are stamped by the kernel as they arrive at the switch's ports: a late reader does not make them late.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_hactl::demo::clock::now_us;
use holdfast_hactl::demo::switch::BRIDGES;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg,
    setsockopt, socket, sockopt,
};

use super::team::{Team, wait_ready};
use crate::order::Silence;
use crate::stats;

/// EtherType of IPv4: ARP is no sign of life of a cluster manager.
const IPV4: u16 = 0x0800;
/// Packets that may wait while this process does not run.
const BUFFER_BYTES: usize = 8 << 20;

/// Measures for `seconds`, without a client. The cluster must be whole when it begins, and may do what it likes then.
pub fn measure(seconds: u32, team: &dyn Team) -> anyhow::Result<Silence> {
    let active = wait_ready(team)?;
    let around = team.around();
    around.client.rest(true);
    let from_us = now_us();
    let times = listen(&active, Duration::from_secs(u64::from(seconds)));
    around.client.rest(false);
    let happened = around.story.since(from_us);
    let count = |kind: &str| happened.iter().filter(|moment| moment.kind == kind).count();
    let times = times?;
    let mut gaps_ms: Vec<f64> = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) * 1000.0)
        .collect();
    gaps_ms.sort_by(f64::total_cmp);
    Ok(Silence {
        packets: times.len(),
        p50_ms: stats::quantile(&gaps_ms, 0.5),
        p99_ms: stats::quantile(&gaps_ms, 0.99),
        max_ms: stats::quantile(&gaps_ms, 1.0),
        takeovers: count("vip-there"),
        fencings: count("power-order"),
    })
}

/// When packets of `machine` came to the switches, in seconds.
fn listen(machine: &str, span: Duration) -> anyhow::Result<Vec<f64>> {
    let ports: Vec<usize> = (0..BRIDGES.len())
        .filter_map(|lan| if_nametoindex(format!("{machine}-{lan}").as_str()).ok())
        .map(|index| index as usize)
        .collect();
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let tap = socket(
        AddressFamily::Packet,
        SockType::Datagram,
        flags,
        SockProtocol::EthAll,
    )
    .context("cannot listen to the switches")?;
    setsockopt(&tap, sockopt::RcvBuf, &BUFFER_BYTES)?;
    setsockopt(&tap, sockopt::ReceiveTimestampns, &true)?;
    let deadline = Instant::now() + span;
    let mut times = Vec::new();
    while let Some(left) = deadline.checked_duration_since(Instant::now()) {
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        if poll(&mut [PollFd::new(tap.as_fd(), PollFlags::POLLIN)], wait)? > 0 {
            drain(&tap, &ports, &mut times)?;
        }
    }
    times.sort_by(f64::total_cmp);
    Ok(times)
}

fn drain(tap: &OwnedFd, ports: &[usize], times: &mut Vec<f64>) -> anyhow::Result<()> {
    let mut packet = [0; 64];
    let mut control = nix::cmsg_space!(nix::sys::time::TimeSpec);
    loop {
        let mut buffers = [IoSliceMut::new(&mut packet)];
        let message = match recvmsg::<LinkAddr>(
            tap.as_raw_fd(),
            &mut buffers,
            Some(&mut control),
            MsgFlags::empty(),
        ) {
            Ok(message) => message,
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Some(from) = message.address else { continue };
        let arrives = ports.contains(&from.ifindex()) && from.pkttype() != libc::PACKET_OUTGOING;
        if !arrives || u16::from_be(from.protocol()) != IPV4 {
            continue;
        }
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmTimestampns(at) = part {
                times.push(at.tv_sec() as f64 + at.tv_nsec() as f64 / 1e9);
            }
        }
    }
}

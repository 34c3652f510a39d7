//! What stands in the kernel: the tables, the addresses that need a permit, and until when each of them is live.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::codec::{self, Family, Set};
use super::plan::{Plan, Wanted, Written, timeout_ms};
use super::rules;
use super::socket::{NftSocket, Refusal};
use crate::clock;

/// A write that took this much longer than the one before is done again: its timeouts were counted from before it.
const SLOW: Duration = Duration::from_millis(5);
/// No write is expected to take longer.
const EXPECTED_MAX: Duration = Duration::from_millis(20);
/// Attempts while others keep changing tables of their own, or writes keep being slow.
const ATTEMPTS: usize = 5;

/// What became of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As it should be.
    Done,
    /// Somebody had removed or changed the tables; they are back.
    Restored,
}

/// The tables in this network namespace.
#[derive(Debug, Default)]
pub struct Tables {
    socket: Option<NftSocket>,
    built: Option<Built>,
    /// Why there is no table in family `arp`.
    without_arp: Option<String>,
}

#[derive(Debug)]
struct Built {
    families: Vec<Family>,
    /// Of all tables, after what was written last.
    generation: u32,
    /// See [`NftSocket::shape`].
    shape: Vec<u8>,
    written: Written,
    /// How long the last write took: the next is expected to take as long.
    expected: Duration,
}

impl Tables {
    /// Brings the kernel to what is `wanted`, as far as it cannot wait: see [`super::plan`].
    ///
    /// # Errors
    /// In words: the addresses are not filtered, or no longer renewed.
    pub fn turn(&mut self, wanted: &Wanted, reserve: Duration) -> Result<Turn, String> {
        let turned = if wanted.is_empty() {
            self.clear().map(|()| Turn::Done)
        } else {
            self.write(wanted, reserve)
        };
        turned.map_err(|error| {
            // Whatever state it is in now: the next turn begins anew.
            self.socket = None;
            self.built = None;
            explain(&error)
        })
    }

    /// When what waits is to be written, if anything does.
    #[must_use]
    pub fn next_write(&self, wanted: &Wanted, reserve: Duration) -> Option<Time> {
        match self.built.as_ref()?.written.plan(wanted, clock::now(), reserve) {
            Plan::Wait(until) => until,
            Plan::Renew(_) | Plan::Whole => Some(Time::ZERO),
        }
    }

    /// Why ARP is not filtered, if it is not.
    #[must_use]
    pub fn without_arp(&self) -> Option<&str> {
        self.without_arp.as_deref()
    }

    /// Removes the tables, of an earlier had-agentd too.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn clear(&mut self) -> io::Result<()> {
        self.built = None;
        let socket = opened(&mut self.socket)?;
        for family in [Family::Inet, Family::Arp] {
            // Made first, so that one that is not there is no error.
            let cleared = socket.apply(None, vec![codec::new_table(family), codec::delete_table(family)]);
            match cleared {
                // There is no such family here, and so no table.
                Err(Refusal::Failed(error)) if family == Family::Arp && is_absent(&error) => {}
                Err(refusal) => return Err(refusal.into()),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    fn write(&mut self, wanted: &Wanted, reserve: Duration) -> io::Result<Turn> {
        let socket = opened(&mut self.socket)?;
        let Some(built) = &mut self.built else {
            self.built = Some(build(socket, wanted, &mut self.without_arp)?);
            return Ok(Turn::Done);
        };
        let mut plan = built.written.plan(wanted, clock::now(), reserve);
        for _ in 0..ATTEMPTS {
            match built.carry_out(socket, wanted, &plan) {
                Ok(true) => return Ok(Turn::Done),
                // Late, or with an element that ran out a moment too early: all of it, by the clock as it is now.
                Ok(false) | Err(Refusal::Missing) => {}
                Err(Refusal::Overtaken) if built.is_whole(socket)? => {}
                Err(Refusal::Overtaken) => {
                    self.built = Some(build(socket, wanted, &mut self.without_arp)?);
                    return Ok(Turn::Restored);
                }
                Err(Refusal::Failed(error)) => return Err(error),
            }
            plan = Plan::Whole;
        }
        Ok(Turn::Done)
    }
}

impl Built {
    /// Does what is planned. False if that took so long that its timeouts may end too late.
    fn carry_out(&mut self, socket: &mut NftSocket, wanted: &Wanted, plan: &Plan) -> Result<bool, Refusal> {
        let now = clock::now();
        let counted_from = now + self.expected;
        let changes = match plan {
            Plan::Wait(_) => return self.check(socket).map(|()| true),
            Plan::Renew(ips) => {
                let with_ms = with_timeouts(ips.iter().map(|ip| (*ip, wanted[ip])), counted_from);
                // Removed and added in one go: before 6.12 the kernel does not extend what is there.
                live_sets(&self.families)
                    .flat_map(|set| [codec::remove(set, ips), codec::add(set, &with_ms)].concat())
                    .collect()
            }
            Plan::Whole => contents(&self.families, wanted, counted_from, true),
        };
        socket.apply(Some(self.generation), changes)?;
        self.generation = following(self.generation);
        match plan {
            Plan::Renew(ips) => {
                let ends = ips.iter().map(|ip| (*ip, wanted[ip]));
                self.written.live.extend(ends);
            }
            _ => self.written = Written::of(wanted, counted_from),
        }
        let took = clock::now().since(now);
        let expected = std::mem::replace(&mut self.expected, took.min(EXPECTED_MAX));
        Ok(took <= expected + SLOW)
    }

    /// With nothing to write: is it still the generation that was written?
    fn check(&self, socket: &mut NftSocket) -> Result<(), Refusal> {
        match socket.generation() {
            Ok(generation) if generation == self.generation => Ok(()),
            Ok(_) => Err(Refusal::Overtaken),
            Err(error) => Err(error.into()),
        }
    }

    /// After somebody changed something: false if it was ours.
    fn is_whole(&mut self, socket: &mut NftSocket) -> io::Result<bool> {
        let generation = socket.generation()?;
        let whole = shape(socket, &self.families)? == self.shape;
        self.generation = generation;
        Ok(whole)
    }
}

fn opened(socket: &mut Option<NftSocket>) -> io::Result<&mut NftSocket> {
    match socket {
        Some(socket) => Ok(socket),
        None => Ok(socket.insert(NftSocket::open()?)),
    }
}

/// The number of the generation after `generation`; there is none with the number 0.
fn following(generation: u32) -> u32 {
    generation.wrapping_add(1).max(1)
}

fn live_sets(families: &[Family]) -> impl Iterator<Item = Set> {
    families
        .iter()
        .flat_map(|family| Set::of(*family))
        .filter(|set| set.is_live)
}

fn with_timeouts(permits: impl Iterator<Item = (IpAddr, Time)>, now: Time) -> Vec<(IpAddr, Option<u64>)> {
    permits
        .filter_map(|(ip, until)| Some((ip, timeout_ms(until, now)?)))
        .collect()
}

/// What fills all sets, after they were emptied if they may hold anything.
fn contents(families: &[Family], wanted: &Wanted, now: Time, flush: bool) -> Vec<Vec<u8>> {
    let vips: Vec<_> = wanted.keys().map(|ip| (*ip, None)).collect();
    let live = with_timeouts(wanted.iter().map(|(ip, until)| (*ip, *until)), now);
    let mut changes = Vec::new();
    for set in families.iter().flat_map(|family| Set::of(*family)) {
        if flush {
            changes.push(codec::flush(set));
        }
        changes.extend(codec::add(set, if set.is_live { &live } else { &vips }));
    }
    changes
}

fn shape(socket: &mut NftSocket, families: &[Family]) -> io::Result<Vec<u8>> {
    let mut shape = Vec::new();
    for family in families {
        shape.extend(socket.shape(*family)?);
    }
    Ok(shape)
}

/// Makes the tables anew, in place of any that are there, in one go.
fn build(socket: &mut NftSocket, wanted: &Wanted, without_arp: &mut Option<String>) -> io::Result<Built> {
    *without_arp = None;
    match build_in(socket, wanted, &[Family::Inet, Family::Arp]) {
        Err(error) if is_absent(&error) => {
            let built = build_in(socket, wanted, &[Family::Inet])?;
            *without_arp = Some(explain(&error));
            Ok(built)
        }
        other => other,
    }
}

fn build_in(socket: &mut NftSocket, wanted: &Wanted, families: &[Family]) -> io::Result<Built> {
    for _ in 0..ATTEMPTS {
        let before = socket.generation()?;
        let now = clock::now();
        let mut changes = Vec::new();
        for family in families {
            // Made first, so that there is one to delete.
            changes.extend([
                codec::new_table(*family),
                codec::delete_table(*family),
                codec::new_table(*family),
            ]);
            changes.extend(rules::structure(*family));
        }
        changes.extend(contents(families, wanted, now, false));
        match socket.apply(Some(before), changes) {
            Err(Refusal::Overtaken) => continue,
            other => other?,
        }
        let mut built = Built {
            families: families.to_vec(),
            generation: following(before),
            shape: shape(socket, families)?,
            written: Written::of(wanted, now),
            expected: Duration::ZERO,
        };
        // What took its time is put right with the clock as it is now.
        let late = clock::now().since(now) > SLOW;
        let plan = if late { Plan::Whole } else { Plan::Wait(None) };
        match built.carry_out(socket, wanted, &plan) {
            // Changed again before it was looked at: what was seen may not be what was made.
            Err(Refusal::Overtaken) => {}
            other => return other.map(|_| built).map_err(io::Error::from),
        }
    }
    Err(io::Error::other(
        "other programs change their own tables all the time",
    ))
}

/// True for what the kernel says where it lacks a family or a type of chain.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT | libc::EINVAL | libc::EPROTONOSUPPORT)
    )
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EPERM) => "had-agentd has no CAP_NET_ADMIN here".to_owned(),
        Some(_) if is_absent(error) => {
            format!(
                "this kernel lacks a part of nf_tables ({error}); `modprobe nf_tables`, or a kernel that has it"
            )
        }
        _ => format!("nf_tables: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_skip_zero() {
        assert_eq!(following(7), 8);
        assert_eq!(following(u32::MAX), 1);
    }
}

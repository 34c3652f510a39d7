//! What stands in the kernel: the tables, the addresses that need a permit, and until when each of them is live.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::codec::{self, Family, Set};
use super::rules;
use super::socket::{NftSocket, Refusal};
use crate::clock;

/// Each address that needs a permit, with the end of that permit: `Time(u64::MAX)` for none, past for one that lapsed.
pub type Wanted = BTreeMap<IpAddr, Time>;

/// A write that took longer is done again: its timeouts were counted from before it.
const SLOW: Duration = Duration::from_millis(5);
/// Attempts while others keep changing tables of their own, or writes keep being slow.
const ATTEMPTS: usize = 5;
const FOREVER: Time = Time(u64::MAX);

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
    vips: BTreeSet<IpAddr>,
    /// What was written as live, and until when.
    live: BTreeMap<IpAddr, Time>,
}

/// Milliseconds until `until`, rounded down. None when there are none; the inner one when it never comes.
#[must_use]
pub fn timeout_ms(until: Time, now: Time) -> Option<Option<u64>> {
    if until == FOREVER {
        return Some(None);
    }
    let ms = u64::try_from(now.until(until).as_millis()).unwrap_or(u64::MAX);
    (ms > 0).then_some(Some(ms))
}

impl Tables {
    /// Brings the kernel to what is `wanted`.
    ///
    /// # Errors
    /// In words: the addresses are not filtered, or no longer renewed.
    pub fn turn(&mut self, wanted: &Wanted) -> Result<Turn, String> {
        let turned = if wanted.is_empty() {
            self.clear().map(|()| Turn::Done)
        } else {
            self.write(wanted)
        };
        turned.map_err(|error| {
            // Whatever state it is in now: the next turn begins anew.
            self.socket = None;
            self.built = None;
            explain(&error)
        })
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

    fn write(&mut self, wanted: &Wanted) -> io::Result<Turn> {
        let socket = opened(&mut self.socket)?;
        let Some(built) = &mut self.built else {
            self.built = Some(build(socket, wanted, &mut self.without_arp)?);
            return Ok(Turn::Done);
        };
        let mut whole = false;
        for _ in 0..ATTEMPTS {
            let begun = clock::now();
            let outcome = built.update(socket, wanted, begun, whole);
            match outcome {
                Ok(()) if clock::now().since(begun) <= SLOW => return Ok(Turn::Done),
                // Late, or with an element that ran out a moment too early: all of it, by the clock as it is now.
                Ok(()) | Err(Refusal::Missing) => whole = true,
                Err(Refusal::Overtaken) => {
                    whole = true;
                    if !built.is_whole(socket)? {
                        self.built = Some(build(socket, wanted, &mut self.without_arp)?);
                        return Ok(Turn::Restored);
                    }
                }
                Err(Refusal::Failed(error)) => return Err(error),
            }
        }
        Ok(Turn::Done)
    }
}

impl Built {
    /// Writes what is not yet as `wanted`, or all of it if `whole`.
    fn update(
        &mut self,
        socket: &mut NftSocket,
        wanted: &Wanted,
        now: Time,
        whole: bool,
    ) -> Result<(), Refusal> {
        let live: BTreeMap<IpAddr, Time> = wanted
            .iter()
            .filter(|(_, until)| timeout_ms(**until, now).is_some())
            .map(|(ip, until)| (*ip, *until))
            .collect();
        let changed: Vec<IpAddr> = live
            .iter()
            .filter(|(ip, until)| self.live.get(*ip) != Some(until))
            .map(|(ip, _)| *ip)
            .collect();
        let same_vips = wanted.keys().eq(&self.vips);
        // What is live in the kernel and is not to be any more: what ran out by itself is none of it.
        let revoked = self
            .live
            .iter()
            .any(|(ip, until)| *until > now && !live.contains_key(ip));
        let renewable = changed
            .iter()
            .all(|ip| self.live.get(ip).is_some_and(|until| *until > now));
        let changes = if !whole && same_vips && !revoked && renewable {
            if changed.is_empty() {
                return self.check(socket);
            }
            let with_ms = with_timeouts(changed.iter().map(|ip| (*ip, live[ip])), now);
            // Removed and added in one go: before 6.12 the kernel does not extend what is there.
            live_sets(&self.families)
                .flat_map(|set| [codec::remove(set, &changed), codec::add(set, &with_ms)].concat())
                .collect()
        } else {
            contents(&self.families, wanted, now, true)
        };
        socket.apply(Some(self.generation), changes)?;
        self.generation = following(self.generation);
        self.vips = wanted.keys().copied().collect();
        self.live = live;
        Ok(())
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
            vips: wanted.keys().copied().collect(),
            live: wanted.clone(),
        };
        // What took its time is put right with the clock as it is now.
        let late = clock::now().since(now) > SLOW;
        let now = clock::now();
        let settled = if late {
            built.update(socket, wanted, now, true)
        } else {
            built.check(socket)
        };
        match settled {
            // Changed again before it was looked at: what was seen may not be what was made.
            Err(Refusal::Overtaken) => {}
            other => return other.map(|()| built).map_err(io::Error::from),
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
    fn timeouts_end_no_later_than_the_permit() {
        let now = Time(10_000_000);
        assert_eq!(timeout_ms(Time(9_000_000), now), None);
        assert_eq!(timeout_ms(Time(10_000_999), now), None);
        assert_eq!(timeout_ms(Time(10_001_000), now), Some(Some(1)));
        assert_eq!(timeout_ms(Time(10_300_999), now), Some(Some(300)));
        assert_eq!(timeout_ms(Time(u64::MAX), now), Some(None));
    }

    #[test]
    fn generations_skip_zero() {
        assert_eq!(following(7), 8);
        assert_eq!(following(u32::MAX), 1);
    }
}

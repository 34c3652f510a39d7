//! Looks at the Redis of other nodes: how far the primary is, and whether it is one.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::info::Info;
use super::instance::Instance;
use super::state::State;
use crate::clock;
use crate::roles::Peer;

/// Bound on a look. A node that is gone does not answer at all.
const LIMIT: Duration = Duration::from_millis(500);
/// Offsets that are remembered for the lag.
const SAMPLES_MAX: usize = 256;

/// Connections to the others, and what they answered last.
pub struct Remotes {
    state: Arc<State>,
    open: BTreeMap<String, (IpAddr, Instance)>,
    seen: BTreeMap<String, (Info, Time)>,
}

impl Remotes {
    pub fn new(state: Arc<State>) -> Remotes {
        Remotes {
            state,
            open: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    /// Asks `peer`, at the address that answered last, else at each of its addresses.
    pub async fn ask(&mut self, peer: &Peer) -> Option<(IpAddr, Info)> {
        let last = self
            .open
            .remove(&peer.name)
            .filter(|(at, _)| peer.addresses.contains(at));
        if let Some((address, mut instance)) = last
            && let Ok(info) = instance.info().await
        {
            return Some(self.answered(peer, address, instance, info));
        }
        for address in peer.addresses.iter().copied() {
            let mut instance = self.state.remote(address, LIMIT);
            if let Ok(info) = instance.info().await {
                return Some(self.answered(peer, address, instance, info));
            }
        }
        self.seen.remove(&peer.name);
        None
    }

    fn answered(&mut self, peer: &Peer, address: IpAddr, instance: Instance, info: Info) -> (IpAddr, Info) {
        self.open.insert(peer.name.clone(), (address, instance));
        self.seen.insert(peer.name.clone(), (info.clone(), clock::now()));
        (address, info)
    }

    /// What `name` answered, not longer ago than `age`.
    pub fn seen(&self, name: &str, age: Duration) -> Option<&Info> {
        let (info, at) = self.seen.get(name)?;
        (at.until(clock::now()) <= age).then_some(info)
    }

    /// Of those that answered, not longer ago than `age`, the one with the most keys.
    pub fn fullest(&self, age: Duration) -> Option<(&str, &Info)> {
        self.seen
            .iter()
            .filter(|(_, (_, at))| at.until(clock::now()) <= age)
            .map(|(name, (info, _))| (name.as_str(), info))
            .max_by_key(|(_, info)| info.keys)
    }
}

/// How old a replica's data is, from offsets of its primary.
#[derive(Default)]
pub struct Lag {
    /// When the primary was how far, and only what the replica has not reached.
    ahead: VecDeque<(Time, u64)>,
    asked: Option<Time>,
}

impl Lag {
    /// The primary was at `offset` at `now`.
    pub fn sample(&mut self, now: Time, offset: u64) {
        self.asked = Some(now);
        if self.ahead.len() == SAMPLES_MAX {
            // The oldest says how old the data is, and has to stay.
            self.ahead.remove(1);
        }
        self.ahead.push_back((now, offset));
    }

    /// The replica is at `offset`. None when the primary was not asked for `age`.
    pub fn read(&mut self, now: Time, offset: u64, age: Duration) -> Option<u64> {
        while self.ahead.front().is_some_and(|(_, ahead)| *ahead <= offset) {
            self.ahead.pop_front();
        }
        self.asked.filter(|asked| asked.until(now) <= age)?;
        let behind = self.ahead.front().map(|(since, _)| since.until(now));
        Some(behind.map_or(0, |behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)))
    }

    /// It follows nobody, or somebody else.
    pub fn forget(&mut self) {
        *self = Lag::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_is_the_age_of_the_oldest_offset_that_is_not_reached() {
        let age = Duration::from_secs(3);
        let mut lag = Lag::default();
        assert_eq!(lag.read(Time(0), 0, age), None);
        for second in 1..=3 {
            lag.sample(Time(second * 1_000_000), second * 100);
        }
        assert_eq!(lag.read(Time(3_500_000), 100, age), Some(1500));
        assert_eq!(lag.read(Time(3_500_000), 299, age), Some(500));
        assert_eq!(lag.read(Time(3_600_000), 300, age), Some(0));
        assert_eq!(
            lag.read(Time(9_000_000), 300, age),
            None,
            "nobody was asked since"
        );
        for step in 0..1000 {
            lag.sample(Time(10_000_000 + step), 1000 + step);
        }
        assert_eq!(lag.ahead.len(), SAMPLES_MAX);
        assert_eq!(lag.read(Time(12_000_000), 500, age), Some(2000));
    }
}

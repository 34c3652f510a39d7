//! Is there an order in which all calls could have been carried out one after the other, each between its beginning and its
//! end? Values name what they replace, so those that took effect must form one chain, and the earliest instants that the chain
//! allows decide.

use std::collections::BTreeMap;

use super::Link;
use crate::register::Outcome;

#[derive(Clone, Debug)]
struct Call {
    begun: u64,
    /// What a swap writes; none for a read.
    write: Option<Link>,
    ended: Option<(u64, Outcome<Link>)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct History {
    calls: Vec<Call>,
}

impl History {
    pub(super) fn begin(&mut self, now: u64, write: Option<Link>) -> usize {
        self.calls.push(Call {
            begun: now,
            write,
            ended: None,
        });
        self.calls.len() - 1
    }

    pub(super) fn end(&mut self, call: usize, now: u64, outcome: Outcome<Link>) {
        self.calls[call].ended = Some((now, outcome));
    }

    /// What the register was seen to hold: the value, and between which instants.
    fn sightings(&self) -> Vec<(Option<Link>, u64, u64)> {
        let seen = |call: &Call| match &call.ended {
            Some((ended, Outcome::Content(held))) => Some((*held, call.begun, *ended)),
            _ => None,
        };
        self.calls.iter().filter_map(seen).collect()
    }

    /// The values in the order in which they were held.
    fn chain(&self) -> Result<Vec<Link>, String> {
        let swapped = self.calls.iter().filter_map(|call| match &call.ended {
            Some((_, Outcome::Swapped)) => call.write,
            _ => None,
        });
        let sighted = self.sightings().into_iter().filter_map(|(held, ..)| held);
        let mut held: BTreeMap<u32, Link> = swapped.chain(sighted).map(|link| (link.id, link)).collect();
        // What was replaced was held as well, whether or not anybody saw it.
        let mut unknown: Vec<Link> = held.values().copied().collect();
        while let Some(link) = unknown.pop() {
            let Some(before) = link.after.filter(|id| !held.contains_key(id)) else {
                continue;
            };
            let write = self
                .calls
                .iter()
                .filter_map(|call| call.write)
                .find(|link| link.id == before);
            let write = write.ok_or(format!("{before} was never written"))?;
            held.insert(before, write);
            unknown.push(write);
        }
        let mut after: BTreeMap<Option<u32>, Link> = BTreeMap::new();
        for link in held.values() {
            if let Some(other) = after.insert(link.after, *link) {
                return Err(format!(
                    "{} and {} both replaced {:?}",
                    other.id, link.id, link.after
                ));
            }
        }
        let mut chain = Vec::new();
        let mut last = None;
        while let Some(link) = after.remove(&last) {
            last = Some(link.id);
            chain.push(link);
        }
        if after.is_empty() {
            Ok(chain)
        } else {
            Err("a circle".into())
        }
    }

    /// How many swaps were carried out and how often something was read; an error if no order explains it.
    pub(super) fn check(&self) -> Result<(u64, u64), String> {
        let chain = self.chain()?;
        let sightings = self.sightings();
        let mut instant = 0;
        let mut held = None;
        for next in chain.iter().map(Some).chain([None]) {
            // Everybody who saw what is held now saw it before it was replaced.
            let mut earliest = instant;
            for (seen, begun, ended) in sightings.iter().filter(|(seen, ..)| *seen == held) {
                let at = instant.max(*begun);
                if at > *ended {
                    return Err(format!(
                        "{seen:?} was seen between {begun} and {ended}, and held from {instant} on"
                    ));
                }
                earliest = earliest.max(at);
            }
            let Some(link) = next else { break };
            let writes = |call: &&Call| call.write.is_some_and(|write| write.id == link.id);
            let call = self.calls.iter().find(writes).ok_or("nobody wrote it")?;
            instant = earliest.max(call.begun);
            if let Some((ended, Outcome::Swapped)) = &call.ended
                && instant > *ended
            {
                return Err(format!(
                    "{link:?} was written by {ended}, and cannot have been before {instant}"
                ));
            }
            held = Some(*link);
        }
        let swapped = |call: &&Call| matches!(call.ended, Some((_, Outcome::Swapped)));
        Ok((
            self.calls.iter().filter(swapped).count() as u64,
            sightings.len() as u64,
        ))
    }
}

//! When what stands in the kernel is written anew. Decides only; does no I/O.
//!
//! Each write is a new generation of all tables in the network namespace, and `nft list ruleset` of anybody begins anew
//! with each, so not every renewal of a permit is written at once: an address with more than its *reserve* left waits
//! until it has just that. Should the renewals end meanwhile, the last of them is written then, so that an address is
//! never silent before its permit has ended while this process lives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use holdfast_proto::time::Time;

/// Each address that needs a permit, with the end of that permit: `Time(u64::MAX)` for none, past for one that lapsed.
pub type Wanted = BTreeMap<IpAddr, Time>;

/// The end that never comes.
pub const FOREVER: Time = Time(u64::MAX);

/// What was written.
#[derive(Debug, Default)]
pub struct Written {
    /// The addresses that need a permit.
    pub vips: BTreeSet<IpAddr>,
    /// Those that were live then, and until when.
    pub live: BTreeMap<IpAddr, Time>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing, before the time given if there is one.
    Wait(Option<Time>),
    /// These have a later end.
    Renew(Vec<IpAddr>),
    /// Everything anew.
    Whole,
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

impl Written {
    /// What was written for `wanted` at `now`.
    #[must_use]
    pub fn of(wanted: &Wanted, now: Time) -> Written {
        let live = wanted
            .iter()
            .filter(|(_, until)| timeout_ms(**until, now).is_some());
        Written {
            vips: wanted.keys().copied().collect(),
            live: live.map(|(ip, until)| (*ip, *until)).collect(),
        }
    }

    /// What is to be done for `wanted`, where an address with more than `reserve` left can wait.
    #[must_use]
    pub fn plan(&self, wanted: &Wanted, now: Time, reserve: Duration) -> Plan {
        if !wanted.keys().eq(&self.vips) {
            return Plan::Whole;
        }
        let mut due = None;
        let mut later = Vec::new();
        for (ip, until) in wanted {
            let written = self.live.get(ip).copied().filter(|end| *end > now);
            let at = match (written, timeout_ms(*until, now)) {
                // It ran out, and so it should.
                (None, None) => continue,
                (Some(end), Some(_)) if end == *until => continue,
                // Removing it on the way to a later end fails, which is what Whole is for.
                (None, Some(_)) | (Some(_), None) => return Plan::Whole,
                (Some(end), Some(_)) if *until == FOREVER || *until < end => now,
                (Some(end), Some(_)) => Time(end.0.saturating_sub(reserve.as_micros() as u64)).max(now),
            };
            later.push(*ip);
            due = Some(due.map_or(at, |due: Time| due.min(at)));
        }
        match due {
            // With one that cannot wait go all that have a later end: it is one write.
            Some(due) if due <= now => Plan::Renew(later),
            due => Plan::Wait(due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(10_000_000);
    const RESERVE: Duration = Duration::from_millis(600);

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn ms(from_now: i64) -> Time {
        Time(NOW.0.saturating_add_signed(from_now * 1000))
    }

    fn wanted(ends: &[Time]) -> Wanted {
        (1..).map(ip).zip(ends.iter().copied()).collect()
    }

    fn plan(written: &[Time], ends: &[Time]) -> Plan {
        let then = Time(NOW.0 - 5_000_000);
        Written::of(&wanted(written), then).plan(&wanted(ends), NOW, RESERVE)
    }

    #[test]
    fn timeouts_end_no_later_than_the_permit() {
        assert_eq!(timeout_ms(ms(-1), NOW), None);
        assert_eq!(timeout_ms(Time(NOW.0 + 999), NOW), None);
        assert_eq!(timeout_ms(ms(1), NOW), Some(Some(1)));
        assert_eq!(timeout_ms(Time(ms(300).0 + 999), NOW), Some(Some(300)));
        assert_eq!(timeout_ms(FOREVER, NOW), Some(None));
    }

    #[test]
    fn a_renewal_waits_until_only_the_reserve_is_left_and_then_takes_the_others_along() {
        assert_eq!(plan(&[ms(900)], &[ms(900)]), Plan::Wait(None));
        assert_eq!(plan(&[ms(900)], &[ms(990)]), Plan::Wait(Some(ms(300))));
        assert_eq!(plan(&[ms(600)], &[ms(990)]), Plan::Renew(vec![ip(1)]));
        let all = plan(&[ms(900), ms(600), ms(800)], &[ms(990), ms(990), ms(800)]);
        assert_eq!(all, Plan::Renew(vec![ip(1), ip(2)]));
    }

    #[test]
    fn an_end_that_comes_sooner_or_never_is_written_at_once() {
        assert_eq!(plan(&[FOREVER], &[ms(900)]), Plan::Renew(vec![ip(1)]));
        assert_eq!(plan(&[ms(900)], &[ms(800)]), Plan::Renew(vec![ip(1)]));
        assert_eq!(plan(&[ms(900)], &[FOREVER]), Plan::Renew(vec![ip(1)]));
        assert_eq!(plan(&[FOREVER], &[FOREVER]), Plan::Wait(None));
    }

    #[test]
    fn what_ran_out_came_or_went_is_written_as_a_whole() {
        assert_eq!(plan(&[ms(-1)], &[ms(-1)]), Plan::Wait(None));
        assert_eq!(plan(&[ms(-1)], &[ms(900)]), Plan::Whole);
        assert_eq!(plan(&[FOREVER], &[ms(-1)]), Plan::Whole);
        assert_eq!(plan(&[ms(900)], &[ms(900), ms(900)]), Plan::Whole);
        assert_eq!(plan(&[ms(900), ms(900)], &[ms(900)]), Plan::Whole);
    }
}

//! Do the journals say why a group was away (L2)?

use super::events::Event;
use super::outages::Outage;
use crate::torture::history::Fault;

/// How far from an outage its reason may be in the journals, in milliseconds: detection takes a second, and a node that
/// was stopped or starved writes late.
const NEAR_MS: i64 = 3_000;
/// A service that stands still for less than this, in milliseconds, is not noticed by the probes of the torture's groups:
/// three failures, a second apart, each after two seconds of patience.
const PROBED_MS: u64 = 10_000;
/// Between two requests of a client, and between a signal and what follows from it, in milliseconds.
const AROUND_MS: u64 = 200;

/// The entry of a journal that says why `outage` was: the one about the group that is nearest to its begin, or the
/// nearest one of weight that is about no group.
#[must_use]
pub fn reason<'a>(outage: &Outage, events: &'a [Event]) -> Option<&'a Event> {
    let (start, end) = (signed(outage.start_ms), signed(outage.end_ms));
    let near: Vec<&Event> = events
        .iter()
        .filter(|event| (start - NEAR_MS..=end + NEAR_MS).contains(&event.at_ms))
        .collect();
    let nearest = |wanted: &dyn Fn(&Event) -> bool| {
        near.iter()
            .filter(|event| wanted(event))
            .min_by_key(|event| (event.at_ms - start).abs())
            .copied()
    };
    nearest(&|event| event.entry.group == outage.group)
        .or_else(|| nearest(&|event| event.entry.group.is_empty() && event.entry.level != "info"))
}

/// True if nobody could notice: not for long, only the service itself stood still, or it stood still for just that time.
#[must_use]
pub fn is_below_probes<'a>(outage: &Outage, causes: impl Iterator<Item = &'a Fault>) -> bool {
    let causes: Vec<&Fault> = causes.collect();
    let stood_still = |fault: &&Fault| fault.kind == "stop" && fault.target == outage.group;
    let alone = !causes.is_empty() && causes.iter().all(stood_still);
    let mut stops = causes.iter().filter(|fault| stood_still(fault));
    let all_the_time = stops.any(|fault| {
        let until_ms = fault.until_ms.unwrap_or_default();
        fault.at_ms <= outage.start_ms + AROUND_MS && outage.end_ms <= until_ms + AROUND_MS
    });
    outage.length_ms() < PROBED_MS && (alone || all_the_time)
}

fn signed(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use holdfast_proto::control::EventView;

    use super::*;

    fn event(at_ms: i64, group: &str, level: &str) -> Event {
        let entry = EventView {
            group: group.into(),
            level: level.into(),
            ..EventView::default()
        };
        Event { at_ms, entry }
    }

    fn outage() -> Outage {
        Outage {
            group: "redis".into(),
            start_ms: 20_000,
            felt_ms: 20_250,
            end_ms: 25_000,
            stalled_ms: 0,
        }
    }

    #[test]
    fn only_what_concerns_the_group_at_that_time_is_a_reason() {
        let none = [
            event(21_000, "mariadb", "warn"),
            event(21_000, "", "info"),
            event(15_000, "redis", "info"),
            event(40_000, "", "alert"),
        ];
        assert!(reason(&outage(), &none).is_none());
        assert!(reason(&outage(), &[event(19_000, "", "alert")]).is_some());
    }

    #[test]
    fn what_is_about_the_group_and_nearest_to_the_begin_is_told() {
        let events = [
            event(18_000, "redis", "info"),
            event(20_100, "", "alert"),
            event(20_500, "redis", "warn"),
            event(24_000, "redis", "info"),
        ];
        assert_eq!(reason(&outage(), &events).map(|event| event.at_ms), Some(20_500));
    }

    #[test]
    fn only_a_service_that_stood_still_alone_and_briefly_is_below_the_probes() {
        let fault = |kind: &str, target: &str| Fault {
            id: 1,
            at_ms: 19_900,
            until_ms: None,
            explains_until_ms: None,
            kind: kind.into(),
            target: target.into(),
            detail: String::new(),
            expects_outage_of: Vec::new(),
        };
        let stopped = fault("stop", "redis");
        assert!(is_below_probes(&outage(), [&stopped].into_iter()));
        assert!(!is_below_probes(&outage(), [].into_iter()));
        assert!(!is_below_probes(
            &outage(),
            [&stopped, &fault("kill", "n1/had")].into_iter()
        ));
        let just_then = Fault {
            until_ms: Some(24_990),
            ..fault("stop", "redis")
        };
        let cut = fault("one-way-cut", "n1->n2 all links");
        assert!(is_below_probes(&outage(), [&cut, &just_then].into_iter()));
        let shorter = Fault {
            until_ms: Some(22_000),
            ..fault("stop", "redis")
        };
        assert!(!is_below_probes(&outage(), [&cut, &shorter].into_iter()));
        let long = Outage {
            end_ms: 40_000,
            ..outage()
        };
        assert!(!is_below_probes(&long, [&stopped].into_iter()));
    }
}

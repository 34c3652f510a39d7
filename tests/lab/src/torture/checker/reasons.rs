//! Do the journals say why a group was away (L2)?

use super::events::Event;
use super::outages::Outage;

/// How long before an outage its reason may have been written down, in milliseconds: as long as detection and a fence
/// may take.
const BEFORE_MS: i64 = 10_000;
/// How long after an outage its reason may be written down, in milliseconds.
const AFTER_MS: i64 = 5_000;

/// The entry of a journal that says why `outage` was: about the group, or of weight and about none.
#[must_use]
pub fn reason<'a>(outage: &Outage, events: &'a [Event]) -> Option<&'a Event> {
    let from = i64::try_from(outage.start_ms).ok()? - BEFORE_MS;
    let to = i64::try_from(outage.end_ms).ok()? + AFTER_MS;
    let near = events.iter().filter(|event| (from..=to).contains(&event.at_ms));
    near.clone()
        .find(|event| event.entry.group == outage.group)
        .or_else(|| {
            near.clone()
                .find(|event| event.entry.group.is_empty() && event.entry.level != "info")
        })
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

    #[test]
    fn only_what_concerns_the_group_at_that_time_is_a_reason() {
        let outage = Outage {
            group: "redis".into(),
            start_ms: 20_000,
            felt_ms: 20_250,
            end_ms: 25_000,
            stalled_ms: 0,
        };
        let none = [
            event(21_000, "mariadb", "warn"),
            event(21_000, "", "info"),
            event(5_000, "redis", "info"),
            event(40_000, "", "alert"),
        ];
        assert!(reason(&outage, &none).is_none());
        assert!(reason(&outage, &[event(21_000, "redis", "info")]).is_some());
        assert!(reason(&outage, &[event(19_000, "", "alert")]).is_some());
    }
}

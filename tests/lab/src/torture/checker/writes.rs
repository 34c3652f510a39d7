//! Is every acknowledged write there, once, and was the server's count ever set back?

use std::collections::BTreeMap;

use crate::torture::workloads::attempt::{Attempt, Outcome};

/// Everything by which what is `there` at the end contradicts what the client of `group` was told.
#[must_use]
pub fn lost_writes(group: &str, attempts: &[Attempt], there: &[u64]) -> Vec<String> {
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for id in there {
        *times.entry(*id).or_default() += 1;
    }
    let mut wrong = set_back(attempts);
    for attempt in attempts {
        let id = attempt.id;
        let count = times.remove(&id).unwrap_or(0);
        let what = match (attempt.outcome, count) {
            (Outcome::Acknowledged, 0) => "was acknowledged and is not there",
            (Outcome::Failed, 1..) => "is there although it was refused",
            (_, 2..) => "is there more than once",
            _ => continue,
        };
        wrong.push(format!("write {id}, sent at {} ms, {what}", attempt.start_ms));
    }
    let strangers = times
        .keys()
        .map(|id| format!("{id} is there and nobody wrote it"));
    wrong.extend(strangers);
    wrong.into_iter().map(|text| format!("{group}: {text}")).collect()
}

/// One client writes one after the other, so the server's count of what it acknowledged only grows.
fn set_back(attempts: &[Attempt]) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut last: Option<(u64, u64)> = None;
    for attempt in attempts {
        let Some(number) = attempt.number else { continue };
        if let Some((id, before)) = last.filter(|(_, before)| *before >= number) {
            wrong.push(format!(
                "write {} was counted as number {number} after write {id} as {before}: something was set back",
                attempt.id
            ));
        }
        last = Some((attempt.id, number));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(id: u64, outcome: Outcome, number: Option<u64>) -> Attempt {
        Attempt {
            id,
            start_ms: id * 10,
            end_ms: id * 10 + 5,
            outcome,
            number,
            why: String::new(),
        }
    }

    fn history() -> Vec<Attempt> {
        vec![
            attempt(1, Outcome::Acknowledged, Some(1)),
            attempt(2, Outcome::Unknown, None),
            attempt(3, Outcome::Failed, None),
            attempt(4, Outcome::Acknowledged, Some(3)),
        ]
    }

    #[test]
    fn unknown_ones_may_be_there_or_not() {
        assert!(lost_writes("redis", &history(), &[1, 2, 4]).is_empty());
        assert!(lost_writes("redis", &history(), &[1, 4]).is_empty());
    }

    #[test]
    fn a_lost_write_is_seen() {
        let lost = lost_writes("redis", &history(), &[1, 2]);
        assert_eq!(
            lost,
            ["redis: write 4, sent at 40 ms, was acknowledged and is not there"]
        );
    }

    #[test]
    fn what_is_there_twice_or_against_an_answer_or_from_nobody_is_seen() {
        assert!(lost_writes("redis", &history(), &[1, 1, 4])[0].contains("more than once"));
        assert!(lost_writes("redis", &history(), &[1, 3, 4])[0].contains("refused"));
        assert!(lost_writes("redis", &history(), &[1, 4, 9])[0].contains("nobody wrote it"));
    }

    #[test]
    fn a_count_that_was_set_back_is_seen_although_the_write_is_there() {
        let mut attempts = history();
        attempts[3].number = Some(1);
        assert!(lost_writes("redis", &attempts, &[1, 4])[0].contains("set back"));
    }
}

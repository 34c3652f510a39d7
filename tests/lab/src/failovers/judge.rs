//! What the clients' writes say: how long none was acknowledged, whether two nodes took writes, whether one was lost.

use std::collections::BTreeSet;

use crate::torture::workloads::attempt::{Attempt, Outcome};

/// Longest time from one acknowledgement to the next among `attempts` of one client, in milliseconds; None with less than
/// two.
pub fn outage_ms(attempts: &[Attempt]) -> Option<u64> {
    let acks = ack_times(attempts);
    acks.windows(2).map(|pair| pair[1] - pair[0]).max()
}

/// How often the node that acknowledges writes changed, by the clients of the nodes' own addresses.
pub fn changes(first: &[Attempt], second: &[Attempt]) -> usize {
    let mut acks: Vec<(u64, bool)> = ack_times(first).into_iter().map(|at| (at, false)).collect();
    acks.extend(ack_times(second).into_iter().map(|at| (at, true)));
    acks.sort_unstable();
    acks.windows(2).filter(|pair| pair[0].1 != pair[1].1).count()
}

/// Acknowledged writes that are not among `found`, of those that `binds` says must be, by the server's number.
pub fn lost(attempts: &[Attempt], found: &BTreeSet<u64>, binds: fn(Option<u64>) -> bool) -> Vec<u64> {
    let acknowledged = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Acknowledged);
    let ids = acknowledged
        .filter(|attempt| binds(attempt.number))
        .map(|attempt| attempt.id);
    ids.filter(|id| !found.contains(id)).collect()
}

/// Acknowledged writes.
pub fn acknowledged(attempts: &[Attempt]) -> usize {
    ack_times(attempts).len()
}

fn ack_times(attempts: &[Attempt]) -> Vec<u64> {
    let acknowledged = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Acknowledged);
    acknowledged.map(|attempt| attempt.end_ms).collect()
}

/// Median of `values`; None of none.
pub fn median(values: &[u64]) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(id: u64, end_ms: u64) -> Attempt {
        Attempt {
            id,
            start_ms: end_ms - 1,
            end_ms,
            outcome: Outcome::Acknowledged,
            number: None,
            why: String::new(),
        }
    }

    #[test]
    fn a_gap_between_acknowledgements_is_an_outage_whatever_was_tried_in_it() {
        let mut attempts = vec![ack(1, 10), ack(2, 20), ack(3, 1020), ack(4, 1030)];
        attempts[2].outcome = Outcome::Unknown;
        assert_eq!(outage_ms(&attempts), Some(1010));
        assert_eq!(outage_ms(&attempts[..1]), None);
    }

    #[test]
    fn two_nodes_that_take_writes_by_turns_change_often() {
        let (first, second) = ([ack(1, 10), ack(2, 30)], [ack(3, 40), ack(4, 50)]);
        assert_eq!(changes(&first, &second), 1);
        assert_eq!(changes(&first, &[ack(3, 20), ack(4, 40)]), 3);
        assert_eq!(changes(&first, &[]), 0);
    }

    #[test]
    fn what_was_acknowledged_must_be_found() {
        let found = BTreeSet::from([1]);
        assert_eq!(lost(&[ack(1, 10), ack(2, 20)], &found, |_| true), [2]);
        assert!(lost(&[ack(2, 20)], &found, |number| number.is_some()).is_empty());
        assert_eq!(median(&[3, 1, 2]), Some(2));
    }
}

//! Another host that claims an address of ours while we hold it.
//!
//! Nothing is given up for it: who owns the address is decided by permits, not on the wire. But clients reach now this
//! host and now that one, so the operator is told, and the address is announced again, at most once per
//! `DEFEND_INTERVAL` (RFC 5227, 2.4 c: two hosts that both insist must not flood the link).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use holdfast_proto::time::Time;

/// RFC 5227's.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// Time between two notes about conflicts.
const TELL_INTERVAL: Duration = Duration::from_secs(60);
/// A conflict of which nothing was heard for this long is over.
const OVER: Duration = Duration::from_secs(90);

/// What the operator sees of a conflict beside the addresses; empty without one.
#[derive(Clone, Debug, Default)]
pub struct Claimed(Arc<Mutex<String>>);

impl Claimed {
    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// True if that is another text.
    fn set(&self, text: String) -> bool {
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *own, text.clone()) != text
    }
}

/// What to do about claims that were heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaction {
    /// Announce our addresses again.
    pub defend: bool,
    /// Tell the operator; the number of claims since he was told last.
    pub tell: Option<u64>,
}

/// The conflicts of one resource.
#[derive(Debug, Default)]
pub struct Conflicts {
    claimed: Claimed,
    heard: Option<Time>,
    defended: Option<Time>,
    told: Option<Time>,
    since_told: u64,
}

fn is_due(last: &mut Option<Time>, now: Time, interval: Duration) -> bool {
    let due = last.is_none_or(|last| now.since(last) >= interval);
    if due {
        *last = Some(now);
    }
    due
}

impl Conflicts {
    /// None yet; `claimed` is where the operator sees them.
    #[must_use]
    pub fn new(claimed: Claimed) -> Self {
        Conflicts {
            claimed,
            ..Conflicts::default()
        }
    }

    /// Claims were heard.
    pub fn heard(&mut self, now: Time, claims: usize) -> Reaction {
        self.heard = Some(now);
        self.since_told += claims as u64;
        let tell = is_due(&mut self.told, now, TELL_INTERVAL).then(|| std::mem::take(&mut self.since_told));
        Reaction {
            defend: is_due(&mut self.defended, now, DEFEND_INTERVAL),
            tell,
        }
    }

    /// What the operator sees from now on. True if that is new.
    pub fn show(&self, text: String) -> bool {
        self.claimed.set(text)
    }

    /// Takes down what was shown once the conflict is over. True if there was something.
    pub fn look(&mut self, now: Time) -> bool {
        let over = self.heard.is_some_and(|heard| now.since(heard) >= OVER);
        if over {
            self.heard = None;
        }
        over && self.claimed.set(String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_claims_is_answered_and_told_at_bounded_rates() {
        let mut conflicts = Conflicts::default();
        let (mut defended, mut told, mut counted) = (0, 0, 0);
        // Five minutes of a claim each 10 ms.
        for step in 0..30_000 {
            let reaction = conflicts.heard(Time(step * 10_000), 1);
            defended += u32::from(reaction.defend);
            told += u32::from(reaction.tell.is_some());
            counted += reaction.tell.unwrap_or(0);
        }
        assert_eq!((defended, told), (30, 5));
        assert_eq!(counted, 1 + 4 * 6000);
    }

    #[test]
    fn what_was_shown_is_taken_down_when_it_is_over() {
        let claimed = Claimed::default();
        let mut conflicts = Conflicts::new(claimed.clone());
        let at = |s: u64| Time(s * 1_000_000);
        conflicts.heard(at(1), 1);
        assert!(conflicts.show("x".into()) && !conflicts.show("x".into()));
        assert!(!conflicts.look(at(60)));
        assert_eq!(claimed.text(), "x");
        assert!(conflicts.look(at(91)) && !conflicts.look(at(92)));
        assert_eq!(claimed.text(), "");
    }
}

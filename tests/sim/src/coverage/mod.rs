//! Named situations that a run must have reached, in the spirit of FoundationDB's `CODE_PROBE` ("sometimes" assertions):
//! a simulator that never gets into the dangerous places proves nothing about them.
//!
//! Everything is seen from outside: from the core's journal, effects and states, and from what the world knows. The core
//! has no line for it.

mod commits;
mod list;
mod watch;

pub use list::Situation;
pub use watch::{Seen, Watch};

/// How often each situation was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    counts: [u64; Situation::ALL.len()],
}

impl Default for Coverage {
    fn default() -> Self {
        Coverage {
            counts: [0; Situation::ALL.len()],
        }
    }
}

impl Coverage {
    /// Notes that `situation` was reached.
    pub fn reach(&mut self, situation: Situation) {
        self.counts[situation as usize] += 1;
    }

    /// How often `situation` was reached.
    #[must_use]
    pub fn count(&self, situation: Situation) -> u64 {
        self.counts[situation as usize]
    }

    /// Adds what another run reached.
    pub fn merge(&mut self, other: &Coverage) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Situations that were not reached.
    pub fn missed(&self) -> impl Iterator<Item = Situation> + '_ {
        Situation::ALL
            .into_iter()
            .filter(|situation| self.count(*situation) == 0)
    }

    /// A line per situation: how often, its name and its meaning; the rarest first.
    #[must_use]
    pub fn table(&self) -> String {
        let mut all = Situation::ALL;
        all.sort_by_key(|situation| self.count(*situation));
        let width = all
            .iter()
            .map(|situation| situation.name().len())
            .max()
            .unwrap_or(0);
        let line = |situation: &Situation| {
            let (count, name) = (self.count(*situation), situation.name());
            format!("{count:>9}  {name:<width$}  {}\n", situation.meaning())
        };
        all.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_reached_is_missed() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.missed().count(), Situation::ALL.len());
        coverage.reach(Situation::QuorumForced);
        let mut sum = Coverage::default();
        sum.merge(&coverage);
        sum.merge(&coverage);
        assert_eq!(sum.count(Situation::QuorumForced), 2);
        assert!(sum.missed().all(|situation| situation != Situation::QuorumForced));
    }

    #[test]
    fn names_are_unique_and_fit_a_command_line() {
        let names: std::collections::BTreeSet<&str> =
            Situation::ALL.iter().map(|situation| situation.name()).collect();
        assert_eq!(names.len(), Situation::ALL.len());
        let plain = |name: &&str| name.chars().all(|c| c.is_ascii_lowercase() || c == '-');
        assert!(names.iter().all(plain));
    }
}

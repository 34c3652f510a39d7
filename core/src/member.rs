//! What this node knows of another member.

use std::time::Duration;

use holdfast_proto::ids::{Ballot, BootId, Incarnation, Version};
use holdfast_proto::peer::{NodeReport, Sender};
use holdfast_proto::time::Time;

/// What this node knows of another member.
#[derive(Clone, Debug, Default)]
pub struct Member {
    /// Its boot, once heard.
    pub boot: Option<BootId>,
    /// Its run of `had`, once heard.
    pub incarnation: Incarnation,
    /// Highest heartbeat number of this incarnation.
    pub seq: u64,
    /// When anything was last heard from it.
    pub heard_at: Option<Time>,
    /// When its present boot was first heard.
    pub boot_since: Time,
    /// When its present incarnation was first heard.
    pub run_since: Time,
    /// Send time of our latest heartbeat that this boot answered: it was alive then or later. Word that merely arrives may
    /// be old.
    pub alive_at: Option<Time>,
    /// Send time of our latest heartbeat by which it backs our lease.
    pub backed_at: Option<Time>,
    /// When we last gave it an answer on which a permit may rest.
    pub answered_at: Option<Time>,
    /// It says it is synced.
    pub synced: bool,
    /// It has no register state, by its latest answer in this incarnation.
    pub blank: bool,
    /// It showed register state in this incarnation, after which it cannot be blank again.
    pub seen_state: bool,
    /// Latest committed version it knows.
    pub committed: Version,
    /// The committed version that its first answer named: what it commits beyond that, it commits after it heard this boot
    /// of ours.
    pub first_answer: Option<Version>,
    /// Its promised ballot.
    pub ballot: Ballot,
    /// Its armed watchdog.
    pub watchdog: Option<Duration>,
    /// It can run groups.
    pub agent_ready: bool,
    /// Since when it cannot, while it is heard.
    pub agent_away_since: Option<Time>,
    /// Its latest report.
    pub report: NodeReport,
    /// When that first held the wishes that it holds about whole copies.
    pub wished_at: Time,
    /// When a committed state was last sent to it to bring it up to date.
    pub updated_at: Option<Time>,
    /// Loss was journalled and not yet recovery.
    pub reported_lost: bool,
}

/// What hearing a sender meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// As before.
    Same,
    /// First contact, or a new run of `had` in the same boot.
    NewIncarnation,
    /// Another boot than the one known.
    NewBoot(BootId),
    /// An older run of `had`, in this boot or an earlier one: to be ignored.
    Old,
}

impl Member {
    /// Takes note of a sender. State of an older incarnation is dropped with it.
    pub fn hear(&mut self, from: Sender, now: Time) -> Heard {
        let heard = match self.boot {
            Some(boot) if boot == from.boot && from.incarnation == self.incarnation => Heard::Same,
            Some(_) if from.incarnation <= self.incarnation => return Heard::Old,
            Some(boot) if boot != from.boot => Heard::NewBoot(boot),
            _ => Heard::NewIncarnation,
        };
        if heard != Heard::Same {
            let answered_at = self.answered_at;
            let watchdog = self.watchdog.filter(|_| heard == Heard::NewIncarnation);
            let reported_lost = self.reported_lost;
            let boot_since = if heard == Heard::NewIncarnation && self.boot.is_some() {
                self.boot_since
            } else {
                now
            };
            *self = Member {
                answered_at,
                watchdog,
                reported_lost,
                boot_since,
                run_since: now,
                ..Member::default()
            };
            self.boot = Some(from.boot);
            self.incarnation = from.incarnation;
        }
        self.heard_at = Some(now);
        heard
    }

    /// Since when there is no contact, counted no earlier than `floor`; `None` if it was never heard. Contact is two-way: a
    /// member whose own messages arrive but that answers none of ours does not hear us.
    #[must_use]
    pub fn silent_since(&self, floor: Time) -> Option<Time> {
        self.heard_at
            .map(|_| self.run_since.max(self.alive_at.unwrap_or_default()).max(floor))
    }
}

#[cfg(test)]
mod tests;

//! A node's state as numbers that the model checker compares states by.
//!
//! What cannot change a later decision is left out (sentences, counters that only have to grow), and what only counts
//! relative to something is encoded relative to it: instants as ages, ballots, versions, epochs and boots as distances.
//! So two states that behave alike are one state, whatever history led to each.

use std::time::Duration;

use holdfast_proto::ids::{Ballot, BootId, Epoch, Incarnation, NodeId, Version};
use holdfast_proto::job::{JobReport, JobState};
use holdfast_proto::peer::{KnownVoters, MemberReport, Message, Verdict};
use holdfast_proto::state::{Assignment, ClusterState, InSync};
use holdfast_proto::time::Time;

/// Where distances are counted from. The same for everything that makes up one state.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// A version; the newest committed one serves well.
    pub version: Version,
    /// A ballot's round.
    pub round: u64,
    /// An epoch.
    pub epoch: Epoch,
    /// A write to a register.
    pub write: u64,
    /// The present boot and run of each member but a witness that is kept in a register, in the order of their numbers. Boots
    /// have to be numbered upwards.
    pub runs: Vec<(NodeId, BootId, Incarnation)>,
}

/// Collects the numbers.
#[derive(Clone, Debug, Default)]
pub struct Encoder {
    origin: Origin,
    words: Vec<u64>,
    /// Registers that were named, in order: only which are the same counts.
    registers: Vec<BootId>,
    /// Writes that were named, likewise.
    writes: Vec<(Writing, Writer)>,
}

/// A write of a register, and who wrote: node, run, attempt.
type Writing = (BootId, u64);
type Writer = (NodeId, u64, u64);

/// Writes that are longer ago than this are the same distance away.
const FAR: u64 = 4;

impl Encoder {
    /// An empty encoding with distances from `origin`.
    #[must_use]
    pub fn new(origin: Origin) -> Encoder {
        Encoder {
            origin,
            words: Vec::with_capacity(256),
            registers: Vec::new(),
            writes: Vec::new(),
        }
    }

    /// The numbers.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// A number as it is.
    pub fn word(&mut self, word: u64) {
        self.words.push(word);
    }

    /// Yes or no.
    pub fn flag(&mut self, flag: bool) {
        self.word(u64::from(flag));
    }

    /// An instant as seen at `now`: what is longer ago than `memory` is all the same.
    pub fn instant(&mut self, now: Time, at: Option<Time>, memory: Duration) {
        let Some(at) = at else { return self.word(u64::MAX) };
        let distance = if at >= now {
            now.until(at).as_micros() as u64 + 1
        } else {
            let age = now.since(at).min(memory).as_micros() as u64;
            age | 1 << 62
        };
        self.word(distance);
    }

    /// A deadline as seen at `now`: one that has passed is all the same.
    pub fn deadline(&mut self, now: Time, at: Option<Time>) {
        self.instant(now, at, Duration::ZERO);
    }

    /// A version; 0 stays special.
    pub fn version(&mut self, version: Version) {
        let word = distance(version, self.origin.version);
        self.word(word);
    }

    /// An epoch; 0 stays special.
    pub fn epoch(&mut self, epoch: Epoch) {
        let word = distance(epoch, self.origin.epoch);
        self.word(word);
    }

    /// A ballot; the ballot of the initial state stays special.
    pub fn ballot(&mut self, ballot: Ballot) {
        let round = distance(ballot.round, self.origin.round);
        self.word(round);
        self.word(ballot.node.into());
    }

    /// Identity of a register.
    pub fn register(&mut self, register: Option<BootId>) {
        let word = register.map_or(u64::MAX, |register| place(&mut self.registers, register));
        self.word(word);
    }

    /// Number of a write to a register; 0 stays special.
    pub fn write(&mut self, write: u64) {
        let word = match write {
            0 => u64::MAX,
            _ => (self.origin.write + FAR).saturating_sub(write).min(2 * FAR),
        };
        self.word(word);
    }

    /// Which write of a register it is.
    pub fn writer(&mut self, write: (BootId, u64), by: (NodeId, u64, u64)) {
        let word = place(&mut self.writes, (write, by));
        self.word(word);
    }

    /// A boot of `node`.
    pub fn boot(&mut self, node: NodeId, boot: Option<BootId>) {
        if node.is_witness() && self.run_of(node).is_none() {
            return self.register(boot);
        }
        let present = self.run_of(node).map_or(BootId(0), |run| run.1);
        self.word(boot.map_or(u64::MAX, |boot| present.0.wrapping_sub(boot.0) as u64));
    }

    /// A run of `had` on `node`.
    pub fn incarnation(&mut self, node: NodeId, incarnation: Incarnation) {
        let present = self.run_of(node).map_or(Incarnation(0), |run| run.2);
        self.word(present.0.wrapping_sub(incarnation.0));
    }

    fn run_of(&self, node: NodeId) -> Option<(NodeId, BootId, Incarnation)> {
        self.origin.runs.iter().find(|run| run.0 == node).copied()
    }

    /// What a cluster state decides, without its sentences and records.
    pub fn state(&mut self, state: &ClusterState) {
        self.version(state.version);
        self.word(state.voters.0.into());
        self.word(state.survivor.0.into());
        self.epoch(state.next_epoch);
        self.flag(state.maintenance);
        self.word(state.lease_before_ms.into());
        self.register(state.register);
        self.word(state.config.source.len() as u64);
        for entry in state.groups.values() {
            self.assignment(&entry.assignment);
            self.flag(entry.disabled);
            self.word(
                entry
                    .intent
                    .as_ref()
                    .map_or(u64::MAX, |intent| intent.to.0.into()),
            );
            self.in_sync(&entry.in_sync);
            for (node, failure) in &entry.failures {
                self.word(u64::from(node.0) << 32 | u64::from(failure.count));
            }
        }
        for node in state.nodes.values() {
            self.flag(node.standby);
            self.word(node.watchdog_ms.into());
        }
        for job in state.jobs.values() {
            self.job(job);
        }
    }

    /// What is agreed about a job.
    fn job(&mut self, job: &JobState) {
        self.word(job.due as u64);
        self.epoch(job.run);
        self.word(job.phase as u64);
        self.word(job.attempt.into());
        if let Some((node, boot)) = job.place {
            self.word(node.0.into());
            self.boot(node, Some(boot));
        }
    }

    /// What a node says of a run.
    pub fn job_report(&mut self, report: &JobReport) {
        self.epoch(report.run);
        self.word(report.outcome as u64);
    }

    /// Whose copies are whole: which generation that is only counts against wishes, which are few.
    fn in_sync(&mut self, set: &InSync) {
        if set.generation > 0 {
            let bits = set.nodes.iter().fold(0, |bits, node| bits | 1u64 << node.0);
            self.word(set.generation << 32 | bits);
        }
    }

    /// What a node says of its member of a group.
    pub fn member(&mut self, member: Option<&MemberReport>) {
        let Some(member) = member else { return };
        self.word(1 << 40 | member.run as u64);
        if let Some(copy) = &member.copy {
            self.flag(copy.obstacle.is_empty());
            self.word(copy.position);
            self.word(copy.lag_ms.unwrap_or(u64::MAX));
            copy.wish.iter().for_each(|wish| self.in_sync(wish));
        }
    }

    /// An assignment.
    pub fn assignment(&mut self, assignment: &Assignment) {
        let kind = match assignment {
            Assignment::Stopped { .. } => 0,
            Assignment::Owned { .. } => 1,
            Assignment::Releasing { toward, .. } => 2 + toward.map_or(0, |node| 1 + u64::from(node.0)),
        };
        self.word(kind);
        self.epoch(assignment.epoch());
        if let Some(owner) = assignment.owner() {
            self.word(owner.0.into());
            self.boot(owner, assignment.boot());
        }
    }

    /// What a message says, without sentences.
    pub fn message(&mut self, message: &Message) {
        match message {
            Message::PreVote { ballot } => self.kind_and_ballot(1, *ballot),
            Message::PreVoteReply {
                ballot,
                verdict,
                promised,
                voters,
            } => {
                self.kind_and_ballot(2, *ballot);
                self.verdict(*verdict);
                self.ballot(*promised);
                self.voters(voters);
            }
            Message::Prepare { ballot, transfer } => {
                self.kind_and_ballot(3, *ballot);
                self.ballot(transfer.unwrap_or_default());
            }
            Message::Promise {
                ballot,
                accepted_ballot,
                accepted,
                voters,
            } => {
                self.kind_and_ballot(4, *ballot);
                self.ballot(*accepted_ballot);
                self.state(accepted);
                self.voters(voters);
            }
            Message::Refuse {
                ballot,
                promised,
                verdict,
            } => {
                self.kind_and_ballot(5, *ballot);
                self.ballot(*promised);
                self.verdict(*verdict);
            }
            Message::Accept { ballot, state } => {
                self.kind_and_ballot(6, *ballot);
                self.state(state);
            }
            Message::Accepted { ballot, version } => {
                self.kind_and_ballot(7, *ballot);
                self.version(*version);
            }
            Message::Commit { ballot, state } => {
                self.kind_and_ballot(8, *ballot);
                self.state(state);
            }
            Message::Transfer { ballot } => self.kind_and_ballot(9, *ballot),
            Message::Report(report) => {
                self.word(10);
                for seen in report.groups.values() {
                    self.epoch(seen.epoch);
                    self.word(seen.run as u64);
                    self.member(seen.member.as_deref());
                }
            }
            Message::Forward { request, .. } | Message::ForwardReply { request, .. } => {
                self.word(11);
                self.word(*request);
            }
        }
    }

    fn kind_and_ballot(&mut self, kind: u64, ballot: Ballot) {
        self.word(kind);
        self.ballot(ballot);
    }

    fn voters(&mut self, voters: &KnownVoters) {
        self.version(voters.committed_version);
        self.word(voters.committed.0.into());
        self.word(voters.accepted.0.into());
    }

    fn verdict(&mut self, verdict: Verdict) {
        let word = match verdict {
            Verdict::Granted => 0,
            Verdict::Stale => 1,
            Verdict::Stranger => 2,
            Verdict::Blank => 3,
            Verdict::Bound(left) => 4 + left.as_micros() as u64,
        };
        self.word(word);
    }
}

/// The place of `one` among those that were named before, or behind them.
fn place<T: PartialEq>(named: &mut Vec<T>, one: T) -> u64 {
    let known = named.iter().position(|other| *other == one);
    let place = known.unwrap_or_else(|| {
        named.push(one);
        named.len() - 1
    });
    place as u64
}

fn distance(value: u64, origin: u64) -> u64 {
    if value == 0 {
        u64::MAX
    } else {
        origin.wrapping_sub(value).wrapping_add(1 << 32)
    }
}

//! Watches a run from outside and notes the situations that it reaches.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::effect::{Effect, FenceId};
use holdfast_core::event::{AgentEvent, Event};
use holdfast_core::journal::Entry;
use holdfast_core::node::Node;
use holdfast_proto::ids::{Incarnation, NodeId, Version, VoterSet};
use holdfast_proto::operator::{OperatorOutcome, OperatorRequest};
use holdfast_proto::peer::{Beat, Message, Sender, Verdict};
use holdfast_proto::state::ClusterState;

use super::{Coverage, Situation, commits};
use crate::checks::Checker;
use crate::cluster::RACING;
use crate::machine::Machine;
use crate::world::Network;

/// What a moment of the world shows.
#[derive(Clone, Copy)]
pub struct Seen<'a> {
    /// Every machine.
    pub machines: &'a BTreeMap<NodeId, Machine>,
    /// True time.
    pub now_us: u64,
    /// Some direction carries nothing.
    pub is_cut: bool,
    /// The newest version that any node knows as committed.
    pub newest: Version,
}

impl<'a> Seen<'a> {
    /// This moment of a world.
    #[must_use]
    pub fn of(
        machines: &'a BTreeMap<NodeId, Machine>,
        now_us: u64,
        network: &Network,
        checker: &Checker,
    ) -> Seen<'a> {
        Seen {
            machines,
            now_us,
            is_cut: !network.cut.is_empty(),
            newest: checker.newest().map_or(0, |state| state.version),
        }
    }

    fn had(&self, node: NodeId) -> Option<&Node> {
        self.machines.get(&node)?.had.as_ref()
    }

    /// True when `node` holds a lease.
    pub(super) fn leads(&self, node: NodeId) -> bool {
        let machine = &self.machines[&node];
        self.had(node)
            .is_some_and(|had| had.holds_lease(machine.local(self.now_us)))
    }

    fn nobody_leads(&self) -> bool {
        !self.machines.keys().any(|node| self.leads(*node))
    }
}

/// What is remembered of one member between two steps.
#[derive(Clone, Debug, Default)]
struct Memory {
    run: u64,
    started_us: u64,
    /// It gave a lease its backing in this run.
    backed: bool,
    /// Boot and run in which it last led, and when.
    led: Option<(u64, u64, u64)>,
    had_state: bool,
    /// It was without state in this boot.
    blank_boot: Option<u64>,
    committed: Option<Arc<ClusterState>>,
    /// Voters that it had committed and accepted before this step differed, and more than itself voted.
    joint: bool,
    heard: BTreeMap<NodeId, (Incarnation, u64)>,
    devices: BTreeMap<FenceId, NodeId>,
    level_failed: bool,
    /// Members that a proof stood in for before this step.
    votes: Vec<NodeId>,
    transfer: Option<Transfer>,
    isolated: bool,
}

#[derive(Clone, Copy, Debug)]
struct Transfer {
    at_us: u64,
    followed: bool,
}

/// Time after which something is no longer taken for a consequence.
const SOON_US: u64 = 3_000_000;
/// A freshly booted node of a pair that does nothing for so long waits on purpose: it is longer than every timer that
/// could make it fence.
const WAITS_US: u64 = 10_000_000;

/// Watches a run.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    coverage: Coverage,
    memory: BTreeMap<NodeId, Memory>,
    /// Members that were voted out and not in again.
    dropped: VoterSet,
}

impl Watch {
    /// What was reached so far.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// A situation that only the world can tell.
    pub fn reach(&mut self, situation: Situation) {
        self.coverage.reach(situation);
    }

    fn reach_if(&mut self, is_reached: bool, situation: Situation) {
        if is_reached {
            self.coverage.reach(situation);
        }
    }

    /// Before `node` takes `event` in.
    pub fn before(&mut self, node: NodeId, event: &Event, seen: &Seen) {
        self.note_run(node, seen);
        self.note_refused_transfer(node);
        let Some(had) = seen.had(node) else { return };
        let memory = self.memory.entry(node).or_default();
        memory.votes.clear();
        let votes = had.fence_proofs().filter(|(_, proof)| proof.votes());
        memory.votes.extend(votes.map(|(about, _)| about));
        memory.joint = had.durable().is_some_and(|durable| {
            durable.committed.voters != durable.accepted.voters && durable.committed.voters.len() > 1
        });
        match event {
            Event::Message { from, message } => {
                self.hears(node, *from, seen);
                if let Message::Transfer { .. } = message {
                    self.note_transfer(node, seen.now_us);
                }
            }
            Event::Beat { from, .. } => self.hears(node, *from, seen),
            Event::Network(health) => memory.isolated = !health.may_fence(),
            Event::Due(due) => {
                let known = had
                    .durable()
                    .and_then(|durable| durable.committed.jobs.get(&due.job));
                let behind = known.is_some_and(|job| due.occurrence < job.due);
                self.reach_if(behind && seen.leads(node), Situation::JobClockBack);
            }
            Event::Fenced { id, result } => {
                memory.devices.remove(id);
                let pretends = !result.off_read_back && result.error.is_empty();
                self.reach_if(pretends, Situation::DevicePretends);
            }
            Event::Agent(AgentEvent::Attached { groups, .. }) => {
                let next_epoch = had.durable().map(|durable| durable.committed.next_epoch);
                let newer = groups
                    .iter()
                    .any(|group| next_epoch.is_some_and(|next| group.epoch >= next));
                self.reach_if(newer, Situation::RunsByNewerWord);
                self.reach_if(!groups.is_empty(), Situation::ServicesSurvive);
            }
            Event::Operator { call, .. } => {
                let moves = matches!(call.request, OperatorRequest::Move { .. });
                self.reach_if(moves && seen.nobody_leads(), Situation::MoveInFailover);
            }
            Event::Timeout => self.note_cold_start(node, seen),
            _ => {}
        }
    }

    /// Notices that this is another run of the daemon than before.
    fn note_run(&mut self, node: NodeId, seen: &Seen) {
        let machine = &seen.machines[&node];
        let memory = self.memory.entry(node).or_default();
        if memory.run == machine.run {
            return;
        }
        let blank = machine.had.as_ref().is_some_and(|had| had.durable().is_none());
        let lost_disk = blank && memory.led.is_some();
        *memory = Memory {
            run: machine.run,
            started_us: seen.now_us,
            had_state: memory.had_state,
            led: memory.led.filter(|_| !blank),
            blank_boot: if blank {
                Some(machine.boots)
            } else {
                memory.blank_boot
            },
            ..Memory::default()
        };
        self.reach_if(lost_disk, Situation::LeaderLosesDisk);
    }

    fn hears(&mut self, node: NodeId, from: Sender, seen: &Seen) {
        let heard = &mut self.memory.entry(node).or_default().heard;
        let (newest, at_us) = heard.entry(from.node).or_default();
        let is_old = from.incarnation < *newest;
        if !is_old {
            (*newest, *at_us) = (from.incarnation, seen.now_us);
        }
        self.reach_if(is_old, Situation::OldMessage);
    }

    fn note_transfer(&mut self, node: NodeId, now_us: u64) {
        let memory = self.memory.entry(node).or_default();
        memory.transfer = Some(Transfer {
            at_us: now_us,
            followed: false,
        });
    }

    /// A transfer is followed in the step that reads it, or not at all.
    fn note_refused_transfer(&mut self, node: NodeId) {
        let waiting = &mut self.memory.entry(node).or_default().transfer;
        let refused = waiting.is_some_and(|transfer| !transfer.followed);
        if refused {
            *waiting = None;
        }
        self.reach_if(refused, Situation::TransferRefused);
    }

    fn note_cold_start(&mut self, node: NodeId, seen: &Seen) {
        let machine = &seen.machines[&node];
        let memory = &self.memory[&node];
        if machine.synced_marker || seen.now_us < memory.started_us + WAITS_US {
            return;
        }
        let Some(durable) = seen.had(node).and_then(Node::durable) else {
            return;
        };
        let voters = durable.committed.voters;
        let mut peers = voters.without(node).iter();
        let alone = peers.all(|peer| !seen.machines[&peer].powered);
        let waits = voters.is_data_pair() && alone && memory.devices.is_empty();
        self.reach_if(waits, Situation::ColdStartWaits);
    }

    /// After `node` took an event in, before its effects are carried out.
    pub fn after(&mut self, node: NodeId, seen: &Seen) {
        let leads = seen.leads(node);
        let machine = &seen.machines[&node];
        let committed = seen
            .had(node)
            .and_then(Node::durable)
            .map(|durable| &durable.committed);
        let memory = self.memory.entry(node).or_default();
        if leads {
            memory.led = Some((machine.boots, machine.run, seen.now_us));
        }
        let Some(new) = committed else { return };
        memory.had_state = true;
        let old = match &memory.committed {
            Some(old) if Arc::ptr_eq(old, new) => return,
            old => old.clone(),
        };
        memory.committed = Some(Arc::clone(new));
        // Once per commit: where it was made.
        if let Some(old) = old
            && leads
            && new.version == old.version + 1
        {
            commits::look(&mut self.coverage, &mut self.dropped, &old, new, seen);
        }
    }

    /// An effect that `node` asks for.
    pub fn effect(&mut self, node: NodeId, effect: &Effect, seen: &Seen) {
        match effect {
            Effect::Send { message, .. } => self.sends(node, message, seen),
            Effect::SendBeat {
                beat: Beat::Ack(ack), ..
            } => {
                self.memory.entry(node).or_default().backed |= ack.backs;
                self.reach_if(ack.withheld[0] != 0, Situation::PermitWithheld);
            }
            Effect::Permits(_) => self.renews(node, seen),
            Effect::StopGroup { reason, .. } => {
                self.reach_if(
                    reason == "the cluster takes it from this node",
                    Situation::StopBeforeAck,
                );
                self.reach_if(
                    reason == "a newer state took it from this node",
                    Situation::StopBeforeAdopt,
                );
            }
            Effect::Fence { id, node: target, .. } => {
                self.memory.entry(node).or_default().devices.insert(*id, *target);
                let back = self.memory.get(target).is_some_and(|other| {
                    other.devices.values().any(|aim| *aim == node) && seen.had(*target).is_some()
                });
                self.reach_if(back, Situation::BothFence);
            }
            Effect::Reply {
                outcome: OperatorOutcome::Refused(text),
                ..
            } => self.reach_if(text.ends_with("so quorum is not forced"), Situation::ForceRefused),
            Effect::Journal(entry) => self.journal(node, entry, seen),
            _ => {}
        }
    }

    fn sends(&mut self, node: NodeId, message: &Message, seen: &Seen) {
        let memory = self.memory.entry(node).or_default();
        let verdict = match message {
            Message::Prepare { transfer, .. } => {
                if let Some(waiting) = memory.transfer.as_mut().filter(|_| transfer.is_some()) {
                    waiting.followed = true;
                }
                return;
            }
            Message::PreVoteReply { verdict, .. } | Message::Refuse { verdict, .. } => *verdict,
            _ => return,
        };
        let lease_us = seen
            .had(node)
            .map_or(0, |had| had.config().timers().lease.as_micros() as u64);
        let just_started = !memory.backed && seen.now_us < memory.started_us + lease_us;
        let situation = match verdict {
            Verdict::Bound(_) if just_started => Situation::RestartedWaits,
            Verdict::Bound(_) => Situation::BoundRefuses,
            Verdict::Stranger => Situation::StrangerRefused,
            Verdict::Stale => Situation::StaleBallot,
            Verdict::Granted | Verdict::Blank => return,
        };
        self.reach(situation);
    }

    fn renews(&mut self, node: NodeId, seen: &Seen) {
        let Some(durable) = seen.had(node).and_then(Node::durable) else {
            return;
        };
        let lease_us = durable.committed.config.timers().lease.as_micros() as u64;
        let heard = &self.memory.entry(node).or_default().heard;
        let mut peers = durable.committed.voters.without(node).iter();
        let silent = peers.all(|peer| {
            let at_us = heard.get(&peer).map_or(0, |(_, at_us)| *at_us);
            at_us + lease_us < seen.now_us
        });
        let keeps = durable.committed.voters.is_data_pair() && silent && seen.nobody_leads();
        self.reach_if(keeps, Situation::PairKeepsRunning);
    }

    fn journal(&mut self, node: NodeId, entry: &Entry, seen: &Seen) {
        let says = |words: &str| entry.text.contains(words);
        let committed = seen
            .had(node)
            .and_then(Node::durable)
            .map(|durable| Arc::clone(&durable.committed));
        let memory = self.memory.entry(node).or_default();
        match entry.kind {
            "elected" => self.is_elected(node, seen),
            "stepped-down" => {
                self.reach_if(says("a majority did not answer"), Situation::LeaseLost);
                self.reach_if(says("a higher ballot"), Situation::Deposed);
                self.reach_if(seen.machines[&node].disk.full, Situation::FullDiskLeader);
            }
            "fence-started" => {
                memory.level_failed = false;
                let why = [
                    ("is not heard", Situation::FencedSilent),
                    ("has not been heard since", Situation::FencedNeverHeard),
                    ("agent process does not answer", Situation::FencedAgentGone),
                    ("cannot be stopped on", Situation::FencedStuck),
                    ("asked for it", Situation::FencedOnRequest),
                ];
                for (words, situation) in why {
                    self.reach_if(says(words), situation);
                }
            }
            "stays-out" => self.reach(Situation::StaysOut),
            "fence-late" => self.reach(Situation::LateAnswer),
            "fence-failed" => memory.level_failed = true,
            "fence-retried" => {
                memory.level_failed = false;
                self.reach(Situation::DeviceFails);
            }
            "fence-proved" => {
                let second = std::mem::take(&mut memory.level_failed);
                self.reach_if(
                    says("the order stood on the shared disks"),
                    Situation::OrderProves,
                );
                let races = says(&format!("by the method {RACING}")) && says("lost the race");
                self.reach_if(races, Situation::RaceWonBySecond);
                self.reach_if(second, Situation::SecondLevelProves);
                let pair = committed.filter(|state| state.voters.is_data_pair() && !seen.leads(node));
                if let Some(state) = pair {
                    self.reach(if state.survivor == node {
                        Situation::RaceWonBySurvivor
                    } else {
                        Situation::RaceWonByOther
                    });
                }
            }
            "peer-rebooted" => {
                let left = seen.had(node).map_or(0, |had| had.fence_proofs().count());
                let void = memory.votes.len() > left;
                self.reach_if(void, Situation::VoteVoid);
            }
            "peer-lost" => {
                let isolated = memory.isolated;
                self.reach_if(isolated, Situation::IsolatedHoldsBack);
                self.reach_if(says("does not hear this node"), Situation::DeafNode);
                let left_alone = committed.is_some_and(|state| state.maintenance) && seen.leads(node);
                self.reach_if(left_alone, Situation::Maintenance);
            }
            "synced" => {
                let boots = seen.machines[&node].boots;
                let rejoins = memory.blank_boot == Some(boots) && boots > 1;
                let rebooted = memory.blank_boot != Some(boots) && boots > 1;
                self.reach_if(rejoins, Situation::RejoinsUnsynced);
                self.reach_if(rebooted, Situation::CaughtUp);
            }
            "quorum-forced" => self.reach(Situation::QuorumForced),
            "stalled" => self.reach(Situation::OwnStall),
            "disk-recovered" => self.reach(Situation::DiskRecovered),
            "group-held" => self.reach(Situation::FlapHeld),
            _ => {}
        }
    }

    fn is_elected(&mut self, node: NodeId, seen: &Seen) {
        let machine = &seen.machines[&node];
        let memory = self.memory.entry(node).or_default();
        let (joint, transfer, led) = (memory.joint, memory.transfer.take(), memory.led);
        self.reach_if(joint, Situation::JointElection);
        let adopted = seen
            .had(node)
            .and_then(Node::durable)
            .map_or(0, |durable| durable.accepted.version);
        self.reach_if(adopted > seen.newest, Situation::AdoptsUncommitted);
        let soon = |at_us: u64| at_us + SOON_US > seen.now_us;
        if let Some(transfer) = transfer.filter(|transfer| soon(transfer.at_us)) {
            self.reach_if(transfer.followed, Situation::HandedOver);
        }
        let restarted = led
            .is_some_and(|(boots, run, at_us)| boots == machine.boots && run != machine.run && soon(at_us));
        self.reach_if(restarted, Situation::LeaderReelected);
    }
}

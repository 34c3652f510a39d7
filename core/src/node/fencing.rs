//! Fencing: who has to be fenced, running the devices, and what their results prove.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::config::{Config, Requires};
use holdfast_proto::ids::{BootId, NodeId};
use holdfast_proto::peer::{RunState, Sender};
use holdfast_proto::state::{Assignment, GroupState, ProofKind};
use holdfast_proto::time::Time;

use super::Node;
use super::orders::Standing;
use super::race::{Asked, Method};
use crate::effect::FenceId;
use crate::event::NetworkHealth;
use crate::journal::{Account, Level};
use crate::timer::Timer;

/// Fencing of one node under way, or waiting for the next attempt.
#[derive(Clone, Debug)]
pub(super) struct FenceRun {
    pub(super) why: String,
    pub(super) begun_at: Time,
    /// The boot it is to end.
    pub(super) boot: Option<BootId>,
    /// Which level of devices is running.
    pub(super) level: usize,
    /// The methods of that level, which race.
    pub(super) methods: Vec<Method>,
    /// The configuration that their devices are numbered by.
    pub(super) config: Arc<Config>,
    /// Commands not answered yet, each with its method.
    pub(super) outstanding: BTreeMap<FenceId, Asked>,
    /// What its orders on shared disks rest on.
    pub(super) standing: Standing,
    /// The method that proved it. What the others still answer is only noted.
    pub(super) won: Option<usize>,
    pub(super) attempts: u32,
    pub(super) retry_at: Option<Time>,
    /// Asked for by an operator: it goes on even if the node is heard.
    pub(super) asked_for: bool,
}

/// How many times the first pause between attempts grows to.
pub(super) const RETRY_GROWTH_MAX: u32 = 16;

impl Node {
    pub(super) fn on_network(&mut self, health: NetworkHealth) {
        if health != self.network {
            self.network = health;
            let text = match (health.any_link_up, health.ping_answers) {
                (true, true) => "this node's links and ping targets answer",
                (false, _) => "every link of this node is down: it blames nobody and fences nobody",
                (true, false) => {
                    "no ping target answers: this node takes itself for the isolated one and fences nobody"
                }
            };
            self.journal(
                "network",
                if health.may_fence() {
                    Level::Info
                } else {
                    Level::Warn
                },
                text.into(),
            );
        }
    }

    /// As leader: fence every node that keeps a group from running elsewhere and whose end is not proven yet.
    pub(super) fn fence_as_leader(&mut self) {
        self.tell_who_stays_out();
        if self.committed().is_none_or(|state| state.maintenance) {
            return;
        }
        for node in self
            .config
            .nodes
            .iter()
            .map(|section| section.id)
            .collect::<Vec<_>>()
        {
            if node == self.me.node || self.is_fencing(node) || !self.network.may_fence() {
                continue;
            }
            if let Some(why) = self.reason_to_fence(node) {
                self.start_fence(node, why, false);
            }
        }
    }

    pub(super) fn reason_to_fence(&self, node: NodeId) -> Option<String> {
        let state = self.committed()?;
        let unproven = |(group, entry): &(&holdfast_proto::ids::GroupName, &GroupState)| {
            if entry.assignment.owner() != Some(node) {
                return false;
            }
            let fencing = self
                .config
                .group(group)
                .map_or(Requires::Fencing, |section| section.requires)
                == Requires::Fencing;
            let proven = self
                .proofs
                .get(&node)
                .is_some_and(|proof| proof.releases(&entry.assignment).is_some());
            fencing && !proven
        };
        let (group, _) = state.groups.iter().find(unproven)?;
        let name = self.name(node);
        let member = self.members.get(&node);
        if self.is_lost(node) {
            let why = if member.is_none_or(|member| member.heard_at.is_none()) {
                "has not been heard since this node started"
            } else {
                "is not heard"
            };
            return Some(format!("{name} may run {group} and {why}"));
        }
        let member = member?;
        if member
            .agent_away_since
            .is_some_and(|since| self.now.since(since) >= self.agent_patience())
        {
            return Some(format!(
                "{name} may run {group} and its agent process does not answer"
            ));
        }
        self.stuck_group(node)
            .filter(|_| member.agent_ready)
            .map(|(group, detail)| format!("{group} cannot be stopped on {name}: {detail}"))
    }

    /// A group that `node` owns and could not stop, with the trouble in words.
    fn stuck_group(&self, node: NodeId) -> Option<(holdfast_proto::ids::GroupName, String)> {
        let state = self.committed()?;
        let mut owned = state
            .groups
            .iter()
            .filter(|(_, entry)| entry.assignment.owner() == Some(node));
        owned.find_map(|(group, _)| {
            let seen = self.report_on(node, group)?;
            (seen.run == RunState::Unknown).then(|| (group.clone(), seen.detail))
        })
    }

    /// Why this node should not lead: nobody fences itself, so trouble of its own is for another leader to judge.
    pub(super) fn own_trouble(&self) -> bool {
        let owns = self.committed().is_some_and(|state| {
            let mut entries = state.groups.values();
            entries.any(|entry| entry.assignment.owner() == Some(self.me.node))
        });
        let agent_gone = self
            .local
            .away_since()
            .is_some_and(|since| self.now.since(since) >= self.agent_patience());
        owns && (agent_gone || self.local.is_ready() && self.stuck_group(self.me.node).is_some())
    }

    /// True when `node` has trouble that a leader fences it for.
    pub(super) fn is_in_trouble(&self, node: NodeId) -> bool {
        self.stuck_group(node).is_some()
    }

    /// How long an agent process may be away before its node is fenced. A restart of it takes less than the least; the most
    /// is short enough for the fence to begin before the kernel takes the address away, which nobody renews meanwhile.
    pub(super) fn agent_patience(&self) -> Duration {
        (self.spans.lease * 2).clamp(Duration::from_millis(500), Duration::from_secs(1))
    }

    /// Fencing of it goes on, or will be tried again: nothing has proved yet that it is off.
    pub(super) fn is_fencing(&self, node: NodeId) -> bool {
        self.fences.get(&node).is_some_and(|run| run.won.is_none())
    }

    /// A device works on its power, and may turn it off at any moment.
    pub(super) fn is_being_fenced(&self, node: NodeId) -> bool {
        self.fences
            .get(&node)
            .is_some_and(|run| !run.outstanding.is_empty())
    }

    /// A proof says this boot of the node is over, so nothing is granted to it until the proof is refuted or it reboots.
    pub(super) fn has_proof_against(&self, node: NodeId) -> bool {
        let boot = self.boot_of(node);
        self.proofs
            .get(&node)
            .is_some_and(|proof| proof.ended_boot().is_none() || proof.ended_boot() == boot)
    }

    /// Starts fencing `node` with its first level of devices.
    pub(super) fn start_fence(&mut self, node: NodeId, why: String, asked_for: bool) {
        let boot = self.boot_of(node);
        self.fences.insert(
            node,
            FenceRun {
                why: why.clone(),
                begun_at: self.now,
                boot,
                level: 0,
                methods: Vec::new(),
                config: Arc::clone(&self.config),
                outstanding: BTreeMap::new(),
                standing: Standing::default(),
                won: None,
                attempts: 0,
                retry_at: None,
                asked_for,
            },
        );
        if self.config.fences_of(node).is_empty() {
            let way_out = if self.in_pair() {
                "its return, or hactl quorum force"
            } else {
                "its watchdog, its return, or hactl fence confirm"
            };
            let text = format!(
                "{why}, but {} has no fence device: its groups wait for {way_out}",
                self.name(node)
            );
            self.journal("fence-impossible", Level::Alert, text);
            return;
        }
        self.journal(
            "fence-started",
            Level::Warn,
            format!("fencing {}: {why}", self.name(node)),
        );
        self.run_level(node);
    }

    /// Forgets fencing of a node that is back: its new boot has nothing to be fenced for, and a power proof about a boot
    /// that still talks was false.
    pub(super) fn forget_fence_of_returned(&mut self, from: Sender) {
        let idle = self
            .fences
            .get(&from.node)
            .is_some_and(|run| run.outstanding.is_empty() && !run.asked_for);
        if idle {
            self.fences.remove(&from.node);
        }
        let unnamed = self
            .proofs
            .get(&from.node)
            .is_some_and(|proof| proof.ended_boot().is_none());
        if unnamed {
            self.proofs.remove(&from.node);
        }
    }

    /// The node answered a heartbeat that was sent after the proof about this very boot: the proof is refuted (S6).
    pub(super) fn doubt_proof(&mut self, node: NodeId, answered: Time) {
        let boot = self.boot_of(node);
        let refuted = self
            .proofs
            .get(&node)
            .is_some_and(|proof| answered > proof.at() && boot.is_some() && proof.ended_boot() == boot);
        if !refuted {
            return;
        }
        let Some(proof) = self.proofs.remove(&node) else {
            return;
        };
        let name = self.name(node);
        let (level, text) = match proof.kind() {
            ProofKind::Power => (
                Level::Alert,
                format!(
                    "{name} answers although its fence device said it was off: check that the device controls the right \
                     machine"
                ),
            ),
            kind => (
                Level::Info,
                format!(
                    "{name} is heard again, so the proof about it ({}) no longer counts",
                    kind.as_str()
                ),
            ),
        };
        let account = Account {
            proof: None,
            ..Account::of(&proof)
        };
        self.journal_proof("proof-refuted", level, text, account);
    }

    /// Retries devices, and drops runs whose reason is gone.
    pub(super) fn progress_fences(&mut self) {
        self.timers.clear(Timer::FenceRetry);
        for node in self.fences.keys().copied().collect::<Vec<_>>() {
            let back = self.is_online(node) && self.reason_to_fence(node).is_none();
            let Some(run) = self.fences.get(&node) else {
                continue;
            };
            let (asked_for, retry_at) = (run.asked_for, run.retry_at);
            if !run.outstanding.is_empty() {
                continue;
            }
            if back && !asked_for {
                self.fences.remove(&node);
            } else if self.ends_pointless_fence(node) {
                continue;
            } else if let Some(at) = retry_at {
                let entitled = self.is_established() || (self.in_pair() && self.synced);
                if at > self.now {
                    self.timers.set_earliest(Timer::FenceRetry, at);
                } else if entitled {
                    let why = self.fences[&node].why.clone();
                    let text = format!("trying again to fence {}: {why}", self.name(node));
                    self.journal("fence-retried", Level::Warn, text);
                    self.run_level(node);
                } else {
                    self.fences.remove(&node);
                }
            }
        }
    }

    /// For messages: what still has to be proven before `assignment` may end.
    pub(super) fn missing_proof(&self, assignment: &Assignment) -> Option<String> {
        let owner = assignment.owner()?;
        let name = self.name(owner);
        if owner == self.me.node || (self.is_online(owner) && !self.is_being_fenced(owner)) {
            return None;
        }
        if self.is_being_fenced(owner) {
            return Some(format!(
                "it waits for the fence device of {name} to read back off"
            ));
        }
        let way_out = if self.in_pair() {
            "or hactl quorum force".to_string()
        } else {
            format!("its watchdog, or hactl fence confirm {name}")
        };
        Some(format!(
            "it may still run on {name}, which is not heard; it waits for a proof: {name}'s return, its fence device, {way_out}"
        ))
    }
}

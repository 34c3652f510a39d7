//! Groups of which something runs without a permit: what the agent process is told of them, and whose copies of the data
//! are agreed to be whole.
//!
//! A node may be promoted only if it is in the committed set ([`InSync`]), because the promoted one acknowledges nothing that
//! is not on every other node of the set. So what is committed here decides whether something acknowledged can be lost (S5 in
//! correctness.md has the argument, `agents/src/roles.rs` the agent's half).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use holdfast_proto::config::{Config, GroupSection};
use holdfast_proto::ids::{Epoch, GroupName, NUMBER_MAX, NodeId, Version};
use holdfast_proto::peer::{CopyReport, GroupReport, MemberReport, NodeReport, RunState};
use holdfast_proto::state::{Assignment, ClusterState, GroupState, InSync, MoveIntent};
use holdfast_proto::time::Time;

use super::Node;
use crate::effect::{Effect, GroupRoles};
use crate::journal::Level;
use crate::placement::{Observations, candidates};

/// What the agent process was told of groups with members.
#[derive(Clone, Debug, Default)]
pub(super) struct Roles {
    /// The committed version that it was told of; none since it attached.
    pub(super) version: Option<Version>,
    pub(super) told: BTreeMap<GroupName, GroupRoles>,
    /// When it last said anything new about whole copies.
    pub(super) wished_at: Time,
}

/// What remains of a member's report when its agent process is away: where its copy was. Nobody stands for the rest.
pub(super) fn unseen(member: &MemberReport) -> MemberReport {
    let copy = member.copy.as_ref().map(|copy| CopyReport {
        wish: None,
        readable: false,
        lag_ms: None,
        ..copy.clone()
    });
    MemberReport {
        run: if member.run.is_down() {
            member.run
        } else {
            RunState::Unknown
        },
        copy,
        detail: "the agent process is away".into(),
    }
}

/// The set after `node` was promoted. `gone` had it before and leaves the set: it will not be there to be waited for. A copy
/// outside the set makes all others worthless, because they have what it lacks, and lack what it will have.
pub(super) fn in_sync_with(before: &InSync, node: NodeId, gone: Option<NodeId>) -> InSync {
    let mut nodes = before.nodes.clone();
    if !nodes.contains(&node) {
        return before.followed_by(BTreeSet::from([node]));
    }
    if let Some(gone) = gone.filter(|gone| *gone != node) {
        nodes.remove(&gone);
    }
    before.followed_by(nodes)
}

/// What a member wishes to be committed.
pub(super) fn wish_in(member: Option<&MemberReport>) -> Option<&InSync> {
    member?.copy.as_ref()?.wish.as_ref()
}

/// True when both reports wish the same of whole copies.
pub(super) fn same_wishes(one: &NodeReport, other: &NodeReport) -> bool {
    let wish = |report: &GroupReport| wish_in(report.member.as_deref()).cloned();
    let wishes = |report: &NodeReport| -> Vec<(GroupName, Epoch, InSync)> {
        let groups = report.groups.iter();
        groups
            .filter_map(|(name, report)| Some((name.clone(), report.epoch, wish(report)?)))
            .collect()
    };
    wishes(one) == wishes(other)
}

/// What is to be told of `group` on node `me`; `section` is missing when it left the configuration.
fn roles_of(
    me: NodeId,
    state: &ClusterState,
    group: &GroupName,
    entry: Option<&GroupState>,
    section: Option<&GroupSection>,
) -> GroupRoles {
    let owner = entry.and_then(|entry| entry.assignment.owner());
    let standby = state.nodes.get(&me).is_some_and(|node| node.standby);
    // A group that is to stop goes on with its members until nobody is promoted: what the promoted one still has to hand over
    // needs them.
    let kept = entry.is_some_and(|entry| !entry.disabled || owner.is_some());
    let wanted = section.is_some_and(GroupSection::has_members)
        && state.config.node(me).is_some()
        && (owner == Some(me) || (kept && !standby));
    GroupRoles {
        group: group.clone(),
        config: Arc::clone(&state.config),
        wanted,
        primary: owner,
        epoch: entry.map_or(0, |entry| entry.assignment.epoch()),
        in_sync: entry.map(|entry| entry.in_sync.clone()).unwrap_or_default(),
        version: state.version,
    }
}

fn says_the_same(told: &GroupRoles, now: &GroupRoles) -> bool {
    let same_config = |one: &Arc<Config>, other: &Arc<Config>| Arc::ptr_eq(one, other) || one == other;
    told.wanted == now.wanted
        && told.primary == now.primary
        && told.epoch == now.epoch
        && told.in_sync == now.in_sync
        && same_config(&told.config, &now.config)
}

impl Node {
    /// Tells the agent process what is committed about groups with members, where that changed. No permit is needed: members
    /// that are not promoted take no writes, and what runs on every node requires nothing.
    pub(super) fn tell_roles(&mut self, state: &ClusterState) {
        if self.local.roles.version == Some(state.version) {
            return;
        }
        self.local.roles.version = Some(state.version);
        let me = self.me.node;
        let mut fresh: Vec<GroupRoles> = Vec::new();
        for section in state.config.groups.iter().filter(|section| section.has_members()) {
            let entry = state.groups.get(&section.name);
            fresh.push(roles_of(me, state, &section.name, entry, Some(section)));
        }
        let seen_here = |(_, local): &(&GroupName, &super::local::LocalGroup)| {
            local.member.as_ref().is_some_and(|member| !member.run.is_down())
        };
        let running = self.local.groups.iter().filter(seen_here).map(|(name, _)| name);
        let left: BTreeSet<GroupName> = running.chain(self.local.roles.told.keys()).cloned().collect();
        for name in left {
            if state
                .config
                .group(&name)
                .is_none_or(|section| !section.has_members())
            {
                fresh.push(roles_of(me, state, &name, state.groups.get(&name), None));
            }
        }
        for roles in fresh {
            let told = self.local.roles.told.get(&roles.group);
            if told.is_some_and(|told| says_the_same(told, &roles)) {
                continue;
            }
            self.outbox.push_back(Effect::GroupRoles(Box::new(roles.clone())));
            self.local.roles.told.insert(roles.group.clone(), roles);
        }
    }

    /// What the members of groups do on `node`, by its own report.
    pub(super) fn members_on(&self, node: NodeId) -> BTreeMap<GroupName, Arc<MemberReport>> {
        let known = |(name, member): (&GroupName, &Option<Arc<MemberReport>>)| {
            Some((name.clone(), Arc::clone(member.as_ref()?)))
        };
        if node == self.me.node {
            let own = self.local.groups.iter();
            return own
                .filter_map(|(name, local)| known((name, &local.member)))
                .collect();
        }
        let Some(member) = self.members.get(&node) else {
            return BTreeMap::new();
        };
        let reported = member.report.groups.iter();
        reported
            .filter_map(|(name, report)| known((name, &report.member)))
            .collect()
    }

    /// The group is promoted elsewhere and runs there, and the copy on `node` is whole and follows it: whatever made it fail on
    /// `node` is over, as far as can be seen. A database that was killed is a failure of that moment, not of its node.
    pub(super) fn is_whole_again(&self, next: &ClusterState, name: &GroupName, node: NodeId) -> bool {
        let promotable = next.config.group(name).is_some_and(GroupSection::is_promotable);
        let Some(entry) = next.groups.get(name).filter(|_| promotable) else {
            return false;
        };
        let Assignment::Owned { owner, .. } = entry.assignment else {
            return false;
        };
        let follows = |member: &Arc<MemberReport>| {
            let copy = member.copy.as_ref();
            member.run == RunState::Running
                && copy.is_some_and(|copy| copy.obstacle.is_empty() && copy.readable)
        };
        owner != node
            && entry.in_sync.nodes.contains(&node)
            && self.running_on(owner).contains(name)
            && self.members_on(node).get(name).is_some_and(follows)
    }

    /// Forgets what is known of copies where a group has no roles any more, and takes nodes that left the configuration out of
    /// sets that do not become empty by it. Taking out is always safe: who stays in still has everything.
    pub(super) fn follow_roles(&self, next: &mut ClusterState) {
        let config = Arc::clone(&next.config);
        for (name, entry) in next
            .groups
            .iter_mut()
            .filter(|(_, entry)| entry.in_sync.generation > 0)
        {
            let Some(section) = config.group(name) else {
                continue;
            };
            if !section.is_promotable() {
                entry.in_sync = InSync::default();
                continue;
            }
            let is_member = |node: &NodeId| config.node(*node).is_some();
            let nodes: BTreeSet<NodeId> = entry.in_sync.nodes.iter().copied().filter(is_member).collect();
            if !nodes.is_empty() && nodes != entry.in_sync.nodes {
                entry.in_sync = entry.in_sync.followed_by(nodes);
            }
        }
    }

    /// Commits the sets that promoted nodes ask for. Only of the node that is promoted by the committed assignment, under that
    /// very epoch, and while this plan leaves the assignment alone: it is the one that writes are acknowledged by, and so the
    /// one that knows for whom it waits. The generation has to be a new one, so that an agent which sees its own committed
    /// knows that no earlier wish of it can follow.
    pub(super) fn follow_wishes(&self, next: &mut ClusterState, committed: &ClusterState) {
        let config = Arc::clone(&next.config);
        for (name, entry) in &mut next.groups {
            if entry.in_sync.generation == 0 {
                continue;
            }
            let before = committed.groups.get(name);
            let untouched = before.is_some_and(|before| {
                before.assignment == entry.assignment && before.in_sync == entry.in_sync
            });
            let Assignment::Owned { owner, epoch, .. } = entry.assignment else {
                continue;
            };
            let Some(wish) = self
                .wish_of(owner, name, epoch)
                .filter(|_| untouched && self.has_heard_since_its_wish(owner))
            else {
                continue;
            };
            let fits = wish.generation > entry.in_sync.generation
                && wish.generation <= NUMBER_MAX / 2
                && wish.nodes.contains(&owner)
                && wish.nodes.iter().all(|node| config.node(*node).is_some());
            if fits {
                let names: Vec<String> = wish.nodes.iter().map(|node| self.name(*node)).collect();
                next.reason = format!("{name}: whole copies are on {}", names.join(", "));
                entry.in_sync = wish;
            }
        }
    }

    /// True when `owner` answered a heartbeat that was sent after it said what it wishes; where it leads itself, when a majority
    /// answered it since. A node that no longer hears would never learn that its wish was committed, and so gain nothing;
    /// but if it left out the one that is to take over from it, nobody could.
    fn has_heard_since_its_wish(&self, owner: NodeId) -> bool {
        if owner == self.me.node {
            let backed = self.backed_since();
            return backed.is_some_and(|since| since >= self.local.roles.wished_at);
        }
        let Some(member) = self.members.get(&owner) else {
            return false;
        };
        let hears = member.alive_at.is_some_and(|at| at >= member.wished_at);
        hears && !self.is_being_fenced(owner) && !self.has_proof_against(owner)
    }

    /// What the agent of `group` on its `owner` wants to be committed, running under `epoch`.
    pub(super) fn wish_of(&self, owner: NodeId, group: &GroupName, epoch: Epoch) -> Option<InSync> {
        let of = |run: RunState, seen: Epoch, member: Option<&Arc<MemberReport>>| {
            let stands = !run.is_down() && seen == epoch;
            wish_in(member.map(|member| &**member))
                .filter(|_| stands)
                .cloned()
        };
        if owner == self.me.node {
            let local = self.local.groups.get(group)?;
            return of(local.run, local.epoch, local.member.as_ref());
        }
        let report = self.members.get(&owner)?.report.groups.get(group)?;
        of(report.run, report.epoch, report.member.as_ref())
    }

    /// Whom the owner of a group with roles hands over to when it has to leave and nobody said where to: the node that is
    /// chosen afterwards. Without one it just stops.
    pub(super) fn hands_over_to(
        &self,
        next: &ClusterState,
        name: &GroupName,
        owner: NodeId,
        seen: &Observations,
    ) -> Option<NodeId> {
        let section = next.config.group(name)?;
        if !section.is_promotable() || next.groups.get(name)?.disabled {
            return None;
        }
        candidates(next, section, seen)
            .into_iter()
            .find(|candidate| candidate.eligible && candidate.node != owner)
            .map(|candidate| candidate.node)
    }

    /// An operator accepted that something is lost because the owner was away; it is back, with everything, so nothing has to
    /// be. True when the group is to stay.
    pub(super) fn is_loss_needless(&self, next: &mut ClusterState, name: &GroupName, owner: NodeId) -> bool {
        let back = self.name(owner);
        let Some(entry) = next.groups.get_mut(name) else {
            return false;
        };
        let given = entry
            .intent
            .as_ref()
            .is_some_and(|intent| intent.accepts_loss.is_some() && intent.to != owner);
        if !given || !entry.in_sync.nodes.contains(&owner) {
            return false;
        }
        entry.intent = None;
        entry.reason = format!("{back} is back and has everything, so nothing has to be given up");
        true
    }

    /// `state` as it would be if an operator had asked for `group` on `node`; `None` where that makes no difference.
    pub(super) fn as_if_asked(
        &self,
        state: &ClusterState,
        section: &GroupSection,
        node: NodeId,
    ) -> Option<ClusterState> {
        self.with_intent(state, section, node, None)
    }

    /// The same, with the operator's word that what the copy of `node` lacks may be lost.
    fn with_intent(
        &self,
        state: &ClusterState,
        section: &GroupSection,
        node: NodeId,
        accepts_loss: Option<String>,
    ) -> Option<ClusterState> {
        if !section.is_promotable() {
            return None;
        }
        let mut asked = state.clone();
        let entry = asked.groups.get_mut(&section.name)?;
        entry.intent = Some(MoveIntent {
            to: node,
            who: String::new(),
            accepts_loss,
        });
        Some(asked)
    }

    /// Whether an operator's word that something may be lost is needed and can be followed: an error says why not. Ok: the
    /// sentence for when it is committed.
    pub(super) fn check_accepted_loss(
        &self,
        state: &ClusterState,
        group: &GroupName,
        to: NodeId,
    ) -> Result<String, String> {
        let target = self.name(to);
        let section = state
            .config
            .group(group)
            .ok_or_else(|| format!("{group} is leaving the configuration"))?;
        if !section.is_promotable() {
            return Err(format!(
                "{group} has no roles, so there is nothing to accept: hactl move {group} {target}"
            ));
        }
        let Some(entry) = state.groups.get(group) else {
            return Err(format!("there is no group {group}"));
        };
        let whole = &entry.in_sync.nodes;
        let holder = entry.assignment.owner().filter(|owner| *owner != to);
        if let Some(owner) = holder.filter(|owner| self.is_online(*owner) && whole.contains(owner)) {
            let owner = self.name(owner);
            return Err(format!(
                "{group} is promoted on {owner}, which has everything, so nothing has to be lost: hactl move {group} {target} when \
                 {target} has caught up; to give up what {owner} has, put {owner} in standby first"
            ));
        }
        let asked = self
            .with_intent(state, section, to, Some(String::new()))
            .unwrap_or_else(|| state.clone());
        let seen = self.observations();
        let judged = candidates(&asked, section, &seen);
        match judged.into_iter().find(|candidate| candidate.node == to) {
            Some(candidate) if candidate.eligible => {
                let loss = crate::placement::possible_loss(&asked, section, to, &seen);
                let loss = loss.map(|loss| format!(" ({loss})")).unwrap_or_default();
                Ok(format!("{group} goes to {target}{loss}"))
            }
            Some(candidate) => Err(format!("{target} {}", candidate.reason)),
            None => Err(format!("{target} is not a data node")),
        }
    }

    /// Promoted groups whose last whole copy would leave with the configuration `config`.
    pub(super) fn loses_last_copy(&self, state: &ClusterState, config: &Config) -> Option<String> {
        let lost = |(name, entry): &(&GroupName, &GroupState)| {
            let promotable = config.group(name).is_some_and(GroupSection::is_promotable);
            let held = &entry.in_sync.nodes;
            promotable && !held.is_empty() && held.iter().all(|node| config.node(*node).is_none())
        };
        let (name, entry) = state.groups.iter().find(lost)?;
        let holders: Vec<String> = entry.in_sync.nodes.iter().map(|node| self.name(*node)).collect();
        Some(format!(
            "the only whole copy of the data of {name} is on {}, which would leave: let another node catch up first (hactl status \
             shows it), or remove the group too",
            holders.join(" and ")
        ))
    }

    /// Journals what a commit says of whole copies.
    pub(super) fn journal_in_sync(&mut self, old: &ClusterState, new: &ClusterState) {
        let mut lines = Vec::new();
        for (name, entry) in &new.groups {
            let before = old.groups.get(name).map(|entry| &entry.in_sync);
            let Some(before) = before.filter(|before| **before != entry.in_sync) else {
                continue;
            };
            let epoch = entry.assignment.epoch();
            let promoted = entry.assignment.owner();
            let unsound = promoted.filter(|node| before.generation > 0 && !before.nodes.contains(node));
            let names: Vec<String> = entry.in_sync.nodes.iter().map(|node| self.name(*node)).collect();
            let names = names.join(", ");
            let (kind, level, text) = match unsound {
                Some(_) => ("possible-loss", Level::Alert, format!("{name}: {}", entry.reason)),
                None if before.nodes == entry.in_sync.nodes => continue,
                None => (
                    "in-sync",
                    Level::Info,
                    format!("{name}: whole copies are on {names}"),
                ),
            };
            lines.push((kind, level, text, name.clone(), epoch));
        }
        for (kind, level, text, name, epoch) in lines {
            self.journal_about(kind, level, text, Some(name), epoch);
        }
    }

    /// Journals what became of a member on this node.
    pub(super) fn journal_member(
        &mut self,
        group: &GroupName,
        epoch: Epoch,
        before: Option<&MemberReport>,
        now: Option<&MemberReport>,
    ) {
        let here = self.name(self.me.node);
        let run = |member: Option<&MemberReport>| member.map_or(RunState::Stopped, |member| member.run);
        let obstacle = |member: Option<&MemberReport>| {
            member
                .and_then(|member| member.copy.as_ref())
                .map(|copy| copy.obstacle.clone())
                .unwrap_or_default()
        };
        if run(before) != run(now) {
            let detail = now.map_or("", |member| &member.detail);
            let detail = if detail.is_empty() {
                String::new()
            } else {
                format!(": {detail}")
            };
            let level = match run(now) {
                RunState::Failed | RunState::Unknown => Level::Warn,
                _ => Level::Info,
            };
            let text = format!("the member of {group} on {here} is {}{detail}", run(now).as_str());
            self.journal_about("member", level, text, Some(group.clone()), epoch);
        }
        let (was, is) = (obstacle(before), obstacle(now));
        if was != is {
            let (level, text) = if is.is_empty() {
                (
                    Level::Info,
                    format!("the copy of {group} on {here} can be promoted again"),
                )
            } else {
                (
                    Level::Warn,
                    format!("the copy of {group} on {here} cannot be promoted: {is}"),
                )
            };
            self.journal_about("copy", level, text, Some(group.clone()), epoch);
        }
    }
}

//! Groups with members in the cluster that is driven by hand: what the agents say, and what they are told.

use holdfast_proto::ids::Epoch;

use super::*;
use crate::event::GroupObservation;

/// A group with roles called `db`, as TOML; `more` are keys of the group.
pub(super) fn db(more: &str) -> String {
    format!(
        "[[group]]\nname = \"db\"\n{more}\n[[group.resource]]\nname = \"r\"\ntype = \"ocf:heartbeat:Stateful\"\npromotable = true\n"
    )
}

/// A copy that is whole as far as its agent can tell.
pub(super) fn copy(position: u64) -> CopyReport {
    CopyReport {
        position,
        history: "h".into(),
        position_text: format!("txn {position}"),
        lag_ms: Some(0),
        readable: true,
        ..CopyReport::default()
    }
}

pub(super) fn set(generation: u64, nodes: &[NodeId]) -> InSync {
    InSync {
        generation,
        nodes: nodes.iter().copied().collect(),
    }
}

impl Host {
    /// What the agent process says about a group that is so.
    pub(super) fn observation(&self, group: &str, epoch: Epoch, run: RunState) -> GroupObservation {
        GroupObservation {
            member: self.members.get(group).cloned().map(Arc::new),
            ..observation(group, epoch, run)
        }
    }

    /// What it says when it attaches: every group of which something runs.
    pub(super) fn groups_up(&self) -> Vec<GroupObservation> {
        let mut up: Vec<GroupObservation> = self
            .runs
            .iter()
            .filter(|(group, (_, run))| !run.is_down() || self.members.contains_key(*group))
            .map(|(group, (epoch, run))| self.observation(group, *epoch, *run))
            .collect();
        let bare = self
            .members
            .keys()
            .filter(|group| !self.runs.contains_key(*group));
        up.extend(bare.map(|group| self.observation(group, 0, RunState::Stopped)));
        up
    }
}

impl Cluster {
    /// Starts and ends members at once; a copy begins at position 1 of history `h`.
    pub(super) fn follow_roles(&mut self, node: NodeId, roles: &GroupRoles) {
        let host = self.host_mut(node);
        let name = roles.group.to_string();
        if roles.wanted {
            let fresh = MemberReport {
                run: RunState::Running,
                copy: (name == "db").then(|| copy(1)),
                detail: String::new(),
            };
            host.members.entry(name).or_insert(fresh);
        } else if !host.members_stay {
            host.members.remove(&name);
        }
        self.report_member(node, &roles.group);
    }

    fn report_member(&mut self, node: NodeId, group: &str) {
        let host = self.host(node);
        let (epoch, run) = host.runs.get(group).copied().unwrap_or((0, RunState::Stopped));
        let seen = host.observation(group, epoch, run);
        self.later_event(node, Event::Agent(AgentEvent::Group(seen)));
    }

    /// The agent of `group` on `node` sees its copy changed by `change`, and says so.
    pub(super) fn copy_is(&mut self, node: NodeId, group: &str, change: impl FnOnce(&mut CopyReport)) {
        self.member_is(node, group, |member| {
            change(member.copy.get_or_insert_with(CopyReport::default));
        });
    }

    /// The same for the member as a whole.
    pub(super) fn member_is(&mut self, node: NodeId, group: &str, change: impl FnOnce(&mut MemberReport)) {
        let member = self.host_mut(node).members.get_mut(group).expect("a member");
        change(member);
        self.report_member(node, group);
    }

    /// The promoted node wishes this set.
    pub(super) fn wishes(&mut self, node: NodeId, generation: u64, nodes: &[NodeId]) {
        let wish = set(generation, nodes);
        self.copy_is(node, "db", |copy| copy.wish = Some(wish));
    }

    /// The set that is committed for `db`, as `node` knows it.
    pub(super) fn in_sync(&self, node: NodeId) -> InSync {
        self.state(node).groups["db"].in_sync.clone()
    }

    /// What the agent process of `node` was told last about `group`.
    pub(super) fn told(&self, node: NodeId, group: &str) -> Option<&GroupRoles> {
        self.done.iter().rev().find_map(|(_, at, effect)| match effect {
            Effect::GroupRoles(roles) if *at == node && *roles.group == *group => Some(&**roles),
            _ => None,
        })
    }

    /// What `hactl why` says of `group`.
    pub(super) fn why(&mut self, group: &str) -> String {
        let leader = self.lead();
        let view = self.node(leader).view(self.now);
        let group = view.groups.into_iter().find(|view| *view.name == *group);
        group.map(|group| group.reason).unwrap_or_default()
    }

    /// `db` is promoted on node 1 with its copy on node 2 in sync, as a pair with a witness.
    pub(super) fn promoted(nodes: u8, more: &str) -> Cluster {
        let mut cluster = Cluster::formed(nodes, nodes == 2, &(db(&format!("prefer = [\"n1\"]\n{more}"))));
        assert_eq!(cluster.runs_on("db"), [A]);
        assert_eq!(
            cluster.in_sync(A),
            set(1, &[A]),
            "nobody else is known to be whole"
        );
        cluster.wishes(A, 2, &[A, B]);
        cluster.run_until(500, "the set is committed", |cluster| {
            cluster.in_sync(B) == set(2, &[A, B])
        });
        cluster.run_for(200);
        cluster
    }

    /// `node` loses power, and its device proves it.
    pub(super) fn loses_power(&mut self, node: NodeId) {
        self.power_off(node);
        let asked = self.fences.len();
        self.run_until(5_000, "it is fenced", |cluster| {
            cluster.fences.iter().skip(asked).any(|ask| ask.target == node)
        });
        let ask = *self.asked_about(node).last().expect("asked");
        self.device_proves(ask);
        self.run_for(300);
    }
}

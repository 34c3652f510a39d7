//! A drill: fencing for real, of a node that runs nothing, while all is well.

use holdfast_proto::ids::NodeId;
use holdfast_proto::operator::{OperatorCall, OperatorOutcome};

use super::Node;

impl Node {
    /// As leader: fences `node` if that costs nobody anything.
    pub(super) fn drill(&mut self, node: NodeId, call: &OperatorCall) -> OperatorOutcome {
        if let Some(why_not) = self.reason_against_drill(node) {
            return OperatorOutcome::Refused(why_not);
        }
        let name = self.name(node);
        self.start_fence(node, format!("a drill of {}", call.who), true);
        OperatorOutcome::Done(format!("{name} is being fenced, as a drill"))
    }

    fn reason_against_drill(&self, node: NodeId) -> Option<String> {
        let name = self.name(node);
        let durable = self.durable.as_ref()?;
        if node == self.me.node {
            return Some(format!(
                "{name} leads, and a node does not fence itself: drill the other one"
            ));
        }
        if self.config.fences_of(node).is_empty() {
            return Some(format!(
                "{name} has no fence device; add a [[fence]] section for it"
            ));
        }
        if durable.committed.maintenance {
            return Some("maintenance is on: nothing is fenced now".into());
        }
        // What is proposed may be committed any moment.
        for state in [&durable.committed, &durable.accepted] {
            let mut groups = state.groups.iter();
            if let Some((group, _)) = groups.find(|(_, entry)| entry.assignment.owner() == Some(node)) {
                return Some(format!(
                    "{name} may run {group}: a drill is for a node that runs nothing; hactl standby {name} first"
                ));
            }
        }
        if self.fences.contains_key(&node) || !self.is_online(node) {
            return Some(format!(
                "{name} is not well: a drill is for a cluster in which all is well"
            ));
        }
        let voters = durable.committed.voters.without(node).without(self.me.node);
        let away = voters.iter().find(|voter| !self.is_online(*voter));
        away.map(|voter| {
            format!(
                "{} is not heard: without it and {name} nothing could be decided",
                self.name(voter)
            )
        })
    }
}

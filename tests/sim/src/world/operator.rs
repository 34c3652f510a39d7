//! The operator of the world: asks like one, and cleans up once all is healed.

use holdfast_core::event::Event;
use holdfast_proto::ids::NodeId;
use holdfast_proto::operator::{OperatorCall, OperatorRequest};

use super::World;
use super::happening::Happening;
use crate::machine::Machine;

impl World {
    /// What an operator does once all is healed: forget failures, end standby and maintenance.
    pub(super) fn clean_up(&mut self) {
        let Some(leader) = self.leader() else { return };
        let mut requests = vec![
            OperatorRequest::Cleanup { group: None },
            OperatorRequest::Maintenance { on: false },
        ];
        requests.extend(self.config.nodes.iter().map(|node| OperatorRequest::Standby {
            node: node.id,
            on: false,
        }));
        for request in requests {
            self.ask(leader, request);
        }
    }

    /// A node that leads, by its own word.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |machine: &&Machine| {
            machine
                .had
                .as_ref()
                .is_some_and(|had| had.holds_lease(machine.local(self.now_us)))
        };
        self.machines.values().find(leads).map(|machine| machine.id)
    }

    /// An operator's request at `node`.
    pub fn ask(&mut self, node: NodeId, request: OperatorRequest) {
        self.request += 1;
        let call = OperatorCall {
            request,
            who: "operator".into(),
            at: "now".into(),
        };
        let event = Event::Operator {
            request: self.request,
            call,
        };
        let run = self.machines[&node].run;
        let at = self.now_us;
        self.schedule(at, Happening::ToHad { node, run, event });
    }
}

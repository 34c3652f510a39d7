//! Answers the ordinary thread.

use holdfast_core::event::Event;

use super::Shell;
use super::api::{Ask, Snapshot};
use super::register::Register;
use crate::clock;

impl Shell {
    pub(super) fn ask(&mut self, ask: Ask) {
        match ask {
            Ask::Snapshot(reply) => {
                // Whoever asked may be gone.
                let _ = reply.send(self.snapshot());
            }
            Ask::FenceTest { node, reply } => self.test_fences_of(node, reply),
            Ask::Due(all) => all.into_iter().for_each(|due| self.feed(Event::Due(due))),
            Ask::Operator { call, reply } => {
                // Of requests that were given up, the core may answer late or never.
                self.replies.retain(|_, reply| !reply.is_closed());
                self.next_request += 1;
                self.replies.insert(self.next_request, reply);
                self.feed(Event::Operator {
                    request: self.next_request,
                    call,
                });
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let now = clock::now();
        Snapshot {
            now,
            view: self.parts.node.view(now),
            config: self.parts.node.config().clone(),
            links: self.links(),
            agent: self.agent.clone(),
            fence_tests: self.fence_tests.picture(),
            scheduling: self.parts.scheduling.clone(),
            boot: self.parts.identity.boot,
            disk_trouble: self.disk_trouble.clone(),
            register: self.register.as_ref().and_then(Register::picture),
        }
    }
}

//! Sends the tests of fence devices out and takes their outcomes in.

use std::collections::BTreeSet;

use holdfast_proto::agent::{FenceOutcome, agent_request::Body};
use holdfast_proto::ids::NodeId;
use tokio::sync::oneshot;

use super::Shell;
use crate::agentd_link::translate;
use crate::clock;
use crate::fence_tests::DeviceTest;

/// Somebody who waits for the tests of one node's devices.
pub(super) struct Asked {
    left: BTreeSet<u64>,
    node: NodeId,
    reply: oneshot::Sender<Vec<DeviceTest>>,
}

impl Shell {
    /// Starts the tests that are due.
    pub(super) fn test_fences(&mut self) {
        let now = clock::now();
        while let Some(device) = self.fence_tests.due(now) {
            if !self.agent.attached {
                return self.fence_tests.abort(now);
            }
            self.test_fence(device);
        }
    }

    /// Starts the test of one device; its wire number.
    fn test_fence(&mut self, device: usize) -> Option<u64> {
        let section = self.fence_tests.section(device)?.clone();
        let fresh = self.next_fence + 1;
        let id = self.fence_tests.begin(device, fresh)?;
        if id == fresh {
            self.next_fence = fresh;
            let name = self.parts.node.config().name_of(section.node);
            self.to_agentd(Body::Fence(translate::fence_test(id, &name, &section)));
        }
        Some(id)
    }

    /// An operator wants the devices of `node` tested now.
    pub(super) fn test_fences_of(&mut self, node: NodeId, reply: oneshot::Sender<Vec<DeviceTest>>) {
        let mut left = BTreeSet::new();
        if self.agent.attached {
            for device in self.fence_tests.devices_of(node) {
                left.extend(self.test_fence(device));
            }
        }
        self.asked_tests.push(Asked { left, node, reply });
        self.answer_tests();
    }

    pub(super) fn fence_tested(&mut self, outcome: &FenceOutcome) {
        let now = clock::now();
        let view = self.parts.node.view(now);
        let heard = |node| {
            let peer = view.peers.iter().find(|peer| peer.node == node);
            node == view.node || peer.is_some_and(|peer| peer.state == "online")
        };
        let config = self.parts.node.config().clone();
        let told = self
            .fence_tests
            .end(outcome, heard, now, |node| config.name_of(node));
        if let Some(record) = told {
            self.record(record);
        }
        for asked in &mut self.asked_tests {
            asked.left.remove(&outcome.id);
        }
        self.answer_tests();
    }

    /// The agent process is gone, and what it was asked with it.
    pub(super) fn abort_fence_tests(&mut self) {
        self.fence_tests.abort(clock::now());
        for asked in &mut self.asked_tests {
            asked.left.clear();
        }
        self.answer_tests();
    }

    fn answer_tests(&mut self) {
        let (done, waiting) = std::mem::take(&mut self.asked_tests)
            .into_iter()
            .partition(|asked: &Asked| asked.left.is_empty());
        self.asked_tests = waiting;
        for asked in done {
            let mut tests = self.fence_tests.picture();
            tests.retain(|test| test.section.node == asked.node);
            // Whoever asked may be gone.
            let _ = asked.reply.send(tests);
        }
    }
}

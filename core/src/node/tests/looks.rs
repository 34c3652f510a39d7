//! What tests say to a hand-driven cluster and ask of it.

use super::*;

impl Cluster {
    // The network.

    pub(super) fn cut_between(&mut self, one: NodeId, other: NodeId) {
        self.cut.extend([(one, other), (other, one)]);
    }

    /// Cuts `node` off from everyone.
    pub(super) fn isolate(&mut self, node: NodeId) {
        for other in self.members().into_iter().filter(|other| *other != node) {
            self.cut_between(node, other);
        }
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    /// `from` says something to `to` that no node of its own would.
    pub(super) fn say(&mut self, from: NodeId, to: NodeId, message: Message) {
        let from = self.sender(from);
        self.event(to, Event::Message { from, message });
    }

    // Fence devices.

    /// Devices that were asked about `target` and not answered for in this test.
    pub(super) fn asked_about(&self, target: NodeId) -> Vec<FenceAsk> {
        let about = |ask: &&FenceAsk| ask.target == target;
        self.fences.iter().filter(about).copied().collect()
    }

    /// The device cut the power of its target, and a separate status read said off.
    pub(super) fn device_proves(&mut self, ask: FenceAsk) {
        self.power_off(ask.target);
        self.device_answers(ask, true);
    }

    /// The device answers; its target goes on.
    pub(super) fn device_answers(&mut self, ask: FenceAsk, off_read_back: bool) {
        self.device_answers_late(ask, off_read_back, self.now);
    }

    /// The device answers now what it was read as at `read_at`.
    pub(super) fn device_answers_late(&mut self, ask: FenceAsk, off_read_back: bool, read_at: Time) {
        let result = FenceResult {
            off_read_back,
            evidence: if off_read_back {
                "status: off"
            } else {
                "exit 0, status: on"
            }
            .into(),
            error: String::new(),
            read_at,
        };
        self.event(ask.by, Event::Fenced { id: ask.id, result });
    }

    // Operators.

    /// Asks at `node` and waits for the answer.
    pub(super) fn ask(&mut self, node: NodeId, request: OperatorRequest) -> OperatorOutcome {
        let number = self.done.len() as u64 + 1;
        let call = OperatorCall {
            request,
            who: "ann".into(),
            at: "noon".into(),
        };
        self.event(
            node,
            Event::Operator {
                request: number,
                call,
            },
        );
        let answer = |cluster: &Cluster| {
            cluster
                .done
                .iter()
                .rev()
                .find_map(|(_, at, effect)| match effect {
                    Effect::Reply { request, outcome } if *at == node && *request == number => {
                        Some(outcome.clone())
                    }
                    _ => None,
                })
        };
        self.run_until(5000, "the request is answered", |cluster| {
            answer(cluster).is_some()
        });
        answer(self).expect("answered")
    }

    /// Asks and expects that it is done.
    pub(super) fn ask_done(&mut self, node: NodeId, request: OperatorRequest) -> String {
        match self.ask(node, request) {
            OperatorOutcome::Done(text) => text,
            other => panic!("not done: {other:?}"),
        }
    }

    /// Asks and expects that it is refused.
    pub(super) fn ask_refused(&mut self, node: NodeId, request: OperatorRequest) -> String {
        match self.ask(node, request) {
            OperatorOutcome::Refused(text) | OperatorOutcome::NoQuorum(text) => text,
            OperatorOutcome::Done(text) => panic!("done: {text}"),
        }
    }

    // Looks.

    pub(super) fn node(&self, node: NodeId) -> &Node {
        self.host(node).node.as_ref().expect("its had runs")
    }

    /// Who holds a valid lease.
    pub(super) fn leaders(&self) -> Vec<NodeId> {
        let leads = |host: &Host| host.node.as_ref().is_some_and(|node| node.holds_lease(self.now));
        let leading = self.hosts.iter().filter(|(_, host)| leads(host));
        leading.map(|(node, _)| *node).collect()
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leaders().first().copied()
    }

    /// Waits for a leader: while leadership is handed over there is none for a moment.
    pub(super) fn lead(&mut self) -> NodeId {
        self.run_until(500, "somebody leads", |cluster| cluster.leader().is_some());
        self.leader().expect("leads")
    }

    /// The committed state as `node` knows it.
    pub(super) fn state(&self, node: NodeId) -> &ClusterState {
        &self.node(node).durable().expect("has state").committed
    }

    /// What `node` knows to be agreed about `group`.
    pub(super) fn assignment(&self, node: NodeId, group: &str) -> &Assignment {
        &self.state(node).groups[group].assignment
    }

    pub(super) fn owner(&self, node: NodeId, group: &str) -> Option<NodeId> {
        self.assignment(node, group).owner()
    }

    /// Where `group` runs, by what the machines do.
    pub(super) fn runs_on(&self, group: &str) -> Vec<NodeId> {
        let up = |host: &Host| {
            host.runs
                .get(group)
                .is_some_and(|(_, run)| *run == RunState::Running)
        };
        let running = self.hosts.iter().filter(|(_, host)| up(host));
        running.map(|(node, _)| *node).collect()
    }

    /// Sentences of a kind that `node` has journalled.
    pub(super) fn journal(&self, node: NodeId, kind: &str) -> Vec<&Entry> {
        let entry =
            |(_, at, effect): &'_ (Time, NodeId, Effect)| *at == node && matches!(effect, Effect::Journal(_));
        let entries = self.done.iter().filter(|done| entry(done));
        entries
            .filter_map(|(_, _, effect)| match effect {
                Effect::Journal(entry) if entry.kind == kind => Some(entry),
                _ => None,
            })
            .collect()
    }

    /// The journal of all nodes, for the message of a test that fails.
    pub(super) fn journal_text(&self) -> String {
        let mut text = String::new();
        for (at, node, effect) in &self.done {
            if let Effect::Journal(entry) = effect {
                text += &format!("{at} {node}: [{}] {}\n", entry.kind, entry.text);
            }
        }
        text
    }

    /// Orders that `node` gave its agent process since `since`: `+group` for a start, `-group` for a stop.
    pub(super) fn orders(&self, node: NodeId, since: Time) -> Vec<String> {
        let orders = self.done.iter().filter(|(at, by, _)| *by == node && *at >= since);
        orders
            .filter_map(|(_, _, effect)| match effect {
                Effect::StartGroup { permit, .. } => Some(format!("+{}", permit.group)),
                Effect::StopGroup { group, .. } => Some(format!("-{group}")),
                _ => None,
            })
            .collect()
    }

    /// When `node` first ordered the start of `group` after `since`.
    pub(super) fn started_at(&self, node: NodeId, group: &str, since: Time) -> Option<Time> {
        self.done.iter().find_map(|(at, by, effect)| match effect {
            Effect::StartGroup { permit, .. } if *by == node && *at >= since && &*permit.group == group => {
                Some(*at)
            }
            _ => None,
        })
    }
}

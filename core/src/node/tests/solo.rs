//! One node, and a test that plays everyone else.

use super::*;

/// The node and its clock.
pub(super) struct Solo {
    pub(super) node: Node,
    pub(super) now: Time,
}

impl Solo {
    /// A node that starts with this on disk.
    pub(super) fn start(me: NodeId, durable: Option<Durable>, config: &Arc<Config>) -> Solo {
        let now = Time(50_000_000);
        let start = Start {
            identity: Identity {
                node: me,
                boot: BootId(1 << 96),
                incarnation: Incarnation(1),
            },
            durable,
            synced_this_boot: false,
            booted_at: Time::ZERO,
            config: Arc::clone(config),
        };
        let mut node = Node::new(now, start);
        while node.poll_effect().is_some() {}
        Solo { node, now }
    }

    /// A voter of `state` whose start lies a little more than a lease back: it is bound to nobody, and not a candidate yet.
    pub(super) fn free_voter(me: NodeId, state: ClusterState) -> Solo {
        let config = Arc::clone(&state.config);
        let mut solo = Solo::start(me, Some(Durable::initial(state)), &config);
        solo.advance(LEASE + LEASE / 100);
        solo
    }

    /// What follows from an event.
    pub(super) fn event(&mut self, event: Event) -> Vec<Effect> {
        self.node.handle(self.now, event);
        std::iter::from_fn(|| self.node.poll_effect()).collect()
    }

    /// What follows from a message.
    pub(super) fn hear(&mut self, from: NodeId, message: Message) -> Vec<Effect> {
        self.event(Event::Message {
            from: sender(from),
            message,
        })
    }

    /// What follows from a heartbeat of `from`.
    pub(super) fn beat(&mut self, from: NodeId, beat: Heartbeat) -> Vec<Effect> {
        self.event(Event::Beat {
            from: sender(from),
            beat: Beat::Heartbeat(beat),
        })
    }

    /// `by` answers this node's latest heartbeat and grants nothing; it knows what this node knows.
    pub(super) fn is_answered(&mut self, by: NodeId) {
        let (seq, sent_at) = *self.node.rounds.back().expect("it beats");
        let ack = HeartbeatAck {
            seq,
            sent_at,
            ballot: Ballot::ZERO,
            backs: false,
            lease_left: Duration::ZERO,
            granted: 0,
            withheld: Default::default(),
            withhold_all: true,
            committed: self.durable().committed.version,
            blank: false,
        };
        self.event(Event::Beat {
            from: sender(by),
            beat: Beat::Ack(ack),
        });
    }

    /// Lets time pass, with every timeout in its time.
    pub(super) fn advance(&mut self, span: Duration) -> Vec<Effect> {
        let end = self.now + span;
        let mut effects = Vec::new();
        while let Some((at, _)) = self.node.poll_timeout().filter(|(at, _)| *at <= end) {
            self.now = self.now.max(at);
            effects.extend(self.event(Event::Timeout));
        }
        self.now = end;
        effects
    }

    pub(super) fn durable(&self) -> &Durable {
        self.node.durable().expect("has state")
    }
}

/// A member in its first boot and run.
pub(super) fn sender(node: NodeId) -> Sender {
    Sender {
        node,
        boot: BootId((1 << 96) + u128::from(node.0)),
        incarnation: Incarnation(1),
    }
}

/// A heartbeat of a leader under `ballot`.
pub(super) fn leaders_beat(seq: u64, ballot: Ballot) -> Heartbeat {
    Heartbeat {
        seq,
        sent_at: Time(seq),
        lateness: Duration::ZERO,
        ballot,
        leading: true,
        committed: 1,
        synced: true,
        blank: false,
        survivor: ballot.leader(),
        watchdog: None,
        agent_ready: true,
    }
}

/// Messages among `effects`, with their targets.
pub(super) fn messages(effects: &[Effect]) -> Vec<(NodeId, Message)> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send { to, message } => Some((*to, message.clone())),
        _ => None,
    });
    sent.collect()
}

/// Answers to heartbeats among `effects`.
pub(super) fn acks(effects: &[Effect]) -> Vec<HeartbeatAck> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::SendBeat {
            beat: Beat::Ack(ack), ..
        } => Some(*ack),
        _ => None,
    });
    sent.collect()
}

/// Numbers of the records to be written among `effects`.
pub(super) fn records(effects: &[Effect]) -> Vec<PersistId> {
    let written = effects.iter().filter_map(|effect| match effect {
        Effect::Persist { id, .. } => Some(*id),
        _ => None,
    });
    written.collect()
}

//! The network: what is sent arrives at once, unless its direction is cut or slow.

use std::sync::Arc;

use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{Beat, Message, Sender};

use super::{Item, World};

/// What a packet holds.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A heartbeat or its answer.
    Beat(Beat),
    /// Anything else.
    Message(Message),
}

/// A packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Who sent it, in which boot and run.
    pub from: Sender,
    /// To whom.
    pub to: NodeId,
    /// What.
    pub payload: Arc<Payload>,
}

impl Packet {
    /// The register's own messages, whose loss or delay is a choice each time. Heartbeats are lost and late with their
    /// link; reports are repeated.
    #[must_use]
    pub fn is_protocol(&self) -> bool {
        match &*self.payload {
            Payload::Beat(_) | Payload::Message(Message::Report(_) | Message::ForwardReply { .. }) => false,
            Payload::Message(_) => true,
        }
    }

    /// Its name in a story.
    #[must_use]
    pub fn name(&self) -> String {
        let what = match &*self.payload {
            Payload::Beat(Beat::Heartbeat(_)) => "heartbeat".to_string(),
            Payload::Beat(Beat::Ack(_)) => "answer to a heartbeat".to_string(),
            Payload::Message(message) => message_name(message),
        };
        format!("{what} of {} to {}", self.from.node, self.to)
    }
}

fn message_name(message: &Message) -> String {
    match message {
        Message::PreVote { ballot } => format!("PreVote {ballot}"),
        Message::PreVoteReply { ballot, verdict, .. } => format!("PreVoteReply {ballot} {verdict:?}"),
        Message::Prepare { ballot, .. } => format!("Prepare {ballot}"),
        Message::Promise { ballot, .. } => format!("Promise {ballot}"),
        Message::Refuse { ballot, verdict, .. } => format!("Refuse {ballot} {verdict:?}"),
        Message::Accept { ballot, state } => format!("Accept {ballot} v{}", state.version),
        Message::Accepted { ballot, version } => format!("Accepted {ballot} v{version}"),
        Message::Commit { ballot, state } => format!("Commit {ballot} v{}", state.version),
        Message::Transfer { ballot } => format!("Transfer {ballot}"),
        Message::Report(_) => "Report".into(),
        Message::Forward { .. } => "Forward".into(),
        Message::ForwardReply { .. } => "ForwardReply".into(),
    }
}

impl World {
    /// Puts a packet on its way.
    pub(super) fn transmit(&mut self, from: usize, to: NodeId, payload: Payload) {
        let packet = Packet {
            from: self.machines[from].sender(),
            to,
            payload: Arc::new(payload),
        };
        let direction = (packet.from.node, to);
        if self.cut.contains(&direction) {
            return;
        }
        if self.slow.contains_key(&direction) {
            self.held.push(packet);
        } else {
            self.inbox.push_back(Item::Packet(packet));
        }
    }

    /// What was held in a direction arrives now, in order.
    pub(super) fn release_direction(&mut self, direction: (NodeId, NodeId)) {
        self.slow.remove(&direction);
        let (late, still): (Vec<Packet>, Vec<Packet>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|packet| (packet.from.node, packet.to) == direction);
        self.held = still;
        self.inbox.extend(late.into_iter().map(Item::Packet));
        self.release_errands(direction);
    }
}

//! The fingerprint of a state: everything that a later step can depend on, relative to now and to the newest committed
//! state, so that schedules which come to the same meet. What it forgets is said in [`holdfast_core::encoding`]; here it
//! also forgets numbers of heartbeats (their send times stand for them).

use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use holdfast_core::effect::FenceId;
use holdfast_core::encoding::{Encoder, Origin};
use holdfast_core::event::{AgentEvent, Event, FenceResult};
use holdfast_core::witness::Input;
use holdfast_core::witness::encoding::encode_record;
use holdfast_proto::ids::{Incarnation, NodeId};
use holdfast_proto::peer::{Beat, Sender};
use holdfast_proto::time::Time;

use super::machine::Word;
use super::network::{Packet, Payload};
use super::register::{Cargo, Errand};
use super::{Item, World};

impl World {
    /// Computes the fingerprint anew.
    pub fn take_print(&mut self) {
        let mut to = Encoder::new(self.origin());
        self.encode(&mut to);
        let mut hasher = DefaultHasher::new();
        for word in to.words() {
            hasher.write_u64(*word);
        }
        self.print = hasher.finish();
    }

    /// The fingerprint as it was taken last.
    #[must_use]
    pub fn print(&self) -> u64 {
        self.print
    }

    fn origin(&self) -> Origin {
        let newest = self.ghost.newest();
        let durables = self.nodes().filter_map(|(_, had)| had.durable());
        let rounds = durables.map(|durable| durable.promised.round);
        let disks = self.machines.iter().filter_map(|machine| machine.disk.as_ref());
        let rounds = rounds.chain(disks.map(|disk| disk.promised.round));
        let runs = self.machines.iter();
        let runs = runs.filter(|machine| !(machine.id.is_witness() && self.has_register()));
        Origin {
            version: newest.map_or(0, |state| state.version),
            round: rounds.max().unwrap_or_default(),
            epoch: newest.map_or(0, |state| state.next_epoch),
            write: self.register.as_ref().map_or(0, |record| record.head.write),
            runs: runs
                .map(|machine| (machine.id, machine.boot(), Incarnation(machine.runs)))
                .collect(),
        }
    }

    fn encode(&self, to: &mut Encoder) {
        for word in self.budget.words() {
            to.word(word);
        }
        to.flag(self.broken.is_some());
        to.flag(self.calm);
        for number in 0..self.machines.len() {
            self.encode_machine(number, to);
        }
        for (from, towards) in &self.cut {
            to.word(4 << 32 | u64::from(from.0) << 8 | u64::from(towards.0));
        }
        for ((from, towards), until) in &self.slow {
            to.word(5 << 32 | u64::from(from.0) << 8 | u64::from(towards.0));
            to.deadline(self.now, Some(*until));
        }
        to.word(self.held.len() as u64);
        for packet in &self.held {
            self.encode_packet(packet, to);
        }
        for ask in &self.asks {
            to.word((ask.by << 16 | ask.device << 8 | ask.step as usize) as u64);
            let waited_for = self.machines[ask.by].runs == ask.run && !ask.given_up;
            to.flag(waited_for);
            if waited_for {
                self.encode_command(ask.by, ask.id, to);
            }
            to.deadline(self.now, ask.acts_at);
            to.flag(ask.answer.is_some());
            if let Some(answer) = &ask.answer {
                self.encode_answer(ask.by, answer, to);
            }
        }
        if self.has_register() {
            encode_record(self.register.as_deref(), to);
            encode_record(self.spare.as_deref(), to);
            to.word(self.late_errands.len() as u64);
            for errand in &self.late_errands {
                self.encode_errand(errand, to);
            }
        }
        self.encode_shared(to);
        to.word(self.inbox.len() as u64);
        for item in &self.inbox {
            self.encode_item(item, to);
        }
        let oldest = self
            .nodes()
            .filter_map(|(_, had)| had.durable())
            .map(|durable| durable.committed.version);
        for state in self.ghost.since(oldest.min().unwrap_or_default()) {
            to.state(state);
        }
    }

    fn encode_machine(&self, number: usize, to: &mut Encoder) {
        let (now, machine) = (self.now, &self.machines[number]);
        to.flag(machine.powered);
        to.word(u64::from(machine.switched_off) << 1 | u64::from(machine.cut_from_storage));
        to.deadline(now, machine.had_starts_at);
        to.deadline(now, machine.paused_until);
        to.deadline(now, machine.hung_until);
        to.flag(machine.synced_marker);
        to.deadline(now, machine.disk_stalls_until);
        to.flag(machine.disk.is_some());
        if let Some(disk) = &machine.disk {
            to.ballot(disk.promised);
            to.ballot(disk.accepted_ballot);
            to.state(&disk.accepted);
            to.state(&disk.committed);
        }
        to.word(machine.writes.len() as u64);
        to.flag(machine.had.is_some());
        if let Some(had) = &machine.had {
            had.encode(machine.local(now), to);
        }
        if let Some(proxy) = &machine.proxy {
            proxy.encode(machine.local(now), to);
        }
        to.word(machine.backlog.len() as u64);
        for word in &machine.backlog {
            match word {
                Word::Core(event) => self.encode_event(number, event, to),
                Word::Proxy(Input::Answer(id, outcome)) => {
                    let cargo = Arc::new(Cargo::Answer(*id, outcome.clone()));
                    let (node, run) = (number, machine.runs);
                    self.encode_errand(&Errand { node, run, cargo }, to);
                }
                Word::Proxy(_) => to.word(9),
            }
        }
        for group in &machine.agentd.groups {
            to.word(group.run as u64);
            to.epoch(group.epoch);
            for right in [group.offered, group.permit, group.queued] {
                to.epoch(right.map_or(0, |(epoch, _)| epoch));
                to.deadline(now, right.map(|(_, until)| until));
            }
            to.flag(group.lapsed);
            to.deadline(now, group.ends_at);
            to.flag(group.stop_hangs);
        }
        to.deadline(now, machine.agentd.fires_at());
    }

    fn encode_item(&self, item: &Item, to: &mut Encoder) {
        match item {
            Item::Packet(packet) => self.encode_packet(packet, to),
            Item::Errand(errand) => {
                to.word(6 << 32);
                self.encode_errand(errand, to);
            }
            Item::Written {
                machine, run, record, ..
            } => {
                to.word(1 << 32 | *machine as u64);
                to.flag(self.machines[*machine].runs == *run);
                to.ballot(record.promised);
                to.ballot(record.accepted_ballot);
                to.version(record.accepted.version);
                to.version(record.committed.version);
            }
            Item::Own { machine, run, event } => {
                to.word(2 << 32 | *machine as u64);
                to.flag(self.machines[*machine].runs == *run);
                self.encode_event(*machine, event, to);
            }
        }
    }

    fn encode_packet(&self, packet: &Packet, to: &mut Encoder) {
        to.word(3 << 32 | u64::from(packet.to.0));
        self.encode_payload(packet.from, &packet.payload, to);
    }

    fn encode_payload(&self, from: Sender, payload: &Payload, to: &mut Encoder) {
        match payload {
            Payload::Message(message) => {
                self.encode_sender(from, to);
                to.message(message);
            }
            Payload::Beat(beat) => self.encode_beat(from, beat, to),
        }
    }

    fn encode_sender(&self, from: Sender, to: &mut Encoder) {
        to.word(from.node.0.into());
        to.boot(from.node, Some(from.boot));
        to.incarnation(from.node, from.incarnation);
    }

    fn encode_beat(&self, from: Sender, beat: &Beat, to: &mut Encoder) {
        self.encode_sender(from, to);
        match beat {
            Beat::Heartbeat(beat) => {
                to.word(1);
                self.sent(from.node, beat.sent_at, to);
                to.ballot(beat.ballot);
                to.version(beat.committed);
                for flag in [beat.leading, beat.synced, beat.blank, beat.agent_ready] {
                    to.flag(flag);
                }
            }
            Beat::Ack(ack) => {
                to.word(2);
                // Its send time is on the clock of whoever gets it; any machine's clock serves for a distance.
                to.word(ack.sent_at.0.wrapping_sub(self.now.0));
                to.ballot(ack.ballot);
                to.word(ack.lease_left.as_micros() as u64);
                to.version(ack.granted);
                to.version(ack.committed);
                ack.withheld.iter().for_each(|epoch| to.epoch(*epoch));
                for flag in [ack.backs, ack.withhold_all, ack.blank] {
                    to.flag(flag);
                }
            }
        }
    }

    fn sent(&self, node: NodeId, at: Time, to: &mut Encoder) {
        let machine = &self.machines[self.number_of(node)];
        to.word(machine.local(self.now).0.wrapping_sub(at.0));
    }

    fn encode_command(&self, number: usize, id: FenceId, to: &mut Encoder) {
        let had = self.machines[number].had.as_ref();
        to.word(had.map_or(0, |had| had.fence_commands_since(id)));
    }

    fn encode_answer(&self, by: usize, answer: &FenceResult, to: &mut Encoder) {
        to.flag(answer.off_read_back);
        // An order has none.
        let age = self.machines[by].local(self.now).0.wrapping_sub(answer.read_at.0);
        to.word(if answer.read_at == Time::ZERO { 0 } else { age });
    }

    fn encode_event(&self, number: usize, event: &Event, to: &mut Encoder) {
        match event {
            Event::Message { from, message } => {
                self.encode_sender(*from, to);
                to.message(message);
            }
            Event::Beat { from, beat } => self.encode_beat(*from, beat, to),
            Event::Agent(AgentEvent::Group(seen)) => {
                to.word(4);
                to.epoch(seen.epoch);
                to.word(seen.run as u64);
            }
            Event::Fenced { id, result } => {
                to.word(5);
                // Which of the answers that `had` waits for this is.
                self.encode_command(number, *id, to);
                self.encode_answer(number, result, to);
            }
            Event::Persisted(_) => to.word(6),
            Event::Operator { .. } => to.word(7),
            _ => to.word(8),
        }
    }
}

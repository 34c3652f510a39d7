//! Beside the acceptor that a `had` is: whatever the register grants, that one grants as well.

use crate::durable::Durable;
use crate::effect::Effect;
use crate::node::{Node, Start};

use super::*;

/// The acceptor as a `had` of its own.
struct Had {
    node: Node,
    seq: u64,
}

impl Had {
    fn new(now: Time, record: &Record) -> Had {
        let States {
            accepted_ballot,
            accepted,
            committed,
        } = record.states.clone().expect("filled");
        let start = Start {
            identity: Identity {
                node: NodeId::WITNESS,
                boot: BootId(5),
                incarnation: Incarnation(1),
            },
            config: committed.config.clone(),
            durable: Some(Durable {
                promised: record.head.promised,
                accepted_ballot,
                accepted,
                committed,
            }),
            synced_this_boot: false,
            booted_at: Time::ZERO,
        };
        Had {
            node: Node::new(now, start),
            seq: 0,
        }
    }

    fn feed(&mut self, now: Time, from: u8, input: &Input) -> Vec<Effect> {
        let from = Sender {
            node: NodeId(from),
            boot: BootId(u128::from(from)),
            incarnation: Incarnation(1),
        };
        let event = match input {
            Input::Beat(Beat::Heartbeat(beat)) => {
                self.seq += 1;
                let beat = Beat::Heartbeat(Heartbeat {
                    seq: self.seq,
                    ..*beat
                });
                Event::Beat { from, beat }
            }
            Input::Message(message) => Event::Message {
                from,
                message: message.clone(),
            },
            _ => unreachable!("only what a core sends"),
        };
        self.node.handle(now, event);
        let mut told = Vec::new();
        while let Some(effect) = self.node.poll_effect() {
            if let Effect::Persist { id, .. } = effect {
                self.node.handle(now, Event::Persisted(id));
            } else {
                told.push(effect);
            }
        }
        told
    }
}

/// What was granted to whom.
fn grants(event: &Event) -> bool {
    match event {
        Event::Beat {
            beat: Beat::Ack(ack), ..
        } => ack.backs,
        Event::Message { message, .. } => matches!(
            message,
            Message::Promise { .. }
                | Message::Accepted { .. }
                | Message::PreVoteReply {
                    verdict: Verdict::Granted,
                    ..
                }
        ),
        _ => false,
    }
}

fn said(effects: Vec<Effect>) -> Vec<Event> {
    let from = Sender {
        node: NodeId::WITNESS,
        boot: BootId(77),
        incarnation: Incarnation(2),
    };
    let event = |effect| match effect {
        Effect::Send { message, .. } => Some(Event::Message { from, message }),
        Effect::SendBeat { beat, .. } => Some(Event::Beat { from, beat }),
        _ => None,
    };
    effects.into_iter().filter_map(event).collect()
}

/// Random questions of two nodes, to a register that works at once. What is granted is asked of a `had` as well, which has to
/// say exactly the same; what is not granted is not asked there. Then the records have to be the same.
#[test]
fn whatever_the_register_grants_a_had_grants_in_the_same_words() {
    let mut granted = 0;
    for seed in 1..200u64 {
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut below = |end: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % end
        };
        let mut pair = Pair::filled();
        let mut had = Had::new(pair.now, pair.register.as_ref().expect("filled"));
        // A `had` that has just started promises nothing for a lease; the register has no such time.
        pair.pass(LEASE_MS);
        for _ in 0..200 {
            pair.pass(below(300));
            let node = 1 + below(2) as u8;
            let head = pair.register.as_ref().expect("filled").head;
            let round = head.promised.round + below(3);
            let own = ballot(round, node);
            let version = 5 + below(3);
            let input = match below(6) {
                0 => Input::Message(Message::PreVote { ballot: own }),
                1 => Input::Message(Message::Prepare {
                    ballot: own,
                    transfer: (below(3) == 0).then_some(head.backing),
                }),
                2 => Input::Message(Message::Accept {
                    ballot: own,
                    state: state(version, STATES),
                }),
                3 => Input::Message(Message::Commit {
                    ballot: own,
                    state: state(version, STATES),
                }),
                _ => {
                    let leads = head.promised.leader() == NodeId(node);
                    pair.heartbeat(if leads { head.promised } else { own }, true)
                }
            };
            pair.give(node, input.clone());
            let told = pair.settle(node);
            let commits = matches!(&input, Input::Message(Message::Commit { .. }));
            if commits || told.iter().any(grants) {
                granted += u64::from(!commits);
                let mut theirs = said(had.feed(pair.now, node, &input));
                if let Input::Beat(_) = input {
                    // It backs a ballot that is on its disk; the register writes both at once.
                    theirs.extend(said(had.feed(pair.now, node, &input)));
                }
                for event in told.iter().filter(|event| grants(event)) {
                    assert!(
                        theirs.iter().any(|other| same(event, other)),
                        "{event:?}\nbut a had says\n{theirs:?}"
                    );
                }
            }
            let durable = had.node.durable().expect("state");
            let record = pair.register.as_ref().expect("filled");
            let states = record.states.as_ref().expect("filled");
            assert_eq!(durable.promised, record.head.promised);
            assert_eq!(durable.accepted_ballot, states.accepted_ballot);
            assert_eq!(durable.accepted, states.accepted);
            assert_eq!(durable.committed, states.committed);
        }
    }
    assert!(granted > 5_000, "only {granted} grants");
}

/// The same but for the number of the heartbeat.
fn same(ours: &Event, theirs: &Event) -> bool {
    match (ours, theirs) {
        (
            Event::Beat {
                beat: Beat::Ack(a), ..
            },
            Event::Beat {
                beat: Beat::Ack(b), ..
            },
        ) => HeartbeatAck { seq: b.seq, ..*a } == *b,
        (Event::Message { message: a, .. }, Event::Message { message: b, .. }) => a == b,
        _ => false,
    }
}

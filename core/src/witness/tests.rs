//! Proxies of two nodes on one register that works at once, so that each test says when what is carried out.

mod equivalence;
mod filling;
mod leases;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use holdfast_proto::config::{Config, parse};
use holdfast_proto::ids::{Ballot, VoterSet};
use holdfast_proto::peer::{HeartbeatAck, Verdict};
use holdfast_proto::state::{ClusterState, genesis};

use super::*;

const LEASE_MS: u64 = 1000;
const STATES: VoterSet = VoterSet(0b111);

fn state(version: u64, voters: VoterSet) -> Arc<ClusterState> {
    let text = "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n[[node]]\nname = \"n1\"\nlinks = [\"10.0.0.1\"]\n\
                [[node]]\nname = \"n2\"\nlinks = [\"10.0.0.2\"]\n[witness]\netcd = [\"10.0.0.3:2379\"]\n";
    static CONFIG: OnceLock<Arc<Config>> = OnceLock::new();
    let config = CONFIG.get_or_init(|| Arc::new(parse(text, "t.toml").expect("valid")));
    let mut state = genesis(Arc::clone(config), NodeId(1));
    (state.version, state.voters) = (version, voters);
    Arc::new(state)
}

fn ballot(round: u64, node: u8) -> Ballot {
    Ballot { round, node }
}

/// What the register does with a call.
fn carry_out(register: &mut Option<Record>, op: &Op) -> Outcome {
    match op {
        Op::Swap { expect, write } if *expect == register.as_ref().map(|record| record.head) => {
            *register = Some(Record::clone(write));
            Outcome::Swapped
        }
        _ => Outcome::Content(register.clone()),
    }
}

/// Two nodes, and what they share.
struct Pair {
    now: Time,
    register: Option<Record>,
    proxies: [Proxy; 2],
    trusted: Trusted,
    seq: u64,
}

impl Pair {
    /// The witness votes, and nobody was backed.
    fn filled() -> Pair {
        let mut pair = Pair::empty();
        let (id, committed) = (BootId(77), state(5, STATES));
        let by = Writer {
            node: NodeId(1),
            run: Incarnation(1),
            attempt: 1,
        };
        let mut record = Record::claim(by, id);
        record.states = Some(States {
            accepted_ballot: ballot(1, 1),
            accepted: committed.clone(),
            committed,
        });
        (record.head.register, record.head.write, record.head.body) = (id, 9, 9);
        record.head.promised = ballot(1, 1);
        pair.register = Some(record);
        pair.trusted = Trusted::Only(id);
        pair
    }

    fn empty() -> Pair {
        let proxy = |node: u8| {
            let identity = Identity {
                node: NodeId(node),
                boot: BootId(u128::from(node) << 96),
                incarnation: Incarnation(1),
            };
            Proxy::new(identity, state(1, STATES).config.timers())
        };
        Pair {
            now: Time(1_000_000),
            register: None,
            proxies: [proxy(1), proxy(2)],
            trusted: Trusted::Any,
            seq: 0,
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn proxy(&mut self, node: u8) -> &mut Proxy {
        &mut self.proxies[usize::from(node) - 1]
    }

    /// Gives `input` to a node's proxy; the calls that follow wait.
    fn give(&mut self, node: u8, input: Input) {
        let (now, trusted) = (self.now, self.trusted);
        self.proxy(node).handle(now, trusted, input);
    }

    fn next_call(&mut self, node: u8) -> Call {
        self.proxy(node).poll_call().expect("a call")
    }

    fn answer(&mut self, node: u8, id: CallId, outcome: Outcome) {
        self.give(node, Input::Answer(id, outcome));
    }

    /// Carries out everything that is asked, and gives what the core is told.
    fn settle(&mut self, node: u8) -> Vec<Event> {
        while let Some(call) = self.proxy(node).poll_call() {
            let outcome = carry_out(&mut self.register, &call.op);
            self.answer(node, call.id, outcome);
        }
        std::iter::from_fn(|| self.proxy(node).poll_answer()).collect()
    }

    fn heartbeat(&mut self, ballot: Ballot, leading: bool) -> Input {
        self.seq += 1;
        Input::Beat(Beat::Heartbeat(Heartbeat {
            seq: self.seq,
            sent_at: self.now,
            lateness: Duration::ZERO,
            ballot,
            leading,
            committed: 5,
            synced: true,
            blank: false,
            survivor: NodeId(1),
            watchdog: None,
            agent_ready: true,
        }))
    }

    /// The answer to a heartbeat, if there is one.
    fn beat(&mut self, node: u8, ballot: Ballot, leading: bool) -> Option<HeartbeatAck> {
        let beat = self.heartbeat(ballot, leading);
        self.give(node, beat);
        self.settle(node).into_iter().find_map(|event| match event {
            Event::Beat {
                beat: Beat::Ack(ack), ..
            } => Some(ack),
            _ => None,
        })
    }

    fn backs(&mut self, node: u8, ballot: Ballot) -> bool {
        self.beat(node, ballot, true).is_some_and(|ack| ack.backs)
    }

    /// What a candidate is told.
    fn prepare(&mut self, node: u8, ballot: Ballot, transfer: Option<Ballot>) -> Message {
        self.give(node, Input::Message(Message::Prepare { ballot, transfer }));
        message(self.settle(node)).expect("an answer")
    }
}

fn message(events: Vec<Event>) -> Option<Message> {
    events.into_iter().find_map(|event| match event {
        Event::Message { message, .. } => Some(message),
        _ => None,
    })
}

fn is_promise(message: &Message) -> bool {
    matches!(message, Message::Promise { .. })
}

fn is_bound(message: &Message) -> bool {
    matches!(
        message,
        Message::Refuse {
            verdict: Verdict::Bound(_),
            ..
        }
    )
}

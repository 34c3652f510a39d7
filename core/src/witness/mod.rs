//! The witness whose vote stands in a register that somebody else keeps: an existing etcd cluster.
//!
//! Each data node has a [`Proxy`], which answers its own core and nobody else as the witness. What the witness knows is one
//! record ([`record`]) in the register, and the register can do one thing: replace the record if it is still the one that was
//! seen ([`Op::Swap`]). So the records form one chain, and the rules ([`acceptor`]) are those of any acceptor.
//!
//! Nothing is asked of the register's clock. A leader is backed by a write that succeeded, and counts from when it sent the
//! heartbeat, which is before that write. Another candidate is promised something only after this node has seen the same
//! backing for as long as a promise binds, counted from the end of the call that first showed it, which is after that write;
//! and the promise is a swap of that very record, so that a renewal in between makes it fail.
//!
//! An empty register is filled in two steps. A leader that hears that the witness is blank sends its state; the first such
//! state only makes the proxy write a claim. The next one fills the register, if that claim still stands. So a register that
//! was emptied again is never filled from something that was said before it was.

mod acceptor;
pub mod encoding;
pub mod record;
mod watch;

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_proto::config::Timers as Spans;
use holdfast_proto::ids::{BootId, Incarnation, NodeId};
use holdfast_proto::peer::{Beat, Heartbeat, Message, Sender};
use holdfast_proto::time::Time;

use crate::event::{Event, Identity};
use acceptor::{Acceptor, Reply, Requests};
use record::{Head, Record, States, Writer};
use watch::Watch;

/// Which register may answer as the witness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// Any: the witness does not vote.
    Any,
    /// The one that was voted in.
    Only(BootId),
    /// None: what is known contradicts itself, or another kind of witness was voted in.
    Nobody,
}

/// Number of a call. Grows by one with each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What is asked of the register. At most one call is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Number that the answer carries.
    pub id: CallId,
    /// What is asked.
    pub op: Op,
}

/// What can be asked of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// What does it hold? What was there when the call began, or something later.
    Read,
    /// Hold `write` if the head is still `expect`, with nothing in between; otherwise say what is there.
    Swap {
        /// The head that was seen; none for an empty register.
        expect: Option<Head>,
        /// The new record.
        write: Box<Record>,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The swap was carried out.
    Swapped,
    /// This is what it holds; a swap was not carried out.
    Content(Option<Record>),
    /// No answer. A swap may have been carried out, or may yet be.
    Failed(String),
}

/// What can happen to a proxy.
#[derive(Clone, Debug)]
pub enum Input {
    /// The core sends a heartbeat to the witness.
    Beat(Beat),
    /// The core sends a message to the witness.
    Message(Message),
    /// A call ended.
    Answer(CallId, Outcome),
    /// The deadline of [`Proxy::poll_timeout`] has passed.
    Timeout,
}

/// The witness, as one data node sees it.
#[derive(Clone, Debug)]
pub struct Proxy {
    me: Identity,
    now: Time,
    spans: Spans,
    trusted: Trusted,
    /// What the register held when it last answered.
    known: Option<Option<Record>>,
    /// The newest head that was seen here.
    newest: Option<Head>,
    watch: Watch,
    waiting: Requests,
    under_way: Option<UnderWay>,
    /// A write without an answer, and what is said if it turns out to be done.
    unsure: Option<Written>,
    /// A register that went back to an earlier record.
    rewound: Option<BootId>,
    /// As whom the witness was last presented to the core: its identity, and whether it has state.
    face: (BootId, bool),
    run: u64,
    calls: u64,
    /// When the write began that backed this node last.
    backed_at: Option<Time>,
    trouble: String,
    answers: VecDeque<Event>,
    asked: VecDeque<Call>,
}

/// A write, and what it allows to say.
#[derive(Clone, Debug)]
struct Written {
    record: Record,
    replies: Vec<Reply>,
    /// The register was one whose word counts.
    sound: bool,
    backs: bool,
}

#[derive(Clone, Debug)]
struct UnderWay {
    id: CallId,
    until: Time,
    requests: Requests,
    write: Option<Written>,
}

/// The identity of a register that is empty and was never trusted.
const EMPTY: BootId = BootId(1);
/// A call is given up after a lease, and not before this.
const PATIENCE_LEAST: Duration = Duration::from_secs(1);

impl Proxy {
    /// The proxy of a node that has just started. `spans` count until the register's own are known.
    #[must_use]
    pub fn new(me: Identity, spans: Spans) -> Proxy {
        Proxy {
            me,
            now: Time::ZERO,
            spans,
            trusted: Trusted::Nobody,
            known: None,
            newest: None,
            watch: Watch::default(),
            waiting: Requests::default(),
            under_way: None,
            unsure: None,
            rewound: None,
            face: (EMPTY, false),
            run: 1,
            calls: 0,
            backed_at: None,
            trouble: String::new(),
            answers: VecDeque::new(),
            asked: VecDeque::new(),
        }
    }

    /// Takes one input in. `trusted` is what the core says now ([`crate::node::Node::trusted_register`]).
    pub fn handle(&mut self, now: Time, trusted: Trusted, input: Input) {
        self.now = now;
        self.trusted = trusted;
        match input {
            Input::Beat(Beat::Heartbeat(beat)) => {
                if !self.is_backed_enough(&beat) {
                    self.waiting.beat = Some(beat);
                }
            }
            Input::Beat(Beat::Ack(_)) => {}
            Input::Message(message) => self.wait_for(message),
            Input::Answer(id, outcome) => self.on_answer(id, outcome),
            Input::Timeout => {}
        }
        let overdue = self.under_way.as_ref().filter(|call| call.until <= now);
        if let Some(id) = overdue.map(|call| call.id) {
            self.on_answer(id, Outcome::Failed("no answer in time".into()));
        }
        self.go_on();
    }

    /// Next answer for the core.
    pub fn poll_answer(&mut self) -> Option<Event> {
        self.answers.pop_front()
    }

    /// Next call to the register.
    pub fn poll_call(&mut self) -> Option<Call> {
        self.asked.pop_front()
    }

    /// When `Input::Timeout` is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        self.under_way.as_ref().map(|call| call.until)
    }

    /// Why the last call failed; empty if it did not.
    #[must_use]
    pub fn trouble(&self) -> &str {
        &self.trouble
    }

    /// A write keeps other disks busy, so a leader is backed anew when a quarter of its lease is over, and not with each
    /// heartbeat.
    fn is_backed_enough(&self, beat: &Heartbeat) -> bool {
        let backed = self
            .sound_record()
            .is_some_and(|record| record.head.backing == beat.ballot && record.head.promised == beat.ballot);
        let due = |at: Time| at + (self.spans.lease / 4).saturating_sub(self.spans.heartbeat / 2);
        beat.leading && backed && self.backed_at.is_some_and(|at| self.now < due(at))
    }

    fn wait_for(&mut self, message: Message) {
        match message {
            Message::PreVote { ballot } => self.waiting.pre_vote = Some(ballot),
            Message::Prepare { ballot, transfer } => self.waiting.prepare = Some((ballot, transfer)),
            Message::Accept { ballot, state } => self.waiting.accept = Some((ballot, state)),
            Message::Commit { ballot, state } => {
                self.waiting.commit = Some((ballot, state));
                self.waiting.claim = self.own_claim();
            }
            _ => {}
        }
    }

    /// The claim of this run that stands in the register.
    fn own_claim(&self) -> Option<BootId> {
        let record = self.known.as_ref()?.as_ref()?;
        let by = record.head.by;
        let own = record.states.is_none() && (by.node, by.run) == (self.me.node, self.me.incarnation);
        own.then_some(record.head.register)
    }

    /// The record, if it is one whose word counts.
    fn sound_record(&self) -> Option<&Record> {
        let record = self.known.as_ref()?.as_ref()?;
        let register = record.head.register;
        let trusted = match self.trusted {
            Trusted::Any => true,
            Trusted::Only(only) => only == register,
            Trusted::Nobody => false,
        };
        (record.states.is_some() && trusted && self.rewound != Some(register)).then_some(record)
    }

    fn go_on(&mut self) {
        if self.under_way.is_none() && !self.waiting.is_empty() {
            let requests = std::mem::take(&mut self.waiting);
            if self.known.is_some() {
                self.proceed(requests, false);
            } else {
                self.ask(requests, None);
            }
        }
    }

    /// Answers what was asked by what is known: with a write, at once if it was looked up for these requests, or else after a
    /// read.
    fn proceed(&mut self, requests: Requests, looked_up: bool) {
        let (write, replies) = self.look(&requests);
        match write {
            Some(written) => self.ask(requests, Some(written)),
            None if looked_up => self.deliver(replies, self.sound_record().is_some()),
            None => self.ask(requests, None),
        }
    }

    fn look(&self, requests: &Requests) -> (Option<Written>, Vec<Reply>) {
        let by = Writer {
            node: self.me.node,
            run: self.me.incarnation,
            attempt: self.calls + 1,
        };
        let sound = self.sound_record();
        let found = sound.cloned().unwrap_or(Record::claim(by, self.me.boot));
        let mut acceptor = Acceptor {
            serves: self.me.node,
            now: self.now,
            watch: &self.watch,
            record: found,
            changed: false,
            states_changed: false,
            backs: false,
            replies: Vec::new(),
        };
        acceptor.answer(requests);
        let (replies, backs) = (acceptor.replies, acceptor.backs);
        let mut record = if sound.is_some() {
            acceptor.changed.then_some(acceptor.record)
        } else {
            self.fill(requests, by)
        };
        let fills = sound.is_none();
        if let Some(record) = &mut record {
            let head = &mut record.head;
            (head.write, head.by) = (head.write + 1, by);
            if backs {
                head.backed = head.write;
            }
            if acceptor.states_changed || fills && record.states.is_some() {
                (head.body, head.body_by) = (head.write, by);
            }
        }
        let written = record.map(|record| Written {
            record,
            replies: replies.clone(),
            sound: !fills,
            backs,
        });
        (written, replies)
    }

    /// What is written to a register whose word does not count: a claim, or its first state once the claim stands.
    fn fill(&self, requests: &Requests, by: Writer) -> Option<Record> {
        let found = self.known.as_ref()?.as_ref();
        let has_states = found.is_some_and(|record| record.states.is_some());
        let rewound = found.is_some_and(|record| self.rewound == Some(record.head.register));
        if has_states {
            // Whoever saw a newer record says so by a claim: then nobody takes this one for the acceptor that votes.
            return rewound.then(|| Record::claim(by, self.me.boot));
        }
        let (ballot, state) = requests.commit.as_ref()?;
        if state.voters.contains(NodeId::WITNESS) {
            return None;
        }
        let claim = found.filter(|record| requests.claim == Some(record.head.register));
        let Some(mut record) = claim.cloned() else {
            return Some(Record::claim(by, self.me.boot));
        };
        record.head.promised = *ballot;
        record.states = Some(States {
            accepted_ballot: *ballot,
            accepted: state.clone(),
            committed: state.clone(),
        });
        Some(record)
    }

    fn ask(&mut self, requests: Requests, write: Option<Written>) {
        self.calls += 1;
        let id = CallId(self.calls);
        let op = match &write {
            None => Op::Read,
            Some(written) => Op::Swap {
                expect: self
                    .known
                    .as_ref()
                    .and_then(Option::as_ref)
                    .map(|record| record.head),
                write: Box::new(written.record.clone()),
            },
        };
        if write.as_ref().is_some_and(|written| written.backs) {
            self.backed_at = Some(self.now);
        }
        self.under_way = Some(UnderWay {
            id,
            until: self.now + self.spans.lease.max(PATIENCE_LEAST),
            requests,
            write,
        });
        self.asked.push_back(Call { id, op });
    }

    fn on_answer(&mut self, id: CallId, outcome: Outcome) {
        let Some(call) = self.under_way.take_if(|call| call.id == id) else {
            return;
        };
        match outcome {
            Outcome::Swapped => {
                self.trouble.clear();
                self.unsure = None;
                if let Some(written) = call.write {
                    self.learn(Some(written.record));
                    self.deliver(written.replies, written.sound);
                }
            }
            Outcome::Content(found) => {
                self.trouble.clear();
                if let Some(written) = call.write {
                    self.doubt(written);
                }
                self.learn(found);
                self.tell_if_done();
                let requests = std::mem::take(&mut self.waiting).or(call.requests);
                self.proceed(requests, true);
            }
            Outcome::Failed(why) => {
                self.trouble = why;
                if let Some(written) = call.write {
                    self.doubt(written);
                }
            }
        }
    }

    /// A write that may be done or not.
    fn doubt(&mut self, written: Written) {
        if written.backs {
            self.backed_at = None;
        }
        self.unsure = Some(written);
    }

    /// The register holds what was last written without an answer: so that was done, and nothing came after it.
    fn tell_if_done(&mut self) {
        let head = self
            .known
            .as_ref()
            .and_then(Option::as_ref)
            .map(|record| record.head);
        let done = |written: &mut Written| Some(written.record.head) == head;
        if let Some(written) = self.unsure.take_if(done) {
            self.deliver(written.replies, written.sound);
        }
    }

    /// Takes in what the register holds now, or held after this call began.
    fn learn(&mut self, found: Option<Record>) {
        if let Some(record) = &found {
            let head = &record.head;
            let older = |before: &Head| {
                let same_write = head.write == before.write && head != before;
                head.register == before.register && (head.write < before.write || same_write)
            };
            if self.newest.as_ref().is_some_and(older) {
                self.rewound = Some(head.register);
            } else {
                self.newest = Some(*head);
            }
            self.watch.see(head, self.now);
            if let Some(states) = &record.states {
                self.spans = states.owed();
            }
        }
        self.known = Some(found);
    }

    /// Answers the core, unless what the answers rest on is not trusted any more.
    fn deliver(&mut self, replies: Vec<Reply>, sound: bool) {
        let record = self.sound_record();
        if record.is_some() != sound {
            return;
        }
        let face = match (record, self.trusted) {
            (Some(record), _) => (record.head.register, true),
            (None, Trusted::Only(only)) => (only, false),
            (None, _) => (EMPTY, false),
        };
        if face != self.face {
            // It is another witness for the core, or the same without its memory.
            self.face = face;
            self.run += 1;
        }
        let from = Sender {
            node: NodeId::WITNESS,
            boot: face.0,
            incarnation: Incarnation(self.run),
        };
        for reply in replies {
            self.answers.push_back(match reply {
                Reply::Ack(ack) => Event::Beat {
                    from,
                    beat: Beat::Ack(ack),
                },
                Reply::Message(message) => Event::Message { from, message },
            });
        }
    }
}

#[cfg(test)]
mod tests;

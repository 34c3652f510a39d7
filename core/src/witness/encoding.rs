//! A proxy, and what the register holds, as numbers that the model checker compares states by ([`crate::encoding`]).

use std::time::Duration;

use holdfast_proto::peer::HeartbeatAck;
use holdfast_proto::time::Time;

use super::acceptor::{Reply, Requests};
use super::record::{Head, Record, States};
use super::watch::Watch;
use super::{CallId, Proxy, UnderWay, Written};
use crate::encoding::Encoder;

/// What is longer ago counts no more: longer than any lease of the clusters that are encoded.
const MEMORY: Duration = Duration::from_secs(5);

impl Proxy {
    /// Everything that a later answer or call can depend on.
    pub fn encode(&self, now: Time, to: &mut Encoder) {
        let Proxy {
            me: _,
            now: _,
            spans,
            // Said anew with each input.
            trusted: _,
            known,
            newest,
            watch,
            waiting,
            under_way,
            unsure,
            rewound,
            face,
            run,
            calls: _,
            backed_at,
            trouble: _,
            answers,
            asked,
        } = self;
        to.word(spans.lease.as_millis() as u64);
        to.flag(known.is_some());
        encode_record(known.as_ref().and_then(Option::as_ref), to);
        encode_head(newest.as_ref(), to);
        encode_watch(now, watch, to);
        encode_requests(now, waiting, to);
        to.flag(under_way.is_some());
        if let Some(UnderWay {
            id: _,
            until,
            requests,
            write,
        }) = under_way
        {
            to.deadline(now, Some(*until));
            encode_requests(now, requests, to);
            encode_written(now, write.as_ref(), to);
        }
        encode_written(now, unsure.as_ref(), to);
        to.register(*rewound);
        to.register(Some(face.0));
        to.flag(face.1);
        to.word(*run);
        to.instant(now, *backed_at, MEMORY);
        to.word((answers.len() + asked.len()) as u64);
    }

    /// True for the call that was not given up. For encodings of calls in flight.
    #[must_use]
    pub fn waits_for(&self, id: CallId) -> bool {
        self.under_way.as_ref().is_some_and(|call| call.id == id)
    }
}

/// What the register holds.
pub fn encode_record(record: Option<&Record>, to: &mut Encoder) {
    encode_head(record.map(|record| &record.head), to);
    let states = record.and_then(|record| record.states.as_ref());
    to.flag(states.is_some());
    if let Some(States {
        accepted_ballot,
        accepted,
        committed,
    }) = states
    {
        to.ballot(*accepted_ballot);
        to.state(accepted);
        to.state(committed);
    }
}

fn encode_head(head: Option<&Head>, to: &mut Encoder) {
    to.flag(head.is_some());
    let Some(head) = head else { return };
    let Head {
        register,
        write,
        by,
        promised,
        backing,
        backed,
        // Whoever keeps the record looks it up by these; here it is in one piece.
        body: _,
        body_by: _,
    } = head;
    to.register(Some(*register));
    to.write(*write);
    to.writer((*register, *write), (by.node, by.run.0, by.attempt));
    to.ballot(*promised);
    to.ballot(*backing);
    to.write(*backed);
}

fn encode_watch(now: Time, watch: &Watch, to: &mut Encoder) {
    let Watch(seen) = watch;
    to.flag(seen.is_some());
    if let Some((register, backing, backed, since)) = seen {
        to.register(Some(*register));
        to.ballot(*backing);
        to.write(*backed);
        to.instant(now, Some(*since), MEMORY);
    }
}

fn encode_requests(now: Time, requests: &Requests, to: &mut Encoder) {
    let Requests {
        commit,
        claim,
        pre_vote,
        prepare,
        accept,
        beat,
    } = requests;
    for stated in [commit, accept] {
        to.flag(stated.is_some());
        if let Some((ballot, state)) = stated {
            to.ballot(*ballot);
            to.state(state);
        }
    }
    to.register(*claim);
    to.ballot(pre_vote.unwrap_or_default());
    let (ballot, transfer) = prepare.unwrap_or_default();
    to.ballot(ballot);
    to.ballot(transfer.unwrap_or_default());
    to.flag(beat.is_some());
    if let Some(beat) = beat {
        to.instant(now, Some(beat.sent_at), MEMORY);
        to.ballot(beat.ballot);
        to.version(beat.committed);
        for flag in [beat.leading, beat.blank] {
            to.flag(flag);
        }
    }
}

fn encode_written(now: Time, written: Option<&Written>, to: &mut Encoder) {
    to.flag(written.is_some());
    let Some(Written {
        record,
        replies,
        sound,
        backs,
    }) = written
    else {
        return;
    };
    encode_record(Some(record), to);
    to.flag(*sound);
    to.flag(*backs);
    for reply in replies {
        match reply {
            Reply::Message(message) => to.message(message),
            Reply::Ack(HeartbeatAck {
                sent_at,
                ballot,
                backs,
                committed,
                blank,
                ..
            }) => {
                to.instant(now, Some(*sent_at), MEMORY);
                to.ballot(*ballot);
                to.version(*committed);
                to.flag(*backs);
                to.flag(*blank);
            }
        }
    }
}

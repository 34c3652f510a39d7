//! The large part of a record: the states, in the layout of a state file. It changes seldom, and is written and read only then.

use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::witness::record::{Head, Record, States};
use holdfast_proto::ids::Ballot;

use crate::store::format;

/// The body that was read or written last, and its head.
#[derive(Debug, Default)]
pub(super) struct KnownBody(Option<(Head, States)>);

impl KnownBody {
    /// The record with this head, if its body is known or there is none.
    pub(super) fn record(&self, head: Head) -> Option<Record> {
        if head.body == 0 {
            return Some(Record { head, states: None });
        }
        let name = |head: &Head| (head.register, head.body, head.body_by);
        let (_, states) = self.0.as_ref().filter(|(known, _)| name(known) == name(&head))?;
        let states = Some(states.clone());
        Some(Record { head, states })
    }

    /// The record with this head and this body, which is known from now on.
    ///
    /// # Errors
    /// When it is damaged, or belongs to another head.
    pub(super) fn read(&mut self, head: Head, body: &[u8]) -> Result<Record, String> {
        let header = format::header(body)?;
        let durable = format::record(header, body)?;
        if header.sequence != head.body {
            return Err("head and body do not belong together".into());
        }
        let states = States {
            accepted_ballot: durable.accepted_ballot,
            accepted: durable.accepted,
            committed: durable.committed,
        };
        self.keep(head, &states);
        Ok(Record {
            head,
            states: Some(states),
        })
    }

    /// These were written with that head.
    pub(super) fn keep(&mut self, head: Head, states: &States) {
        self.0 = Some((head, states.clone()));
    }
}

/// `states` as they are kept. What is promised stands in the head; a place that stores a body once for equal bytes gives
/// zero.
pub(super) fn write(head: &Head, states: &States, promised: Ballot) -> Vec<u8> {
    let durable = Durable {
        promised,
        accepted_ballot: states.accepted_ballot,
        accepted: Arc::clone(&states.accepted),
        committed: Arc::clone(&states.committed),
    };
    format::encode(head.body, &durable)
}

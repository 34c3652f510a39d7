//! The witness that is kept on shared disks: had-agentd does the work, this says it in the words of its API. A record is the same
//! head line as in etcd, and the states in the layout of a state file.

use std::time::Duration;

use holdfast_core::witness::record::Record;
use holdfast_core::witness::{Call, CallId, Op, Outcome};
use holdfast_proto::agent::{RegisterAnswer, RegisterCall};
use holdfast_proto::ids::Ballot;

use super::body::{self, KnownBody};
use super::{Answer, Picture, text};

/// What is known of the register on the disks.
#[derive(Debug)]
pub struct Disks {
    /// Added to the numbers of calls: had-agentd may still answer one of an earlier run of `had`.
    first_id: u64,
    body: KnownBody,
}

impl Disks {
    /// `started` tells this run of `had` from the runs before it.
    #[must_use]
    pub fn new(started: u64) -> Disks {
        Disks {
            first_id: started,
            body: KnownBody::default(),
        }
    }

    /// `call`, for had-agentd.
    #[must_use]
    pub fn request(&self, call: &Call, patience: Duration) -> RegisterCall {
        let mut request = RegisterCall {
            id: self.first_id.wrapping_add(call.id.0),
            patience_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX),
            ..RegisterCall::default()
        };
        if let Op::Swap { expect, write } = &call.op {
            request.swap = true;
            request.expect = expect.as_ref().map(text::write).unwrap_or_default();
            request.head = text::write(&write.head);
            request.body = write
                .states
                .as_ref()
                // The same bytes as long as no state changes.
                .map(|states| body::write(&write.head, states, Ballot::ZERO))
                .unwrap_or_default();
        }
        request
    }

    /// What had-agentd answered.
    pub fn answer(&mut self, answer: RegisterAnswer, place: &str) -> Answer {
        let picture = Picture {
            endpoint: place.into(),
            trouble: answer.error.clone(),
            took_us: answer.took_us,
        };
        let id = CallId(answer.id.wrapping_sub(self.first_id));
        let outcome = match (answer.swapped, answer.error.is_empty()) {
            (_, false) => Outcome::Failed(answer.error),
            (true, true) => Outcome::Swapped,
            (false, true) if answer.head.is_empty() => Outcome::Content(None),
            (false, true) => match self.record(&answer) {
                Ok(record) => Outcome::Content(Some(record)),
                Err(why) => Outcome::Failed(format!(
                    "the record of the witness on shared disks is damaged: {why}"
                )),
            },
        };
        Answer { id, outcome, picture }
    }

    fn record(&mut self, answer: &RegisterAnswer) -> Result<Record, String> {
        let head = text::read(&answer.head).ok_or("its head is not Holdfast's, or of another version")?;
        match self.body.record(head) {
            Some(record) => Ok(record),
            None => self.body.read(head, &answer.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{config, record, swap};
    use super::*;

    #[test]
    fn a_record_goes_to_had_agentd_and_comes_back_the_same() {
        let config = config("\"10.0.0.3:2379\"");
        let mut disks = Disks::new(5_000);
        let written = record(3, &config);
        let call = Call {
            id: CallId(7),
            op: swap(Some(record(2, &config).head), &written),
        };
        let request = disks.request(&call, Duration::from_millis(900));
        assert_eq!(
            (request.id, request.swap, request.patience_ms),
            (5_007, true, 900)
        );
        assert!(request.expect.contains("write=2") && request.head.contains("write=3"));
        let answer = |head: &str, body: &[u8]| RegisterAnswer {
            id: 5_007,
            head: head.into(),
            body: body.into(),
            took_us: 1_500,
            ..RegisterAnswer::default()
        };
        for _ in 0..2 {
            let found = disks.answer(answer(&request.head, &request.body), "/dev/a");
            assert_eq!((found.id, found.picture.took_us), (CallId(7), 1_500));
            assert_eq!(found.outcome, Outcome::Content(Some(written.clone())));
        }
        assert_eq!(
            disks.answer(answer("", &[]), "/dev/a").outcome,
            Outcome::Content(None)
        );
        let damaged = Disks::new(0)
            .answer(answer(&request.head, &request.body[1..]), "/dev/a")
            .outcome;
        assert!(matches!(damaged, Outcome::Failed(why) if why.contains("is damaged")));
        let late = Disks::new(9_000_000).answer(answer("", &[]), "/dev/a");
        assert!(
            late.id > CallId(1 << 60),
            "an answer to an earlier run is none to this one"
        );
    }
}

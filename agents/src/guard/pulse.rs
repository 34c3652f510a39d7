//! Whether the agents' thread lives: it is asked now and then, and answers.

use std::time::Duration;

use holdfast_proto::time::Time;

/// Time between an answer and the next question.
const PAUSE: Duration = Duration::from_secs(1);

/// When the agents' thread last answered.
pub struct Pulse {
    last: Time,
    asked: bool,
}

impl Pulse {
    /// It lives at `now`: it has just started this thread.
    pub fn begin(now: Time) -> Pulse {
        Pulse {
            last: now,
            asked: false,
        }
    }

    pub fn last(&self) -> Time {
        self.last
    }

    /// True when it is to be asked; one question at a time.
    pub fn is_due(&self, now: Time) -> bool {
        !self.asked && now.since(self.last) >= PAUSE
    }

    pub fn asked(&mut self) {
        self.asked = true;
    }

    pub fn answered(&mut self, now: Time) {
        *self = Pulse::begin(now);
    }
}

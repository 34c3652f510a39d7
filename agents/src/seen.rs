//! What an agent says of its service in the details.

use std::sync::{Mutex, PoisonError};

use crate::agent::EventSink;

/// Written by what looks after the service, read by the agent.
pub struct Seen {
    text: Mutex<String>,
    events: EventSink,
}

impl Seen {
    /// Nothing yet.
    #[must_use]
    pub fn new(events: EventSink) -> Seen {
        Seen {
            text: Mutex::default(),
            events,
        }
    }

    /// The newest word.
    pub fn say(&self, text: &str) {
        let mut held = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        if *held != text {
            text.clone_into(&mut held);
            self.events.detail_changed();
        }
    }

    /// What was said last.
    #[must_use]
    pub fn text(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

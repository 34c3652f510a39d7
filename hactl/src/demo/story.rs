//! Everything that happens, from every source, on one clock.

use std::sync::Mutex;

use super::clock::now_us;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Moment {
    /// When, in microseconds on CLOCK_BOOTTIME.
    pub at_us: u64,
    /// Who saw it: a node, `demo`, `truth` or `client`.
    pub source: String,
    /// Stable name: a node's kind of event, or the demo's own.
    pub kind: String,
    /// One sentence.
    pub text: String,
}

/// The moments so far, in order of arrival.
#[derive(Default)]
pub struct Story {
    moments: Mutex<Vec<Moment>>,
}

impl Story {
    /// Adds something that happened at `at_us`.
    pub fn add(&self, at_us: u64, source: &str, kind: &str, text: impl Into<String>) {
        let moment = Moment {
            at_us,
            source: source.into(),
            kind: kind.into(),
            text: text.into(),
        };
        self.lock().push(moment);
    }

    /// Adds something that happens now.
    pub fn now(&self, source: &str, kind: &str, text: impl Into<String>) {
        self.add(now_us(), source, kind, text);
    }

    /// Number of moments so far.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// The moments from number `from` on, in order of arrival.
    pub fn from(&self, from: usize) -> Vec<Moment> {
        self.lock().get(from..).unwrap_or_default().to_vec()
    }

    /// The moments since `since_us`, in order of time.
    pub fn since(&self, since_us: u64) -> Vec<Moment> {
        let mut moments: Vec<Moment> = self
            .lock()
            .iter()
            .filter(|moment| moment.at_us >= since_us)
            .cloned()
            .collect();
        moments.sort_by_key(|moment| moment.at_us);
        moments
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Moment>> {
        self.moments
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

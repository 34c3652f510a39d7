//! Pets the watchdog while that is right, and ends the node shortly before the watchdog would.
//!
//! A node that must go should go at once and surely: the kernel's own reset needs no sync and no stop of anything, while a
//! watchdog that was never tried may fail. It goes on counting all the same, and fires if the kernel cannot even do that.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use holdfast_sbd::Command;

use crate::sbd::end::EndNode;
use crate::watchdog::Watchdog;

/// Why the watchdog may not be petted.
pub type Refusal = &'static str;

/// Part of the watchdog's timeout after which a node that may not pet it ends itself. The rest is for the way to the
/// kernel.
const ENDS_AT: f64 = 0.9;

/// An armed watchdog, and what is done with it.
pub struct Petting {
    watchdog: Box<dyn Watchdog>,
    end: Arc<dyn EndNode>,
    /// When the last petting began: it fires no earlier than a timeout after that.
    petted_at: Time,
    refused: Option<Refusal>,
    /// The node was to end, and is still here.
    tried: bool,
}

impl Petting {
    /// Of a watchdog that was opened, which pets it, before `now`.
    pub fn new(watchdog: Box<dyn Watchdog>, end: Arc<dyn EndNode>, now: Time) -> Petting {
        Petting {
            watchdog,
            end,
            petted_at: now,
            refused: None,
            tried: false,
        }
    }

    /// How often to look.
    pub fn period(&self) -> Duration {
        (self.watchdog.timeout() / 4).max(Duration::from_millis(100))
    }

    /// How long from `now` until the node is to be ended; `None` while nothing speaks for it.
    pub fn ends_in(&self, now: Time) -> Option<Duration> {
        let waits = self.refused.is_some() && !self.tried;
        let at = self.petted_at + self.watchdog.timeout().mul_f64(ENDS_AT);
        waits.then(|| at.since(now))
    }

    /// Pets the watchdog if it may be, and ends the node when it may not and the time for a stop is over. `may` is the
    /// judgement of this very moment: nothing is ended for what was true before.
    pub fn look(&mut self, now: Time, may: Result<(), Refusal>) {
        let refused = may.err();
        if refused.is_some() != self.refused.is_some() {
            match refused {
                Some(why) => tracing::warn!("watchdog no longer petted: {why}"),
                None => tracing::warn!("watchdog petted again"),
            }
        }
        self.refused = refused;
        match refused {
            None => self.pet(now),
            Some(why) if self.ends_in(now) == Some(Duration::ZERO) => {
                self.tried = true;
                // Not logged before: whoever takes the words may hang with what hangs here.
                let text = format!("this node ends itself before its watchdog does: {why}");
                self.end.end(Command::Reset, &text, Duration::ZERO);
            }
            Some(_) => {}
        }
    }

    fn pet(&mut self, now: Time) {
        match self.watchdog.pet() {
            Ok(()) => (self.petted_at, self.tried) = (now, false),
            Err(error) => tracing::error!("the watchdog cannot be petted: {error}"),
        }
    }

    /// Nobody relies on it any more.
    pub fn disarm(&mut self) {
        if let Err(error) = self.watchdog.disarm() {
            tracing::error!("the watchdog cannot be disarmed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    struct Dog(Arc<AtomicU32>);

    impl Watchdog for Dog {
        fn pet(&mut self) -> io::Result<()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn disarm(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(5)
        }

        fn identity(&self) -> &str {
            "test"
        }
    }

    #[derive(Default)]
    struct Ended(Mutex<Vec<String>>);

    impl EndNode for Ended {
        fn end(&self, order: Command, why: &str, _patience: Duration) {
            self.0.lock().expect("lock").push(format!("{order:?}: {why}"));
        }
    }

    fn petting() -> (Petting, Arc<AtomicU32>, Arc<Ended>) {
        let (pets, ended) = (Arc::new(AtomicU32::new(0)), Arc::new(Ended::default()));
        let petting = Petting::new(
            Box::new(Dog(Arc::clone(&pets))),
            Arc::clone(&ended) as Arc<dyn EndNode>,
            at(0),
        );
        (petting, pets, ended)
    }

    fn at(ms: u64) -> Time {
        Time(ms * 1000)
    }

    #[test]
    fn a_node_that_may_not_pet_ends_itself_before_the_watchdog_fires_and_says_why() {
        let (mut petting, pets, ended) = petting();
        petting.look(at(1250), Ok(()));
        assert_eq!(
            (pets.load(Ordering::Relaxed), petting.ends_in(at(1250))),
            (1, None)
        );
        petting.look(at(2500), Err("a group without permit"));
        assert_eq!(petting.ends_in(at(2500)), Some(Duration::from_millis(3250)));
        petting.look(at(5749), Err("a group without permit"));
        assert!(ended.0.lock().expect("lock").is_empty(), "a stop has until then");
        petting.look(at(5750), Err("a group without permit"));
        petting.look(at(5800), Err("a group without permit"));
        let said = ended.0.lock().expect("lock").clone();
        assert_eq!(said.len(), 1, "once, {said:?}");
        assert!(
            said[0].starts_with("Reset: ") && said[0].ends_with("a group without permit"),
            "{said:?}"
        );
        assert_eq!(pets.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_stop_that_ends_in_time_keeps_the_node() {
        let (mut petting, pets, ended) = petting();
        petting.look(at(1000), Err("a group without permit"));
        petting.look(at(4400), Ok(()));
        assert_eq!(petting.ends_in(at(4400)), None);
        petting.look(at(8800), Err("a group without permit"));
        assert_eq!(petting.ends_in(at(8800)), Some(Duration::from_millis(100)));
        assert_eq!(pets.load(Ordering::Relaxed), 1);
        assert!(ended.0.lock().expect("lock").is_empty());
    }

    #[test]
    fn a_node_that_could_not_end_itself_is_left_to_its_watchdog_and_tries_again_the_next_time() {
        let (mut petting, pets, ended) = petting();
        petting.look(at(4500), Err("a group without permit"));
        petting.look(at(4900), Err("a group without permit"));
        assert_eq!(petting.ends_in(at(4900)), None, "tried in vain");
        assert_eq!(pets.load(Ordering::Relaxed), 0, "it goes on counting");
        petting.look(at(4950), Ok(()));
        petting.look(at(9450), Err("a group without permit"));
        assert_eq!(ended.0.lock().expect("lock").len(), 2);
        assert_eq!(pets.load(Ordering::Relaxed), 1);
    }
}

//! Turns at a device: one action at a time, and a look that is only a test gives way to a fencing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};
use tokio::time::Instant;

/// Who is at which device.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, Arc<Queue>>>);

/// Those who wait for one device.
struct Queue {
    busy: Arc<tokio::sync::Mutex<()>>,
    /// How many actions wait that a test must not hold up.
    urgent: watch::Sender<u32>,
}

/// The right to use a device until dropped.
pub(super) struct Turn {
    _guard: OwnedMutexGuard<()>,
    queue: Arc<Queue>,
}

/// One that waits, counted until it has its turn or gives up.
struct Waiting<'a>(&'a Queue);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.urgent.send_modify(|count| *count -= 1);
    }
}

impl Turns {
    /// Waits until no other action runs on `device`; a test that runs there gives way. `None` if the device was busy until
    /// `deadline`.
    pub async fn take(&self, device: String, deadline: Instant) -> Option<Turn> {
        let queue = self.queue(device);
        queue.urgent.send_modify(|count| *count += 1);
        let waiting = Waiting(&queue);
        let guard = tokio::time::timeout_at(deadline, Arc::clone(&queue.busy).lock_owned()).await;
        drop(waiting);
        Some(Turn {
            _guard: guard.ok()?,
            queue,
        })
    }

    /// A turn for a test: `None` if the device is busy.
    pub fn take_if_idle(&self, device: String) -> Option<Turn> {
        let queue = self.queue(device);
        let guard = Arc::clone(&queue.busy).try_lock_owned().ok()?;
        Some(Turn { _guard: guard, queue })
    }

    fn queue(&self, device: String) -> Arc<Queue> {
        let mut queues = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        let fresh = || {
            Arc::new(Queue {
                busy: Arc::default(),
                urgent: watch::Sender::new(0),
            })
        };
        Arc::clone(queues.entry(device).or_insert_with(fresh))
    }
}

impl Turn {
    /// Returns once somebody waits whom a test must not hold up.
    pub async fn is_wanted(&self) {
        let mut urgent = self.queue.urgent.subscribe();
        // The sender lives in the queue that this turn holds.
        let _ = urgent.wait_for(|count| *count > 0).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_test_gives_way_to_a_fencing_and_takes_no_busy_device() {
        let turns = Arc::new(Turns::default());
        let test = turns.take_if_idle("bmc".into()).expect("it is idle");
        assert!(turns.take_if_idle("bmc".into()).is_none());
        assert!(turns.take_if_idle("other".into()).is_some());
        let fencing = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move {
                turns
                    .take("bmc".into(), Instant::now() + Duration::from_secs(60))
                    .await
            }
        });
        test.is_wanted().await;
        drop(test);
        let fencing = fencing.await.unwrap().expect("the test gave way");
        assert!(turns.take_if_idle("bmc".into()).is_none());
        drop(fencing);
        let again = turns.take_if_idle("bmc".into()).expect("it is idle again");
        tokio::select! {
            biased;
            () = again.is_wanted() => panic!("nobody waits"),
            () = std::future::ready(()) => {}
        }
    }

    #[tokio::test]
    async fn who_gives_up_waits_no_more() {
        let turns = Turns::default();
        let held = turns.take_if_idle("bmc".into()).unwrap();
        assert!(turns.take("bmc".into(), Instant::now()).await.is_none());
        assert_eq!(*held.queue.urgent.borrow(), 0);
    }
}

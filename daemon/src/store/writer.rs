//! The thread that waits for the disk, so that the deciding thread never does.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use holdfast_core::durable::Durable;
use holdfast_core::effect::PersistId;
use tokio::sync::mpsc;

use super::Store;

/// Reports that may wait for the deciding thread. There is one per write, and it reads them promptly.
const REPORTS_MAX: usize = 64;
/// Pause before a failed write is tried again.
const RETRY: Duration = Duration::from_secs(1);
const STACK_BYTES: usize = 256 << 10;

/// Outcome of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreReport {
    /// This record, and with it every record submitted before, is on disk; or this one could not be written.
    pub id: PersistId,
    /// Why not. It is tried again every second, until it succeeds or a newer record takes its place.
    pub error: Option<String>,
}

#[derive(Default)]
struct Slot {
    next: Option<(PersistId, Arc<Durable>)>,
    closed: bool,
}

#[derive(Default)]
struct Desk {
    slot: Mutex<Slot>,
    bell: Condvar,
}

impl Desk {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes records on a thread of its own. A record that has not been begun is replaced by a newer one.
pub struct StoreWriter {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

impl StoreWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the kernel gives no thread.
    pub fn start(store: Store) -> std::io::Result<(StoreWriter, mpsc::Receiver<StoreReport>)> {
        let (reports, receiver) = mpsc::channel(REPORTS_MAX);
        let desk = Arc::new(Desk::default());
        let theirs = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("had-store".into())
            .stack_size(STACK_BYTES)
            .spawn(move || run(store, &theirs, &reports))?;
        Ok((
            StoreWriter {
                desk,
                thread: Some(thread),
            },
            receiver,
        ))
    }

    /// Hands over the newest record. Does not wait.
    pub fn submit(&self, id: PersistId, record: Arc<Durable>) {
        self.desk.slot().next = Some((id, record));
        self.desk.bell.notify_one();
    }
}

impl Drop for StoreWriter {
    /// Waits for the write under way, and for one that is waiting.
    fn drop(&mut self) {
        self.desk.slot().closed = true;
        self.desk.bell.notify_one();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn run(mut store: Store, desk: &Desk, reports: &mpsc::Sender<StoreReport>) {
    while let Some((id, record)) = wait(desk) {
        let error = store.write(&record).err().map(|error| error.to_string());
        let failed = error.is_some();
        // Where the deciding thread is gone, what is left still has to be written.
        drop(reports.blocking_send(StoreReport { id, error }));
        if failed && !retry(desk, id, record) {
            return;
        }
    }
}

/// The next record to write; none when the writer was dropped and nothing is left.
fn wait(desk: &Desk) -> Option<(PersistId, Arc<Durable>)> {
    let mut slot = desk.slot();
    loop {
        if let Some(next) = slot.next.take() {
            return Some(next);
        }
        if slot.closed {
            return None;
        }
        slot = desk.bell.wait(slot).unwrap_or_else(PoisonError::into_inner);
    }
}

/// Puts a failed record back unless a newer one waits, after a pause that a newer record ends. False at the end.
fn retry(desk: &Desk, id: PersistId, record: Arc<Durable>) -> bool {
    let slot = desk.slot();
    let pause = desk
        .bell
        .wait_timeout_while(slot, RETRY, |slot| slot.next.is_none() && !slot.closed);
    let (mut slot, _) = pause.unwrap_or_else(PoisonError::into_inner);
    if slot.closed {
        return false;
    }
    slot.next.get_or_insert((id, record));
    true
}

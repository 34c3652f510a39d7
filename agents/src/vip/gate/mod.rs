//! The gate: nftables lets packets of a virtual address pass only while the permit lives, to the millisecond.
//!
//! An address has a lifetime in the kernel, but that counts in seconds. Groups with `requires = "lease"` have a successor
//! that waits only a margin after the permit, so for their addresses there is a set whose elements carry the rest of the
//! permit as their timeout: when every Holdfast process stands still, the element runs out and the node is silent, for
//! IP and for ARP, although the address is still there.
//!
//! One pair of tables (`inet holdfast`, `arp holdfast`) in the network namespace of had-agentd, all addresses in one batch:
//! [`codec`] and [`rules`] hold the bytes, [`socket`] applies them, [`table`] knows what stands in the kernel, [`plan`] when
//! that is to be renewed.
//!
//! - A batch waits while another program changes its own tables. Hence a thread of its own: the guard only wakes it.
//! - A timeout counts from when the kernel reads it, so a batch that had to wait must not be applied with timeouts of
//!   before: it names the generation it is for, and the kernel refuses it if anybody changed anything meanwhile. Renewals
//!   remove what they add, so that one which was held up until the element had run out is refused as well.
//! - The tables outlive had-agentd; the next one begins with the permits that its predecessor left ([`inherit`]).
//! - Whoever removes them (`nft flush ruleset`) changes the generation: they are put back with the next renewal.

pub mod codec;
mod inherit;
pub mod plan;
pub mod rules;
pub mod socket;
pub mod table;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::{oneshot, watch};

use self::plan::Wanted;
use self::table::{Tables, Turn};
use crate::agent::{EventSink, PermitView};
use crate::{clock, rt};
pub use inherit::{Inherited, inherit, is_for};

/// Pause between looks at the tables when nothing is renewed, and between attempts after a failure.
const LOOK: Duration = Duration::from_secs(1);
/// Stack of the thread: locked memory counts.
const STACK_BYTES: usize = 256 << 10;
/// Says that there are tables, in the state folder, which a reboot empties as it does the tables.
const MARK: &str = "lease-filter";

/// A resource: its group and its name.
pub type Key = (String, String);

struct Entry {
    ips: Arc<[IpAddr]>,
    permit: watch::Receiver<PermitView>,
    lease: Duration,
    /// None until the resource was taken over from an earlier had-agentd.
    events: Option<EventSink>,
}

/// What is answered when the kernel has what was asked for, or in words why not.
type Ready = oneshot::Sender<Result<(), String>>;

#[derive(Default)]
struct Register {
    entries: BTreeMap<Key, Entry>,
    waiting: Vec<Ready>,
    /// What is wrong with the filter; empty for nothing.
    trouble: String,
}

#[derive(Default)]
struct Shared {
    /// Locked only to copy, and not by the guard.
    register: Mutex<Register>,
    thread: OnceLock<Thread>,
    idle: AtomicBool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Register> {
        self.register.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gate. Clones are the same gate.
#[derive(Clone, Default)]
pub struct Gate(Arc<Shared>);

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gate")
    }
}

impl Gate {
    /// Starts the thread, with the addresses that an earlier had-agentd left. Tables that nobody needs any more go.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(state_dir: &Path, inherited: Vec<Inherited>) -> io::Result<Gate> {
        let gate = Gate::default();
        {
            let mut register = gate.0.lock();
            for Inherited {
                key,
                ips,
                permit,
                lease,
            } in inherited
            {
                let entry = Entry {
                    ips,
                    permit: watch::channel(permit).1,
                    lease,
                    events: None,
                };
                register.entries.insert(key, entry);
            }
            gate.0.idle.store(register.entries.is_empty(), Ordering::Relaxed);
        }
        let shared = gate.0.clone();
        let keeper = Keeper {
            tables: Tables::default(),
            mark: state_dir.join(MARK),
            retry_at: Time::ZERO,
        };
        let handle = thread::Builder::new()
            .name("gate".into())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let _end = EndsWithIt;
                rt::schedule_gate();
                keeper.run(&shared);
            })?;
        let _ = gate.0.thread.set(handle.thread().clone());
        Ok(gate)
    }

    /// From now on packets of `ips` pass only while `permit` lives. The answer says when the kernel knows, or why it
    /// does not; the addresses pass in any case then.
    pub fn admit(
        &self,
        key: Key,
        ips: impl IntoIterator<Item = IpAddr>,
        permit: watch::Receiver<PermitView>,
        lease: Duration,
        events: EventSink,
    ) -> oneshot::Receiver<Result<(), String>> {
        let (sender, receiver) = oneshot::channel();
        let entry = Entry {
            ips: ips.into_iter().collect(),
            permit,
            lease,
            events: Some(events),
        };
        let mut register = self.0.lock();
        register.entries.insert(key, entry);
        register.waiting.push(sender);
        self.0.idle.store(false, Ordering::Relaxed);
        drop(register);
        self.unpark();
        receiver
    }

    /// The addresses of this resource are gone from this node: they need no gate.
    pub fn dismiss(&self, key: &Key) {
        let mut register = self.0.lock();
        if register.entries.remove(key).is_none() {
            return;
        }
        self.0.idle.store(register.entries.is_empty(), Ordering::Relaxed);
        drop(register);
        self.unpark();
    }

    /// Permits were renewed. Does not block.
    pub fn wake(&self) {
        if !self.0.idle.load(Ordering::Relaxed) {
            self.unpark();
        }
    }

    /// What is wrong with the filter; empty for nothing.
    #[must_use]
    pub fn trouble(&self) -> String {
        self.0.lock().trouble.clone()
    }

    fn unpark(&self) {
        if let Some(thread) = self.0.thread.get() {
            thread.unpark();
        }
    }
}

/// Removes the tables that an earlier had-agentd left, and its mark.
///
/// # Errors
/// In words.
pub fn remove_tables(state_dir: &Path) -> Result<(), String> {
    let mark = state_dir.join(MARK);
    if !mark.exists() {
        return Ok(());
    }
    Tables::default().turn(&Wanted::new(), Duration::ZERO)?;
    fs::remove_file(&mark).map_err(|error| format!("{}: {error}", mark.display()))
}

/// Without this thread addresses fall silent although all is well: systemd starts us anew.
struct EndsWithIt;

impl Drop for EndsWithIt {
    fn drop(&mut self) {
        if thread::panicking() {
            std::process::abort();
        }
    }
}

/// What the thread keeps.
struct Keeper {
    tables: Tables,
    mark: PathBuf,
    retry_at: Time,
}

impl Keeper {
    fn run(mut self, shared: &Shared) {
        loop {
            match self.turn(shared) {
                Some(pause) => thread::park_timeout(pause),
                None => thread::park(),
            }
        }
    }

    /// Does what is due, and returns the time until something else may be. None if nothing is before it is woken.
    fn turn(&mut self, shared: &Shared) -> Option<Duration> {
        let (wanted, reserve, waiting, failed) = {
            let mut register = shared.lock();
            let waiting = std::mem::take(&mut register.waiting);
            let failed = !register.trouble.is_empty();
            (
                wanted(&register.entries),
                reserve(&register.entries),
                waiting,
                failed,
            )
        };
        let present = self.mark.exists();
        if wanted.is_empty() && !present {
            return None;
        }
        if failed && waiting.is_empty() && clock::now() < self.retry_at {
            return Some(LOOK);
        }
        let turned = self.act(&wanted, reserve, present);
        if turned.is_err() {
            self.retry_at = clock::now() + LOOK;
        }
        self.tell(shared, &turned);
        for ready in waiting {
            // Who asked may have given up.
            let _ = ready.send(turned.clone().map(|_| ()));
        }
        let next = self.tables.next_write(&wanted, reserve);
        Some(next.map_or(LOOK, |next| clock::now().until(next).min(LOOK)))
    }

    /// The mark is there whenever the tables may be.
    fn act(&mut self, wanted: &Wanted, reserve: Duration, present: bool) -> Result<Turn, String> {
        let unmarked = |error: io::Error| format!("{}: {error}", self.mark.display());
        if !present {
            fs::write(&self.mark, "").map_err(unmarked)?;
        }
        let turn = self.tables.turn(wanted, reserve)?;
        if wanted.is_empty() {
            fs::remove_file(&self.mark).map_err(unmarked)?;
        }
        Ok(turn)
    }

    /// Says what changed, to whomever it concerns.
    fn tell(&self, shared: &Shared, turned: &Result<Turn, String>) {
        let without_arp = self
            .tables
            .without_arp()
            .map_or(String::new(), |why| format!("ARP is not filtered: {why}"));
        let trouble = match turned {
            Ok(_) => without_arp,
            Err(why) => format!("not filtered: {why}"),
        };
        let mut register = shared.lock();
        let old = std::mem::replace(&mut register.trouble, trouble.clone());
        let note = match turned {
            Ok(Turn::Restored) => Some((
                "warn",
                "lease-filter-restored",
                "somebody removed or changed the nftables tables `holdfast` (nft flush ruleset, a firewall that was \
                 restarted); they are back"
                    .to_owned(),
            )),
            _ if old == trouble => None,
            _ if trouble.is_empty() => {
                Some(("info", "lease-filter", "addresses are filtered again".to_owned()))
            }
            _ => Some((
                "warn",
                "lease-filter",
                format!(
                    "{trouble}. If all of Holdfast hangs here at once, this node may answer until the lifetime of the \
                     address ends, up to 2 s after the permit"
                ),
            )),
        };
        let Some((level, kind, text)) = note else { return };
        if level == "warn" {
            tracing::warn!("{text}");
        }
        for events in register
            .entries
            .values()
            .filter_map(|entry| entry.events.as_ref())
        {
            events.note(level, kind, text.clone());
            events.detail_changed();
        }
    }
}

fn wanted(entries: &BTreeMap<Key, Entry>) -> Wanted {
    let mut wanted = Wanted::new();
    for entry in entries.values() {
        let until = entry.permit.borrow().until;
        for ip in entry.ips.iter() {
            // No two groups have the same address; if they had, the last permit would count.
            let end = wanted.entry(*ip).or_insert(until);
            *end = until.max(*end);
        }
    }
    wanted
}

/// What an address has left when it is renewed: time enough for a write that has to wait for another program.
fn reserve(entries: &BTreeMap<Key, Entry>) -> Duration {
    let shortest = entries.values().map(|entry| entry.lease).min();
    shortest.unwrap_or_default() * 2 / 3
}

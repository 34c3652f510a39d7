//! One thread per disk: claims this node's slot, looks into its mailbox again and again, and obeys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::agent::Note;
use holdfast_proto::config::Timers;
use holdfast_proto::ids::BootId;
use holdfast_sbd::{Command, Disk, Header, Mark, Volume};

use super::end::EndNode;
use super::watch::{Phase, Watch};
use crate::{clock, sys};

/// Pause after trouble with a disk.
const RETRY: Duration = Duration::from_secs(1);
/// Priority of the threads: below the guard, above everything that is not urgent.
const PRIORITY: i32 = 8;

/// Where notes for operators go.
pub(super) type Notes = Arc<dyn Fn(Note) + Send + Sync>;

/// What a thread needs.
pub(super) struct Eye {
    pub watch: Arc<Watch>,
    pub generation: u64,
    /// Its number among the disks.
    pub index: usize,
    pub path: PathBuf,
    /// How many disks are watched.
    pub disks: u8,
    pub node: String,
    pub boot: BootId,
    pub io_timeout: Duration,
    /// Timeout of the armed watchdog.
    pub watchdog: Duration,
    pub end: Arc<dyn EndNode>,
    pub notes: Notes,
    /// Records the promise for a successor, before it is made.
    pub record: Arc<dyn Fn() -> bool + Send + Sync>,
    /// The slot was claimed in this run, or its predecessor's in this boot: an order is for this boot.
    pub claimed: bool,
}

/// A slot of this node on a disk that is in order.
struct Claim {
    volume: Volume,
    slot: u8,
    /// The slot's whole sector, as it must stand there.
    sector: Vec<u8>,
    patience: Duration,
}

impl Eye {
    /// Runs until the watch is over.
    pub fn run(mut self) {
        be_prompt();
        let mut trouble = String::new();
        while self.watch.phase_of(self.generation).is_some() {
            let Err(error) = self.claim().and_then(|claim| self.look(claim, &mut trouble)) else {
                return;
            };
            if error != trouble {
                self.note("warn", "sbd-disk", format!("{error}: tried again every second"));
                trouble = error;
            }
            self.watch.pause(RETRY);
        }
    }

    fn claim(&mut self) -> Result<Claim, String> {
        let disk = Disk::open_on(&self.path, self.io_timeout, be_prompt).map_err(text)?;
        let mut volume = Volume::read(disk).map_err(text)?;
        let patience = self.check(volume.header())?;
        let slot = volume.allocate(&self.node).map_err(text)?;
        let begun = clock::now();
        let sector = volume.slot_bytes(slot).map_err(text)?;
        // An earlier run in this boot made its promise here: what stands in the mailbox is for this boot.
        self.claimed |= Mark::read(&sector).is_some_and(|mark| mark.boot == self.boot);
        if !self.claimed {
            let mail = volume.mail(slot).map_err(text)?;
            if mail.command != Command::Clear {
                let (command, from) = (mail.command, mail.from);
                let found = format!(
                    "{}: {command} from {from} was in the mailbox of {}, for an earlier boot; cleared",
                    self.path.display(),
                    self.node
                );
                self.note("info", "sbd-leftover", found);
            }
            volume.clear(slot, &self.node).map_err(text)?;
            self.claimed = true;
        }
        let mut claim = Claim {
            volume,
            slot,
            sector,
            patience,
        };
        if self.mailbox(&mut claim)? {
            self.watch.saw(self.generation, self.index, begun, patience);
        }
        Ok(claim)
    }

    /// How long a look counts on such a disk; an error if its timeouts would make it a promise that cannot be kept.
    fn check(&self, header: &Header) -> Result<Duration, String> {
        let at = self.path.display();
        if let Some(text) = header.timeouts.contradictions(self.io_timeout).first() {
            return Err(format!("{at} is not watched: {text}"));
        }
        let patience = header.timeouts.patience(self.io_timeout);
        let ends_within = Timers::stretch(patience + self.watchdog);
        if ends_within > Duration::from_secs(header.timeouts.msgwait_s.into()) {
            return Err(format!(
                "{at} is not watched: this node ends within {:.1} s with its watchdog of {:.0} s, and who fences it waits for \
                 {} s only; start had-agentd with --watchdog-timeout-ms {}",
                ends_within.as_secs_f64(),
                self.watchdog.as_secs_f64(),
                header.timeouts.msgwait_s,
                u64::from(header.timeouts.watchdog_s) * 1000
            ));
        }
        Ok(patience)
    }

    /// Looks until the watch is over, or something is wrong.
    fn look(&mut self, mut claim: Claim, trouble: &mut String) -> Result<(), String> {
        let pause = Duration::from_secs(claim.volume.header().timeouts.loop_s.into());
        let mut marked = self.has_mark(&claim);
        loop {
            match self.watch.phase_of(self.generation) {
                None => return Ok(()),
                Some(Phase::Releasing) => return self.release(claim),
                Some(Phase::Tied) if !marked => {
                    self.mark(&mut claim)?;
                    marked = true;
                }
                Some(Phase::Claiming) if self.watch.try_tie(clock::now(), || (self.record)()) => continue,
                Some(_) => {}
            }
            if !std::mem::take(trouble).is_empty() {
                self.note(
                    "info",
                    "sbd-disk",
                    format!("{} is watched again", self.path.display()),
                );
            }
            let phase = self.watch.phase();
            self.watch.pause_in(phase, pause);
            if self.watch.phase_of(self.generation).is_none() {
                return Ok(());
            }
            let begun = clock::now();
            claim.volume.check_header().map_err(text)?;
            if claim.volume.slot_bytes(claim.slot).map_err(text)? != claim.sector {
                return Err(format!(
                    "{}: the slot of {} changed under the watch",
                    self.path.display(),
                    self.node
                ));
            }
            if self.mailbox(&mut claim)? {
                self.watch.saw(self.generation, self.index, begun, claim.patience);
            }
        }
    }

    fn has_mark(&self, claim: &Claim) -> bool {
        Mark::read(&claim.sector).is_some_and(|mark| mark == self.promise(claim))
    }

    fn promise(&self, claim: &Claim) -> Mark {
        Mark {
            boot: self.boot,
            watchdog: self.watchdog,
            patience: claim.patience,
            disks: self.disks,
        }
    }

    fn mark(&self, claim: &mut Claim) -> Result<(), String> {
        self.promise(claim).write(&mut claim.sector);
        claim
            .volume
            .write_slot_bytes(claim.slot, &claim.sector, &self.node)
            .map_err(text)?;
        let watched = format!(
            "{} watches slot {} of {}: it obeys, or its watchdog ends it",
            self.node,
            claim.slot,
            self.path.display()
        );
        self.note("info", "sbd-watched", watched);
        Ok(())
    }

    /// Takes the mark away. An order that came before that is still obeyed.
    fn release(&self, mut claim: Claim) -> Result<(), String> {
        if !self.mailbox(&mut claim)? {
            return Ok(());
        }
        Mark::erase(&mut claim.sector);
        claim
            .volume
            .write_slot_bytes(claim.slot, &claim.sector, &self.node)
            .map_err(text)?;
        self.watch.released(self.generation, self.index);
        Ok(())
    }

    /// Looks into the mailbox and obeys. True if there was no order that ends this node.
    fn mailbox(&self, claim: &mut Claim) -> Result<bool, String> {
        let mail = claim.volume.mail(claim.slot).map_err(text)?;
        let (at, from) = (self.path.display(), &mail.from);
        match mail.command {
            Command::Clear => return Ok(true),
            command if command.ends_the_node() => {
                self.watch.order();
                let why = format!("{command} ordered by {from} on {at}: ending this node");
                tracing::error!("{why}");
                // Within what others wait for: the watchdog is not petted any more.
                self.end.end(command, &why, self.watchdog / 2);
                return Ok(false);
            }
            Command::Test => self.note(
                "info",
                "sbd-test",
                format!("{at}: {from} asked whether this node reads its mailbox"),
            ),
            command => self.note(
                "warn",
                "sbd-message",
                format!(
                    "{at}: {command} ({}) from {from} is not obeyed; cleared",
                    command.code()
                ),
            ),
        }
        claim.volume.clear(claim.slot, &self.node).map_err(text)?;
        Ok(true)
    }

    fn note(&self, level: &str, kind: &str, text: String) {
        (self.notes)(Note {
            group: String::new(),
            text,
            level: level.into(),
            kind: kind.into(),
            at_us: clock::now().0,
        });
    }
}

fn text(error: holdfast_sbd::Error) -> String {
    error.to_string()
}

/// Runs this thread before others, where that is allowed.
fn be_prompt() {
    if let Err(error) = sys::schedule_fifo(PRIORITY) {
        tracing::debug!("a thread for shared disks runs without SCHED_FIFO: {error}");
    }
}

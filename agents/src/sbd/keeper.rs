//! Begins the watch, goes on with it after a restart, and gives it up in order: marks first, then the watchdog is free.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_proto::agent::Note;
use serde::{Deserialize, Serialize};

use super::Settings;
use super::end::EndNode;
use super::eye::{Eye, Notes};
use super::watch::{Phase, Watch};
use crate::clock;

/// Stack of a thread: it may be locked in memory.
const STACK_BYTES: usize = 256 << 10;

/// What a successor in this boot has to know: disks carry the mark of this boot.
#[derive(Serialize, Deserialize)]
struct Saved {
    kernel_boot: String,
    /// Timeout of the armed watchdog, as the marks name it.
    watchdog_ms: u64,
    settings: Settings,
}

/// What the keeper is made from.
pub struct Around {
    /// Folder of state files.
    pub state_dir: PathBuf,
    /// This boot, as the kernel tells it.
    pub kernel_boot: String,
    /// How the node ends.
    pub end: Arc<dyn EndNode>,
    /// Hears what operators should know. Must not block.
    pub notes: Notes,
}

/// Keeps the watch as the configuration says.
pub struct Keeper {
    around: Around,
    watch: Arc<Watch>,
    watchdog: Option<Duration>,
    current: Option<Settings>,
    /// What follows when the current watch is released.
    next: Option<Option<Settings>>,
}

impl Keeper {
    /// A keeper that watches nothing yet.
    #[must_use]
    pub fn new(around: Around) -> Keeper {
        Keeper {
            around,
            watch: Arc::default(),
            watchdog: None,
            current: None,
            next: None,
        }
    }

    /// What the guard has to look at before it pets.
    #[must_use]
    pub fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }

    /// Before the watchdog is opened, which pets it: if disks carry the mark of this boot, they have to be read first. The
    /// timeout that the watchdog has to have then, because the marks name it.
    ///
    /// # Errors
    /// When not enough of them can be read: the watchdog that the predecessor left armed ends this node then.
    pub fn resume(&mut self) -> io::Result<Option<Duration>> {
        let Some(saved) = self.saved() else {
            return Ok(None);
        };
        let (settings, watchdog) = (saved.settings, Duration::from_millis(saved.watchdog_ms));
        let patience = settings.io_timeout() * 2 + Duration::from_secs(2);
        tracing::info!(
            "going on with the watch on {} shared disks",
            settings.devices.len()
        );
        self.watchdog = Some(watchdog);
        self.start(settings, Phase::Tied)?;
        let begun = Instant::now();
        while begun.elapsed() < patience && !self.watch.is_ordered() {
            if self.watch.may_pet(clock::now()) {
                return Ok(Some(watchdog));
            }
            self.watch.pause(Duration::from_millis(50));
        }
        Err(io::Error::other(
            "this boot promised to watch its mailbox on shared disks, and cannot read enough of them: the watchdog is left alone",
        ))
    }

    /// The watchdog is armed with this timeout.
    pub fn armed(&mut self, timeout: Option<Duration>) {
        self.watchdog = timeout;
    }

    /// Follows the configuration.
    pub fn follow(&mut self, wanted: Option<Settings>) {
        if self.next.is_none() && self.current == wanted {
            return;
        }
        self.next = Some(wanted);
        self.watch.release();
        self.poll();
    }

    /// Goes on with a change once the marks of before are erased. To be called now and then.
    pub fn poll(&mut self) {
        if self.next.is_none() || (self.watch.is_tied() && !self.watch.end_if_released()) {
            return;
        }
        if self.watch.is_tied() {
            // An order came meanwhile: nothing begins any more.
            return;
        }
        self.forget();
        self.current = None;
        let Some(Some(settings)) = self.next.take() else {
            return;
        };
        if self.watchdog.is_none() {
            self.note(
                "warn",
                "sbd-no-watchdog",
                "the shared disks of [sbd] are not watched: that needs a watchdog (had-agentd --watchdog /dev/watchdog)".into(),
            );
            self.current = Some(settings);
            return;
        }
        if let Err(error) = self.start(settings, Phase::Claiming) {
            self.note(
                "warn",
                "sbd-disk",
                format!("the shared disks cannot be watched: {error}"),
            );
        }
    }

    /// Gives the watch up before this process ends, so that the watchdog may be disarmed. False if marks are left.
    pub fn finish(&mut self, limit: Duration) -> bool {
        self.next = Some(None);
        self.watch.release();
        let begun = Instant::now();
        while self.watch.is_tied() && !self.watch.end_if_released() && begun.elapsed() < limit {
            self.watch.pause(Duration::from_millis(50));
        }
        if self.watch.is_tied() {
            return false;
        }
        self.forget();
        true
    }

    /// What a power cut leaves: marks and the record, and nobody who reads.
    #[doc(hidden)]
    pub fn crash_for_tests(&self) {
        self.watch.begin(0, Phase::Idle);
    }

    fn start(&mut self, settings: Settings, phase: Phase) -> io::Result<()> {
        let boot = settings
            .boot_id()
            .ok_or_else(|| io::Error::other("had did not say which boot this is"))?;
        let generation = self.watch.begin(settings.devices.len(), phase);
        let watchdog = self.watchdog.unwrap_or_default();
        let record: Arc<dyn Fn() -> bool + Send + Sync> = {
            let file = self.file();
            let saved = Saved {
                kernel_boot: self.around.kernel_boot.clone(),
                watchdog_ms: u64::try_from(watchdog.as_millis()).unwrap_or(u64::MAX),
                settings: settings.clone(),
            };
            Arc::new(move || record(&file, &saved))
        };
        for (index, path) in settings.devices.iter().enumerate() {
            let eye = Eye {
                watch: Arc::clone(&self.watch),
                generation,
                index,
                path: path.clone(),
                disks: u8::try_from(settings.devices.len()).unwrap_or(u8::MAX),
                node: settings.node.clone(),
                boot,
                io_timeout: settings.io_timeout(),
                watchdog,
                end: Arc::clone(&self.around.end),
                notes: Arc::clone(&self.around.notes),
                record: Arc::clone(&record),
                claimed: phase == Phase::Tied,
            };
            thread::Builder::new()
                .name("sbd".into())
                .stack_size(STACK_BYTES)
                .spawn(move || eye.run())?;
        }
        self.current = Some(settings);
        Ok(())
    }

    fn file(&self) -> PathBuf {
        self.around.state_dir.join("sbd.json")
    }

    /// The promise of a predecessor in this boot.
    fn saved(&self) -> Option<Saved> {
        let saved: Saved = serde_json::from_slice(&fs::read(self.file()).ok()?).ok()?;
        let same = !saved.kernel_boot.is_empty() && saved.kernel_boot == self.around.kernel_boot;
        same.then_some(saved)
    }

    fn forget(&self) {
        match fs::remove_file(self.file()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!("the record of the watch on shared disks stays: {error}");
            }
            _ => {}
        }
    }

    fn note(&self, level: &str, kind: &str, text: String) {
        (self.around.notes)(Note {
            group: String::new(),
            text,
            level: level.into(),
            kind: kind.into(),
            at_us: clock::now().0,
        });
    }
}

/// True when it is written. The folder is in memory and lasts as long as the boot: no fsync.
fn record(file: &Path, saved: &Saved) -> bool {
    let beside = file.with_extension("new");
    let written = serde_json::to_vec(saved)
        .map_err(io::Error::other)
        .and_then(|text| fs::write(&beside, text))
        .and_then(|()| fs::rename(&beside, file));
    if let Err(error) = &written {
        tracing::error!("the watch on shared disks cannot be recorded, so it promises nothing: {error}");
    }
    written.is_ok()
}

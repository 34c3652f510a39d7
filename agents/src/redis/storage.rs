//! What is done about a disk that takes nothing any more.
//!
//! Redis goes on then and refuses writes. As a primary it is of no use, so it gives way to a node whose Redis can write and has
//! all. As a replica it goes on in memory, so that what `WAIT` acknowledges is on two nodes still; but what does not get to its
//! disk waits in its memory, so that has a bound.
//!
//! When there is room again its file is written anew: it may have a hole where the disk became full (see [`super::data`]), and
//! would not be read at the next start.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::info::Info;
use super::keeper::Keeper;
use super::state::Duty;
use super::waiting::Sight;
use crate::clock;
use crate::roles::RolesView;
use crate::room;

/// How much may wait in the memory of a replica for room on its disk.
const BUFFER_BYTES_MAX: u64 = 64 << 20;
/// How often a primary says that it gives way, and asks whom it could.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// What is known of the disk.
#[derive(Default)]
pub struct DiskWatch {
    /// Why nothing can be written, in words; empty while it can.
    pub trouble: String,
    /// The process whose file has to be written anew; empty for none.
    torn: String,
    said_at: Option<Time>,
    /// It was told that it stays the primary.
    stays: bool,
    /// Clients that were sent here are to be ended once more.
    misleads: bool,
}

impl Info {
    /// True when it refuses writes because of its disk, or is about to.
    pub fn has_disk_trouble(&self) -> bool {
        self.append_failed || self.snapshot_failed
    }
}

impl Keeper {
    /// Takes in what is seen, and writes a file anew that may be torn.
    pub(super) async fn look_at_disk(&mut self, info: &Info) {
        if info.append_failed {
            self.disk.torn.clone_from(&info.run_id);
        }
        let fault = self.disk_fault(info).await;
        if fault.is_empty() != self.disk.trouble.is_empty() {
            match fault.is_empty() {
                true => {
                    let text = "redis can write to its disk again".to_owned();
                    self.events.note("info", "redis-disk", text);
                }
                false => self.events.note("warn", "redis-disk", fault.clone()),
            }
        }
        self.disk.trouble = fault;
        if !self.disk.trouble.is_empty() || self.disk.torn.is_empty() {
            return;
        }
        if self.disk.torn != info.run_id {
            self.disk.torn.clear(); // Another process: it has read that file.
        } else if self.state.local.lock().await.rewrite().await.is_ok() {
            self.disk.torn.clear();
            self.events.note(
                "info",
                "redis-rewrite",
                "redis writes its append only file anew: there may be a hole where the disk was full",
            );
        }
    }

    /// Why it takes no writes, as far as its disk is to blame.
    async fn disk_fault(&mut self, info: &Info) -> String {
        let what = if info.append_failed {
            "its append only file cannot be written"
        } else if info.snapshot_failed && self.stops_at_snapshots().await {
            "its last snapshot failed"
        } else {
            return String::new();
        };
        let folder = self.state.local.lock().await.get("dir").await;
        let room = match folder {
            Ok(folder) => room::fault(&PathBuf::from(folder)).await,
            Err(_) => None,
        };
        let room = room.map_or_else(|| "see its log".to_owned(), |fault| format!("{fault}; make room"));
        format!("redis takes no writes, because {what}: {room}")
    }

    /// Whether a snapshot that failed makes it refuse writes: so its default says.
    async fn stops_at_snapshots(&mut self) -> bool {
        let mut local = self.state.local.lock().await;
        let stops = local.get("stop-writes-on-bgsave-error").await;
        let points = local.get("save").await;
        stops.is_ok_and(|stops| stops == "yes") && points.is_ok_and(|points| !points.trim().is_empty())
    }

    /// A primary that cannot write: says so while another node has all that was acknowledged (it is in the committed set, and
    /// confirms) and its Redis can write. Whoever is promoted then is decided by the cluster.
    pub(super) async fn give_way(&mut self, view: &RolesView, others: &BTreeMap<String, Sight>) {
        let now = clock::now();
        if self.disk.said_at.is_some_and(|at| at.until(now) < SAY_EVERY) {
            return;
        }
        self.disk.said_at = Some(now);
        for peer in &view.others {
            let follows = others.get(&peer.name).is_some_and(|sight| sight.good);
            if !follows || !view.in_sync.nodes.contains(&peer.name) {
                continue;
            }
            let theirs = self.remotes.ask(peer).await;
            if theirs.is_some_and(|(_, theirs)| !theirs.has_disk_trouble()) {
                self.disk.stays = false;
                self.events.give_way(self.disk.trouble.clone());
                return;
            }
        }
        if !std::mem::replace(&mut self.disk.stays, true) {
            let text = "redis stays the primary, and takes no writes: no other node has all that was acknowledged and can write";
            self.events.note("warn", "redis-stays", text);
        }
    }

    /// Ends the clients of a replica that follows another one from now on, `settled` when it is connected with it. While its disk
    /// is full it answers a write with MISCONF, and not with READONLY: who was sent here in between would never look for the
    /// primary again.
    pub(super) async fn end_misled_clients(&mut self, settled: bool) {
        if settled && !std::mem::take(&mut self.disk.misleads) {
            return;
        }
        if !self.disk.trouble.is_empty() {
            // The first look after it is connected does it again: the last who was sent here was sent before that.
            self.disk.misleads = !settled;
            let _ = self.state.local.lock().await.end_clients().await;
        }
    }

    /// True when a replica may not go on in memory. It is held then until there is room.
    pub(super) async fn hold_for_room(&mut self, info: &Info) -> bool {
        if info.append_buffer < BUFFER_BYTES_MAX {
            return false;
        }
        let is_held = info
            .master
            .as_ref()
            .is_none_or(|(_, port)| *port == super::held::PORT);
        if !is_held {
            let mut local = self.state.local.lock().await;
            if self.state.facts().duty == Duty::Unpromoted && local.hold().await.is_ok() {
                let bytes = info.append_buffer;
                let text =
                    format!("redis follows nobody until there is room: {bytes} bytes wait for its disk");
                self.events.note("warn", "redis-held-back", text);
            }
        }
        true
    }
}

//! The agent `sbd`: an order for the node on shared disks in the format of SBD.
//!
//! What makes it a proof is the promise of the other side (see [`crate::sbd`]): each disk that counts carries the mark of
//! the very boot that is to end, which obeys what it reads there, or reads nothing and ends by its watchdog. So an order
//! that was written and read back on a majority of the disks, and that still stands when the promised time is over, ended
//! that boot. Of any other boot it says nothing.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::agent::FenceDevice;
use holdfast_proto::config::order_is_certain_after;
use holdfast_proto::ids::BootId;
use holdfast_proto::time::Time;
use holdfast_sbd::volume::Written;
use holdfast_sbd::{Command, Disk, Mark, Volume, write_quorum};
use tokio::time::Instant;

use super::device::Reading;
use crate::agent::AgentError;
use crate::clock;

/// Names of disks in one sentence.
const SHOWN_MAX: usize = 3;

/// An order to be given.
#[derive(Clone)]
pub(super) struct Sbd {
    devices: Vec<PathBuf>,
    io_timeout: Duration,
    node: String,
    own: String,
    boot: Option<BootId>,
}

/// A disk on which the node watches its mailbox.
struct Watched {
    volume: Volume,
    slot: u8,
    mark: Mark,
    wait: Duration,
}

/// A disk on which the order was read back.
struct Ordered {
    disk: Watched,
    written: Written,
}

impl Sbd {
    /// # Errors
    /// When the request names no disks.
    pub fn new(request: &FenceDevice, own: &str) -> Result<Sbd, AgentError> {
        let get = |key: &str| request.params.get(key).map(String::as_str).unwrap_or_default();
        let devices: Vec<PathBuf> = get("devices").lines().map(PathBuf::from).collect();
        if devices.is_empty() {
            return Err(AgentError::new("the agent sbd needs the disks of [sbd]"));
        }
        let io_timeout_ms: u32 = get("io_timeout_ms")
            .parse()
            .map_err(|_| AgentError::new("the agent sbd needs the I/O timeout of [sbd]"))?;
        Ok(Sbd {
            devices,
            io_timeout: Duration::from_millis(io_timeout_ms.max(1).into()),
            node: request.node.clone(),
            own: own.to_string(),
            boot: u128::from_str_radix(&request.boot, 16).ok().map(BootId),
        })
    }

    /// Gives the order and waits until it is certain that the boot is over.
    pub async fn fence(&self, off: bool, deadline: Instant) -> Result<Reading, AgentError> {
        let Some(boot) = self.boot else {
            return Err(AgentError(format!(
                "it is not known which boot of {} is to end: it was not heard since this had started",
                self.node
            )));
        };
        let command = if off { Command::Off } else { Command::Reset };
        let watched = self
            .each(self.devices.clone(), move |sbd, path| {
                sbd.look(&path, Some(boot), true)
            })
            .await;
        let watched = self.enough(watched, "are watched by that boot")?;
        let wait = watched.iter().map(|disk| disk.wait).max().unwrap_or_default();
        let left = deadline.saturating_duration_since(Instant::now());
        if left < wait + self.io_timeout {
            return Err(AgentError(format!(
                "{} is given {:.0} s to end by itself, and only {:.0} s are left for this device: give it a longer timeout",
                self.node,
                wait.as_secs_f64(),
                left.as_secs_f64()
            )));
        }
        let begun = clock::now();
        let ordered = self
            .each(watched, move |sbd, disk| sbd.order(disk, command))
            .await;
        let ordered = self.enough(ordered, "took the order")?;
        let (slot, names) = (ordered[0].disk.slot, self.names(&ordered));
        clock::sleep_until(clock::now() + wait).await;
        let waited = clock::now().since(begun);
        let stands = self.each(ordered, |sbd, disk| sbd.check(disk)).await;
        let stands = self.enough(stands, "still held the order afterwards")?;
        Ok(Reading {
            is_off: true,
            evidence: format!(
                "the order {command} for boot {boot} was written to slot {slot} and read back on {names} of {} disks, on which \
                 that boot had promised to obey, or to end by its watchdog, within {:.1} s; after {:.1} s it stood there on {}",
                self.devices.len(),
                wait.as_secs_f64(),
                waited.as_secs_f64(),
                stands.len(),
            ),
            // An order ends the boot that it was for, and no later one.
            begun: Time::ZERO,
        })
    }

    /// Looks whether an order would be worth something now. Writes nothing.
    pub async fn test(&self) -> Result<Reading, AgentError> {
        let boot = self.boot;
        let begun = clock::now();
        let found = self
            .each(self.devices.clone(), move |sbd, path| {
                sbd.look(&path, boot, false)
            })
            .await;
        let found = self.enough(found, "are watched")?;
        let (mark, wait) = (found[0].mark, found.iter().map(|disk| disk.wait).max());
        Ok(Reading {
            is_off: false,
            evidence: format!(
                "{} watches its mailbox on {} of {} disks (boot {}, watchdog {:.0} s): an order would be a proof after {:.1} s",
                self.node,
                found.len(),
                self.devices.len(),
                mark.boot,
                mark.watchdog.as_secs_f64(),
                wait.unwrap_or_default().as_secs_f64()
            ),
            begun,
        })
    }

    /// Reads header, own mailbox, and the node's slot. With `to_send`, an order for this node is an error: of two that
    /// fence each other, the one that was late ends without shooting.
    fn look(&self, path: &std::path::Path, boot: Option<BootId>, to_send: bool) -> Result<Watched, String> {
        let disk = Disk::open(path, self.io_timeout).map_err(text)?;
        let mut volume = Volume::read(disk).map_err(text)?;
        if to_send && let Some(own) = volume.find(&self.own).map_err(text)? {
            let mail = volume.mail(own).map_err(text)?;
            if mail.command.ends_the_node() {
                return Err(format!(
                    "{}: this node is itself ordered to end, by {}",
                    path.display(),
                    mail.from
                ));
            }
        }
        let slot = volume.slot_of(&self.node).map_err(text)?;
        let sector = volume.slot_bytes(slot).map_err(text)?;
        let mark = Mark::read(&sector).ok_or_else(|| {
            format!(
                "{}: {} does not watch its mailbox with a watchdog",
                path.display(),
                self.node
            )
        })?;
        if let Some(boot) = boot
            && mark.boot != boot
        {
            return Err(format!(
                "{}: boot {} of {} watches its mailbox, not boot {boot}, which is to end",
                path.display(),
                mark.boot,
                self.node
            ));
        }
        if usize::from(mark.disks) != self.devices.len() {
            return Err(format!(
                "{}: {} watches {} disks, and {} are configured here",
                path.display(),
                self.node,
                mark.disks,
                self.devices.len()
            ));
        }
        let msgwait = Duration::from_secs(volume.header().timeouts.msgwait_s.into());
        let wait = order_is_certain_after(msgwait, mark.patience + mark.watchdog);
        Ok(Watched {
            volume,
            slot,
            mark,
            wait,
        })
    }

    fn order(&self, mut disk: Watched, command: Command) -> Result<Ordered, String> {
        let written = disk
            .volume
            .send(disk.slot, command, &self.own, &self.node)
            .map_err(text)?;
        Ok(Ordered { disk, written })
    }

    /// After the wait: the order stood all the time, or another boot has taken the slot, so that one is over. The mark
    /// alone is not enough, nor the order alone: what was wiped was perhaps never read.
    fn check(&self, ordered: Ordered) -> Result<(), String> {
        let Ordered { mut disk, written } = ordered;
        let sector = disk.volume.slot_bytes(disk.slot).map_err(text)?;
        let path = disk.volume.disk().path().display().to_string();
        match Mark::read(&sector) {
            Some(mark) if mark.boot != disk.mark.boot => return Ok(()),
            Some(mark) if mark == disk.mark => {}
            _ => return Err(format!("{path}: {} watches it no longer", self.node)),
        }
        if disk.volume.stands(&written).map_err(text)? {
            return Ok(());
        }
        Err(format!(
            "{path}: the order was wiped by somebody before it was certain that it was read"
        ))
    }

    /// Does `work` on all disks side by side, each on a thread that may block.
    async fn each<I: Send + 'static, T: Send + 'static>(
        &self,
        disks: Vec<I>,
        work: impl Fn(&Sbd, I) -> Result<T, String> + Clone + Send + 'static,
    ) -> Vec<Result<T, String>> {
        let begin = |disk| {
            let (sbd, work) = (self.clone(), work.clone());
            tokio::task::spawn_blocking(move || work(&sbd, disk))
        };
        let begun: Vec<_> = disks.into_iter().map(begin).collect();
        let mut found = Vec::new();
        for task in begun {
            found.push(
                task.await
                    .unwrap_or_else(|error| Err(format!("a disk's thread ended: {error}"))),
            );
        }
        found
    }

    /// What went well, if that is a majority of all disks.
    fn enough<T>(&self, found: Vec<Result<T, String>>, what: &str) -> Result<Vec<T>, AgentError> {
        let mut good = Vec::new();
        let mut errors = Vec::new();
        for one in found {
            match one {
                Ok(one) => good.push(one),
                Err(error) => errors.push(error),
            }
        }
        if good.len() >= write_quorum(self.devices.len()) {
            return Ok(good);
        }
        Err(AgentError(format!(
            "only {} of {} disks {what}: {}",
            good.len(),
            self.devices.len(),
            errors.join("; ")
        )))
    }

    fn names(&self, ordered: &[Ordered]) -> String {
        let names: Vec<_> = ordered
            .iter()
            .take(SHOWN_MAX)
            .map(|ordered| ordered.disk.volume.disk().path().display().to_string())
            .collect();
        format!("{} ({})", ordered.len(), names.join(", "))
    }
}

fn text(error: holdfast_sbd::Error) -> String {
    error.to_string()
}

//! The way down: unmount, name who is in the way, end them, unmount again; then see that the device is really free.
//!
//! A lazy unmount is never tried and never counts: it only hides the file system, which goes on being written.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_proto::time::Time;
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;

use super::mountinfo::{self, Mount};
use super::source::Source;
use super::users::{self, User, Wanted};
use crate::agent::{AgentError, EventSink};
use crate::blocking::blocking;
use crate::clock;
use crate::exec::process;

/// Longest pause between attempts. The end of the processes in the way is waited for; this is for all else.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Processes whose end is waited for at a time.
const AWAITED_MAX: usize = 64;

/// How hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// SIGTERM, and SIGKILL when half of the time is over.
    Polite,
    /// SIGKILL at once; what is mounted below it or elsewhere goes too.
    ByForce,
}

/// One unmount.
pub struct Unmount<'a> {
    /// What.
    pub source: &'a Source,
    /// Where.
    pub place: &'a Path,
    /// Whether processes in the way may be ended.
    pub kill_users: bool,
    /// How hard.
    pub manner: Manner,
    /// Until when.
    pub deadline: Time,
    /// Where it is told who was ended.
    pub events: &'a EventSink,
}

/// What keeps it from being unmounted.
#[derive(Default)]
struct Obstacles {
    users: Vec<User>,
    below: Vec<Mount>,
}

impl Obstacles {
    fn text(&self) -> String {
        let mut parts = Vec::new();
        if !self.users.is_empty() {
            parts.push(format!("used by {}", users::named(&self.users)));
        }
        for mount in &self.below {
            parts.push(format!(
                "{} is mounted below it, at {}",
                mount.named(),
                mount.path.display()
            ));
        }
        if parts.is_empty() {
            parts.push("the kernel says it is busy, no process is seen using it: look for exports (exportfs -v), swap files, loop devices on it".to_owned());
        }
        parts.join("; ")
    }
}

impl Unmount<'_> {
    /// Returns when it is unmounted, and nobody holds the device any more.
    ///
    /// # Errors
    /// What keeps it from being unmounted, by name.
    pub async fn run(&self) -> Result<(), AgentError> {
        let half = clock::now() + clock::now().until(self.deadline) / 2;
        let mut told = false;
        // Kept from before the unmount: afterwards the place is in another file system.
        let wanted = {
            let (source, place) = (self.source.clone(), self.place.to_path_buf());
            blocking(move || Wanted::at(&source, &place)).await
        };
        while let Some(place) = self.next_place()? {
            match unmount(place.clone()).await {
                // Not a mount any more, in this instant: the table tells what is left.
                Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
                Err(Errno::EBUSY) => {
                    let obstacles = self.obstacles(wanted.clone(), &place).await;
                    if clock::now() >= self.deadline {
                        return Err(AgentError(format!(
                            "{} cannot be unmounted: {}",
                            place.display(),
                            obstacles.text()
                        )));
                    }
                    if !std::mem::replace(&mut told, true) {
                        let what = if self.kill_users { "; ending them" } else { "" };
                        let text = format!("{} is {}{what}", place.display(), obstacles.text());
                        self.events.note("warn", "unmount-busy", text);
                    }
                    self.clear(&obstacles, half).await;
                }
                Err(error) => {
                    return Err(AgentError(format!(
                        "{} cannot be unmounted: {}",
                        place.display(),
                        error.desc()
                    )));
                }
            }
        }
        self.await_release().await
    }

    /// What is to be unmounted next. None when nothing of it is in the table.
    fn next_place(&self) -> Result<Option<PathBuf>, AgentError> {
        let table = mountinfo::read()
            .map_err(|error| AgentError(format!("the mount table cannot be read: {error}")))?;
        let here = table
            .iter()
            .any(|mount| mount.path == self.place && self.source.is_shown_by(mount));
        let top = mountinfo::at(&table, self.place).filter(|_| here);
        match top {
            Some(top) if self.source.is_shown_by(top) || self.manner == Manner::ByForce => {
                Ok(Some(self.place.to_path_buf()))
            }
            Some(top) => Err(AgentError(format!(
                "{} is covered by {}, which was mounted over it: umount {}",
                self.place.display(),
                top.named(),
                self.place.display()
            ))),
            None if matches!(self.source, Source::Folder { .. }) => Ok(None),
            None => match table.iter().rev().find(|mount| self.source.is_shown_by(mount)) {
                None => Ok(None),
                Some(elsewhere) if self.manner == Manner::ByForce => Ok(Some(elsewhere.path.clone())),
                Some(elsewhere) => Err(AgentError(format!(
                    "{} is mounted at {} too, by somebody else: umount {}",
                    self.source.path().display(),
                    elsewhere.path.display(),
                    elsewhere.path.display()
                ))),
            },
        }
    }

    async fn obstacles(&self, wanted: Option<Wanted>, place: &Path) -> Obstacles {
        let table = mountinfo::read().unwrap_or_default();
        let users = blocking(move || wanted.map(|wanted| wanted.users()));
        Obstacles {
            users: users.await.unwrap_or_default(),
            below: mountinfo::below(&table, place).into_iter().cloned().collect(),
        }
    }

    /// Does what may be done about them, and waits for it a moment.
    async fn clear(&self, obstacles: &Obstacles, half: Time) {
        if self.manner == Manner::ByForce {
            for mount in &obstacles.below {
                // Whoever keeps it busy is seen at the next look.
                let _ = unmount(mount.path.clone()).await;
            }
        }
        if self.kill_users {
            let hard = self.manner == Manner::ByForce || clock::now() >= half;
            users::signal(
                &obstacles.users,
                if hard { Signal::SIGKILL } else { Signal::SIGTERM },
            );
        }
        let pids: Vec<i32> = obstacles
            .users
            .iter()
            .take(AWAITED_MAX)
            .map(|user| user.pid)
            .collect();
        let ended = async {
            match pids.is_empty() {
                true => tokio::time::sleep(LOOK_AGAIN).await,
                false => process::all_ended(&pids).await,
            }
        };
        let _ = tokio::time::timeout(LOOK_AGAIN, ended).await;
    }

    /// The kernel may still write out; or it is mounted where this process cannot see it.
    async fn await_release(&self) -> Result<(), AgentError> {
        loop {
            let source = self.source.clone();
            let Some(hold) = blocking(move || source.hold()).await else {
                return Ok(());
            };
            let wanted = Wanted::of(self.source);
            let holders = blocking(move || {
                wanted.map_or_else(Vec::new, |wanted| {
                    let mut holders = wanted.users();
                    holders.extend(wanted.namespaces());
                    holders
                })
            });
            let holders = holders.await;
            if clock::now() >= self.deadline {
                let by = match holders.is_empty() {
                    true => String::new(),
                    false => format!("; used by {}", users::named(&holders)),
                };
                return Err(AgentError(format!("{hold}{by}")));
            }
            if self.kill_users && self.manner == Manner::ByForce {
                users::signal(&holders, Signal::SIGKILL);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

async fn unmount(place: PathBuf) -> Result<(), Errno> {
    blocking(move || umount2(&place, MntFlags::UMOUNT_NOFOLLOW)).await
}

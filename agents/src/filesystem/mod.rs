//! The `filesystem` agent: mounts a file system, a folder (bind) or the image in a file (loop), watches it, and gets it
//! unmounted again.
//!
//! - [`params`]: what it is told; [`source`]: what that is; [`mountinfo`]: who is mounted where.
//! - [`mounting`]: the checks before a mount, and the mount. [`unmount`]: the way down; [`users`]: who is in the way.
//! - [`watch`]: what happens to it meanwhile. `halt`: ends all writing at once.

mod halt;
pub mod mountinfo;
mod mounting;
mod params;
mod source;
mod unmount;
pub(crate) mod users;
mod watch;

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::blocking::blocking;
use halt::Halt;
use mountinfo::Mount;
pub use params::META;
use params::Params;
use source::Source;
use unmount::{Manner, Unmount};
use watch::Watched;

/// One mount.
pub struct FilesystemAgent {
    context: AgentContext,
    params: Params,
    /// What is mounted, or was when this agent last looked; what a restarted had-agentd finds again.
    source: Option<Source>,
    halt: Arc<Halt>,
    watcher: Option<JoinHandle<()>>,
    detail: String,
}

/// Builds the agent. Touches nothing.
///
/// # Errors
/// Parameters that are wrong.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    let params = Params::read(&context.params)?;
    let source = serde_json::from_str(&context.saved).ok();
    Ok(Box::new(FilesystemAgent {
        context,
        params,
        source,
        halt: Arc::default(),
        watcher: None,
        detail: String::new(),
    }))
}

fn table() -> Result<Vec<Mount>, AgentError> {
    mountinfo::read().map_err(|error| AgentError(format!("the mount table cannot be read: {error}")))
}

/// The mount table shows paths without links.
fn plain(path: &Path) -> io::Result<PathBuf> {
    let is_link = path.symlink_metadata().is_ok_and(|about| about.is_symlink());
    match (path.parent(), path.file_name()) {
        // Not the folder itself: what is mounted there may not answer.
        (Some(parent), Some(name)) if !is_link => Ok(parent.canonicalize()?.join(name)),
        _ => path.canonicalize(),
    }
}

/// Makes the folder if it is missing. True if something lies in it, which the mount will hide.
fn make_place(path: &Path) -> io::Result<(PathBuf, bool)> {
    if !path.exists() {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(path)?;
    }
    let hides = fs::read_dir(path)?.next().is_some();
    Ok((plain(path)?, hides))
}

impl FilesystemAgent {
    async fn begin(&mut self, deadline: Time) -> Result<(), AgentError> {
        let source = source::find(&self.params, table()?).await?;
        let path = self.params.path.clone();
        let shown = path.display().to_string();
        let (place, hides) = blocking(move || make_place(&path))
            .await
            .map_err(|error| AgentError(format!("the folder {shown} cannot be used: {error}")))?;
        let before = table()?;
        if let Some(top) = mountinfo::at(&before, &place).filter(|top| source.is_shown_by(top)) {
            return self.take_over(source, place, &top.clone());
        }
        let (checked, checked_place, checked_table) = (source.clone(), place.clone(), before);
        blocking(move || mounting::check_free(&checked, &checked_place, &checked_table)).await?;
        self.warn(&place, hides).await;
        let (fstype, mended) = mounting::prepare(&self.params, &source, deadline).await?;
        if let Some(text) = mended {
            self.context.events.note("warn", "fsck-corrected", text);
        }
        // From here on a stop has something to look for.
        self.source = Some(source.clone());
        mounting::mount(&self.params, &source, fstype.as_deref(), &place, deadline).await?;
        let after = table()?;
        match mountinfo::at(&after, &place).filter(|top| source.is_shown_by(top)) {
            Some(top) => self.take_over(source, place, &top.clone()),
            None => Err(AgentError(format!(
                "{} is not seen at {shown} after it was mounted there",
                source.path().display()
            ))),
        }
    }

    /// It is mounted: watches it, unless it cannot be used or was halted meanwhile.
    fn take_over(&mut self, source: Source, place: PathBuf, mount: &Mount) -> Result<(), AgentError> {
        self.source = Some(source.clone());
        if mount.is_read_only() && !self.params.read_only() {
            return Err(AgentError(format!(
                "{} is mounted at {} read-only",
                source.path().display(),
                place.display()
            )));
        }
        // Of a folder, the file system around it is not ours to shut down.
        let may_halt = !matches!(source, Source::Folder { .. });
        if may_halt && !self.halt.cover(&place, mount.device) {
            return Err(AgentError::new(
                "the permit lapsed while the file system was mounted",
            ));
        }
        self.detail = format!("{} at {}", mount.named(), place.display());
        self.watch(source, place);
        Ok(())
    }

    /// What an operator should know about the place.
    async fn warn(&self, place: &Path, hides: bool) {
        let shown = place.display();
        if hides {
            let text = format!(
                "{shown} is not empty: what lies there is hidden while the file system is mounted over it"
            );
            self.context.events.note("warn", "mount-hides-files", text);
        }
        let fstab = blocking(|| fs::read_to_string("/etc/fstab").unwrap_or_default()).await;
        if is_mounted_at_boot(&fstab, place) {
            let text = format!(
                "{shown} is in /etc/fstab without noauto: it is mounted at boot, on every node; take it out"
            );
            self.context.events.note("warn", "mount-in-fstab", text);
        }
    }

    async fn end(&mut self, manner: Manner, deadline: Time) -> Result<(), AgentError> {
        self.unwatch();
        let place = self.place().await;
        let source = match self.source.clone() {
            Some(source) => source,
            None => match source::find(&self.params, table()?).await {
                Ok(source) => source,
                // Not there: then nothing of it is mounted, unless something is that nobody can tell from it.
                Err(error) => return self.refuse_strangers(&place, &error),
            },
        };
        let unmount = Unmount {
            source: &source,
            place: &place,
            kill_users: self.params.kill_users,
            manner,
            deadline,
            events: &self.context.events,
        };
        unmount.run().await?;
        self.halt.release();
        self.source = None;
        self.detail.clear();
        Ok(())
    }

    fn refuse_strangers(&self, place: &Path, error: &AgentError) -> Result<(), AgentError> {
        let table = table()?;
        match mountinfo::at(&table, place) {
            None => Ok(()),
            Some(top) => Err(AgentError(format!(
                "{} is mounted at {}, and whether it is this resource's cannot be told: {error}",
                top.named(),
                place.display()
            ))),
        }
    }

    async fn look(&mut self) -> Presence {
        let place = self.place().await;
        let table = match table() {
            Ok(table) => table,
            Err(error) => return Presence::Unknown(error.0),
        };
        let Some(top) = mountinfo::at(&table, &place).cloned() else {
            return Presence::Inactive;
        };
        let source = match self.source.clone() {
            Some(source) => source,
            None => match source::find(&self.params, table.clone()).await {
                Ok(source) => source,
                Err(error) => {
                    let what = top.named();
                    return Presence::Unknown(format!("{what} is mounted at {}; {error}", place.display()));
                }
            },
        };
        let shows = |mount: &Mount| mount.path == place && source.is_shown_by(mount);
        let found = match (shows(&top), table.iter().any(shows)) {
            (true, _) if top.is_read_only() && !self.params.read_only() => {
                Presence::Partial(format!("{} is mounted read-only", place.display()))
            }
            (true, _) => Presence::Active,
            (false, true) => Presence::Partial(format!("{} is mounted over it", top.named())),
            // Somebody else's: start says so.
            (false, false) => return Presence::Inactive,
        };
        self.source = Some(source);
        found
    }

    async fn take_over_found(&mut self) -> Result<(), AgentError> {
        let place = self.place().await;
        let table = table()?;
        let found = self.source.clone().zip(mountinfo::at(&table, &place).cloned());
        match found.filter(|(source, top)| source.is_shown_by(top)) {
            Some((source, top)) => self.take_over(source, place, &top),
            None => Err(AgentError(format!(
                "{} is not mounted at {} any more",
                self.params.device,
                place.display()
            ))),
        }
    }

    /// Where, without links. A folder that is not there yet is as it was given.
    async fn place(&self) -> PathBuf {
        let path = self.params.path.clone();
        blocking(move || plain(&path).unwrap_or(path)).await
    }

    fn watch(&mut self, source: Source, place: PathBuf) {
        self.unwatch();
        let watched = Watched {
            source,
            place,
            read_only: self.params.read_only(),
            events: self.context.events.clone(),
        };
        self.watcher = Some(tokio::spawn(watched.follow()));
    }

    fn unwatch(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

/// True if systemd mounts `place` at boot because of `fstab`.
fn is_mounted_at_boot(fstab: &str, place: &Path) -> bool {
    fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (path, options) = (fields.next(), fields.nth(1).unwrap_or(""));
            path.is_some_and(|path| Path::new(path) == place)
                && !options.split(',').any(|option| option == "noauto")
        })
}

impl ResourceAgent for FilesystemAgent {
    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.begin(deadline))
    }

    fn stop(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(Manner::Polite, deadline))
    }

    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.end(Manner::ByForce, deadline))
    }

    /// It cannot be unmounted: at least nothing more is written to its device.
    fn freeze(&mut self) -> Result<(), AgentError> {
        match self.source {
            Some(Source::Folder { .. }) => {
                Err(AgentError::new("a folder that is shown twice cannot be frozen"))
            }
            _ => self.halt.shut_down(),
        }
    }

    fn halter(&self) -> Option<Cutter> {
        let halt = Arc::clone(&self.halt);
        Some(Arc::new(move || halt.halt()))
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(self.look())
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.take_over_found())
    }

    fn detail(&self) -> String {
        match self.detail.is_empty() {
            true => format!("{} at {}", self.params.device, self.params.path.display()),
            false => self.detail.clone(),
        }
    }

    fn saved(&self) -> String {
        self.source
            .as_ref()
            .and_then(|source| serde_json::to_string(source).ok())
            .unwrap_or_default()
    }
}

impl Drop for FilesystemAgent {
    fn drop(&mut self) {
        self.unwatch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_in_fstab_counts_unless_it_waits() {
        let fstab = "# /srv/a\nUUID=1 /srv/a ext4 noauto,defaults 0 0\nUUID=2 /srv/b ext4 defaults 0 0\n";
        assert!(!is_mounted_at_boot(fstab, Path::new("/srv/a")));
        assert!(is_mounted_at_boot(fstab, Path::new("/srv/b")));
    }
}

//! The ordinary thread: journal, files, control socket, the status line for systemd. It may block; nothing that
//! decides waits for it.

use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use holdfast_proto::config::Config;
use holdfast_proto::ids::Version;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use crate::control::{self, Control};
use crate::journal::Record;
use crate::notify::Notifier;
use crate::rt::STACK_BYTES;
use crate::shell::api::Chore;
use crate::{jobs, status, store};

/// Name of the copy of the configuration in force, in the state directory.
pub const CONFIG_COPY: &str = "config.toml";
/// Pause between status lines for systemd.
const STATUS_PAUSE: Duration = Duration::from_millis(500);

/// What the thread needs.
pub struct Office {
    /// What the control socket works with.
    pub control: Arc<Control>,
    /// The bound control socket.
    pub listener: StdListener,
    /// Its path.
    pub socket: PathBuf,
    /// From the deciding thread.
    pub chores: mpsc::Receiver<Chore>,
    /// State directory.
    pub state_dir: PathBuf,
    /// Run directory.
    pub run_dir: PathBuf,
}

/// Starts the thread. It ends with the process.
///
/// # Errors
/// When the kernel gives no thread.
pub fn start(office: Office) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(STACK_BYTES)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .context("cannot start the control runtime")?;
    std::thread::Builder::new()
        .name("had-control".into())
        .stack_size(STACK_BYTES)
        .spawn(move || runtime.block_on(run(office)))
        .context("cannot start the control thread")?;
    Ok(())
}

impl Office {
    /// Tells the journal when something could not be written.
    fn expect(&self, written: anyhow::Result<()>, what: &str) {
        if let Err(error) = written {
            let text = format!("{what}: {error:#}");
            self.control
                .journal()
                .record(Record::new("disk-failed", "warn", text));
        }
    }
}

async fn run(mut office: Office) {
    office.control.journal().read_back();
    match office.listener.try_clone().and_then(UnixListener::from_std) {
        Ok(listener) => {
            tokio::spawn(control::serve(
                listener,
                Arc::clone(&office.control),
                office.socket.clone(),
            ));
        }
        Err(error) => {
            tracing::error!(%error, "the control socket cannot be served; hactl will not reach this node")
        }
    }
    tokio::spawn(status_line(Arc::clone(&office.control)));
    tokio::spawn(jobs::follow(Arc::clone(&office.control)));
    while let Some(chore) = office.chores.recv().await {
        match chore {
            Chore::Record(record) => office.control.journal().record(record),
            Chore::WriteConfig { config, version } => {
                let written = write_config(&office.state_dir, &config, version);
                office.expect(written, "the copy of the configuration cannot be written");
            }
            Chore::RecordRun(incarnation) => {
                let recorded = store::record_incarnation(&office.state_dir, incarnation);
                office.expect(
                    recorded.map_err(Into::into),
                    "the number of this run cannot be recorded, the clock stands in for it",
                );
            }
            Chore::MarkSynced(boot) => {
                let marked = store::mark_synced(&office.run_dir, boot);
                office.expect(
                    marked.map_err(Into::into),
                    "a restart of had will count as not synced",
                );
            }
            Chore::Join(request) => {
                tokio::spawn(control::admit(Arc::clone(&office.control), request));
            }
        }
    }
}

/// Writes the copy beside, syncs and renames it.
fn write_config(state_dir: &std::path::Path, config: &Config, version: Version) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = state_dir.join(CONFIG_COPY);
    let beside = path.with_extension("toml.new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .with_context(|| format!("cannot create {}", beside.display()))?;
    writeln!(
        file,
        "# Written by had: the configuration in force since version {version}. Change it with hactl config apply."
    )?;
    file.write_all(strip_header(&config.source).as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, &path).with_context(|| format!("cannot replace {}", path.display()))
}

/// A text that was itself read from such a copy loses the old header, so that headers do not pile up.
#[must_use]
pub fn strip_header(text: &str) -> &str {
    match text.split_once('\n') {
        Some((first, rest)) if first.starts_with("# Written by had: ") => rest,
        _ => text,
    }
}

/// Keeps the line that `systemctl status` shows.
async fn status_line(control: Arc<Control>) {
    let notifier = Notifier::from_env();
    if !notifier.is_connected() {
        return;
    }
    let mut changed = control.changed.clone();
    let mut told = String::new();
    loop {
        changed.borrow_and_update();
        if let Ok(snapshot) = control.snapshot().await {
            let line = status::status(&snapshot).summary;
            if line != told {
                notifier.status(&line);
                told = line;
            }
        }
        tokio::time::sleep(STATUS_PAUSE).await;
        if changed.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_has_one_header_however_often_it_is_made() {
        let folder = tempfile::tempdir().expect("folder");
        let config = crate::status::fixture::config();
        write_config(folder.path(), &config, 4).expect("written");
        let text = std::fs::read_to_string(folder.path().join(CONFIG_COPY)).expect("read");
        assert!(
            text.starts_with("# Written by had: the configuration in force since version 4."),
            "{text}"
        );
        assert_eq!(strip_header(&text), config.source);
        let mut again = config.clone();
        again.source = text;
        write_config(folder.path(), &again, 5).expect("written again");
        let text = std::fs::read_to_string(folder.path().join(CONFIG_COPY)).expect("read");
        assert_eq!(strip_header(&text), config.source);
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 1);
    }
}

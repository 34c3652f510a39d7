//! Waits until a server that was started answers. Crash recovery may take minutes: that is starting, not failing.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::client::{Client, SqlError};
use super::inner::End;
use super::params::Params;
use crate::agent::{AgentError, EventSink};
use crate::clock;
use crate::room;

/// Pause between attempts; a socket tells nobody that it came into being.
const PAUSE: Duration = Duration::from_millis(50);
/// After so long it is told what the server is doing.
const TELL_AFTER: Duration = Duration::from_secs(10);
/// Pause between looks at the room on its disk.
const ROOM_EVERY: Duration = Duration::from_secs(1);
/// Bytes at the end of an error log that are looked at.
const LOG_TAIL_BYTES: u64 = 4096;
/// Longest line that is told.
const LINE_CHARS: usize = 200;
/// Error logs of packages.
const LOGS: [&str; 3] = [
    "/var/log/mysql/error.log",
    "/var/log/mariadb/mariadb.log",
    "/var/log/mysqld.log",
];

/// Waits for an answer on the socket. The caller bounds the wait.
///
/// # Errors
/// The process ended, the server does not let us in, or its disk is full: it may wait for room then, for ever.
pub async fn answer(params: &Params, end: &End, events: &EventSink) -> Result<Client, AgentError> {
    let begun = clock::now();
    let mut told = TELL_AFTER;
    let mut look = ROOM_EVERY;
    loop {
        if let Some(reason) = end.reason() {
            return Err(with_log(reason, &params.datadir));
        }
        match Client::local(&params.socket, params.probing.timeout).await {
            Ok(client) => return Ok(client),
            Err(SqlError::Login(text)) => return Err(AgentError(text)),
            // 1045: access denied, 1698: the same for accounts that are known by their uid.
            Err(error) if matches!(error.code(), Some(1045 | 1698)) => {
                return Err(AgentError(format!(
                    "the server does not let root in over {}: {error}; give root@localhost unix_socket (MariaDB) or \
                     auth_socket (MySQL) authentication",
                    params.socket.display()
                )));
            }
            Err(_) => {}
        }
        let waited = begun.until(clock::now());
        if waited >= look {
            look = waited + ROOM_EVERY;
            if let Some(fault) = room::fault(&params.datadir).await {
                return Err(with_log(fault, &params.datadir));
            }
        }
        if waited >= told {
            told *= 2;
            let doing = last_line(&params.datadir).unwrap_or_else(|| "its error log says nothing".into());
            let text = format!("the server is starting since {} s: {doing}", waited.as_secs());
            events.note("info", "mysqld-starting", text);
        }
        tokio::select! {
            _ = end.happened() => {}
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn with_log(reason: String, datadir: &Path) -> AgentError {
    match last_error(datadir) {
        Some(line) if !reason.contains(&line) => AgentError(format!("{reason}; its error log: {line}")),
        _ => AgentError(reason),
    }
}

/// The last line of the newest error log.
pub fn last_line(datadir: &Path) -> Option<String> {
    log_line(datadir, |_| true)
}

/// The last error of the newest error log, and not that it ends because of it.
fn last_error(datadir: &Path) -> Option<String> {
    log_line(datadir, |line| {
        line.contains("[ERROR]") && !line.ends_with("Aborting")
    })
}

fn log_line(datadir: &Path, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let own = fs::read_dir(datadir).into_iter().flatten().flatten();
    let own = own
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "err"));
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|data| data.modified()).ok();
    let newest = own
        .chain(LOGS.iter().map(PathBuf::from))
        .filter_map(|path| Some((modified(&path)?, path)))
        .max()?;
    let mut file = fs::File::open(newest.1).ok()?;
    let size = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(LOG_TAIL_BYTES)))
        .ok()?;
    let mut tail = Vec::new();
    file.take(LOG_TAIL_BYTES).read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let mut lines = tail.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && wanted(line))?;
    Some(line.chars().take(LINE_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_log_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("db1.err"), "a\nInnoDB: Apply batch 40 %\n\n").unwrap();
        assert_eq!(
            last_line(folder.path()).as_deref(),
            Some("InnoDB: Apply batch 40 %")
        );
    }
}

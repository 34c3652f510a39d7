//! An old primary of MariaDB that ended in the middle of its work: what it had written to its binary log and never got
//! acknowledged is cut off, before it starts.
//!
//! The server does that itself in crash recovery when it is told that it is a replica (`--init-rpl-role=SLAVE`), and only then:
//! what is recovered as a primary's is committed for good. So there is a run of its own before the start, that nobody can
//! connect to.
//!
//! **The proof** that something may be cut off: the committed set names another primary and not this node. Without it a
//! transaction that was acknowledged may be among those that are cut off, because a commit is on disk in the binary log first.
//! A node that comes back knows only that it was the primary itself. So it is not started before the node has heard who is: what
//! its recovery commits by then, the others lack for ever. Or it knows of no primary, because the last that reached its disk is that
//! it was about to become that. Then it waits for a moment only: after a loss of power of all nodes there is none before this one is
//! up.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use holdfast_proto::time::Time;
use nix::unistd::{Uid, User};

use super::inner::Inner;
use super::params::{Params, Rejoin, Runner};
use super::ready;
use super::site::Site;
use crate::agent::{AgentContext, AgentError};
use crate::clock;
use crate::roles::RolesView;

/// Longest wait for a primary to be named while there is none. A node that boots hears of one within some heartbeats.
const NAMED_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for the cluster to count on this copy no more, in leases.
const WAIT_LEASES: u32 = 4;
/// Copies of longer logs are not made.
const TAIL_BYTES_MAX: u64 = 2 << 30;
/// Reading what was cut off may take so long.
const KEEP_LIMIT: Duration = Duration::from_secs(60);
/// The server of a unit.
const PROGRAM: &str = "/usr/sbin/mariadbd";
const TOOLS: [&str; 2] = ["/usr/bin/mariadb-binlog", "/usr/bin/mysqlbinlog"];
/// Flags of a binary log's first event: magic number (4), time, type, server, length, position (17 in all), then these.
const FLAGS_AT: usize = 4 + 17;
const IN_USE: u16 = 1;

/// What stands in the way is the only error; a failed cut is told, and the server starts as it is.
pub struct Rewind {
    log: PathBuf,
    size: u64,
    copy: PathBuf,
}

/// The binary log that was being written when the server ended. None: it ended cleanly, or is no MariaDB, or keeps its logs
/// elsewhere.
pub fn open_log(params: &Params) -> Option<PathBuf> {
    let folder = &params.datadir;
    if !folder.join("aria_log_control").exists() {
        return None;
    }
    let entries = fs::read_dir(folder).ok()?;
    let indexes = entries.flatten().map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".index") && !name.contains("relay")
    });
    indexes.filter_map(|index| last_log(folder, &index)).next()
}

fn last_log(folder: &Path, index: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(index).ok()?;
    let log = folder.join(text.lines().rev().find(|line| !line.trim().is_empty())?.trim());
    let mut head = [0; FLAGS_AT + 2];
    File::open(&log).ok()?.read_exact(&mut head).ok()?;
    let flags = u16::from_le_bytes([head[FLAGS_AT], head[FLAGS_AT + 1]]);
    (head.starts_with(b"\xfebin") && flags & IN_USE != 0).then_some(log)
}

/// Decides whether to cut, and copies what may be cut. None: nothing to do, or nothing that may be done.
///
/// # Errors
/// Until `deadline` this node did not hear who is the primary: the server must not be started.
pub async fn prepare(site: &Site, deadline: Time) -> Result<Option<Rewind>, AgentError> {
    if site.params.rejoin != Rejoin::Automatic {
        return Ok(None);
    }
    let Some(log) = open_log(&site.params) else {
        return Ok(None);
    };
    wait_until_named(site).await;
    catch_up(site, deadline).await?;
    wait_until_dispensable(site).await;
    if !site.is_dispensable() {
        return Ok(None);
    }
    Ok(copy(site, log).await)
}

async fn copy(site: &Site, log: PathBuf) -> Option<Rewind> {
    let size = fs::metadata(&log).ok()?.len();
    let copy = site.params.datadir.join("holdfast.tail");
    if size <= TAIL_BYTES_MAX {
        let (from, to) = (log.clone(), copy.clone());
        let copied = tokio::task::spawn_blocking(move || fs::copy(from, to)).await;
        if !matches!(copied, Ok(Ok(_))) {
            let text = "what may be cut off cannot be copied first, so nothing is cut off";
            site.events.note("warn", "mysqld-rewind", text);
            return None;
        }
    }
    Some(Rewind { log, size, copy })
}

/// Waits a lease for a primary to be named.
async fn wait_until_named(site: &Site) {
    if site.view().primary.is_none() {
        site.seen.say("waits for a moment to hear who the primary is");
    }
    wait_for(site, site.lease.min(NAMED_LIMIT), |view| view.primary.is_some()).await;
}

/// Waits until this node knows who the primary is, if that is not certain.
async fn catch_up(site: &Site, deadline: Time) -> Result<(), AgentError> {
    let (mut roles, mut permit) = (site.roles.clone(), site.permit.clone());
    while site.is_behind() {
        site.seen.say("waits to hear who the primary is");
        let late = tokio::select! {
            changed = roles.changed() => changed.is_err(),
            changed = permit.changed() => changed.is_err(),
            () = clock::sleep_until(deadline) => true,
        };
        if late {
            return Err(AgentError::new(
                "the server ended in the middle of its work while it was the primary, and this node has not heard since who is: it is \
                 not started before, so that nothing is committed here that the others lack; see that the node reaches the cluster",
            ));
        }
    }
    Ok(())
}

/// A successor that was promoted counts on this copy until it has missed it for a lease.
async fn wait_until_dispensable(site: &Site) {
    let no_more = |view: &RolesView| view.is_dispensable() || view.remote_primary().is_none();
    wait_for(site, site.lease * WAIT_LEASES, no_more).await;
}

/// Waits until what the cluster agreed on is so, and no longer than `limit`.
async fn wait_for(site: &Site, limit: Duration, is_so: impl FnMut(&RolesView) -> bool) {
    let mut roles = site.roles.clone();
    let _ = tokio::time::timeout(limit, roles.wait_for(is_so)).await;
}

/// The server of this run: its agent, and the parameters that reach it.
pub fn build(context: &AgentContext, params: &Params) -> Result<(Inner, Params), AgentError> {
    let mut params = params.clone();
    params.socket = params.datadir.join("holdfast.sock");
    if matches!(params.runner, Runner::Unit(_)) {
        params.runner = Runner::Command(vec![PROGRAM.into()], owner(&params.datadir));
    }
    let mut context = context.clone();
    context.resource.push_str(".rewind");
    context.saved = String::new();
    let socket = format!("--socket={}", params.socket.display());
    let pid_file = format!("--pid-file={}", params.datadir.join("holdfast.pid").display());
    let arguments = [
        "--init-rpl-role=SLAVE",
        "--skip-networking",
        "--skip-slave-start",
        "--read-only=ON",
        &socket,
        &pid_file,
    ];
    let inner = Inner::build(&context, &params, &arguments)?;
    Ok((inner, params))
}

fn owner(folder: &Path) -> Option<String> {
    let uid = fs::metadata(folder).ok()?.uid();
    let user = User::from_uid(Uid::from_raw(uid)).ok()??;
    Some(user.name)
}

/// Runs the server once so that it cuts, and tells what became of it.
///
/// # Errors
/// The run itself went wrong: the server did not come up, or did not end.
pub async fn run(
    site: &Site,
    inner: &mut Inner,
    params: &Params,
    rewind: Rewind,
    deadline: Time,
) -> Result<(), AgentError> {
    site.seen.say("cutting off what was never acknowledged");
    inner.listen();
    inner.agent.start(deadline).await?;
    let answered = ready::answer(params, &inner.end, &site.events).await.map(|_| ());
    inner.agent.stop(deadline).await?;
    answered?;
    let left = fs::metadata(&rewind.log).map_or(rewind.size, |data| data.len());
    if left < rewind.size {
        let text = cut(site, &rewind, left).await;
        site.events.note("warn", "mysqld-rewound", text);
    }
    let _ = fs::remove_file(&rewind.copy);
    Ok(())
}

/// What was cut off, in words, and in a file.
async fn cut(site: &Site, rewind: &Rewind, left: u64) -> String {
    let at = clock::now().as_millis();
    let file = site.params.datadir.join(format!("holdfast.discarded-{at}.sql"));
    let bytes = rewind.size - left;
    let what = "were cut off the binary log: transactions that were never acknowledged";
    match keep(rewind, left, &file).await {
        Ok(ids) => {
            let range = match (ids.first(), ids.last()) {
                (Some(first), Some(last)) if first != last => format!("{first} to {last}"),
                (Some(first), _) => first.clone(),
                _ => "none".into(),
            };
            format!(
                "{bytes} bytes {what}: {} of them, {range}; they are kept in {}",
                ids.len(),
                file.display()
            )
        }
        Err(error) => format!("{bytes} bytes {what}; they could not be kept: {error}"),
    }
}

/// Writes what follows `left` in the copy into `file`; returns the ids of its transactions.
async fn keep(rewind: &Rewind, left: u64, file: &Path) -> io::Result<Vec<String>> {
    let absent = || io::Error::other("mariadb-binlog is not installed");
    let tool = TOOLS
        .into_iter()
        .find(|tool| Path::new(tool).exists())
        .ok_or_else(absent)?;
    let run = tokio::process::Command::new(tool)
        .arg("--no-defaults")
        .arg("--verbose")
        .arg(format!("--start-position={left}"))
        .arg(format!("--result-file={}", file.display()))
        .arg(&rewind.copy)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    let late = |_| io::Error::other(format!("{tool} took too long"));
    let status = tokio::time::timeout(KEEP_LIMIT, run).await.map_err(late)??;
    if !status.success() {
        return Err(io::Error::other(format!("{tool} ended with {status}")));
    }
    let file = file.to_owned();
    let text = tokio::task::spawn_blocking(move || fs::read_to_string(file));
    let text = text.await.map_err(io::Error::other)??;
    Ok(text.lines().filter_map(gtid_of).collect())
}

/// `#261122  3:04:05 server id 1  end_log_pos 0 CRC32 0x0  GTID 0-1-7 trans`
fn gtid_of(line: &str) -> Option<String> {
    let (_, after) = line
        .strip_prefix('#')?
        .split_once("\tGTID ")
        .or_else(|| line.split_once(" GTID "))?;
    after.split_whitespace().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_log_that_was_in_use_counts() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("binlog.000002");
        fs::write(
            folder.path().join("binlog.index"),
            "./binlog.000001\n./binlog.000002\n",
        )
        .unwrap();
        let mut head = b"\xfebin".to_vec();
        head.extend([0; 40]);
        fs::write(&log, &head).unwrap();
        let index = folder.path().join("binlog.index");
        assert_eq!(last_log(folder.path(), &index), None);
        head[FLAGS_AT] = 1;
        fs::write(&log, &head).unwrap();
        assert_eq!(
            last_log(folder.path(), &index),
            Some(folder.path().join("./binlog.000002"))
        );
        fs::write(&log, &head[..10]).unwrap();
        assert_eq!(last_log(folder.path(), &index), None);
    }

    #[test]
    fn ids_are_found_in_what_the_tool_writes() {
        let line = "#261122  3:04:05 server id 1  end_log_pos 372 CRC32 0x57f5b6a0 \tGTID 0-1-7 trans";
        assert_eq!(gtid_of(line).as_deref(), Some("0-1-7"));
        assert_eq!(gtid_of("SET @@session.gtid_seq_no=7"), None);
    }
}

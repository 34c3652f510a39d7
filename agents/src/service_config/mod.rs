//! The running check of the services' own configuration: at the start, when a file that was read changes, and each hour.
//!
//! What it finds goes out as notes of kind `service-config`: each finding when it appears, and once more when it is gone. It
//! changes nothing and keeps nothing from running. Files are read by a thread of its own, which may hang with a file system
//! that hangs: nobody waits for it.

mod watch;

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_guards::{Disk, Finding, Node, Scope, check};
use holdfast_proto::agent::Note;
use holdfast_proto::config;
use tokio::sync::oneshot;
use watch::Watch;

use crate::clock;

/// Longest time between two checks: a file on a file system that is mounted over, say, is not seen to change.
const EVERY: Duration = Duration::from_secs(3600);
/// A push changes several files: they are read when it is quiet.
const SETTLE: Duration = Duration::from_millis(500);
/// Findings told one by one; `hactl config check` shows the rest.
const TOLD_MAX: usize = 30;
/// Longest configuration that is read; the parser's own limit.
const CONFIG_BYTES_MAX: u64 = config::CONFIG_BYTES_MAX as u64 + 4096;
/// Kind of the notes.
const KIND: &str = "service-config";

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// Files with the configuration of the cluster; the first that can be used counts.
    pub configs: Vec<PathBuf>,
    /// What stands for `/` in the paths of the services' files.
    pub root: PathBuf,
}

/// What one look gave.
#[derive(Debug, Default)]
struct Round {
    findings: BTreeSet<Finding>,
    /// Files and folders that it depends on.
    read: BTreeSet<PathBuf>,
}

/// Checks for as long as it is polled.
pub async fn follow(places: Places, tell: impl Fn(Note)) {
    let mut known = BTreeSet::new();
    let mut watch: Option<Watch> = None;
    loop {
        let Some(round) = look(places.clone()).await else {
            // Its thread panicked or could not begin: said by the panic itself.
            tokio::time::sleep(EVERY).await;
            continue;
        };
        tell_changes(&mut known, &round.findings, &tell);
        if watch.as_ref().is_none_or(|watch| watch.paths() != &round.read) {
            // Looked at once more, now that a change would be seen: there may have been one in between.
            watch = Some(Watch::over(round.read));
            continue;
        }
        tokio::select! {
            () = changed(watch.as_mut()) => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

async fn changed(watch: Option<&mut Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Tells what is new and what is gone.
fn tell_changes(known: &mut BTreeSet<Finding>, now: &BTreeSet<Finding>, tell: &impl Fn(Note)) {
    let new: Vec<&Finding> = now.difference(known).collect();
    for finding in new.iter().take(TOLD_MAX) {
        tell(note("warn", finding.to_string()));
    }
    if new.len() > TOLD_MAX {
        let more = new.len() - TOLD_MAX;
        tell(note(
            "warn",
            format!("{more} more settings do not go with a pair: see `hactl config check` on this node"),
        ));
    }
    // A setting that only moved to another line was told as new.
    let is_there = |gone: &Finding| {
        now.iter()
            .any(|finding| (finding.check, &finding.file) == (gone.check, &gone.file))
    };
    let gone = known.difference(now).filter(|gone| !is_there(gone));
    for finding in gone.take(TOLD_MAX) {
        tell(note(
            "info",
            format!("{}: mended: {}", finding.file, finding.what),
        ));
    }
    known.clone_from(now);
}

fn note(level: &str, text: String) -> Note {
    if level == "warn" {
        tracing::warn!("{text}");
    }
    Note {
        group: String::new(),
        text,
        level: level.into(),
        kind: KIND.into(),
        at_us: clock::now().0,
    }
}

/// One look, on a thread of its own.
async fn look(places: Places) -> Option<Round> {
    let (sender, receiver) = oneshot::channel();
    let named = std::thread::Builder::new().name("service-config".into());
    let spawned = named.spawn(move || drop(sender.send(round(&places))));
    if let Err(error) = spawned {
        tracing::warn!("the services' configuration cannot be checked: {error}");
        return None;
    }
    receiver.await.ok()
}

fn round(places: &Places) -> Round {
    let mut round = Round::default();
    round.read.extend(places.configs.iter().cloned());
    let Some(config) = places.configs.iter().find_map(|path| read_config(path)) else {
        return round;
    };
    let disk = Disk::below(&places.root);
    let node = Node::new(&disk);
    round.findings = check(&Scope::of(&config), &node).into_iter().collect();
    let within = node.read_so_far().into_iter().map(|path| {
        let mut full = places.root.join(path.trim_start_matches('/')).into_os_string();
        if path.ends_with('/') && !full.as_encoded_bytes().ends_with(b"/") {
            full.push("/");
        }
        PathBuf::from(full)
    });
    round.read.extend(within);
    round
}

/// A configuration that holds; one that does not is for `hactl config check` to explain.
fn read_config(path: &Path) -> Option<config::Config> {
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(CONFIG_BYTES_MAX).read_to_string(&mut text).ok()?;
    config::parse(&text, &path.display().to_string()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    const CONFIG: &str = "[cluster]\nname = \"shop\"\nid = \"00000000000000ff\"\n\
        [[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n[[node]]\nname = \"db2\"\nlinks = [\"10.0.0.2\"]\n\
        [witness]\naddress = \"10.0.0.3\"\n\
        [[group]]\nname = \"g\"\n[[group.resource]]\nname = \"db\"\ntype = \"systemd\"\nunit = \"mariadb\"\n";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Waits for the next note.
    async fn next(notes: &mut mpsc::UnboundedReceiver<Note>) -> (String, String) {
        let patience = Duration::from_secs(60);
        let note = tokio::time::timeout(patience, notes.recv())
            .await
            .expect("a note in time")
            .expect("a note");
        assert_eq!(note.kind, "service-config");
        (note.level, note.text)
    }

    #[tokio::test]
    async fn a_pushed_empty_gcomm_is_told_once_and_so_is_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        write(&root, "config.toml", CONFIG);
        let good = "[galera]\nwsrep_on=ON\nwsrep_cluster_address=gcomm://10.0.0.1,10.0.0.2\n";
        write(
            &root,
            "etc/mysql/my.cnf",
            "!includedir /etc/mysql/conf.d/\n[mysqld]\nskip-networking\n",
        );
        write(&root, "etc/mysql/conf.d/60-galera.cnf", good);
        let (sender, mut notes) = mpsc::unbounded_channel();
        let places = Places {
            configs: vec![root.join("absent.toml"), root.join("config.toml")],
            root: root.clone(),
        };
        let task = tokio::spawn(follow(places, move |note| drop(sender.send(note))));
        // What is wrong at the start is told.
        let (level, text) = next(&mut notes).await;
        assert!(
            level == "warn" && text.contains("my.cnf:3: skip_networking"),
            "{text}"
        );
        // A push overwrites one file: told, and nothing else is told again.
        write(
            &root,
            "etc/mysql/conf.d/60-galera.cnf",
            &good.replace("10.0.0.1,10.0.0.2", ""),
        );
        let (level, text) = next(&mut notes).await;
        assert!(
            level == "warn" && text.contains("60-galera.cnf:3: wsrep_cluster_address"),
            "{text}"
        );
        // A file that was not there before is looked at too, and one that is mended is told.
        write(&root, "etc/mysql/conf.d/70-more.cnf", good);
        let (level, text) = next(&mut notes).await;
        assert!(level == "info" && text.contains("mended"), "{text}");
        task.abort();
    }
}

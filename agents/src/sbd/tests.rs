//! Whole watches over disks that are files, with a node that only notes how it was ended.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_proto::agent::Note;
use holdfast_proto::ids::BootId;
use holdfast_sbd::{Command, Disk, Mark, Timeouts, Volume};
use tempfile::TempDir;

use super::Settings;
use super::end::EndNode;
use super::keeper::{Around, Keeper};
use super::watch::Phase;
use crate::clock;

const IO: Duration = Duration::from_millis(500);
const WATCHDOG: Duration = Duration::from_secs(5);
const BOOT: BootId = BootId(7);
/// Far beyond anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Ended(Mutex<Vec<(Command, String)>>);

impl EndNode for Ended {
    fn end(&self, order: Command, why: &str, _patience: Duration) {
        self.0.lock().unwrap().push((order, why.to_string()));
    }
}

/// A node with its disks.
struct Node {
    folder: TempDir,
    disks: usize,
    ended: Arc<Ended>,
    notes: Arc<Mutex<Vec<Note>>>,
}

impl Node {
    fn new(disks: usize) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let node = Node {
            folder,
            disks,
            ended: Arc::default(),
            notes: Arc::default(),
        };
        (0..disks).for_each(|disk| node.create(disk));
        node
    }

    fn create(&self, disk: usize) {
        let file = std::fs::File::create(self.path(disk)).unwrap();
        file.set_len(1 << 20).unwrap();
        let timeouts = Timeouts {
            allocate_s: 0,
            ..Timeouts::default()
        };
        Volume::create(Disk::open(&self.path(disk), IO).unwrap(), timeouts).unwrap();
    }

    fn path(&self, disk: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("disk{disk}"))
    }

    fn settings(&self) -> Settings {
        Settings {
            node: "db1".into(),
            devices: (0..self.disks).map(|disk| self.path(disk)).collect(),
            io_timeout_ms: 500,
            boot: format!("{:032x}", BOOT.0),
        }
    }

    fn keeper(&self, boot: &str) -> Keeper {
        let notes = Arc::clone(&self.notes);
        let mut keeper = Keeper::new(Around {
            state_dir: self.folder.path().to_path_buf(),
            kernel_boot: boot.to_string(),
            end: Arc::clone(&self.ended) as Arc<dyn EndNode>,
            notes: Arc::new(move |note| notes.lock().unwrap().push(note)),
        });
        keeper.armed(Some(WATCHDOG));
        keeper
    }

    /// One that watches all its disks.
    fn watching(&self) -> Keeper {
        let mut keeper = self.keeper("a");
        keeper.follow(Some(self.settings()));
        wait("every disk is marked", || {
            (0..self.disks).all(|disk| self.mark(disk).is_some())
        });
        keeper
    }

    fn volume(&self, disk: usize) -> Volume {
        Volume::read(Disk::open(&self.path(disk), IO).unwrap()).unwrap()
    }

    fn mark(&self, disk: usize) -> Option<Mark> {
        self.volume(disk).list().unwrap().first()?.mark
    }

    fn send(&self, disk: usize, command: Command) {
        let mut volume = self.volume(disk);
        let slot = volume.allocate("db1").unwrap();
        volume.send(slot, command, "db2", "db1").unwrap();
    }

    fn message(&self, disk: usize) -> Command {
        self.volume(disk).list().unwrap()[0].mail.command
    }

    fn noted(&self, kind: &str) -> bool {
        self.notes.lock().unwrap().iter().any(|note| note.kind == kind)
    }

    fn orders(&self) -> Vec<Command> {
        self.ended
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(order, _)| *order)
            .collect()
    }
}

#[track_caller]
fn wait(what: &str, done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_watched_disk_carries_the_boot_and_how_long_it_may_live_on() {
    let node = Node::new(1);
    let keeper = node.watching();
    let promise = Mark {
        boot: BOOT,
        watchdog: WATCHDOG,
        patience: Duration::from_millis(1500),
        disks: 1,
    };
    assert_eq!(node.mark(0), Some(promise));
    assert!(keeper.watch().is_tied() && keeper.watch().may_pet(clock::now()));
}

#[test]
fn every_order_that_ends_a_node_is_obeyed_and_petting_ends_with_it() {
    for order in [Command::Reset, Command::Off, Command::Crashdump] {
        let node = Node::new(1);
        let keeper = node.watching();
        node.send(0, order);
        wait("the node ends", || !node.orders().is_empty());
        assert_eq!(node.orders()[0], order);
        assert!(!keeper.watch().may_pet(clock::now()));
        let why = node.ended.0.lock().unwrap()[0].1.clone();
        assert!(why.contains("ordered by db2"), "{why}");
        assert_eq!(node.message(0), order, "an order is left for its sender to see");
    }
}

#[test]
fn one_disk_with_an_order_is_enough() {
    let node = Node::new(3);
    let _keeper = node.watching();
    node.send(2, Command::Reset);
    wait("the node ends", || !node.orders().is_empty());
}

#[test]
fn a_test_is_answered_and_what_is_no_order_is_cleared() {
    let node = Node::new(1);
    let keeper = node.watching();
    for (message, kind) in [
        (Command::Test, "sbd-test"),
        (Command::Exit, "sbd-message"),
        (Command::Unknown(77), "sbd-message"),
    ] {
        node.notes.lock().unwrap().clear();
        node.send(0, message);
        wait("the mailbox is emptied", || node.message(0) == Command::Clear);
        wait("it is noted", || node.noted(kind));
    }
    assert!(node.orders().is_empty() && keeper.watch().is_tied());
}

#[test]
fn an_order_for_an_earlier_boot_is_cleared_and_one_for_this_boot_is_obeyed_after_a_restart() {
    let node = Node::new(1);
    node.send(0, Command::Reset);
    let keeper = node.watching();
    assert!(node.noted("sbd-leftover") && node.orders().is_empty());
    // had-agentd dies, the order comes, the next one finds its predecessor's promise.
    keeper.crash_for_tests();
    node.send(0, Command::Off);
    let mut next = node.keeper("a");
    assert!(next.resume().is_err());
    assert_eq!(node.orders(), [Command::Off]);
    assert!(!next.watch().may_pet(clock::now()));
    // The node was reset: to the boot after that the order is history.
    let mut later = node.keeper("b");
    assert_eq!(later.resume().unwrap(), None);
    later.follow(Some(Settings {
        boot: format!("{:032x}", 8),
        ..node.settings()
    }));
    wait("the new boot marks its slot", || {
        node.mark(0).is_some_and(|mark| mark.boot == BootId(8))
    });
    assert_eq!((node.orders().len(), node.message(0)), (1, Command::Clear));
}

#[test]
fn a_restart_reads_the_disks_before_it_touches_the_watchdog() {
    let node = Node::new(3);
    node.watching().crash_for_tests();
    let mut next = node.keeper("a");
    assert_eq!(next.resume().unwrap(), Some(WATCHDOG));
    assert!(next.watch().is_tied() && next.watch().may_pet(clock::now()));
    next.follow(Some(node.settings()));
    assert_eq!(
        next.watch().phase(),
        Phase::Tied,
        "the configuration is what it was"
    );
    next.crash_for_tests();
    (0..2).for_each(|disk| std::fs::remove_file(node.path(disk)).unwrap());
    assert!(node.keeper("a").resume().is_err());
}

#[test]
fn petting_ends_when_too_few_disks_can_be_read_and_goes_on_when_they_are_back() {
    let node = Node::new(3);
    let keeper = node.watching();
    let watch = keeper.watch();
    // Another header: nobody knows what else changed. A lost disk looks the same.
    node.create(0);
    wait("the change is seen", || node.noted("sbd-disk"));
    wait("it is claimed anew", || node.mark(0).is_some());
    let away = |disk: usize| (node.path(disk), node.folder.path().join(format!("away{disk}")));
    for disk in [0, 1] {
        // An open file goes on working when its name is gone: cut it short, so that reads fail.
        let (from, to) = away(disk);
        std::fs::copy(&from, &to).unwrap();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&from)
            .unwrap()
            .set_len(0)
            .unwrap();
    }
    wait("petting ends", || !watch.may_pet(clock::now()));
    assert!(node.orders().is_empty());
    let (from, to) = away(1);
    std::fs::write(&from, std::fs::read(&to).unwrap()).unwrap();
    wait("petting goes on", || watch.may_pet(clock::now()));
    assert_eq!(node.mark(2).unwrap().boot, BOOT);
}

#[test]
fn a_watch_ends_with_its_marks_and_the_watchdog_is_free() {
    let node = Node::new(2);
    let mut keeper = node.watching();
    assert!(keeper.finish(PATIENCE));
    assert_eq!((node.mark(0), node.mark(1)), (None, None));
    assert!(!keeper.watch().is_tied() && keeper.watch().may_pet(clock::now()));
    assert_eq!(
        node.keeper("a").resume().unwrap(),
        None,
        "a successor has nothing to keep"
    );
}

#[test]
fn a_watch_whose_marks_cannot_be_erased_goes_on() {
    let node = Node::new(2);
    let mut keeper = node.watching();
    std::fs::OpenOptions::new()
        .write(true)
        .open(node.path(1))
        .unwrap()
        .set_len(0)
        .unwrap();
    let fewer = Settings {
        devices: vec![node.path(0)],
        ..node.settings()
    };
    keeper.follow(Some(fewer.clone()));
    assert!(!keeper.finish(Duration::from_secs(2)));
    assert!(
        keeper.watch().is_tied(),
        "somebody who can read that disk may still rely on it"
    );
    keeper.follow(Some(fewer));
    node.create(1);
    wait("the mark is gone for certain", || {
        keeper.watch().end_if_released()
    });
    keeper.poll();
    wait("the fewer disks are watched", || node.mark(0).is_some());
    assert_eq!(node.mark(1), None);
}

#[test]
fn without_a_watchdog_nothing_is_promised() {
    let node = Node::new(1);
    let mut keeper = node.keeper("a");
    keeper.armed(None);
    keeper.follow(Some(node.settings()));
    assert!(node.noted("sbd-no-watchdog") && !keeper.watch().is_tied());
    assert!(node.volume(0).list().unwrap().is_empty());
}

#[test]
fn a_watchdog_that_is_too_slow_for_the_disk_is_named() {
    let node = Node::new(1);
    let mut keeper = node.keeper("a");
    keeper.armed(Some(Duration::from_secs(9)));
    keeper.follow(Some(node.settings()));
    wait("it is noted", || node.noted("sbd-disk"));
    let text = node.notes.lock().unwrap()[0].text.clone();
    assert!(text.contains("--watchdog-timeout-ms 5000"), "{text}");
    assert!(!keeper.watch().is_tied() && Path::new(&node.path(0)).exists());
}

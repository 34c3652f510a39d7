//! Orders on shared disks, by the fencer that had-agentd uses, for nodes that are played by their watch alone.

#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_agents::fence::Fencer;
use holdfast_agents::sbd::Settings;
use holdfast_agents::sbd::end::EndNode;
use holdfast_agents::sbd::keeper::{Around, Keeper};
use holdfast_proto::agent::{FenceDevice, FenceOutcome};
use holdfast_sbd::{Command, Disk, Timeouts, Volume};
use tempfile::TempDir;

const IO: Duration = Duration::from_secs(30);
const BOOT: u128 = 7;
/// The shortest that can be: an order is a proof after 2 s.
const TIMEOUTS: Timeouts = Timeouts {
    watchdog_s: 2,
    allocate_s: 0,
    loop_s: 1,
    msgwait_s: 4,
};

#[derive(Default)]
struct Ended(Mutex<Vec<Command>>);

impl EndNode for Ended {
    fn end(&self, order: Command, _why: &str, _patience: Duration) {
        self.0.lock().unwrap().push(order);
    }
}

/// db2, which is to be fenced, and its disks.
struct Cluster {
    folder: TempDir,
    disks: Vec<PathBuf>,
    ended: Arc<Ended>,
}

impl Cluster {
    fn new(disks: usize) -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let disks: Vec<_> = (0..disks)
            .map(|disk| folder.path().join(format!("disk{disk}")))
            .collect();
        for path in &disks {
            std::fs::File::create(path).unwrap().set_len(1 << 20).unwrap();
            Volume::create(Disk::open(path, IO).unwrap(), TIMEOUTS).unwrap();
        }
        Cluster {
            folder,
            disks,
            ended: Arc::default(),
        }
    }

    /// db2 in boot `boot`, once it watches all its disks.
    fn watching(&self, boot: u128) -> Keeper {
        let mut keeper = Keeper::new(Around {
            state_dir: self.folder.path().to_path_buf(),
            kernel_boot: boot.to_string(),
            end: Arc::clone(&self.ended) as Arc<dyn EndNode>,
            notes: Arc::new(|_| {}),
        });
        keeper.armed(Some(Duration::from_secs(2)));
        keeper.follow(Some(Settings {
            node: "db2".into(),
            devices: self.disks.clone(),
            io_timeout_ms: 500,
            boot: format!("{boot:032x}"),
        }));
        let marked = |path: &PathBuf| {
            self.volume(path)
                .list()
                .unwrap()
                .iter()
                .any(|entry| entry.node == "db2" && entry.mark.is_some_and(|mark| mark.boot.0 == boot))
        };
        self.wait("db2 watches its disks", || self.disks.iter().all(marked));
        keeper
    }

    fn wait(&self, what: &str, done: impl Fn() -> bool) {
        let begun = Instant::now();
        while !done() {
            assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn volume(&self, path: &Path) -> Volume {
        Volume::read(Disk::open(path, IO).unwrap()).unwrap()
    }

    fn lose(&self, disk: usize) {
        std::fs::remove_file(&self.disks[disk]).unwrap();
    }

    fn ask(&self, action: &str, boot: Option<u128>) -> FenceOutcome {
        let devices: Vec<_> = self.disks.iter().map(|path| path.display().to_string()).collect();
        let request = FenceDevice {
            id: 1,
            node: "db2".into(),
            agent: "sbd".into(),
            params: [
                ("devices".to_string(), devices.join("\n")),
                ("io_timeout_ms".to_string(), "500".to_string()),
            ]
            .into(),
            action: action.into(),
            timeout_ms: 20_000,
            boot: boot.map(|boot| format!("{boot:032x}")).unwrap_or_default(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(Fencer::new(|_| {}).run(&request, "db1"))
    }

    fn orders(&self) -> Vec<Command> {
        self.ended.0.lock().unwrap().clone()
    }
}

#[test]
fn an_order_that_is_obeyed_is_a_proof_about_that_boot_alone() {
    let cluster = Cluster::new(3);
    let keeper = cluster.watching(BOOT);
    let begun = Instant::now();
    let outcome = cluster.ask("reboot", Some(BOOT));
    assert!(outcome.off_read_back, "{}", outcome.error);
    assert!(begun.elapsed() > Duration::from_secs(4), "msgwait has to pass");
    assert_eq!(
        outcome.read_at_us, 0,
        "it says nothing about a boot that was heard meanwhile"
    );
    for part in [
        "order reset for boot 00000000",
        "read back on 3",
        "it stood there on 3",
    ] {
        assert!(outcome.evidence.contains(part), "{}", outcome.evidence);
    }
    assert_eq!(cluster.orders()[0], Command::Reset);
    assert!(!keeper.watch().may_pet(holdfast_agents::clock::now()));
}

#[test]
fn a_node_that_is_dead_already_is_proven_by_its_promise() {
    let cluster = Cluster::new(1);
    std::mem::drop(stopped(cluster.watching(BOOT)));
    let outcome = cluster.ask("off", Some(BOOT));
    assert!(outcome.off_read_back, "{}", outcome.error);
    assert!(cluster.orders().is_empty(), "nobody was there to obey");
}

/// Power loss: its threads are gone, its marks stay.
fn stopped(keeper: Keeper) -> Keeper {
    keeper.crash_for_tests();
    keeper
}

#[test]
fn one_disk_of_three_may_be_lost_and_two_may_not() {
    let cluster = Cluster::new(3);
    let _dead = stopped(cluster.watching(BOOT));
    cluster.lose(0);
    assert!(cluster.ask("off", Some(BOOT)).off_read_back);
    cluster.lose(1);
    let outcome = cluster.ask("off", Some(BOOT));
    assert!(!outcome.off_read_back);
    assert!(
        outcome
            .error
            .starts_with("only 1 of 3 disks are watched by that boot: "),
        "{}",
        outcome.error
    );
}

#[test]
fn without_the_promise_of_that_very_boot_nothing_is_written_and_nothing_proven() {
    let cluster = Cluster::new(1);
    let path = cluster.disks[0].clone();
    let refused = |boot: Option<u128>, why: &str| {
        let outcome = cluster.ask("off", boot);
        assert!(
            !outcome.off_read_back && outcome.error.contains(why),
            "{}",
            outcome.error
        );
    };
    refused(Some(BOOT), "has no slot for db2");
    cluster.volume(&path).allocate("db2").unwrap();
    refused(Some(BOOT), "does not watch its mailbox with a watchdog");
    let _dead = stopped(cluster.watching(BOOT));
    refused(None, "it is not known which boot");
    refused(Some(8), "not boot 00000000, which is to end");
    assert_eq!(
        cluster.volume(&path).list().unwrap()[0].mail.command,
        Command::Clear
    );
}

#[test]
fn an_order_that_is_wiped_before_it_is_certain_proves_nothing() {
    let cluster = Cluster::new(1);
    let _dead = stopped(cluster.watching(BOOT));
    let path = cluster.disks[0].clone();
    let outcome = std::thread::scope(|scope| {
        let asked = scope.spawn(|| cluster.ask("off", Some(BOOT)));
        let ordered = || cluster.volume(&path).list().unwrap()[0].mail.command == Command::Off;
        cluster.wait("the order", ordered);
        // Somebody else's order in its place, even the same one, was not there all the time.
        cluster.volume(&path).send(0, Command::Off, "db1", "db2").unwrap();
        asked.join().unwrap()
    });
    assert!(
        !outcome.off_read_back && outcome.error.contains("was wiped"),
        "{}",
        outcome.error
    );
}

#[test]
fn a_boot_that_another_one_has_followed_is_over() {
    let cluster = Cluster::new(1);
    let dead = stopped(cluster.watching(BOOT));
    let path = cluster.disks[0].clone();
    let outcome = std::thread::scope(|scope| {
        let asked = scope.spawn(|| cluster.ask("reboot", Some(BOOT)));
        let ordered = || cluster.volume(&path).list().unwrap()[0].mail.command == Command::Reset;
        cluster.wait("the order", ordered);
        let _next = cluster.watching(8);
        asked.join().unwrap()
    });
    drop(dead);
    assert!(outcome.off_read_back, "{}", outcome.error);
    assert!(cluster.orders().is_empty(), "the new boot is spared");
}

#[test]
fn who_is_ordered_to_end_shoots_nobody() {
    let cluster = Cluster::new(1);
    let _dead = stopped(cluster.watching(BOOT));
    let mut volume = cluster.volume(&cluster.disks[0]);
    let own = volume.allocate("db1").unwrap();
    volume.send(own, Command::Reset, "db2", "db1").unwrap();
    let outcome = cluster.ask("off", Some(BOOT));
    assert!(
        !outcome.off_read_back && outcome.error.contains("itself ordered to end, by db2"),
        "{}",
        outcome.error
    );
}

#[test]
fn a_test_reads_and_writes_nothing() {
    let cluster = Cluster::new(3);
    let keeper = cluster.watching(BOOT);
    cluster.lose(2);
    let outcome = cluster.ask("test", None);
    assert!(
        !outcome.off_read_back && outcome.error.is_empty(),
        "{}",
        outcome.error
    );
    assert!(
        outcome.evidence.contains("watches its mailbox on 2 of 3 disks"),
        "{}",
        outcome.evidence
    );
    assert!(keeper.watch().is_tied() && cluster.orders().is_empty());
    cluster.lose(1);
    assert!(!cluster.ask("test", None).error.is_empty());
}

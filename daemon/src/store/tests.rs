use std::fs;
use std::path::Path;
use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::effect::PersistId;
use holdfast_proto::config;
use holdfast_proto::ids::{Ballot, BootId, NodeId, VoterSet};
use holdfast_proto::state::ClusterState;

use super::format::HEADER_BYTES;
use super::*;

const CONFIG: &str = "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n\n[[node]]\nname = \"db1\"\nlinks = [\"127.0.0.1\"]\n";

fn record(round: u64) -> Durable {
    let state = Arc::new(ClusterState {
        version: round,
        config: Arc::new(config::parse(CONFIG, "test").expect("valid")),
        voters: VoterSet::EMPTY.with(NodeId(1)),
        survivor: NodeId(1),
        next_epoch: 3,
        maintenance: false,
        lease_before_ms: 0,
        register: None,
        groups: Default::default(),
        nodes: Default::default(),
        jobs: Default::default(),
        reason: format!("state {round}"),
    });
    Durable {
        promised: Ballot { round, node: 1 },
        accepted_ballot: Ballot { round, node: 1 },
        accepted: Arc::clone(&state),
        committed: state,
    }
}

fn written(count: u64) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("dir");
    let (mut store, loaded) = Store::open(dir.path()).expect("open");
    assert!(matches!(loaded, Loaded::Blank));
    (1..=count).for_each(|round| store.write(&record(round)).expect("write"));
    dir
}

fn load(dir: &Path) -> Loaded {
    Store::open(dir).expect("open").1
}

fn fresh_round(dir: &Path) -> u64 {
    match load(dir) {
        Loaded::Fresh(record) => record.promised.round,
        other => panic!("{other:?}"),
    }
}

/// The damage is reported, both generations are kept aside, and the next start is a blank one.
fn assert_damaged(dir: &Path, words: &str) {
    let Loaded::Damaged { why, .. } = load(dir) else {
        panic!("damage was not noticed")
    };
    assert!(why.contains(words) && why.contains("does not vote"), "{why}");
    assert!(!dir.join("state.0").exists() && !dir.join("state.1").exists());
    assert!(dir.join("state.0.damaged").exists() || dir.join("state.1.damaged").exists());
    assert!(matches!(load(dir), Loaded::Blank));
}

/// The file that holds record `round`.
fn file_of(dir: &Path, round: u64) -> std::path::PathBuf {
    dir.join(format!("state.{}", round % 2))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("read");
    bytes[at] ^= 0x10;
    fs::write(path, bytes).expect("write");
}

#[test]
fn the_newest_record_is_loaded_whole() {
    for count in 1..5 {
        let dir = written(count);
        let Loaded::Fresh(loaded) = load(dir.path()) else {
            panic!("not loaded")
        };
        assert_eq!(loaded, record(count));
    }
}

#[test]
fn writing_goes_on_after_a_restart() {
    let dir = written(3);
    let (mut store, _) = Store::open(dir.path()).expect("open");
    store.write(&record(4)).expect("write");
    assert_eq!(fresh_round(dir.path()), 4);
}

#[test]
fn every_torn_length_of_the_newest_file_is_damage() {
    let whole = written(2);
    let length = fs::read(file_of(whole.path(), 2)).expect("read").len();
    for keep in [
        0,
        1,
        8,
        HEADER_BYTES - 1,
        HEADER_BYTES,
        HEADER_BYTES + 1,
        length / 2,
        length - 1,
    ] {
        let dir = written(2);
        let path = file_of(dir.path(), 2);
        let bytes = fs::read(&path).expect("read");
        fs::write(&path, &bytes[..keep]).expect("tear");
        assert_damaged(dir.path(), "damaged");
    }
}

#[test]
fn every_flipped_byte_of_the_newest_file_is_damage() {
    let length = fs::read(file_of(written(2).path(), 2)).expect("read").len();
    let dir = written(2);
    let path = file_of(dir.path(), 2);
    let other = file_of(dir.path(), 1);
    let (newest, older) = (fs::read(&path).expect("read"), fs::read(&other).expect("read"));
    for at in 0..length {
        fs::write(&path, &newest).expect("write");
        fs::write(&other, &older).expect("write");
        flip(&path, at);
        assert!(matches!(load(dir.path()), Loaded::Damaged { .. }), "byte {at}");
    }
}

#[test]
fn a_damaged_older_file_does_not_matter_if_it_is_known_to_be_older() {
    let dir = written(3);
    flip(&file_of(dir.path(), 2), HEADER_BYTES + 20);
    assert_eq!(fresh_round(dir.path()), 3);
    let dir = written(3);
    flip(&file_of(dir.path(), 2), 3);
    assert_damaged(dir.path(), "does not begin like a state file");
}

#[test]
fn a_missing_generation_may_have_been_the_newer_one() {
    let dir = written(2);
    fs::remove_file(file_of(dir.path(), 2)).expect("remove");
    // What is left is the first record ever, which can be alone.
    assert_eq!(fresh_round(dir.path()), 1);
    let dir = written(3);
    fs::remove_file(file_of(dir.path(), 3)).expect("remove");
    assert_damaged(dir.path(), "missing");
}

#[test]
fn a_record_of_another_format_is_not_guessed_at() {
    let dir = written(1);
    let path = file_of(dir.path(), 1);
    let mut bytes = fs::read(&path).expect("read");
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..HEADER_BYTES - 4]).to_le_bytes();
    bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&crc);
    fs::write(&path, bytes).expect("write");
    assert_damaged(dir.path(), "its format is 9");
}

#[test]
fn a_write_that_was_cut_short_leaves_the_record_before() {
    let dir = written(2);
    fs::write(dir.path().join("state.1.new"), b"torn").expect("write");
    assert_eq!(fresh_round(dir.path()), 2);
    let (mut store, _) = Store::open(dir.path()).expect("open");
    store.write(&record(3)).expect("write over it");
    assert_eq!(fresh_round(dir.path()), 3);
}

#[test]
fn a_record_that_cannot_be_written_is_an_error_that_says_what_and_keeps_the_one_before() {
    let dir = written(2);
    let (mut store, _) = Store::open(dir.path()).expect("open");
    // A directory in the place of the file beside cannot be written by anybody, root included.
    fs::create_dir(dir.path().join("state.1.new")).expect("mkdir");
    let error = store.write(&record(3)).expect_err("not writable").to_string();
    assert!(
        error.contains("cannot write") && error.contains("state.1"),
        "{error}"
    );
    assert_eq!(fresh_round(dir.path()), 2);
    fs::remove_dir(dir.path().join("state.1.new")).expect("rmdir");
    store.write(&record(3)).expect("written at last");
    assert_eq!(fresh_round(dir.path()), 3);
}

#[test]
fn a_full_disk_is_said_with_what_to_do() {
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    let error = StoreError::new("write", Path::new("/var/lib/holdfast/state.0"), full).to_string();
    assert!(
        error.contains("state.0") && error.contains("Free space"),
        "{error}"
    );
}

#[test]
fn the_writer_reports_the_newest_and_tries_again_after_a_failure() {
    let dir = written(2);
    let (store, _) = Store::open(dir.path()).expect("open");
    fs::create_dir(dir.path().join("state.1.new")).expect("mkdir");
    let (writer, mut reports) = StoreWriter::start(store).expect("thread");
    writer.submit(PersistId(1), Arc::new(record(3)));
    let failed = reports.blocking_recv().expect("report");
    assert_eq!(failed.id, PersistId(1));
    assert!(failed.error.expect("failed").contains("state.1"));
    fs::remove_dir(dir.path().join("state.1.new")).expect("rmdir");
    let done = loop {
        let report = reports.blocking_recv().expect("report");
        if report.error.is_none() {
            break report;
        }
    };
    assert_eq!(done.id, PersistId(1));
    (2..50).for_each(|id| writer.submit(PersistId(id), Arc::new(record(id + 10))));
    let mut last = PersistId(1);
    while last < PersistId(49) {
        let report = reports.blocking_recv().expect("report");
        assert!(report.error.is_none() && report.id > last, "{report:?}");
        last = report.id;
    }
    drop(writer);
    assert_eq!(fresh_round(dir.path()), 59);
}

#[test]
fn what_was_submitted_is_written_before_the_writer_ends() {
    let dir = written(1);
    let (store, _) = Store::open(dir.path()).expect("open");
    let (writer, _reports) = StoreWriter::start(store).expect("thread");
    writer.submit(PersistId(7), Arc::new(record(9)));
    drop(writer);
    assert_eq!(fresh_round(dir.path()), 9);
}

#[test]
fn each_start_has_a_higher_run_number_even_if_the_counter_is_lost() {
    let dir = tempfile::tempdir().expect("dir");
    let start = |wall_us| {
        let incarnation = next_incarnation(dir.path(), wall_us);
        record_incarnation(dir.path(), incarnation).expect("recorded");
        incarnation
    };
    let first = start(100);
    let second = start(50);
    assert!(second > first);
    fs::write(dir.path().join("incarnation"), "garbage").expect("write");
    assert!(start(5_000_000) > second);
}

#[test]
fn the_synced_marker_is_good_for_one_boot() {
    let dir = tempfile::tempdir().expect("dir");
    assert!(!synced_in(dir.path(), BootId(1)));
    mark_synced(dir.path(), BootId(1)).expect("marked");
    assert!(synced_in(dir.path(), BootId(1)));
    assert!(!synced_in(dir.path(), BootId(2)));
}

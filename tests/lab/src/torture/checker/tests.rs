//! The checker over a made-up run, good at first and then with one violation after the other: that it is silent about
//! a real run means something only because it is not silent here.

use std::fs;
use std::path::{Path, PathBuf};

use holdfast_proto::control::EventView;
use serde::Serialize;
use tempfile::TempDir;

use super::*;
use crate::torture::history::FAULTS;
use crate::torture::ledger::{Mark, Opened, Record, Writer};

/// When the run began: on the host's monotonic clock, and 2026-01-01 00:00 UTC.
const ORIGIN: Origin = Origin {
    monotonic_ns: 5_000_000_000,
    wall_ms: 1_767_225_600_000,
};

/// A run's directory, and what the nodes shared in it.
struct Run {
    folder: TempDir,
}

impl Run {
    /// Twenty seconds, in which n1 loses its power at 10 s and all groups are away for 3 s, to go on on n2.
    fn new() -> Run {
        let run = Run {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(origin_file(run.dir()), serde_json::to_vec(&ORIGIN).unwrap()).unwrap();
        fs::write(stalls_file(run.dir()), "").unwrap();
        run.lines(&run.dir().join(FAULTS), &[power_off()]);
        run.power(&[(0, true), (10_000, false), (16_000, true)]);
        run.lines(&run.dir().join("events-n2.jsonl"), &journal());
        for group in GROUPS {
            fs::create_dir_all(run.shared().join(group)).unwrap();
            let epochs = if group == "ledger" { [1, 5] } else { [0, 0] };
            run.ledger(group, &records(epochs));
            if group != "ledger" {
                run.lines(&attempts_file(run.dir(), group), &attempts());
                run.content(group, &(1..=171).collect::<Vec<u64>>());
            }
        }
        run
    }

    fn dir(&self) -> &Path {
        self.folder.path()
    }

    fn shared(&self) -> PathBuf {
        self.dir().join("shared")
    }

    fn lines(&self, path: &Path, values: &[impl Serialize]) {
        let lines: Vec<String> = values
            .iter()
            .map(|value| serde_json::to_string(value).unwrap() + "\n")
            .collect();
        fs::write(path, lines.concat()).unwrap();
    }

    fn ledger(&self, group: &str, records: &[Record]) {
        let bytes: Vec<u8> = records.iter().flat_map(Record::encode).collect();
        fs::write(self.shared().join(group).join(ledger::FILE), bytes).unwrap();
    }

    fn content(&self, group: &str, there: &[u64]) {
        fs::write(
            content_file(self.dir(), group),
            serde_json::to_vec(there).unwrap(),
        )
        .unwrap();
    }

    /// When the power of n1 was switched, in milliseconds of the run's clock.
    fn power(&self, switched: &[(u64, bool)]) {
        let on_host = |(at, on): &(u64, bool)| (ORIGIN.monotonic_ns + at * 1_000_000, *on);
        let switched: Vec<(u64, bool)> = switched.iter().map(on_host).collect();
        let power = BTreeMap::from([("n1", switched)]);
        fs::write(power_file(self.dir()), serde_json::to_vec(&power).unwrap()).unwrap();
    }

    fn check(&self) -> Verdict {
        check(self.dir(), &self.shared()).unwrap()
    }
}

fn power_off() -> Fault {
    Fault {
        id: 1,
        at_ms: 10_000,
        until_ms: Some(16_000),
        explains_until_ms: Some(17_000),
        kind: "power-off".into(),
        target: "n1".into(),
        detail: String::new(),
        expects_outage_of: GROUPS.map(str::to_string).to_vec(),
    }
}

/// What n2 wrote down, for all groups alike.
fn journal() -> Vec<EventView> {
    let mut entries = Vec::new();
    let mut add = |second: u32, group: &str, kind: &str, epoch: u64, text: String| {
        entries.push(EventView {
            at: format!("2026-01-01T00:00:{second:02}Z"),
            node: "n2".into(),
            kind: kind.into(),
            level: "warn".into(),
            group: group.into(),
            epoch,
            text,
            ..EventView::default()
        });
    };
    for group in GROUPS {
        let text = format!("{group}: it runs on n1, because it is preferred");
        add(0, group, "assigned", 1, text);
    }
    add(
        11,
        "",
        "fence-started",
        0,
        "fencing n1: contact with n1 is lost".into(),
    );
    add(12, "", "fence-proved", 0, "n1 is fenced: exec says off".into());
    for group in GROUPS {
        let text = format!("{group}: n1 was lost (proof: power, exec says off); so it runs on n2");
        add(12, group, "assigned", 5, text);
    }
    entries
}

/// A write every 100 ms, none between 10 s and 13 s.
fn attempts() -> Vec<Attempt> {
    let times = (0..=100).chain(130..200).map(|number| number * 100);
    let attempt = |(at, id): (u64, u64)| Attempt {
        id,
        start_ms: at,
        end_ms: at + 10,
        outcome: Outcome::Acknowledged,
        number: Some(id),
        why: String::new(),
    };
    times.zip(1..).map(attempt).collect()
}

/// What the writers on n1 and then n2 appended at those times, under these epochs.
fn records(epochs: [u64; 2]) -> Vec<Record> {
    let mut records = Vec::new();
    for (attempt, sequence) in attempts().iter().zip(0..) {
        let second = attempt.start_ms > 10_000;
        let first_of_writer = attempt.start_ms == 0 || attempt.start_ms == 13_000;
        records.push(Record {
            mark: if first_of_writer { Mark::Begin } else { Mark::Alive },
            contended: false,
            writer: Writer {
                node: if second { "n2" } else { "n1" }.into(),
                boot: u64::from(second),
                pid: 9,
                epoch: epochs[usize::from(second)],
            },
            sequence,
            at_ns: ORIGIN.monotonic_ns + attempt.end_ms * 1_000_000,
        });
    }
    records
}

#[test]
fn a_run_in_which_all_went_well() {
    let verdict = Run::new().check();
    assert!(verdict.is_good(), "{verdict:?}");
    assert_eq!(verdict.outages.len(), 3);
    assert!((verdict.longest_outage_s - 3.0).abs() < 0.001, "{verdict:?}");
    assert!((verdict.longest_recovery_s - 3.0).abs() < 0.001, "{verdict:?}");
    assert_eq!(verdict.acknowledged["redis"], 171);
    assert_eq!(verdict.openings["ledger"], 2);
}

#[test]
fn an_overlap() {
    let run = Run::new();
    let mut records = records([1, 5]);
    // n1 still wrote when n2 had begun.
    records.swap(100, 101);
    run.ledger("ledger", &records);
    let verdict = run.check();
    assert!(!verdict.overlaps.is_empty() && !verdict.is_good(), "{verdict:?}");
}

#[test]
fn two_real_writers_at_once() {
    let run = Run::new();
    let dir = run.shared().join("redis");
    fs::remove_file(dir.join(ledger::FILE)).unwrap();
    let mut first = Opened::begin(&dir).unwrap();
    let mut second = Opened::begin(&dir).unwrap();
    first.append(Mark::Alive, false).unwrap();
    second.append(Mark::Alive, false).unwrap();
    let overlaps = run.check().overlaps;
    assert!(
        overlaps[0].contains("another process had it open"),
        "{overlaps:?}"
    );
    // The one that goes on has no number left, and the other finds its own number taken.
    assert!(overlaps.len() >= 2, "{overlaps:?}");
}

#[test]
fn a_lost_write() {
    let run = Run::new();
    run.content("mariadb", &(1..=170).collect::<Vec<u64>>());
    let lost = run.check().lost_writes;
    assert!(
        lost.len() == 1 && lost[0].contains("mariadb: write 171"),
        "{lost:?}"
    );
}

#[test]
fn a_server_that_could_not_be_read_at_the_end() {
    let run = Run::new();
    fs::remove_file(content_file(run.dir(), "redis")).unwrap();
    let lost = run.check().lost_writes;
    assert!(lost.len() == 1 && lost[0].contains("nobody knows"), "{lost:?}");
}

#[test]
fn an_outage_that_nobody_caused() {
    let run = Run::new();
    run.lines(&run.dir().join(FAULTS), &Vec::<Fault>::new());
    assert_eq!(run.check().unexplained_outages.len(), 3);
    let mut fault = power_off();
    fault.expects_outage_of.retain(|group| group != "redis");
    run.lines(&run.dir().join(FAULTS), &[fault]);
    let unexplained = run.check().unexplained_outages;
    assert!(
        unexplained.len() == 1 && unexplained[0].starts_with("redis"),
        "{unexplained:?}"
    );
}

#[test]
fn a_group_that_comes_back_too_late() {
    let run = Run::new();
    let mut attempts = attempts();
    for attempt in &mut attempts[101..] {
        attempt.start_ms += 2 * BOUND_MS;
        attempt.end_ms += 2 * BOUND_MS;
    }
    run.lines(&attempts_file(run.dir(), "redis"), &attempts);
    let unexplained = run.check().unexplained_outages;
    assert!(
        unexplained.iter().any(|text| text.contains("ms to come back")),
        "{unexplained:?}"
    );
}

#[test]
fn a_takeover_without_a_proof() {
    let run = Run::new();
    let mut entries = journal();
    entries.retain(|entry| entry.kind != "fence-proved");
    run.lines(&run.dir().join("events-n2.jsonl"), &entries);
    assert_eq!(run.check().unproven_takeovers.len(), 3);
}

#[test]
fn a_proof_about_a_node_that_had_power() {
    let run = Run::new();
    run.power(&[(0, true)]);
    let unproven = run.check().unproven_takeovers;
    assert!(
        unproven.len() == 1 && unproven[0].contains("had power all the time"),
        "{unproven:?}"
    );
}

#[test]
fn an_outage_of_which_no_journal_tells() {
    let run = Run::new();
    run.lines(&run.dir().join("events-n2.jsonl"), &journal()[..3]);
    assert_eq!(run.check().outages_without_reason.len(), 3);
}

#[test]
fn evidence_that_is_missing_is_an_error_and_no_good_run() {
    for name in ["origin.json", "attempts-mariadb.jsonl", FAULTS] {
        let run = Run::new();
        fs::remove_file(run.dir().join(name)).unwrap();
        let error = check(run.dir(), &run.shared()).unwrap_err();
        assert!(format!("{error:#}").contains(name), "{error:#}");
    }
}

//! `hactl sbd` on files: a file is a disk for whoever is on one machine.

use std::fs;
use std::path::PathBuf;
use std::process::Output;

use tempfile::TempDir;

use crate::support::{code, err, hactl, json, out};

/// Disks in a folder, made by `hactl sbd create` with a slot for db1 and db2.
struct Disks {
    folder: TempDir,
    paths: Vec<PathBuf>,
}

impl Disks {
    fn blank(count: usize) -> Disks {
        let folder = tempfile::tempdir().expect("temporary folder");
        let paths: Vec<_> = (0..count)
            .map(|disk| folder.path().join(format!("disk{disk}")))
            .collect();
        for path in &paths {
            let file = fs::File::create(path).expect("image");
            file.set_len(1 << 20).expect("its length");
        }
        Disks { folder, paths }
    }

    fn made(count: usize) -> Disks {
        let disks = Disks::blank(count);
        let made = disks.run(&["create", "--yes", "-2", "0", "-4", "10"]);
        assert_eq!(code(&made), 0, "{}", err(&made));
        for node in ["db1", "db2"] {
            let claimed = disks.run(&["allocate", node]);
            assert_eq!(code(&claimed), 0, "{}", err(&claimed));
        }
        disks
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = hactl();
        let nowhere = self.folder.path().join("no-configuration");
        command.arg("sbd").arg("--config").arg(nowhere);
        for path in &self.paths {
            command.arg("-d").arg(path);
        }
        command.args(args).output().expect("hactl runs")
    }
}

#[test]
fn a_disk_is_created_dumped_and_listed() {
    let disks = Disks::made(1);
    let dump = out(&disks.run(&["dump"]));
    for line in [
        "Header version     : 2.1",
        "Number of slots    : 255",
        "Timeout (allocate) : 0",
    ] {
        assert!(dump.contains(line), "{dump}");
    }
    let list = json(&disks.run(&["list", "--json"]));
    assert_eq!(list["ok"], true);
    let slots = &list["disks"][0]["slots"];
    assert_eq!(
        (&slots[0]["node"], &slots[1]["node"]),
        (&"db1".into(), &"db2".into())
    );
    assert_eq!(slots[0]["message"], "clear");
    assert!(slots[0]["watched"].is_null());
    let header = json(&disks.run(&["dump", "--json"]));
    assert_eq!(header["disks"][0]["msgwait_timeout_s"], 10);
}

#[test]
fn what_costs_data_or_a_node_is_asked_for() {
    let disks = Disks::blank(1);
    let refused = disks.run(&["create"]);
    assert_eq!(code(&refused), 2, "{}", err(&refused));
    assert!(
        err(&refused).contains("is overwritten") && err(&refused).contains("--yes"),
        "{}",
        err(&refused)
    );
    assert_eq!(fs::read(&disks.paths[0]).expect("image"), vec![0; 1 << 20]);
    let disks = Disks::made(1);
    let refused = disks.run(&["message", "db1", "reset"]);
    assert_eq!(code(&refused), 2);
    assert!(
        err(&refused).contains("hactl sbd message db1 reset --yes"),
        "{}",
        err(&refused)
    );
    assert!(out(&disks.run(&["list"])).contains("clear"));
}

#[test]
fn timeouts_that_contradict_each_other_make_no_disk() {
    let disks = Disks::blank(1);
    let refused = disks.run(&["create", "--yes", "-1", "10", "-4", "15"]);
    assert_eq!(code(&refused), 2);
    assert!(
        err(&refused).contains("must be at least twice the watchdog timeout (10 s)"),
        "{}",
        err(&refused)
    );
    assert_eq!(
        code(&disks.run(&["create", "--yes", "-1", "10"])),
        0,
        "msgwait follows"
    );
}

#[test]
fn a_message_counts_on_a_majority_of_the_disks() {
    let disks = Disks::made(3);
    let send = |disks: &Disks| disks.run(&["message", "db2", "off", "--yes", "--no-wait", "--json"]);
    let all = json(&send(&disks));
    assert_eq!((&all["ok"], &all["written"]), (&true.into(), &3.into()));
    fs::remove_file(&disks.paths[0]).expect("a lost disk");
    let two = send(&disks);
    assert_eq!(code(&two), 0);
    assert_eq!(
        (&json(&two)["written"], &json(&two)["needed"]),
        (&2.into(), &2.into())
    );
    let listed = disks.run(&["list"]);
    assert_eq!(code(&listed), 1);
    assert!(out(&listed).matches("off").count() == 2 && err(&listed).contains("disk0 cannot be opened"));
    fs::remove_file(&disks.paths[1]).expect("another lost disk");
    let one = send(&disks);
    assert_eq!((code(&one), &json(&one)["ok"]), (1, &false.into()));
}

#[test]
fn a_test_waits_for_its_answer() {
    let disks = Disks::blank(1);
    assert_eq!(code(&disks.run(&["create", "--yes", "-1", "5", "-2", "0"])), 0);
    assert_eq!(code(&disks.run(&["allocate", "db1"])), 0);
    // Its time is that of the disk, 10 s: enough to see that it waits, and that an answer ends the wait.
    let answered = std::thread::scope(|scope| {
        let asked = scope.spawn(|| disks.run(&["message", "db1", "test", "--json"]));
        while !out(&disks.run(&["list"])).contains("test") {}
        assert_eq!(code(&disks.run(&["message", "db1", "clear"])), 0);
        asked.join().expect("hactl")
    });
    assert_eq!(json(&answered)["answered"], 1, "{}", out(&answered));
    let unknown = disks.run(&["message", "db9", "test"]);
    assert_eq!(code(&unknown), 1);
    assert!(err(&unknown).contains("has no slot for db9"), "{}", err(&unknown));
    assert_eq!(
        code(&disks.run(&["message", "db1", "reboot"])),
        2,
        "there is no such message"
    );
}

#[test]
fn disks_come_from_the_configuration_and_need_not_be_named() {
    let disks = Disks::made(1);
    let config = disks.folder.path().join("holdfast.toml");
    let device = disks.paths[0].display();
    let text = format!(
        "[cluster]\nname = \"c\"\nid = \"00112233445566ff\"\n\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n\n\
         [sbd]\ndevices = [\"{device}\"]\n"
    );
    fs::write(&config, &text).expect("configuration");
    let with = |args: &[&str]| {
        let mut command = hactl();
        command.args(["sbd", "--config"]).arg(&config).args(args);
        command.output().expect("hactl runs")
    };
    assert!(out(&with(&["list"])).contains("db1"));
    fs::write(&config, text.replace("devices", "disks")).expect("configuration");
    assert_eq!(code(&with(&["list"])), 6);
    assert_eq!(code(&with(&["list", "-d", &device.to_string()])), 0);
}

#[test]
fn a_configuration_is_checked_against_the_disks_that_are_there() {
    let disks = Disks::blank(2);
    assert_eq!(code(&disks.run(&["create", "--yes", "-1", "10"])), 0);
    fs::copy(&disks.paths[0], &disks.paths[1]).expect("a copied disk");
    let config = disks.folder.path().join("holdfast.toml");
    let (one, two) = (disks.paths[0].display(), disks.paths[1].display());
    let text = format!(
        "[cluster]\nname = \"c\"\nid = \"00112233445566ff\"\n\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n\n\
         [sbd]\ndevices = [\"{one}\", \"{two}\"]\nio_timeout = \"1s\"\n"
    );
    fs::write(&config, text).expect("configuration");
    let path = config.display().to_string();
    let checked = hactl()
        .args(["config", "check", &path])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&checked), 0, "{}", err(&checked));
    let said = err(&checked);
    assert!(
        said.contains("override those of [sbd]: watchdog 10 s") && said.contains("are one disk"),
        "{said}"
    );
}

#[test]
fn what_is_no_disk_of_sbd_is_named() {
    let disks = Disks::blank(1);
    let refused = disks.run(&["list"]);
    assert_eq!(code(&refused), 1);
    assert!(err(&refused).contains("holds no SBD header"), "{}", err(&refused));
}

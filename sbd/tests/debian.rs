//! What Debian's `sbd` writes is read, and what is written here is read by it. Needs root, a loop device and the
//! program; without them it says so and does nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use holdfast_proto::ids::BootId;
use holdfast_sbd::{Command as Order, Disk, Mark, Timeouts, Volume};
use tempfile::NamedTempFile;

/// Short, because `sbd` sleeps them out. No node watches such a disk.
const SHORT: Timeouts = Timeouts {
    watchdog_s: 1,
    allocate_s: 1,
    loop_s: 1,
    msgwait_s: 2,
};

/// A loop device over a file; `sbd` takes nothing but block devices.
struct Loop {
    device: PathBuf,
    _image: NamedTempFile,
}

impl Loop {
    /// None, with a word why, where this cannot be tried.
    fn attach(sector_size: u32) -> Option<Loop> {
        if !nix::unistd::geteuid().is_root() {
            return skip("not root");
        }
        if Command::new("sbd").arg("-h").output().is_err() {
            return skip("no program sbd (Debian package sbd)");
        }
        let image = NamedTempFile::new().expect("image");
        image.as_file().set_len(4 << 20).expect("its length");
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &sector_size.to_string()])
            .arg(image.path())
            .output();
        match made {
            Ok(output) if output.status.success() => Some(Loop {
                device: String::from_utf8_lossy(&output.stdout).trim().into(),
                _image: image,
            }),
            Ok(output) => skip(&format!(
                "no loop device: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )),
            Err(error) => skip(&format!("no losetup: {error}")),
        }
    }

    fn sbd(&self, args: &[&str]) -> String {
        let output: Output = Command::new("sbd")
            .arg("-d")
            .arg(&self.device)
            .args(args)
            .output()
            .expect("sbd runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "sbd {args:?}: {said}{complaint}");
        said
    }

    fn disk(&self) -> Disk {
        let path: &Path = &self.device;
        Disk::open(path, Duration::from_secs(30)).expect("the loop device opens")
    }

    fn volume(&self) -> Volume {
        Volume::read(self.disk()).expect("it is a disk of SBD")
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let detached = Command::new("losetup").arg("-d").arg(&self.device).status();
        assert!(detached.is_ok_and(|status| status.success()), "losetup -d");
    }
}

fn skip(why: &str) -> Option<Loop> {
    eprintln!("skipped: {why}");
    None
}

/// What `sbd dump` says of a disk with these timeouts.
fn dump_lines(sector_size: u32, uuid: &str) -> Vec<String> {
    vec![
        "Header version     : 2.1".to_string(),
        format!("UUID               : {uuid}"),
        "Number of slots    : 255".to_string(),
        format!("Sector size        : {sector_size}"),
        "Timeout (watchdog) : 1".to_string(),
        "Timeout (allocate) : 1".to_string(),
        "Timeout (loop)     : 1".to_string(),
        "Timeout (msgwait)  : 2".to_string(),
    ]
}

fn both_read_the_same(disk: &Loop, sector_size: u32) {
    let mut volume = disk.volume();
    let header = *volume.header();
    assert_eq!((header.timeouts, header.sector_size), (SHORT, sector_size));
    let dump = disk.sbd(&["dump"]);
    for line in dump_lines(sector_size, &header.uuid_text()) {
        assert!(dump.lines().any(|said| said == line), "{line} is not in\n{dump}");
    }
    let ours: Vec<String> = volume
        .list()
        .expect("its slots")
        .iter()
        .map(|entry| {
            format!(
                "{}\t{}\t{}\t{}",
                entry.slot, entry.node, entry.mail.command, entry.mail.from
            )
        })
        .collect();
    let theirs: Vec<String> = disk.sbd(&["list"]).lines().map(str::to_owned).collect();
    assert_eq!(ours, theirs);
}

#[test]
fn a_disk_that_debians_sbd_made_is_read_and_written_on() {
    for sector_size in [512, 4096] {
        let Some(disk) = Loop::attach(sector_size) else {
            return;
        };
        disk.sbd(&["-1", "1", "-2", "1", "-3", "1", "-4", "2", "create"]);
        disk.sbd(&["allocate", "db1"]);
        both_read_the_same(&disk, sector_size);
        disk.sbd(&["-n", "db2", "message", "db1", "reset"]);
        both_read_the_same(&disk, sector_size);
        let mut volume = disk.volume();
        let entry = volume.list().expect("its slots").remove(0);
        assert_eq!(
            (entry.mail.command, entry.mail.from.as_str()),
            (Order::Reset, "db2")
        );
        assert_eq!(volume.allocate("DB1").expect("its slot"), 0);
        assert_eq!(volume.allocate("db2").expect("another slot"), 1);
        volume.clear(0, "db1").expect("an empty mailbox");
        both_read_the_same(&disk, sector_size);
    }
}

#[test]
fn debians_sbd_reads_and_writes_on_a_disk_that_was_made_here() {
    for sector_size in [512, 4096] {
        let Some(disk) = Loop::attach(sector_size) else {
            return;
        };
        let mut volume = Volume::create(disk.disk(), SHORT).expect("a disk");
        both_read_the_same(&disk, sector_size);
        disk.sbd(&["allocate", "db1"]);
        assert_eq!(volume.allocate("db2").expect("a slot"), 1);
        let order = volume.send(0, Order::Off, "db2", "db1").expect("an order");
        both_read_the_same(&disk, sector_size);
        disk.sbd(&["-n", "db2", "message", "db1", "off"]);
        assert!(
            !volume.stands(&order).expect("the mailbox"),
            "the same words, but not the same order"
        );
    }
}

#[test]
fn debians_sbd_leaves_the_mark_of_a_watched_slot_alone() {
    let Some(disk) = Loop::attach(512) else { return };
    let mut volume = Volume::create(disk.disk(), SHORT).expect("a disk");
    let slot = volume.allocate("db1").expect("a slot");
    let mark = Mark {
        boot: BootId(7 << 100),
        watchdog: Duration::from_secs(5),
        patience: Duration::from_secs(4),
        disks: 1,
    };
    let mut sector = volume.slot_bytes(slot).expect("the slot");
    mark.write(&mut sector);
    volume.write_slot_bytes(slot, &sector, "db1").expect("the mark");
    both_read_the_same(&disk, 512);
    disk.sbd(&["allocate", "db1"]);
    disk.sbd(&["allocate", "db2"]);
    disk.sbd(&["message", "db1", "test"]);
    let entries = volume.list().expect("its slots");
    assert_eq!(entries[0].mark, Some(mark));
    assert_eq!(entries[1].mark, None);
}

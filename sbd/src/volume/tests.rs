use std::time::Instant;

use tempfile::NamedTempFile;

use super::*;
use crate::disk::IO_TIMEOUT;

const QUICK: Timeouts = Timeouts {
    watchdog_s: 5,
    allocate_s: 0,
    loop_s: 1,
    msgwait_s: 10,
};

fn image() -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(512 * sectors_needed(255)).unwrap();
    file
}

fn open(file: &NamedTempFile) -> Disk {
    Disk::open(file.path(), IO_TIMEOUT).unwrap()
}

#[test]
fn a_disk_is_created_over_what_was_there_and_read_again() {
    let file = image();
    let mut disk = open(&file);
    for sector in 0..disk.sectors() {
        disk.write(sector, &[0xaa; 512]).unwrap();
    }
    let created = *Volume::create(disk, QUICK).unwrap().header();
    let mut volume = Volume::read(open(&file)).unwrap();
    assert_eq!(*volume.header(), created);
    assert_eq!((created.slots, created.timeouts), (255, QUICK));
    assert!(volume.list().unwrap().is_empty());
    let other = image();
    let second = Volume::create(open(&other), QUICK).unwrap();
    assert_ne!(second.header().uuid, created.uuid);
}

#[test]
fn a_disk_that_is_too_small_or_empty_is_refused() {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(512 * 510).unwrap();
    let refused = Volume::create(open(&file), QUICK).map(drop).unwrap_err();
    assert!(refused.to_string().contains("255 slots need 511"), "{refused}");
    let refused = Volume::read(open(&file)).map(drop).unwrap_err();
    assert!(refused.to_string().contains("hactl sbd create"), "{refused}");
    file.as_file().set_len(0).unwrap();
    assert!(Volume::read(open(&file)).is_err());
}

#[test]
fn a_slot_is_claimed_once_whatever_the_case_of_the_name() {
    let file = image();
    let mut volume = Volume::create(open(&file), QUICK).unwrap();
    assert_eq!(volume.allocate("db1").unwrap(), 0);
    assert_eq!(volume.allocate("db2").unwrap(), 1);
    assert_eq!(volume.allocate("DB1").unwrap(), 0);
    let names: Vec<_> = volume
        .list()
        .unwrap()
        .into_iter()
        .map(|entry| entry.node)
        .collect();
    assert_eq!(names, ["db1", "db2"]);
    assert!(matches!(volume.slot_of("db3"), Err(Error::NoSlot { .. })));
}

#[test]
fn who_loses_the_race_for_a_slot_takes_the_next() {
    let file = image();
    let slow = Timeouts {
        allocate_s: 1,
        ..QUICK
    };
    let mut volume = Volume::create(open(&file), slow).unwrap();
    let mut rival = Volume::read(open(&file)).unwrap();
    let claiming = thread::spawn(move || volume.allocate("db1").unwrap());
    let begun = Instant::now();
    while rival.find("db1").unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60), "db1 claimed nothing");
    }
    // It saw the slot free at the same moment, and writes later.
    rival
        .write_slot_bytes(0, &Slot::of("db2").sector(512), "db2")
        .unwrap();
    assert_eq!(claiming.join().unwrap(), 1);
    assert_eq!(rival.find("db2").unwrap(), Some(0));
}

#[test]
fn a_full_disk_says_so() {
    let file = image();
    let mut volume = Volume::create(open(&file), QUICK).unwrap();
    for slot in 0..255 {
        let sector = Slot::of(&format!("node{slot}")).sector(512);
        volume.write_slot_bytes(slot, &sector, "it").unwrap();
    }
    assert!(matches!(volume.allocate("db1"), Err(Error::Full { .. })));
    assert_eq!(volume.allocate("node254").unwrap(), 254);
}

#[test]
fn an_order_counts_while_it_stands_and_no_other_is_taken_for_it() {
    let file = image();
    let mut volume = Volume::create(open(&file), QUICK).unwrap();
    let slot = volume.allocate("db1").unwrap();
    let first = volume.send(slot, Command::Reset, "db2", "db1").unwrap();
    assert!(volume.stands(&first).unwrap());
    assert_eq!(volume.list().unwrap()[0].mail.command, Command::Reset);
    let second = volume.send(slot, Command::Reset, "db2", "db1").unwrap();
    assert!(
        !volume.stands(&first).unwrap(),
        "the same words, but not the same order"
    );
    assert!(volume.stands(&second).unwrap());
    volume.clear(slot, "db1").unwrap();
    assert!(!volume.stands(&second).unwrap());
    assert_eq!(volume.mail(slot).unwrap(), Mail::empty());
}

#[test]
fn a_header_that_changes_is_noticed() {
    let file = image();
    let mut volume = Volume::create(open(&file), QUICK).unwrap();
    volume.check_header().unwrap();
    Volume::create(open(&file), QUICK).unwrap();
    assert!(matches!(volume.check_header(), Err(Error::Changed { .. })));
}

/// A device that takes writes and forgets them: what stock SBD reports as delivered.
#[test]
fn an_order_that_does_not_reach_the_disk_is_an_error() {
    use crate::layout::mail_sector;
    let file = image();
    let mut volume = Volume::create(open(&file), QUICK).unwrap();
    let slot = volume.allocate("db1").unwrap();
    let mut forgetful = Volume {
        header: *volume.header(),
        disk: Disk::forgetful(open(&file), mail_sector(slot)),
    };
    let refused = forgetful.send(slot, Command::Reset, "db2", "db1").unwrap_err();
    assert!(matches!(refused, Error::NotReadBack { .. }), "{refused}");
}

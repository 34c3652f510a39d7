//! What stands on a shared disk, which every node that sees it can write: header, slots, mailboxes, marks, and the blocks of a
//! witness.

use holdfast_sbd::layout::{Command, Header, Mail, SECTOR_SIZES, Slot};
use holdfast_sbd::register::layout as block;
use holdfast_sbd::{Mark, Timeouts, mark};

use crate::memory::bounded;
use crate::text::{head, one_line};

/// Reads the bytes as each kind of sector: cut as they are, and filled up to a whole one of either size.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    sector(data);
    let ([large], data) = head::<1>(data);
    let mut whole = data.to_vec();
    whole.resize(SECTOR_SIZES[usize::from(large & 1)] as usize, 0);
    sector(&whole);
}

fn sector(bytes: &[u8]) {
    match bounded(bytes.len(), 16, || Header::read(bytes)) {
        Ok(header) => header_holds(&header, bytes),
        Err(damage) => one_line(&damage.to_string()),
    }
    if let Ok(slot) = bounded(bytes.len(), 64, || Slot::read(bytes)) {
        one_line(&slot.name);
        settled(&slot, |slot| Slot::read(&slot.sector(512)));
        assert!(
            slot.in_use != 0 || !slot.belongs_to(&slot.name),
            "a free slot belongs to nobody"
        );
    }
    if let Ok(mail) = bounded(bytes.len(), 64, || Mail::read(bytes)) {
        one_line(&mail.from);
        settled(&mail, |mail| Mail::read(&mail.sector(512)));
        let word = mail.command.word();
        assert_eq!(word == "undefined", matches!(mail.command, Command::Unknown(_)));
        assert!(
            word.parse::<Command>()
                .is_ok_and(|command| command == mail.command)
                || word == "undefined"
        );
    }
    if let Some(found) = Mark::read(bytes) {
        marked(&found, bytes);
    }
    registered(bytes);
    for magic in [b"HFREGSTR", b"HFBLOCK\0"] {
        registered(&sealed(bytes, magic));
    }
}

/// The same bytes behind this magic, version 1, and with a right checksum: otherwise no parser would come to them.
fn sealed(bytes: &[u8], magic: &[u8; 8]) -> Vec<u8> {
    let mut sealed = magic.to_vec();
    sealed.extend(1u32.to_le_bytes());
    sealed.extend(bytes);
    sealed.resize(508, 0);
    let crc = crc32fast::hash(&sealed);
    sealed.extend(crc.to_le_bytes());
    sealed
}

/// The header of a register, and a block in the place that it names itself. What is read goes round.
fn registered(bytes: &[u8]) {
    match block::Header::read(bytes) {
        Ok(header) => assert_eq!(block::Header::read(&header.sector(512)), Ok(header)),
        Err(damage) => one_line(&damage.to_string()),
    }
    let mut named = [0; 20];
    if let Some(there) = bytes.get(12..32) {
        named.copy_from_slice(there);
    }
    let register = u128::from_le_bytes(named[..16].try_into().expect("16 bytes"));
    let index = u32::from_le_bytes(named[16..].try_into().expect("4 bytes"));
    match block::read_head(bytes, register, index) {
        Ok(head) => {
            let again = block::head_sector(&head, register, index, 512);
            assert_eq!(block::read_head(&again, register, index), Ok(head));
        }
        Err(damage) => one_line(&damage.to_string()),
    }
}

/// What is written is read again; names may be cut or cleaned once.
fn settled<T: PartialEq + std::fmt::Debug, E: std::fmt::Debug>(
    first: &T,
    again: impl Fn(&T) -> Result<T, E>,
) {
    let once = again(first).expect("what was written is read");
    let twice = again(&once).expect("what was written is read");
    assert_eq!(once, twice);
}

fn header_holds(header: &Header, bytes: &[u8]) {
    assert!(header.slots > 0 && header.sector_size as usize == bytes.len());
    let again = Header::read(&header.sector()).expect("what was written is read");
    assert_eq!(*header, again);
    one_line(&header.uuid_text());
    timeouts_hold(&header.timeouts);
}

/// A disk without contradictions leaves time for the watchdog.
fn timeouts_hold(timeouts: &Timeouts) {
    let io = std::time::Duration::from_secs(3);
    let found = timeouts.contradictions(io);
    found.iter().for_each(|text| one_line(text));
    if found.is_empty() {
        let watchdog = std::time::Duration::from_secs(timeouts.watchdog_s.into());
        let msgwait = std::time::Duration::from_secs(timeouts.msgwait_s.into());
        assert!(timeouts.patience(io) + watchdog < msgwait);
        assert!(timeouts.fence_least() > msgwait);
    }
}

/// A mark goes round, stays out of what SBD reads, and an order's stamp is none.
fn marked(found: &Mark, bytes: &[u8]) {
    let mut copy = bytes.to_vec();
    Mark::erase(&mut copy);
    assert_eq!(Mark::read(&copy), None);
    assert_eq!(Slot::read(&copy), Slot::read(bytes));
    found.write(&mut copy);
    assert_eq!(Mark::read(&copy), Some(*found));
    mark::stamp(&mut copy, [7; 16]);
    assert_eq!(Mark::read(&copy), None);
}

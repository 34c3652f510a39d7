//! What Holdfast adds to a disk, in the second half of a sector, which SBD neither reads nor compares nor, in a slot
//! that is taken, writes.
//!
//! A slot carries a [`Mark`] while its node watches its mailbox with an armed watchdog: *this boot obeys what is written
//! here, or ends within this time*. Without it an order that was written and read back proves nothing: nobody may be
//! reading. An order carries a stamp of its own, so that who wrote it can tell later whether it stood all the time.

use std::time::Duration;

use holdfast_proto::ids::BootId;

/// Where it begins. What SBD uses ends long before.
const AT: usize = 256;
const MAGIC: &[u8; 8] = b"HOLDFAST";
const STAMP_MAGIC: &[u8; 8] = b"HFORDER\0";
const VERSION: u8 = 1;
/// Bytes under the checksum: magic, version, number of disks, padding, boot, two times.
const SUMMED: usize = 36;
const LENGTH: usize = SUMMED + 4;
const STAMP_LENGTH: usize = 28;

/// What a watched slot promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The boot that watches.
    pub boot: BootId,
    /// Timeout of its armed watchdog, as the device chose it.
    pub watchdog: Duration,
    /// It pets the watchdog no longer than this after it began to read its mailbox on a majority of disks.
    pub patience: Duration,
    /// How many disks it watches. Who counts on another number counts wrongly.
    pub disks: u8,
}

impl Mark {
    /// The mark in a slot's sector; None if there is none, or a damaged one.
    #[must_use]
    pub fn read(sector: &[u8]) -> Option<Mark> {
        let bytes = sector.get(AT..AT + LENGTH)?;
        let (summed, sum) = bytes.split_at(SUMMED);
        if !summed.starts_with(MAGIC) || summed[8] != VERSION || sum != crc32fast::hash(summed).to_be_bytes()
        {
            return None;
        }
        let millis = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&summed[at..at + 4]);
            Duration::from_millis(u32::from_be_bytes(number).into())
        };
        let mut boot = [0; 16];
        boot.copy_from_slice(&summed[12..28]);
        Some(Mark {
            boot: BootId(u128::from_be_bytes(boot)),
            watchdog: millis(28),
            patience: millis(32),
            disks: summed[9],
        })
    }

    /// Writes it into a slot's sector.
    pub fn write(&self, sector: &mut [u8]) {
        let Some(bytes) = sector.get_mut(AT..AT + LENGTH) else {
            return;
        };
        // Longer than a u32 of milliseconds is for ever, and rounds to the longest.
        let millis = |span: Duration| u32::try_from(span.as_millis()).unwrap_or(u32::MAX).to_be_bytes();
        bytes.fill(0);
        bytes[..8].copy_from_slice(MAGIC);
        (bytes[8], bytes[9]) = (VERSION, self.disks);
        bytes[12..28].copy_from_slice(&self.boot.0.to_be_bytes());
        bytes[28..32].copy_from_slice(&millis(self.watchdog));
        bytes[32..36].copy_from_slice(&millis(self.patience));
        let sum = crc32fast::hash(&bytes[..SUMMED]);
        bytes[SUMMED..].copy_from_slice(&sum.to_be_bytes());
    }

    /// Takes the mark out of a slot's sector.
    pub fn erase(sector: &mut [u8]) {
        if let Some(bytes) = sector.get_mut(AT..AT + LENGTH) {
            bytes.fill(0);
        }
    }
}

/// Makes an order's sector unlike every other.
pub fn stamp(sector: &mut [u8], stamp: [u8; 16]) {
    if let Some(bytes) = sector.get_mut(AT..AT + STAMP_LENGTH) {
        bytes.fill(0);
        bytes[..8].copy_from_slice(STAMP_MAGIC);
        bytes[8] = VERSION;
        bytes[12..].copy_from_slice(&stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Slot;

    fn mark() -> Mark {
        Mark {
            boot: BootId(0x1234_5678_9abc_def0_1122_3344_5566_7788),
            watchdog: Duration::from_secs(5),
            patience: Duration::from_millis(4000),
            disks: 3,
        }
    }

    #[test]
    fn a_mark_goes_round_and_leaves_the_slot_as_it_is() {
        for size in [512, 4096] {
            let mut sector = Slot::of("db1").sector(size);
            let before = sector.clone();
            mark().write(&mut sector);
            assert_eq!(Mark::read(&sector), Some(mark()));
            assert_eq!(Slot::read(&sector), Ok(Slot::of("db1")));
            Mark::erase(&mut sector);
            assert_eq!(sector, before);
        }
    }

    #[test]
    fn a_mark_that_is_damaged_anywhere_is_none() {
        let mut sector = Slot::of("db1").sector(512);
        assert_eq!(Mark::read(&sector), None);
        mark().write(&mut sector);
        for bit in 0..LENGTH * 8 {
            let mut damaged = sector.clone();
            damaged[AT + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::read(&damaged), None, "bit {bit}");
        }
        assert_eq!(Mark::read(&sector[..AT + LENGTH - 1]), None);
    }

    #[test]
    fn a_watchdog_beyond_all_time_stays_the_longest() {
        let mut sector = vec![0; 512];
        Mark {
            watchdog: Duration::MAX,
            ..mark()
        }
        .write(&mut sector);
        let read = Mark::read(&sector).unwrap();
        assert_eq!(read.watchdog, Duration::from_millis(u32::MAX.into()));
    }
}

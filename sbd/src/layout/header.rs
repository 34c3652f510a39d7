//! The header: magic, version, number of slots, timeouts in whole seconds, and a UUID.

use std::fmt;

use holdfast_proto::config::SbdTimeouts as Timeouts;

use super::{Damage, long_enough};

const MAGIC: &[u8; 8] = b"SBD_SBD_";
const VERSION: u8 = 2;
const MINOR_VERSION: u8 = 1;
/// Slots of every disk that SBD makes.
pub const SLOTS: u8 = 255;
/// Sizes of sectors that exist, in bytes.
pub const SECTOR_SIZES: [u32; 2] = [512, 4096];

/// Where the fields are. Numbers are big-endian.
mod at {
    pub const VERSION: usize = 8;
    pub const SLOTS: usize = 9;
    // The compiler's alignment leaves two bytes free.
    pub const SECTOR_SIZE: usize = 12;
    pub const WATCHDOG: usize = 16;
    pub const ALLOCATE: usize = 20;
    pub const LOOP: usize = 24;
    pub const MSGWAIT: usize = 28;
    pub const MINOR_VERSION: usize = 32;
    pub const UUID: usize = 33;
}

/// The header of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Major and minor version; the minor one is 0 on disks without a UUID.
    pub version: (u8, u8),
    /// Number of slots.
    pub slots: u8,
    /// Bytes of a sector.
    pub sector_size: u32,
    /// Timeouts.
    pub timeouts: Timeouts,
    /// Names this disk, however the path to it is called.
    pub uuid: Option<[u8; 16]>,
}

impl Header {
    /// The header of a new disk.
    #[must_use]
    pub fn new(sector_size: u32, timeouts: Timeouts, uuid: [u8; 16]) -> Header {
        Header {
            version: (VERSION, MINOR_VERSION),
            slots: SLOTS,
            sector_size,
            timeouts,
            uuid: Some(uuid),
        }
    }

    /// Reads sector 0.
    ///
    /// # Errors
    /// When it is not a header of SBD 2 for a device with such sectors.
    pub fn read(sector: &[u8]) -> Result<Header, Damage> {
        long_enough(sector)?;
        if !sector.starts_with(MAGIC) {
            return Err(Damage::NoHeader);
        }
        if sector[at::VERSION] != VERSION {
            return Err(Damage::Version(sector[at::VERSION]));
        }
        let (sector_size, device) = (number(sector, at::SECTOR_SIZE), sector.len());
        if usize::try_from(sector_size) != Ok(device) {
            return Err(Damage::SectorSize {
                header: sector_size,
                device: u32::try_from(device).unwrap_or(u32::MAX),
            });
        }
        if sector[at::SLOTS] == 0 {
            return Err(Damage::NoSlots);
        }
        let minor = sector[at::MINOR_VERSION];
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&sector[at::UUID..at::UUID + 16]);
        Ok(Header {
            version: (VERSION, minor),
            slots: sector[at::SLOTS],
            sector_size,
            timeouts: Timeouts {
                watchdog_s: number(sector, at::WATCHDOG),
                allocate_s: number(sector, at::ALLOCATE),
                loop_s: number(sector, at::LOOP),
                msgwait_s: number(sector, at::MSGWAIT),
            },
            uuid: (minor > 0).then_some(uuid),
        })
    }

    /// The sector that it is written as.
    #[must_use]
    pub fn sector(&self) -> Vec<u8> {
        let mut sector = vec![0; self.sector_size as usize];
        sector[..MAGIC.len()].copy_from_slice(MAGIC);
        (sector[at::VERSION], sector[at::MINOR_VERSION]) = self.version;
        sector[at::SLOTS] = self.slots;
        let Timeouts {
            watchdog_s,
            allocate_s,
            loop_s,
            msgwait_s,
        } = self.timeouts;
        for (place, value) in [
            (at::SECTOR_SIZE, self.sector_size),
            (at::WATCHDOG, watchdog_s),
            (at::ALLOCATE, allocate_s),
            (at::LOOP, loop_s),
            (at::MSGWAIT, msgwait_s),
        ] {
            sector[place..place + 4].copy_from_slice(&value.to_be_bytes());
        }
        sector[at::UUID..at::UUID + 16].copy_from_slice(&self.uuid.unwrap_or_default());
        sector
    }

    /// Its UUID as people write it; empty on disks without one.
    #[must_use]
    pub fn uuid_text(&self) -> String {
        self.uuid.map(|uuid| Uuid(uuid).to_string()).unwrap_or_default()
    }
}

fn number(sector: &[u8], at: usize) -> u32 {
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&sector[at..at + 4]);
    u32::from_be_bytes(bytes)
}

struct Uuid([u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let dash = if matches!(index, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 64 bytes of a disk that Debian's sbd 1.5.2 made (`sbd -d DEV create`).
    const REAL: &[u8; 64] = b"SBD_SBD_\x02\xff\0\0\0\0\x02\0\0\0\0\x05\0\0\0\x02\0\0\0\x01\0\0\0\x0a\
        \x01\x6b\x4b\xc1\xa2\x00\xef\x42\xc2\x9d\xea\x88\x3b\x1f\x10\x35\xc8\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    fn real() -> Vec<u8> {
        let mut sector = REAL.to_vec();
        sector.resize(512, 0);
        sector
    }

    #[test]
    fn a_header_of_debians_sbd_is_read_and_written_the_same() {
        let header = Header::read(&real()).unwrap();
        assert_eq!(
            (header.version, header.slots, header.sector_size),
            ((2, 1), 255, 512)
        );
        assert_eq!(header.timeouts, Timeouts::default());
        assert_eq!(header.uuid_text(), "6b4bc1a2-00ef-42c2-9dea-883b1f1035c8");
        assert_eq!(header.sector(), real());
    }

    #[test]
    fn what_is_no_header_is_refused_in_words() {
        let changed = |at: usize, value: u8| {
            let mut sector = real();
            sector[at] = value;
            Header::read(&sector)
        };
        assert_eq!(Header::read(&[0; 512]), Err(Damage::NoHeader));
        assert_eq!(Header::read(b"SBD_SBD_"), Err(Damage::Short(8)));
        assert_eq!(changed(8, 3), Err(Damage::Version(3)));
        assert_eq!(changed(9, 0), Err(Damage::NoSlots));
        let sizes = Damage::SectorSize {
            header: 1024,
            device: 512,
        };
        assert_eq!(changed(14, 4), Err(sizes));
    }

    #[test]
    fn a_header_of_a_minor_version_without_uuid_has_none() {
        let mut sector = real();
        sector[32] = 0;
        let header = Header::read(&sector).unwrap();
        assert_eq!((header.uuid, header.uuid_text().as_str()), (None, ""));
    }
}

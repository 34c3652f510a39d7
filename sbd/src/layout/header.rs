//! The header: magic, version, number of slots, timeouts in whole seconds, and a UUID.

use std::fmt;
use std::time::Duration;

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

/// The timeouts of a disk. They override what is configured, so that all nodes count alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Within so much the watchdog ends a node that cannot read its mailbox.
    pub watchdog_s: u32,
    /// Who claims a slot waits so long before it looks whether it still has it.
    pub allocate_s: u32,
    /// Time between two looks into the mailbox.
    pub loop_s: u32,
    /// Who wrote an order waits so long before it counts as carried out.
    pub msgwait_s: u32,
}

impl Default for Timeouts {
    /// As `sbd create` chooses them.
    fn default() -> Self {
        Timeouts {
            watchdog_s: 5,
            allocate_s: 2,
            loop_s: 1,
            msgwait_s: 10,
        }
    }
}

impl Timeouts {
    /// Time a node may go on for after it last began to read its mailbox on a majority of disks: a round, and the I/O
    /// of the next.
    #[must_use]
    pub fn patience(&self, io_timeout: Duration) -> Duration {
        seconds(self.loop_s) + io_timeout
    }

    /// Contradictions: each sentence names two timeouts that cannot both be.
    #[must_use]
    pub fn contradictions(&self, io_timeout: Duration) -> Vec<String> {
        let mut found = Vec::new();
        let Timeouts {
            watchdog_s,
            loop_s,
            msgwait_s,
            ..
        } = *self;
        if watchdog_s == 0 || loop_s == 0 || msgwait_s == 0 {
            found.push(
                "a timeout of 0 s: watchdog, loop and msgwait timeouts are at least 1 s each".to_string(),
            );
            return found;
        }
        if self.patience(io_timeout) >= seconds(watchdog_s) {
            found.push(format!(
                "the loop timeout ({loop_s} s) and the I/O timeout ({} s) together must be shorter than the watchdog \
                 timeout ({watchdog_s} s): one slow read would reset the node",
                io_timeout.as_secs_f64()
            ));
        }
        if u64::from(msgwait_s) < 2 * u64::from(watchdog_s) {
            found.push(format!(
                "the msgwait timeout ({msgwait_s} s) must be at least twice the watchdog timeout ({watchdog_s} s): a node \
                 would be taken for dead before its watchdog has fired"
            ));
        }
        found
    }

    /// The shortest time that a fence device with these timeouts needs: msgwait, and a fifth of it for the I/O.
    #[must_use]
    pub fn fence_least(&self) -> Duration {
        seconds(self.msgwait_s) * 6 / 5
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
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

    #[test]
    fn timeouts_that_contradict_each_other_are_named() {
        let io = Duration::from_secs(3);
        assert!(Timeouts::default().contradictions(io).is_empty());
        let with = |watchdog_s, loop_s, msgwait_s| {
            let timeouts = Timeouts {
                watchdog_s,
                loop_s,
                msgwait_s,
                allocate_s: 2,
            };
            timeouts.contradictions(io)
        };
        assert!(with(5, 2, 10)[0].contains("must be shorter than the watchdog"));
        assert!(with(5, 1, 9)[0].contains("at least twice"));
        assert_eq!(with(4, 1, 7).len(), 2);
        assert_eq!(with(0, 1, 10).len(), 1);
        assert_eq!(with(u32::MAX, 1, u32::MAX).len(), 1);
    }
}

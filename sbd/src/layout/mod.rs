//! What is in the sectors, as SBD 2.1 writes it. Sector 0 is the [`Header`]; slot `i` is sector `1 + 2 i`, its mailbox
//! sector `2 + 2 i`. Offsets were checked against disks made by Debian's `sbd`.

mod header;
mod mail;
mod slot;

pub use header::{Header, SECTOR_SIZES, SLOTS};
pub use holdfast_proto::config::SbdTimeouts as Timeouts;
pub use mail::{Command, Mail};
pub use slot::{NAME_BYTES_MAX, Slot, name_fault};

/// Sector of the header.
pub const HEADER_SECTOR: u64 = 0;
/// Bytes of a sector that SBD itself uses in slots and mailboxes: a byte, and a name with its closing NUL.
pub const USED_BYTES: usize = 1 + 64;

/// Sector of slot `slot`.
#[must_use]
pub fn slot_sector(slot: u8) -> u64 {
    1 + 2 * u64::from(slot)
}

/// Sector of the mailbox of slot `slot`.
#[must_use]
pub fn mail_sector(slot: u8) -> u64 {
    2 + 2 * u64::from(slot)
}

/// Sectors that a disk with so many slots needs.
#[must_use]
pub fn sectors_needed(slots: u8) -> u64 {
    1 + 2 * u64::from(slots)
}

/// Why bytes are not what SBD writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The sector is cut short.
    #[error("a sector of {0} bytes is too short for SBD")]
    Short(usize),
    /// Something else is on the disk, or nothing.
    #[error("it holds no SBD header: `hactl sbd create` writes one, and overwrites what is there")]
    NoHeader,
    /// Of another major version.
    #[error("its header is of version {0}, only version 2 is known")]
    Version(u8),
    /// It was made for a device with other sectors.
    #[error(
        "its header says {header} bytes a sector, the device has {device}: it was copied from another device"
    )]
    SectorSize {
        /// As the header says.
        header: u32,
        /// As the device says.
        device: u32,
    },
    /// A header without slots.
    #[error("its header says that it has no slots")]
    NoSlots,
}

/// A name in its 64 bytes, without what follows the first NUL.
fn read_name(bytes: &[u8]) -> String {
    let field = bytes.get(1..USED_BYTES).unwrap_or_default();
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end])
        .chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Puts `name` behind the first byte; the rest of the 64 bytes stays NUL. A name too long is cut, as SBD does.
fn write_name(sector: &mut [u8], name: &str) {
    let length = name.len().min(NAME_BYTES_MAX);
    if let Some(field) = sector.get_mut(1..=length) {
        field.copy_from_slice(&name.as_bytes()[..length]);
    }
}

fn long_enough(sector: &[u8]) -> Result<(), Damage> {
    if sector.len() < SECTOR_SIZES[0] as usize {
        return Err(Damage::Short(sector.len()));
    }
    Ok(())
}

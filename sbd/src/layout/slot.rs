//! A slot: whether it is taken, and by whom.

use super::{Damage, USED_BYTES, long_enough, read_name, write_name};

/// Longest name, without the NUL that ends it.
pub const NAME_BYTES_MAX: usize = 63;

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// SBD writes 1, and takes everything but 0 for taken.
    pub in_use: i8,
    /// The node's name, without control characters.
    pub name: String,
}

impl Slot {
    /// The slot of `node`.
    #[must_use]
    pub fn of(node: &str) -> Slot {
        Slot {
            in_use: 1,
            name: node.to_string(),
        }
    }

    /// Reads a slot's sector.
    ///
    /// # Errors
    /// When the sector is cut short.
    pub fn read(sector: &[u8]) -> Result<Slot, Damage> {
        long_enough(sector)?;
        Ok(Slot {
            in_use: sector[0].cast_signed(),
            name: read_name(sector),
        })
    }

    /// The sector of `sector_size` bytes that it is written as.
    #[must_use]
    pub fn sector(&self, sector_size: u32) -> Vec<u8> {
        let mut sector = vec![0; (sector_size as usize).max(USED_BYTES)];
        sector[0] = self.in_use.cast_unsigned();
        write_name(&mut sector, &self.name);
        sector
    }

    /// True if `node` owns it. SBD compares names without regard to case.
    #[must_use]
    pub fn belongs_to(&self, node: &str) -> bool {
        self.in_use != 0 && self.name.eq_ignore_ascii_case(node)
    }
}

/// Why `name` cannot be in a slot; None if it can.
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > NAME_BYTES_MAX {
        Some("it is longer than the 63 bytes that a slot holds")
    } else if name.chars().any(char::is_control) {
        Some("it holds a control character")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_of_debians_sbd_is_read_and_written_the_same() {
        let mut real = b"\x01db1".to_vec();
        real.resize(512, 0);
        let slot = Slot::read(&real).unwrap();
        assert_eq!(slot, Slot::of("db1"));
        assert_eq!(slot.sector(512), real);
        assert!(slot.belongs_to("DB1") && !slot.belongs_to("db10") && !slot.belongs_to("db"));
    }

    #[test]
    fn any_bytes_are_some_slot() {
        let slot = Slot::read(&[0xff; 512]).unwrap();
        assert_eq!(slot.in_use, -1);
        assert!(Slot::read(&[0; 511]).is_err());
        let free = Slot::read(&[0; 512]).unwrap();
        assert!(!free.belongs_to(""));
        let mut hostile = b"\x01a\x1b[2J".to_vec();
        hostile.resize(512, 0);
        assert!(!Slot::read(&hostile).unwrap().name.contains('\x1b'));
    }

    #[test]
    fn a_name_has_to_fit() {
        assert_eq!(name_fault(&"x".repeat(63)), None);
        assert!(name_fault(&"x".repeat(64)).is_some());
        assert!(name_fault("").is_some() && name_fault("a\nb").is_some());
    }
}

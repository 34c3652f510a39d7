//! What is done with a disk: create it, list it, claim a slot, write an order and read it back.

use std::thread;
use std::time::Duration;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::layout::{
    Command, Damage, HEADER_SECTOR, Header, Mail, Slot, Timeouts, mail_sector, sectors_needed, slot_sector,
};
use crate::mark::{self, Mark};
use crate::random::random_id;

/// A disk with a header that was read and found right.
pub struct Volume {
    disk: Disk,
    header: Header,
}

/// A slot that is taken, with its mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Number of the slot.
    pub slot: u8,
    /// The node's name.
    pub node: String,
    /// What is in its mailbox.
    pub mail: Mail,
    /// The boot that watches it with an armed watchdog, if Holdfast does.
    pub mark: Option<Mark>,
}

/// An order that was written and read back the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The slot whose mailbox holds it.
    pub slot: u8,
    /// The sector, byte for byte.
    pub sector: Vec<u8>,
}

impl Volume {
    /// Makes `disk` one of SBD's: header, and empty slots. What stood on it is overwritten.
    ///
    /// # Errors
    /// When it is too small, or does not take it.
    pub fn create(mut disk: Disk, timeouts: Timeouts) -> Result<Volume> {
        let header = Header::new(disk.sector_size(), timeouts, random_id()?.to_be_bytes());
        fits(&disk, &header)?;
        // The header goes last: what ends half-way is no disk of SBD's yet.
        let empty = vec![0; disk.sector_size() as usize];
        disk.write(HEADER_SECTOR, &empty)?;
        for sector in 1..sectors_needed(header.slots) {
            disk.write(sector, &empty)?;
        }
        let sector = header.sector();
        disk.write(HEADER_SECTOR, &sector)?;
        if disk.read(HEADER_SECTOR)? != sector {
            return Err(not_kept(&disk, "header", "the disk"));
        }
        Ok(Volume { disk, header })
    }

    /// Reads the header.
    ///
    /// # Errors
    /// When it cannot be read, or is none.
    pub fn read(mut disk: Disk) -> Result<Volume> {
        let sector = disk.read(HEADER_SECTOR)?;
        let header = Header::read(&sector).map_err(|damage| damaged(&disk, damage))?;
        fits(&disk, &header)?;
        Ok(Volume { disk, header })
    }

    /// The header as it was read first.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The disk.
    #[must_use]
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// Reads the header again.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it was: nobody knows then what else changed.
    pub fn check_header(&mut self) -> Result<()> {
        let sector = self.disk.read(HEADER_SECTOR)?;
        if Header::read(&sector) == Ok(self.header) {
            return Ok(());
        }
        Err(Error::Changed {
            path: self.disk.path().to_path_buf(),
            what: "header",
        })
    }

    /// The whole sector of a slot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn slot_bytes(&mut self, slot: u8) -> Result<Vec<u8>> {
        self.disk.read(slot_sector(slot))
    }

    /// Writes the whole sector of a slot and reads it back.
    ///
    /// # Errors
    /// When it cannot be written, or reads back differently.
    pub fn write_slot_bytes(&mut self, slot: u8, sector: &[u8], node: &str) -> Result<()> {
        self.write_checked(slot_sector(slot), sector, "slot", node)
    }

    /// The whole sector of a mailbox.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mail_bytes(&mut self, slot: u8) -> Result<Vec<u8>> {
        self.disk.read(mail_sector(slot))
    }

    /// What is in a mailbox.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn mail(&mut self, slot: u8) -> Result<Mail> {
        let sector = self.mail_bytes(slot)?;
        Mail::read(&sector).map_err(|damage| damaged(&self.disk, damage))
    }

    /// Empties a mailbox and reads it back.
    ///
    /// # Errors
    /// When it cannot be written, or reads back differently.
    pub fn clear(&mut self, slot: u8, node: &str) -> Result<()> {
        let sector = Mail::empty().sector(self.header.sector_size);
        self.write_checked(mail_sector(slot), &sector, "empty mailbox", node)
    }

    /// All slots that are taken, with their mailboxes.
    ///
    /// # Errors
    /// When a sector cannot be read.
    pub fn list(&mut self) -> Result<Vec<Entry>> {
        let mut found = Vec::new();
        for number in 0..self.header.slots {
            let sector = self.slot_bytes(number)?;
            let slot = Slot::read(&sector).map_err(|damage| damaged(&self.disk, damage))?;
            if slot.in_use != 0 {
                found.push(Entry {
                    slot: number,
                    node: slot.name,
                    mail: self.mail(number)?,
                    mark: Mark::read(&sector),
                });
            }
        }
        Ok(found)
    }

    /// The slot of `node`, if it has one. The first one counts, as in SBD.
    ///
    /// # Errors
    /// When a sector cannot be read.
    pub fn find(&mut self, node: &str) -> Result<Option<u8>> {
        self.first(|slot| slot.belongs_to(node))
    }

    /// The slot of `node`, which has to have one.
    ///
    /// # Errors
    /// When it has none, or a sector cannot be read.
    pub fn slot_of(&mut self, node: &str) -> Result<u8> {
        self.find(node)?.ok_or_else(|| Error::NoSlot {
            path: self.disk.path().to_path_buf(),
            node: node.to_string(),
        })
    }

    /// The slot of `node`; claims one if it has none. As in SBD: write the name into a free slot, wait, and look whether
    /// it still stands there, because another node may have chosen the same slot at that moment.
    ///
    /// # Errors
    /// When no slot is free, or the disk fails.
    pub fn allocate(&mut self, node: &str) -> Result<u8> {
        let wait = Duration::from_secs(self.header.timeouts.allocate_s.into());
        for _ in 0..self.header.slots {
            if let Some(slot) = self.find(node)? {
                return Ok(slot);
            }
            let Some(free) = self.first(|slot| slot.in_use == 0)? else {
                return Err(Error::Full {
                    path: self.disk.path().to_path_buf(),
                });
            };
            let sector = Slot::of(node).sector(self.header.sector_size);
            self.disk.write(slot_sector(free), &sector)?;
            thread::sleep(wait);
        }
        match self.find(node)? {
            Some(slot) => Ok(slot),
            None => Err(Error::Contended {
                path: self.disk.path().to_path_buf(),
            }),
        }
    }

    /// Writes an order into the mailbox of `slot`, and reads it back. It counts only when the whole sector is the same.
    ///
    /// # Errors
    /// When it cannot be written or read, or reads back differently. It may stand there all the same.
    pub fn send(&mut self, slot: u8, command: Command, from: &str, to: &str) -> Result<Written> {
        let from = from.to_string();
        let mut sector = Mail { command, from }.sector(self.header.sector_size);
        mark::stamp(&mut sector, random_id()?.to_be_bytes());
        self.write_checked(mail_sector(slot), &sector, "order for", to)?;
        Ok(Written { slot, sector })
    }

    /// True while exactly that order stands in its mailbox.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn stands(&mut self, written: &Written) -> Result<bool> {
        Ok(self.mail_bytes(written.slot)? == written.sector)
    }

    fn write_checked(&mut self, sector: u64, bytes: &[u8], what: &'static str, node: &str) -> Result<()> {
        self.disk.write(sector, bytes)?;
        if self.disk.read(sector)? != bytes {
            return Err(not_kept(&self.disk, what, node));
        }
        Ok(())
    }

    fn first(&mut self, wanted: impl Fn(&Slot) -> bool) -> Result<Option<u8>> {
        for number in 0..self.header.slots {
            let sector = self.slot_bytes(number)?;
            let slot = Slot::read(&sector).map_err(|damage| damaged(&self.disk, damage))?;
            if wanted(&slot) {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }
}

fn fits(disk: &Disk, header: &Header) -> Result<()> {
    let needed = sectors_needed(header.slots);
    if disk.sectors() >= needed {
        return Ok(());
    }
    Err(Error::TooSmall {
        path: disk.path().to_path_buf(),
        sectors: disk.sectors(),
        slots: header.slots,
        needed,
    })
}

fn damaged(disk: &Disk, damage: Damage) -> Error {
    Error::Damaged {
        path: disk.path().to_path_buf(),
        damage,
    }
}

fn not_kept(disk: &Disk, what: &'static str, node: &str) -> Error {
    Error::NotReadBack {
        path: disk.path().to_path_buf(),
        what,
        node: node.to_string(),
    }
}

#[cfg(test)]
mod tests;

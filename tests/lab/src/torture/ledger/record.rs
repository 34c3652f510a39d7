//! What writers append: records of one size with a checksum, each in one write.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const SIZE: usize = 64;
const MAGIC: [u8; 4] = *b"HFL1";
/// Bytes of a node's name that are kept.
const NAME: usize = 16;
/// Where the checksum begins; it covers what is before it.
const SUM: usize = SIZE - 4;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A writer opened the ledger.
    Begin,
    /// It has the ledger still.
    Alive,
    /// It gave the ledger up, having been asked to.
    End,
}

/// One writer: a process of one boot of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Writer {
    /// Name of the node.
    pub node: String,
    /// First eight bytes of the node's boot id.
    pub boot: u64,
    /// Process id inside the node.
    pub pid: u32,
    /// Epoch that had-agentd told it; 0 if it told none.
    pub epoch: u64,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What it says.
    pub mark: Mark,
    /// Another process had the ledger open when this one opened it.
    pub contended: bool,
    /// Who wrote it.
    pub writer: Writer,
    /// Number of the record: of all writers together they grow by one.
    pub sequence: u64,
    /// Host-wide monotonic time in nanoseconds.
    pub at_ns: u64,
}

impl Record {
    /// Bytes of a record.
    pub const SIZE: usize = SIZE;

    /// As it is written.
    #[must_use]
    pub fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4] = match self.mark {
            Mark::Begin => 1,
            Mark::Alive => 2,
            Mark::End => 3,
        };
        bytes[5] = u8::from(self.contended);
        let name = self.writer.node.as_bytes();
        let name = &name[..name.len().min(NAME)];
        bytes[8..8 + name.len()].copy_from_slice(name);
        bytes[24..32].copy_from_slice(&self.writer.boot.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.writer.pid.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.writer.epoch.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[52..60].copy_from_slice(&self.at_ns.to_le_bytes());
        let sum = crc32fast::hash(&bytes[..SUM]);
        bytes[SUM..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads one; `None` if it is damaged.
    #[must_use]
    pub fn decode(bytes: &[u8; SIZE]) -> Option<Record> {
        let sum = u32::from_le_bytes(bytes[SUM..].try_into().ok()?);
        if bytes[..4] != MAGIC || crc32fast::hash(&bytes[..SUM]) != sum {
            return None;
        }
        let mark = match bytes[4] {
            1 => Mark::Begin,
            2 => Mark::Alive,
            3 => Mark::End,
            _ => return None,
        };
        let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let name = bytes[8..8 + NAME].split(|byte| *byte == 0).next()?;
        Some(Record {
            mark,
            contended: bytes[5] != 0,
            writer: Writer {
                node: String::from_utf8(name.to_vec()).ok()?,
                boot: number(24)?,
                pid: u32::from_le_bytes(bytes[32..36].try_into().ok()?),
                epoch: number(36)?,
            },
            sequence: number(44)?,
            at_ns: number(52)?,
        })
    }
}

/// A ledger as it was read, in the order in which it was written.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Its records.
    pub records: Vec<Record>,
    /// Places, counted in records, at which there is none, or one that is damaged.
    pub damaged: Vec<usize>,
}

/// Reads a ledger; one that nobody opened yet is empty.
pub fn read(path: &Path) -> Result<Ledger> {
    if !path.exists() {
        return Ok(Ledger::default());
    }
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let mut ledger = Ledger::default();
    for (place, chunk) in bytes.chunks(SIZE).enumerate() {
        match <&[u8; SIZE]>::try_from(chunk).ok().and_then(Record::decode) {
            Some(record) => ledger.records.push(record),
            None => ledger.damaged.push(place),
        }
    }
    Ok(ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            mark: Mark::Alive,
            contended: true,
            writer: Writer {
                node: "n1".into(),
                boot: 0x1122_3344_5566_7788,
                pid: 4711,
                epoch: 9,
            },
            sequence: 12,
            at_ns: 99,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        for place in 0..SIZE {
            let mut bytes = record().encode();
            bytes[place] ^= 1;
            assert_eq!(Record::decode(&bytes), None, "byte {place}");
        }
    }

    #[test]
    fn damage_is_counted_and_does_not_hide_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let mut bytes = [record().encode(), record().encode()].concat();
        bytes[3] = 0;
        bytes.push(1);
        fs::write(&path, bytes).unwrap();
        let ledger = read(&path).unwrap();
        assert_eq!((ledger.records.len(), ledger.damaged), (1, vec![0, 2]));
        assert!(read(&folder.path().join("none")).unwrap().records.is_empty());
    }
}

//! A block in its sectors. All integers are little-endian.
//!
//! The register begins [`BEGINS_AT`] bytes into the disk, behind everything that is SBD's: a header sector, a head of one sector
//! per block, and two areas for the body of each. A body is written before the head that names it, into the area that the head
//! before it does not name; a head is one sector and is written at once. Every byte that is not what was written here is damage,
//! never an empty block.

use super::{Ballot, Block, RING};
use holdfast_proto::ids::{NUMBER_MAX, NodeId};

/// Where the register begins, in bytes: SBD's 511 sectors end before it, also where a sector has 4096 bytes.
pub const BEGINS_AT: u64 = 4 << 20;
/// Room for one body, in bytes.
pub const BODY_ROOM: usize = 128 << 10;
/// Longest head of a value, in bytes.
pub const HEAD_BYTES_MAX: usize = 380;

const HEADER_MAGIC: &[u8; 8] = b"HFREGSTR";
const BLOCK_MAGIC: &[u8; 8] = b"HFBLOCK\0";
const VERSION: u32 = 1;
/// All that is used of a sector; the checksum is the last of it.
const USED_BYTES: usize = 512;
const SUMMED_BYTES: usize = USED_BYTES - 4;

/// Why bytes are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// No register was made here.
    #[error("it holds no register: `hactl sbd create-witness` makes one")]
    NoRegister,
    /// Of another version.
    #[error("its register is of version {0}, this program reads {VERSION}")]
    Version(u32),
    /// It was torn, overwritten, or never written.
    #[error("it is damaged, or was written by something else")]
    Damaged,
    /// It belongs to another register, or to another place of it.
    #[error("it belongs to another register or another place")]
    Foreign,
}

/// What stands before the blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cluster that it was made for.
    pub cluster: u64,
    /// Identity: all disks of one register have the same.
    pub register: u128,
    /// Nodes that have blocks.
    pub nodes: u8,
}

/// Where a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyAt {
    /// Which of the two areas.
    pub area: u8,
    /// Bytes.
    pub length: u32,
    /// Checksum.
    pub crc: u32,
}

/// A block without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Promise and acceptance; `value` is the head of the value.
    pub block: Block<String>,
    /// Where the body is.
    pub body: BodyAt,
}

impl Head {
    /// Of a block that nobody has used.
    #[must_use]
    pub fn unused() -> Head {
        Head {
            block: Block::unused(),
            body: BodyAt {
                area: 0,
                length: 0,
                crc: 0,
            },
        }
    }
}

impl Header {
    /// Blocks on each disk.
    #[must_use]
    pub fn blocks(&self) -> usize {
        usize::from(self.nodes) * RING
    }

    /// The sector that it is written as.
    #[must_use]
    pub fn sector(&self, sector_size: u32) -> Vec<u8> {
        let mut out = HEADER_MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend(self.cluster.to_le_bytes());
        out.extend(self.register.to_le_bytes());
        out.push(self.nodes);
        sealed(out, sector_size)
    }

    /// Reads its sector.
    ///
    /// # Errors
    /// When it is none, or damaged.
    pub fn read(sector: &[u8]) -> Result<Header, Damage> {
        if !sector.starts_with(HEADER_MAGIC) {
            return Err(Damage::NoRegister);
        }
        let mut cursor = opened(sector, HEADER_MAGIC)?;
        let header = Header {
            cluster: cursor.u64()?,
            register: cursor.u128()?,
            nodes: cursor.take::<1>()?[0],
        };
        let known = (1..=NodeId::DATA_MAX).contains(&header.nodes);
        known.then_some(header).ok_or(Damage::Damaged)
    }
}

/// The sector of the head at place `index` of `register`.
#[must_use]
pub fn head_sector(head: &Head, register: u128, index: u32, sector_size: u32) -> Vec<u8> {
    let (block, body) = (&head.block, &head.body);
    let mut out = BLOCK_MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend(register.to_le_bytes());
    out.extend(index.to_le_bytes());
    out.extend(block.boot.to_le_bytes());
    out.extend(block.boots.to_le_bytes());
    for ballot in [block.begun, block.accepted] {
        out.extend(ballot.round.to_le_bytes());
        out.extend(ballot.run.to_le_bytes());
    }
    out.push(body.area);
    out.extend(body.length.to_le_bytes());
    out.extend(body.crc.to_le_bytes());
    let text = block.value.as_deref().unwrap_or_default();
    out.extend((text.len() as u16).to_le_bytes());
    out.extend(text.as_bytes());
    sealed(out, sector_size)
}

/// Reads the head at place `index` of `register`.
///
/// # Errors
/// When it is not exactly what [`head_sector`] writes there.
pub fn read_head(sector: &[u8], register: u128, index: u32) -> Result<Head, Damage> {
    let mut cursor = opened(sector, BLOCK_MAGIC)?;
    if (cursor.u128()?, cursor.u32()?) != (register, index) {
        return Err(Damage::Foreign);
    }
    let (boot, boots) = (cursor.u128()?, cursor.u64()?);
    let (begun, accepted) = (cursor.ballot()?, cursor.ballot()?);
    let body = BodyAt {
        area: cursor.take::<1>()?[0],
        length: cursor.u32()?,
        crc: cursor.u32()?,
    };
    let length = u16::from_le_bytes(cursor.take()?);
    let text = cursor.rest(length.into())?;
    let has_value = accepted > Ballot::ZERO;
    let fits = body.area < 2 && body.length as usize <= BODY_ROOM && boots <= NUMBER_MAX;
    if !fits || accepted > begun || has_value == text.is_empty() {
        return Err(Damage::Damaged);
    }
    let text = std::str::from_utf8(text).map_err(|_| Damage::Damaged)?;
    Ok(Head {
        block: Block {
            boot,
            boots,
            begun,
            accepted,
            value: has_value.then(|| text.to_string()),
        },
        body,
    })
}

/// With zeros to the end and the checksum of all that is used.
fn sealed(mut out: Vec<u8>, sector_size: u32) -> Vec<u8> {
    out.resize(SUMMED_BYTES, 0);
    let crc = crc32fast::hash(&out);
    out.extend(crc.to_le_bytes());
    out.resize(sector_size as usize, 0);
    out
}

/// What follows magic and version in a sector whose checksum is right.
fn opened<'a>(sector: &'a [u8], magic: &[u8; 8]) -> Result<Cursor<'a>, Damage> {
    let used = sector.get(..USED_BYTES).ok_or(Damage::Damaged)?;
    let (summed, crc) = used.split_at(SUMMED_BYTES);
    if !summed.starts_with(magic) || crc32fast::hash(summed).to_le_bytes() != crc {
        return Err(Damage::Damaged);
    }
    let mut cursor = Cursor(&summed[magic.len()..]);
    match cursor.u32()? {
        VERSION => Ok(cursor),
        other => Err(Damage::Version(other)),
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn rest(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        self.0.get(..length).ok_or(Damage::Damaged)
    }

    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Damage> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Damage::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, Damage> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Damage> {
        self.take().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Result<u128, Damage> {
        self.take().map(u128::from_le_bytes)
    }

    fn ballot(&mut self) -> Result<Ballot, Damage> {
        let (round, run) = (self.u64()?, self.u128()?);
        let known = round <= NUMBER_MAX;
        known.then_some(Ballot { round, run }).ok_or(Damage::Damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let ballot = |round| Ballot { round, run: 77 };
        Head {
            block: Block {
                boot: 1 << 100,
                boots: 9,
                begun: ballot(8),
                accepted: ballot(7),
                value: Some("head".into()),
            },
            body: BodyAt {
                area: 1,
                length: 1000,
                crc: 5,
            },
        }
    }

    #[test]
    fn a_head_is_read_as_it_was_written_and_only_in_its_place() {
        for (head, size) in [(head(), 512), (head(), 4096), (Head::unused(), 512)] {
            let sector = head_sector(&head, 3, 17, size);
            assert_eq!(sector.len(), size as usize);
            assert_eq!(read_head(&sector, 3, 17), Ok(head));
            assert_eq!(read_head(&sector, 4, 17), Err(Damage::Foreign));
            assert_eq!(read_head(&sector, 3, 18), Err(Damage::Foreign));
        }
        let mut long = head();
        long.block.value = Some("x".repeat(HEAD_BYTES_MAX));
        assert_eq!(read_head(&head_sector(&long, 3, 17, 512), 3, 17), Ok(long));
    }

    #[test]
    fn nothing_else_is_taken_for_a_head_and_least_of_all_for_an_empty_one() {
        let sector = head_sector(&head(), 3, 17, 512);
        assert_eq!(read_head(&[0; 512], 3, 17), Err(Damage::Damaged));
        assert_eq!(read_head(&sector[..500], 3, 17), Err(Damage::Damaged));
        for at in 0..USED_BYTES {
            let mut torn = sector.clone();
            torn[at] ^= 0x10;
            assert_eq!(read_head(&torn, 3, 17), Err(Damage::Damaged), "byte {at}");
        }
        let unaccepted = Head {
            block: Block {
                begun: Ballot::ZERO,
                ..head().block
            },
            ..head()
        };
        assert_eq!(
            read_head(&head_sector(&unaccepted, 3, 17, 512), 3, 17),
            Err(Damage::Damaged),
            "accepted what was never begun"
        );
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = Header {
            cluster: 0xaa,
            register: 5,
            nodes: 2,
        };
        assert_eq!(Header::read(&header.sector(4096)), Ok(header));
        assert_eq!(Header::read(&[0; 512]), Err(Damage::NoRegister));
        let mut later = header.sector(512);
        later[8] = 2;
        assert_eq!(Header::read(&later), Err(Damage::Damaged));
        assert_eq!(Header { nodes: 0, ..header }.sector(512).len(), 512);
        assert!(Header::read(&Header { nodes: 0, ..header }.sector(512)).is_err());
    }
}

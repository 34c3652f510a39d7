//! The blocks of a register on one disk: their making, and reading and writing them.

use super::layout::{
    BEGINS_AT, BODY_ROOM, BodyAt, Damage, HEAD_BYTES_MAX, Head, Header, head_sector, read_head,
};
use super::{Block, Snapshot, Value};
use crate::Disk;
use crate::error::{Error, Result};

/// What is not whole is read so often: whoever owns it may be writing it.
const READS: usize = 4;

/// A value as bytes: its head names it, and tells it from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// One line.
    pub head: String,
    /// The rest.
    pub body: Vec<u8>,
}

impl Value for Stored {
    type Name = String;
    fn name(&self) -> String {
        self.head.clone()
    }
}

/// The blocks on one disk.
pub struct Region {
    disk: Disk,
    header: Header,
    /// The own block as it was written last: its place, the area of its body, and that.
    own: Option<(usize, u8, Vec<u8>)>,
}

impl Region {
    /// Makes a register on `disk`. What stood there is lost.
    ///
    /// # Errors
    /// When it is too small, or does not take it.
    pub fn create(mut disk: Disk, header: Header) -> Result<Region> {
        let size = disk.sector_size();
        fits(&disk, &header)?;
        let first = BEGINS_AT / u64::from(size);
        // The header goes last: what ends half-way is no register yet.
        disk.write(first, &vec![0; size as usize])?;
        for (index, sector) in (0..header.blocks()).zip(first + 1..) {
            disk.write(
                sector,
                &head_sector(&Head::unused(), header.register, index as u32, size),
            )?;
        }
        disk.write(first, &header.sector(size))?;
        let made = Region::open(disk)?;
        if made.header == header {
            return Ok(made);
        }
        Err(made.fault("its register was written, but it reads back differently".into()))
    }

    /// Opens the register on `disk`.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn open(mut disk: Disk) -> Result<Region> {
        let first = BEGINS_AT / u64::from(disk.sector_size());
        if disk.sectors() <= first {
            return Err(damaged(&disk, "its register", Damage::NoRegister));
        }
        let sector = disk.read(first)?;
        let header = Header::read(&sector).map_err(|damage| damaged(&disk, "its register", damage))?;
        fits(&disk, &header)?;
        Ok(Region {
            disk,
            header,
            own: None,
        })
    }

    /// What stands before the blocks.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads all blocks. The values of the highest `accepted` and of `wanted` come with them.
    ///
    /// # Errors
    /// When one cannot be read, or is not whole.
    pub fn read(&mut self, wanted: Option<usize>) -> Result<Snapshot<Stored>> {
        let mut read = self.read_once(wanted);
        for _ in 1..READS {
            match read {
                Err(Error::Register { .. }) => read = self.read_once(wanted),
                _ => break,
            }
        }
        read
    }

    fn read_once(&mut self, wanted: Option<usize>) -> Result<Snapshot<Stored>> {
        let size = self.disk.sector_size() as usize;
        let bytes = self.disk.read_many(self.first(), 1 + self.header.blocks())?;
        let mut sectors = bytes.chunks_exact(size);
        self.check_header(sectors.next().unwrap_or_default())?;
        let mut heads = Vec::with_capacity(self.header.blocks());
        for (index, sector) in sectors.enumerate() {
            let head = read_head(sector, self.header.register, index as u32);
            heads.push(
                head.map_err(|damage| {
                    damaged(&self.disk, &format!("block {index} of its register"), damage)
                })?,
            );
        }
        let top = heads.iter().map(|head| head.block.accepted).max();
        let mut blocks = Vec::with_capacity(heads.len());
        for (index, head) in heads.into_iter().enumerate() {
            let due = Some(head.block.accepted) == top || wanted == Some(index);
            let value = match head.block.value {
                Some(text) if due => Some(Stored {
                    head: text,
                    body: self.body(index, head.body)?,
                }),
                _ => None,
            };
            let Block {
                boot,
                boots,
                begun,
                accepted,
                ..
            } = head.block;
            blocks.push(Block {
                boot,
                boots,
                begun,
                accepted,
                value,
            });
        }
        Ok(Snapshot {
            register: self.header.register,
            blocks,
        })
    }

    /// Writes the block at `place`, which nobody else writes.
    ///
    /// # Errors
    /// When it cannot be written, or the disk was made anew for another register. It may stand there all the same.
    pub fn write(&mut self, register: u128, place: usize, block: &Block<Stored>) -> Result<()> {
        let sector = self.disk.read(self.first())?;
        self.check_header(&sector)?;
        if register != self.header.register || place >= self.header.blocks() {
            return Err(self.fault("its register was made anew".into()));
        }
        let (area, known) = match self.own.take() {
            Some((known_place, area, body)) if known_place == place => (area, Some(body)),
            _ => (self.area_in_use(place)?, None),
        };
        let empty = Stored {
            head: String::new(),
            body: Vec::new(),
        };
        let value = block.value.as_ref().unwrap_or(&empty);
        if value.body.len() > BODY_ROOM || value.head.len() > HEAD_BYTES_MAX {
            let (has, room) = (value.body.len(), BODY_ROOM);
            return Err(self.fault(format!(
                "the state of the cluster has {has} bytes, a block has room for {room}"
            )));
        }
        let area = if known.as_ref() == Some(&value.body) {
            area
        } else {
            self.write_body(place, 1 - area, &value.body)?;
            1 - area
        };
        let head = Head {
            block: Block {
                boot: block.boot,
                boots: block.boots,
                begun: block.begun,
                accepted: block.accepted,
                value: block.value.as_ref().map(|value| value.head.clone()),
            },
            body: BodyAt {
                area,
                length: value.body.len() as u32,
                crc: crc32fast::hash(&value.body),
            },
        };
        let sector = head_sector(&head, register, place as u32, self.disk.sector_size());
        self.disk.write(self.first() + 1 + place as u64, &sector)?;
        self.own = Some((place, area, value.body.clone()));
        Ok(())
    }

    fn first(&self) -> u64 {
        BEGINS_AT / u64::from(self.disk.sector_size())
    }

    fn check_header(&self, sector: &[u8]) -> Result<()> {
        match Header::read(sector) {
            Ok(header) if header == self.header => Ok(()),
            Ok(_) => Err(self.fault("its register was made anew".into())),
            Err(damage) => Err(damaged(&self.disk, "its register", damage)),
        }
    }

    fn area_in_use(&mut self, place: usize) -> Result<u8> {
        let sector = self.disk.read(self.first() + 1 + place as u64)?;
        let head = read_head(&sector, self.header.register, place as u32);
        let named = |damage| damaged(&self.disk, &format!("block {place} of its register"), damage);
        Ok(head.map_err(named)?.body.area)
    }

    fn body_sector(&self, place: usize, area: u8) -> u64 {
        body_at(
            &self.header,
            self.disk.sector_size(),
            2 * place + usize::from(area),
        )
    }

    fn body(&mut self, place: usize, at: BodyAt) -> Result<Vec<u8>> {
        let size = self.disk.sector_size() as usize;
        let sectors = (at.length as usize).div_ceil(size);
        let mut bytes = match sectors {
            0 => Vec::new(),
            count => self.disk.read_many(self.body_sector(place, at.area), count)?,
        };
        bytes.truncate(at.length as usize);
        if crc32fast::hash(&bytes) != at.crc {
            return Err(damaged(
                &self.disk,
                &format!("the body of block {place} of its register"),
                Damage::Damaged,
            ));
        }
        Ok(bytes)
    }

    fn write_body(&mut self, place: usize, area: u8, body: &[u8]) -> Result<()> {
        if body.is_empty() {
            return Ok(());
        }
        let size = self.disk.sector_size() as usize;
        let mut bytes = body.to_vec();
        bytes.resize(body.len().div_ceil(size) * size, 0);
        self.disk.write(self.body_sector(place, area), &bytes)
    }

    fn fault(&self, fault: String) -> Error {
        Error::Register {
            path: self.disk.path().to_path_buf(),
            fault,
        }
    }
}

/// Sector at which body number `number` begins; with the number behind the last, the end of the register.
fn body_at(header: &Header, sector_size: u32, number: usize) -> u64 {
    let size = u64::from(sector_size);
    let heads = (1 + header.blocks() as u64) * size;
    let begins = BEGINS_AT + heads.next_multiple_of(BODY_ROOM as u64);
    (begins + (number * BODY_ROOM) as u64) / size
}

fn fits(disk: &Disk, header: &Header) -> Result<()> {
    let size = disk.sector_size();
    let needed = body_at(header, size, 2 * header.blocks());
    if disk.sectors() >= needed {
        return Ok(());
    }
    let mib = |sectors: u64| (sectors * u64::from(size)).div_ceil(1 << 20);
    Err(Error::Register {
        path: disk.path().to_path_buf(),
        fault: format!(
            "too small for a witness of {} nodes: it has {} MiB, {} MiB are needed",
            header.nodes,
            (disk.sectors() * u64::from(size)) >> 20,
            mib(needed)
        ),
    })
}

fn damaged(disk: &Disk, what: &str, damage: Damage) -> Error {
    let fault = match damage {
        Damage::NoRegister => damage.to_string(),
        _ => format!("{what}: {damage}"),
    };
    Error::Register {
        path: disk.path().to_path_buf(),
        fault,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::super::{Ballot, RING};
    use super::*;

    const HEADER: Header = Header {
        cluster: 0xaa,
        register: 9,
        nodes: 2,
    };

    fn disk(path: &Path) -> Disk {
        Disk::open(path, Duration::from_secs(30)).expect("a disk")
    }

    fn made(bytes: u64) -> (tempfile::NamedTempFile, Result<Region>) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        file.as_file().set_len(bytes).expect("room");
        let region = Region::create(disk(file.path()), HEADER);
        (file, region)
    }

    fn block(round: u64, body: &str) -> Block<Stored> {
        let ballot = Ballot { round, run: 5 };
        Block {
            boot: 3,
            boots: 1,
            begun: ballot,
            accepted: ballot,
            value: Some(Stored {
                head: format!("head {round}"),
                body: body.repeat(300).into_bytes(),
            }),
        }
    }

    #[test]
    fn what_was_written_is_read_by_others_with_the_newest_value_and_the_one_that_is_wanted() {
        let (file, region) = made(16 << 20);
        let (mut one, mut other) = (
            region.expect("made"),
            Region::open(disk(file.path())).expect("there"),
        );
        assert_eq!(other.header(), &HEADER);
        let empty = other.read(None).expect("blocks");
        assert_eq!(empty.blocks, vec![Block::unused(); 2 * RING]);
        for round in 1..6 {
            one.write(9, 3, &block(round, &format!("body {round}")))
                .expect("written");
        }
        other.write(9, RING + 1, &block(9, "newer")).expect("written");
        let plain = one.read(None).expect("blocks");
        assert_eq!(plain.blocks[RING + 1], block(9, "newer"));
        assert_eq!(plain.blocks[3].value, None);
        assert_eq!(plain.blocks[3].accepted.round, 5);
        let wanted = one.read(Some(3)).expect("blocks");
        assert_eq!(wanted.blocks[3], block(5, "body 5"));
    }

    #[test]
    fn a_block_keeps_its_body_when_only_a_ballot_is_begun() {
        let (file, region) = made(16 << 20);
        let mut region = region.expect("made");
        region.write(9, 0, &block(1, "body")).expect("written");
        let begun = Block {
            begun: Ballot { round: 2, run: 5 },
            ..block(1, "body")
        };
        region.write(9, 0, &begun).expect("written");
        // Whoever comes next does not know what stands there.
        let mut next = Region::open(disk(file.path())).expect("there");
        assert_eq!(next.read(None).expect("blocks").blocks[0], begun);
        next.write(9, 0, &begun).expect("written");
        assert_eq!(region.read(None).expect("blocks").blocks[0], begun);
    }

    #[test]
    fn what_is_too_small_damaged_or_made_anew_is_refused_in_words() {
        let said = |done: Result<()>| done.expect_err("refused").to_string();
        let (_, small) = made(8 << 20);
        assert!(
            said(small.map(drop))
                .contains("too small for a witness of 2 nodes: it has 8 MiB, 13 MiB are needed")
        );
        let (file, region) = made(16 << 20);
        let mut region = region.expect("made");
        let mut raw = disk(file.path());
        let first = BEGINS_AT / 512;
        let sector = raw.read(first + 4).expect("a sector");
        raw.write(first + 4, &[7; 512]).expect("written");
        assert!(said(region.read(None).map(drop)).contains("block 3 of its register: it is damaged"));
        assert!(said(region.write(9, 3, &block(1, "x"))).contains("block 3 of its register"));
        raw.write(first + 4, &sector).expect("written");
        assert!(region.read(None).is_ok());
        let big = Block {
            value: Some(Stored {
                head: "h".into(),
                body: vec![0; BODY_ROOM + 1],
            }),
            ..block(1, "")
        };
        assert!(said(region.write(9, 3, &big)).contains("a block has room for"));
        let again = Header {
            register: 10,
            ..HEADER
        };
        Region::create(disk(file.path()), again).expect("made");
        assert!(said(region.read(None).map(drop)).contains("made anew"));
        assert!(said(region.write(9, 3, &block(1, "x"))).contains("made anew"));
        raw.write(first, &[0; 512]).expect("written");
        assert!(said(Region::open(raw).map(drop)).contains("hactl sbd create-witness"));
    }
}

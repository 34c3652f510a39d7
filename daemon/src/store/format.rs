//! Layout of one generation. All integers are little-endian.
//!
//! Header, 36 bytes: magic (8), format version (4), sequence number (8), body length (8), CRC-32 of the body (4),
//! CRC-32 of the header before it (4). The header has a checksum of its own, so that a file with a damaged body still
//! tells whether it is the newer one. Body: promised ballot (9), accepted ballot (9), then the accepted and the
//! committed state, each with its length before it (4).

use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_proto::ids::{Ballot, NUMBER_MAX, NodeId};
use holdfast_proto::state::ClusterState;
use holdfast_proto::{MESSAGE_BYTES_MAX, wire};

const MAGIC: [u8; 8] = *b"HFSTATE\0";
/// Version of the layout.
pub const FORMAT_VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 36;
/// Longest file that is read.
pub const FILE_BYTES_MAX: usize = HEADER_BYTES + 2 * MESSAGE_BYTES_MAX + 64;

/// A header that was found intact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sequence number of the record.
    pub sequence: u64,
    length: u64,
    crc: u32,
}

/// `record` as the bytes of a file.
#[must_use]
pub fn encode(sequence: u64, record: &Durable) -> Vec<u8> {
    let mut body = Vec::new();
    for ballot in [record.promised, record.accepted_ballot] {
        body.extend(ballot.round.to_le_bytes());
        body.push(ballot.node);
    }
    for state in [&record.accepted, &record.committed] {
        let bytes = wire::encode_state(state);
        body.extend((bytes.len() as u32).to_le_bytes());
        body.extend(bytes);
    }
    let mut file = Vec::with_capacity(HEADER_BYTES + body.len());
    file.extend(MAGIC);
    file.extend(FORMAT_VERSION.to_le_bytes());
    file.extend(sequence.to_le_bytes());
    file.extend((body.len() as u64).to_le_bytes());
    file.extend(crc32fast::hash(&body).to_le_bytes());
    let crc = crc32fast::hash(&file);
    file.extend(crc.to_le_bytes());
    file.extend(body);
    file
}

/// The header of a file.
///
/// # Errors
/// When it is torn, damaged, or of another format; the sentence says which.
pub fn header(file: &[u8]) -> Result<Header, String> {
    let Some((header, _)) = file.split_at_checked(HEADER_BYTES) else {
        return Err(format!("it ends after {} bytes, inside its header", file.len()));
    };
    let mut cursor = Cursor(header);
    if cursor.take(8)? != MAGIC {
        return Err("it does not begin like a state file".into());
    }
    let version = cursor.u32()?;
    let header = Header {
        sequence: cursor.u64()?,
        length: cursor.u64()?,
        crc: cursor.u32()?,
    };
    if crc32fast::hash(&file[..HEADER_BYTES - 4]) != cursor.u32()? {
        return Err("the checksum of its header is wrong".into());
    }
    if version != FORMAT_VERSION {
        return Err(format!(
            "its format is {version}, this had reads {FORMAT_VERSION}"
        ));
    }
    Ok(header)
}

/// The record in a file whose header is intact.
///
/// # Errors
/// When the body is torn, damaged, or does not decode.
pub fn record(header: Header, file: &[u8]) -> Result<Durable, String> {
    let body = &file[HEADER_BYTES..];
    if body.len() as u64 != header.length {
        return Err(format!(
            "its body has {} bytes instead of {}",
            body.len(),
            header.length
        ));
    }
    if crc32fast::hash(body) != header.crc {
        return Err("the checksum of its body is wrong".into());
    }
    let mut cursor = Cursor(body);
    let durable = Durable {
        promised: cursor.ballot()?,
        accepted_ballot: cursor.ballot()?,
        accepted: cursor.state("accepted")?,
        committed: cursor.state("committed")?,
    };
    if cursor.0.is_empty() {
        Ok(durable)
    } else {
        Err(format!("{} bytes are left over", cursor.0.len()))
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.0.split_at_checked(count).ok_or("it ends too early")?;
        self.0 = rest;
        Ok(head)
    }

    fn u32(&mut self) -> Result<u32, String> {
        Ok(u32::from_le_bytes(
            self.take(4)?.try_into().map_err(|_| "it ends too early")?,
        ))
    }

    fn u64(&mut self) -> Result<u64, String> {
        Ok(u64::from_le_bytes(
            self.take(8)?.try_into().map_err(|_| "it ends too early")?,
        ))
    }

    fn ballot(&mut self) -> Result<Ballot, String> {
        let round = self.u64()?;
        let node = self.take(1)?[0];
        if node > NodeId::DATA_MAX || round > NUMBER_MAX {
            Err(format!("a ballot names round {round} of node {node}"))
        } else {
            Ok(Ballot { round, node })
        }
    }

    fn state(&mut self, which: &str) -> Result<Arc<ClusterState>, String> {
        let length = self.u32()? as usize;
        let bytes = self.take(length)?;
        let state = wire::decode_state(bytes).map_err(|error| format!("its {which} state: {error}"))?;
        Ok(Arc::new(state))
    }
}

//! What the fuzz targets reach of this crate beyond its public parts. Built with `--cfg fuzzing` only.

use std::collections::VecDeque;

use holdfast_core::durable::Durable;
use holdfast_proto::config::Config;
use holdfast_proto::control::{EventView, control_request};
use holdfast_proto::operator::OperatorRequest;

use crate::store::files::{Found, usable};
use crate::store::format;

pub use crate::control::Refusal;
pub use crate::join::protocol::{JoinAnswer, JoinCall};

/// The bytes of one generation of the state file.
#[must_use]
pub fn generation(sequence: u64, record: &Durable) -> Vec<u8> {
    format::encode(sequence, record)
}

/// Sequence number and record in the bytes of one generation.
///
/// # Errors
/// What is wrong with them.
pub fn read_generation(file: &[u8]) -> Result<(u64, Durable), String> {
    let header = format::header(file)?;
    Ok((header.sequence, format::record(header, file)?))
}

/// Which record a node starts from with these two files; none is a missing one.
///
/// # Errors
/// Which generation is damaged, and how: the node starts blank.
pub fn choose(files: [Option<&[u8]>; 2]) -> Result<Option<Durable>, (u64, String)> {
    let found = files.map(|file| file.map_or(Found::Missing, Found::of));
    usable(found).map(|record| record.map(|record| *record))
}

/// A request of an operator in the core's terms.
///
/// # Errors
/// The refusal that the operator gets.
pub fn translate(config: &Config, body: control_request::Body) -> Result<OperatorRequest, Refusal> {
    crate::control::operate::translate(config, body)
}

/// The entries of a journal's file, and the number that the next one gets.
#[must_use]
pub fn read_journal(text: &[u8]) -> (VecDeque<EventView>, u64) {
    let mut ring = VecDeque::new();
    crate::journal::read_entries(text, &mut ring, crate::journal::RING_ENTRIES);
    let next = crate::journal::next_id(&ring);
    (ring, next)
}

/// The name in the text of the node's file; none if it is blank.
#[must_use]
pub fn name_in(text: &str) -> Option<&str> {
    crate::args::name_in(text)
}

/// The public key that belongs to a private key file.
///
/// # Errors
/// When the file holds no Ed25519 key.
pub fn spki_of(pkcs8: &[u8]) -> Result<Vec<u8>, String> {
    crate::keys::spki_of(pkcs8)
}

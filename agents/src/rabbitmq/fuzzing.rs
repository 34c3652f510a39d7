//! What the fuzz targets reach.

use std::io::Cursor;
use std::time::Duration;

use bytes::BytesMut;

use super::amqp;
use super::cluster::facts::Facts;
use super::erlang::handshake;
use super::erlang::node::{self, Site};
use super::erlang::term;
use crate::fuzzing::at_once;

pub use super::erlang::term::Term;

/// A secret of letters that no sentence has.
const COOKIE: &str = "ĸøŋ";

/// Reads what a broker sends.
pub fn frame(bytes: &[u8]) {
    if let Ok(Some((_, length))) = amqp::decode(bytes) {
        assert!(length <= bytes.len());
    }
    let said = amqp::closing(bytes);
    assert!(!said.contains(char::is_control) && said.chars().count() <= 200);
}

/// Reads a term: it, and how many bytes it has. What is read is what is written, and is shown on one line.
pub fn decoded(bytes: &[u8]) -> Option<(Term, usize)> {
    let (found, rest) = term::decode(bytes)?;
    let mut written = Vec::new();
    term::encode(&mut written, &found);
    assert_eq!(term::decode(&written), Some((found.clone(), &[][..])));
    let shown = found.shown();
    assert!(
        !shown.contains(char::is_control) && shown.chars().count() <= 303,
        "{shown}"
    );
    let _ = Facts::read(&found);
    Some((found, bytes.len() - rest.len()))
}

/// The bytes of a term.
#[must_use]
pub fn encoded(term: &Term) -> Vec<u8> {
    let mut bytes = Vec::new();
    term::encode(&mut bytes, term);
    bytes
}

/// What is received in pieces of `piece` bytes: the messages, and whether what follows is none.
#[must_use]
pub fn messages(bytes: &[u8], piece: usize) -> (Vec<Vec<u8>>, bool) {
    let (mut unread, mut all) = (BytesMut::new(), Vec::new());
    for more in bytes.chunks(piece.max(1)) {
        unread.extend_from_slice(more);
        loop {
            match node::whole(&mut unread) {
                Ok(Some(message)) => all.push(message.to_vec()),
                Ok(None) => break,
                Err(_) => return (all, true),
            }
        }
    }
    (all, false)
}

/// What a message says to the call with `reference`.
#[must_use]
pub fn answer(message: &[u8], reference: &[u8]) -> Option<Term> {
    node::answer(message, reference).ok().flatten()
}

/// What epmd answers, and what a node says in the handshake. The sentence is why there is no connection.
pub fn handshake(bytes: &[u8]) -> String {
    let _ = at_once(handshake::port(&mut &bytes[..]));
    let site = Site {
        name: "rabbit@db1".into(),
        own_name: "holdfast@db1".into(),
        epmd_port: 4369,
        cookie_file: "/nonexistent".into(),
        limit: Duration::from_secs(1),
    };
    let mut stream = tokio::io::join(Cursor::new(bytes), tokio::io::sink());
    // The proof that is asked for is another one each time: nobody gets through.
    let fault = at_once(handshake::prove(&mut stream, &site, COOKIE, 7));
    let text = fault.expect_err("a proof was guessed").to_string();
    let is_told = String::from_utf8_lossy(bytes).contains(|c: char| COOKIE.contains(c));
    assert!(is_told || !text.contains(COOKIE), "{text}");
    text
}

//! What the fuzz targets reach.

use std::io::Cursor;
use std::time::Duration;

use super::client::{Client, Rows, SqlError};
use super::seed::frames::{self, Frame};
use super::seed::swap::Note;
use super::status::Status;
use crate::fuzzing::at_once;
use crate::galera::status::Status as Member;
use crate::wishes::written;

pub use super::gtid::Gtids;
pub use super::server::Server;

/// No step waits: everything is there.
const LIMIT: Duration = Duration::from_secs(60);

/// Logs in to a server that says `bytes`, and asks until it says nothing more: every text for people that comes of it.
pub fn session(bytes: &[u8]) -> Vec<String> {
    at_once(async {
        let mut texts = Vec::new();
        if let Err(error) = talk(bytes, &mut texts).await {
            texts.push(error.to_string());
        }
        texts
    })
}

async fn talk(bytes: &[u8], texts: &mut Vec<String>) -> Result<(), SqlError> {
    let stream = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
    let mut client = Client::log_in(Box::new(stream), "root", LIMIT, None).await?;
    texts.push(client.server().to_string());
    texts.extend(client.server().check().err());
    loop {
        match client.rows("SELECT 1").await {
            Ok(rows) => look(&client, &rows, texts),
            Err(error @ SqlError::Server(_)) => texts.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
}

fn look(client: &Client, rows: &Rows, texts: &mut Vec<String>) {
    if let Some(row) = rows.first() {
        match Status::of(client.server(), row) {
            Ok(status) => texts.push(status.broken()),
            Err(why) => texts.push(why),
        }
    }
    texts.push(Member::of(rows).text());
}

/// The frames at the start of `bytes`, and how many of these they are. What is read is what is written, but for words.
pub fn seed_frames(bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut rest = bytes;
    let mut all = Vec::new();
    loop {
        let before = rest;
        let Ok(frame) = at_once(frames::receive(&mut rest)) else {
            return (all, bytes.len() - before.len());
        };
        let taken = &before[..before.len() - rest.len()];
        let mut written = Vec::new();
        at_once(frames::send(&mut written, &frame)).expect("memory takes everything");
        if let Frame::Failed(text) = &frame {
            assert!(!text.contains(char::is_control), "{text:?}");
            assert_eq!(
                at_once(frames::receive(&mut &written[..])).ok(),
                Some(frame.clone())
            );
        } else {
            assert_eq!(written, taken);
        }
        all.push(frame);
    }
}

/// The position of fetched data as it is kept, and kept again.
pub fn note(text: &str) {
    if let Some(note) = Note::parse(text) {
        assert_eq!(Note::parse(&note.to_text()), Some(note));
    }
}

/// The generations that a primary wished.
#[must_use]
pub fn wished(text: &str) -> Option<(u64, u64)> {
    written::numbers(text)
}

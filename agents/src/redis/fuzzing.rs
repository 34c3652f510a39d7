//! What the fuzz targets reach.

use super::info::Info;
use super::memo;
use super::resp;
use super::sentinel::{self, Session, World};

/// Reads an answer of a Redis, and `INFO` in it.
pub fn answer(bytes: &[u8]) {
    if let Ok(Some((value, length))) = resp::decode(bytes) {
        assert!(length <= bytes.len());
        if let resp::Value::Bulk(Some(text)) = value {
            let _ = Info::read(&text);
        }
    }
    let _ = Info::read(&String::from_utf8_lossy(bytes));
}

/// Reads what a client of Sentinel sends, and answers it.
pub fn client(bytes: &[u8]) {
    let mut unread = bytes.to_vec();
    let Some(all) = sentinel::commands(&mut unread) else {
        return;
    };
    let mut session = Session::default();
    for words in all {
        let mut written = Vec::new();
        for reply in session.answer(&words, &World::default()) {
            reply.write(session.resp3, &mut written);
        }
        // An answer is one that a client can read.
        assert!(session.resp3 || matches!(resp::decode(&written), Ok(Some(_))));
    }
}

/// Reads what an agent left for the one after it.
pub fn memo(bytes: &[u8]) {
    if let Some(kept) = memo::parse(bytes) {
        let again = serde_json::to_vec(&kept).expect("what is read can be written");
        assert_eq!(memo::parse(&again), Some(kept));
    }
}

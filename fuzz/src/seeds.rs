//! The first corpus of each target: real encodings, so that the fuzzer begins behind the first checks.

mod local;
mod peers;
mod services;

use std::fs;
use std::io;
use std::path::Path;

/// Inputs of one target.
type Seeds = Vec<Vec<u8>>;

/// Writes the seeds of every target below `corpus`, one folder each; how many there are. Files that are there stay.
///
/// # Errors
/// When a folder cannot be written to.
pub fn write(corpus: &Path) -> io::Result<usize> {
    let mut count = 0;
    for (target, seeds) in all() {
        let folder = corpus.join(target);
        fs::create_dir_all(&folder)?;
        for (index, bytes) in seeds.iter().enumerate() {
            fs::write(folder.join(format!("seed-{index:02}")), bytes)?;
            count += 1;
        }
    }
    Ok(count)
}

/// The seeds of every target.
#[must_use]
pub fn all() -> Vec<(&'static str, Seeds)> {
    vec![
        ("address", local::addresses()),
        ("agent", local::agent()),
        ("calendar", services::calendars()),
        ("config", local::configs()),
        ("control", local::control()),
        ("core", peers::plays()),
        ("edit", local::edits()),
        ("erlang", services::erlang()),
        ("frame", peers::frames()),
        ("hello", peers::hellos()),
        ("join", peers::joins()),
        ("keys", peers::keys()),
        ("message", peers::messages()),
        ("metadata", local::metadata()),
        ("mysql", services::mysql()),
        ("netlink", local::netlink()),
        ("ocf", services::ocf()),
        ("output", local::output()),
        ("redis", local::redis()),
        ("saved", local::saved()),
        ("sbd", local::sbd()),
        ("seed", services::seed()),
        ("services", services::files()),
        ("store", peers::stores()),
        ("stream", peers::streams()),
    ]
}

/// `bytes` after the numbers that the check reads first.
fn after(head: &[u8], bytes: &[u8]) -> Vec<u8> {
    [head, bytes].concat()
}

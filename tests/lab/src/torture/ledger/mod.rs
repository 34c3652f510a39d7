//! The ledger: a file that the nodes share as they would a LUN, and to which only the owner of a group may write.
//!
//! Nothing keeps a second writer out. It is seen: by its records among those of the first, and, however short it
//! lived and whether or not it wrote, by the lock that every writer holds as long as it lives and that the next one
//! finds taken. The kernel is the same for all nodes of the lab, so one lock is seen by all of them.

pub mod clock;
mod fresh;
mod hold;
mod record;
mod writer;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, bail};

use clock::HostClock;
pub use record::{Ledger, Mark, Record, Writer, read};

/// The writer's word on the command line.
pub const WRITE: &str = "ledger";
/// The holder's word on the command line.
pub const HOLD: &str = "hold";
/// The prober's word on the command line.
pub const FRESH: &str = "fresh";
/// The file in a shared folder.
pub const FILE: &str = "ledger";

/// `lab ledger DIR` is the service itself, `lab fresh DIR` its probe, and `lab hold DIR PROGRAM [ARGUMENT...]` notes who
/// opens DIR.
pub fn main(args: &[String]) -> Result<()> {
    match args {
        [word, dir] if word == WRITE => writer::run(Path::new(dir)),
        [word, dir, program, arguments @ ..] if word == HOLD => hold::run(Path::new(dir), program, arguments),
        [word, dir] if word == FRESH => fresh::run(Path::new(dir)),
        _ => bail!("usage: lab {WRITE} DIR | lab {FRESH} DIR | lab {HOLD} DIR PROGRAM [ARGUMENT...]"),
    }
}

/// A ledger opened by this process.
#[derive(Debug)]
pub struct Opened {
    file: File,
    writer: Writer,
    sequence: u64,
    clock: HostClock,
}

impl Opened {
    /// Opens the ledger in `dir` and says so in it, also when another process has it open.
    pub fn begin(dir: &Path) -> Result<Opened> {
        let path = dir.join(FILE);
        let open = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(&path);
        let file = open.with_context(|| path.display().to_string())?;
        // Held until the last descriptor of this opening is closed, so by a program that inherits it as well.
        let contended = match file.try_lock() {
            Ok(()) => false,
            Err(TryLockError::WouldBlock) => true,
            Err(TryLockError::Error(error)) => return Err(error).context("lock the ledger"),
        };
        let sequence = last_sequence(&file)?.map_or(0, |last| last + 1);
        let mut opened = Opened {
            file,
            writer: this_process()?,
            sequence,
            clock: HostClock::new()?,
        };
        opened.append(Mark::Begin, contended)?;
        Ok(opened)
    }

    /// Appends one record, in one write.
    pub(in crate::torture) fn append(&mut self, mark: Mark, contended: bool) -> Result<()> {
        let record = Record {
            mark,
            contended,
            writer: self.writer.clone(),
            sequence: self.sequence,
            at_ns: self.clock.now_ns(),
        };
        self.file
            .write_all(&record.encode())
            .context("append to the ledger")?;
        self.sequence += 1;
        Ok(())
    }
}

/// The number of the last record that is whole.
fn last_sequence(file: &File) -> Result<Option<u64>> {
    let size = Record::SIZE as u64;
    let mut records = file.metadata()?.len() / size;
    while records > 0 {
        records -= 1;
        let mut bytes = [0; Record::SIZE];
        file.read_exact_at(&mut bytes, records * size)?;
        if let Some(last) = Record::decode(&bytes) {
            return Ok(Some(last.sequence));
        }
    }
    Ok(None)
}

/// Who this process is.
fn this_process() -> Result<Writer> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("the boot id")?;
    let digits: String = boot.chars().filter(char::is_ascii_hexdigit).take(16).collect();
    let epoch = match std::env::var("HOLDFAST_EPOCH") {
        Ok(epoch) => epoch
            .parse()
            .with_context(|| format!("HOLDFAST_EPOCH is '{epoch}'"))?,
        Err(_) => 0,
    };
    Ok(Writer {
        node: nix::unistd::gethostname()?.to_string_lossy().into_owned(),
        boot: u64::from_str_radix(&digits, 16).context("the boot id is no number")?,
        pid: std::process::id(),
        epoch,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_writer_goes_on_with_the_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = Opened::begin(folder.path()).unwrap();
        first.append(Mark::Alive, false).unwrap();
        drop(first);
        drop(Opened::begin(folder.path()).unwrap());
        let ledger = read(&folder.path().join(FILE)).unwrap();
        let numbers: Vec<u64> = ledger.records.iter().map(|record| record.sequence).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert!(ledger.records.iter().all(|record| !record.contended));
    }

    #[test]
    fn a_second_opening_is_noticed_although_the_first_does_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Opened::begin(folder.path()).unwrap();
        drop(Opened::begin(folder.path()).unwrap());
        let ledger = read(&folder.path().join(FILE)).unwrap();
        assert!(ledger.records[1].contended);
    }
}

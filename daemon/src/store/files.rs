//! The two generation files.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use holdfast_core::durable::Durable;

use super::{Loaded, format};

/// Why a record could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {source}{advice}")]
pub struct StoreError {
    action: &'static str,
    path: PathBuf,
    source: std::io::Error,
    advice: &'static str,
}

impl StoreError {
    pub(super) fn new(action: &'static str, path: &Path, source: std::io::Error) -> StoreError {
        let advice = match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                ". Free space there: this node does not vote until it can write"
            }
            ErrorKind::FileTooLarge => ". Raise the file size limit (LimitFSIZE) of the service",
            ErrorKind::ReadOnlyFilesystem => {
                ". The file system is read-only: look at the kernel log for disk errors"
            }
            ErrorKind::PermissionDenied => ". The state directory must belong to the user that runs had",
            _ => "",
        };
        StoreError {
            action,
            path: path.to_owned(),
            source,
            advice,
        }
    }
}

/// The record's files in one state directory.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    /// Sequence number of the newest record written or found.
    sequence: u64,
}

/// One generation as it was found.
pub(crate) enum Found {
    Missing,
    Intact {
        sequence: u64,
        record: Box<Durable>,
    },
    /// `sequence` is known when the header is intact.
    Damaged {
        sequence: Option<u64>,
        why: String,
    },
}

impl Found {
    /// The generation in the bytes of its file.
    pub(crate) fn of(bytes: &[u8]) -> Found {
        match format::header(bytes) {
            Err(why) => Found::Damaged { sequence: None, why },
            Ok(header) => match format::record(header, bytes) {
                Ok(record) => Found::Intact {
                    sequence: header.sequence,
                    record: Box::new(record),
                },
                Err(why) => Found::Damaged {
                    sequence: Some(header.sequence),
                    why,
                },
            },
        }
    }

    fn sequence(&self) -> Option<u64> {
        match self {
            Found::Missing => None,
            Found::Intact { sequence, .. } => Some(*sequence),
            Found::Damaged { sequence, .. } => *sequence,
        }
    }
}

impl Store {
    /// Opens the store in `dir` and reads the newest record.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read at all, which is not the same as a damaged file.
    pub fn open(dir: &Path) -> Result<(Store, Loaded), StoreError> {
        let mut store = Store {
            dir: dir.to_owned(),
            sequence: 0,
        };
        let found = [store.read(0)?, store.read(1)?];
        store.sequence = found.iter().filter_map(Found::sequence).max().unwrap_or(0);
        let loaded = match usable(found) {
            Ok(None) => Loaded::Blank,
            Ok(Some(record)) => Loaded::Fresh(*record),
            Err((generation, why)) => store.set_aside(generation, &why)?,
        };
        Ok((store, loaded))
    }

    /// Writes `record` as the newest generation; it is on disk when this returns.
    ///
    /// # Errors
    /// When it could not be written; the older generation is untouched.
    pub fn write(&mut self, record: &Durable) -> Result<(), StoreError> {
        let sequence = self.sequence + 1;
        let path = self.path(sequence);
        write_synced(&path, &format::encode(sequence, record))?;
        self.sequence = sequence;
        Ok(())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.dir.join(format!("state.{}", generation % 2))
    }

    fn read(&self, generation: u64) -> Result<Found, StoreError> {
        let path = self.path(generation);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Missing),
            Err(error) => return Err(StoreError::new("open", &path, error)),
        };
        let mut bytes = Vec::new();
        let read = file
            .take(format::FILE_BYTES_MAX as u64 + 1)
            .read_to_end(&mut bytes);
        if let Err(error) = read {
            // A bad sector reads as EIO: the record is lost, the node is not.
            return Ok(Found::Damaged {
                sequence: None,
                why: format!("it cannot be read: {error}"),
            });
        }
        Ok(Found::of(&bytes))
    }

    /// Moves both generations out of the way, so that neither can ever be taken for the newest.
    fn set_aside(&self, generation: u64, why: &str) -> Result<Loaded, StoreError> {
        for index in [0, 1] {
            let path = self.path(index);
            match fs::rename(&path, aside(&path)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(StoreError::new("set aside", &path, error));
                }
                _ => {}
            }
        }
        sync_dir(&self.dir)?;
        let path = self.path(generation);
        let why = format!(
            "the newest state file {} is damaged: {why}. The files were kept aside as *.damaged. This node starts \
             without state and does not vote until its peers have brought it up to date",
            path.display()
        );
        Ok(Loaded::Damaged {
            file: aside(&path),
            why,
        })
    }
}

/// The newest record, if it is certain that it is the newest.
pub(crate) fn usable(found: [Found; 2]) -> Result<Option<Box<Durable>>, (u64, String)> {
    match found {
        [Found::Missing, Found::Missing] => Ok(None),
        [
            Found::Intact {
                sequence: first,
                record: zero,
            },
            Found::Intact {
                sequence: second,
                record: one,
            },
        ] => Ok(Some(if first > second { zero } else { one })),
        [Found::Intact { sequence, record }, other] => beside(sequence, record, other, 1),
        [other, Found::Intact { sequence, record }] => beside(sequence, record, other, 0),
        [Found::Damaged { why, .. }, _] => Err((0, why)),
        [_, Found::Damaged { why, .. }] => Err((1, why)),
    }
}

/// One generation is intact: whether the other one, of index `index`, can have been newer.
fn beside(
    sequence: u64,
    record: Box<Durable>,
    other: Found,
    index: u64,
) -> Result<Option<Box<Durable>>, (u64, String)> {
    match other {
        // The very first record has no second generation beside it yet.
        Found::Missing if sequence <= 1 => Ok(Some(record)),
        Found::Missing => Err((
            index,
            "it is missing, and may have been newer than the other generation".into(),
        )),
        Found::Damaged {
            sequence: Some(damaged),
            ..
        } if damaged < sequence => Ok(Some(record)),
        Found::Damaged { why, .. } => Err((index, why)),
        Found::Intact { .. } => unreachable!("both intact is dealt with by the caller"),
    }
}

/// Where a damaged file is kept; the latest one only, because each may be large.
fn aside(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.damaged", path.display()))
}

/// Replaces `path` by `bytes`: after a crash it holds either all of them or what it held before.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let beside = PathBuf::from(format!("{}.new", path.display()));
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    if let Err(error) = written {
        // On a full disk the torn copy must not hold on to space.
        drop(fs::remove_file(&beside));
        return Err(StoreError::new("write", path, error));
    }
    fs::rename(&beside, path).map_err(|error| StoreError::new("rename", path, error))?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::new("sync", dir, error))
}

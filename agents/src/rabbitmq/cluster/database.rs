//! The broker's folder of metadata and queues. It is never removed: at most it is put aside, under another name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::agent::AgentError;
use crate::blocking::blocking;
use crate::rabbitmq::place::ASIDE;

/// Tells RabbitMQ not to wait for the brokers that ran when this one stopped; `rabbitmqctl force_boot` makes this file.
const FORCE_LOAD: &str = "force_load";

/// One broker's database.
#[derive(Clone, Debug)]
pub struct Database {
    folder: PathBuf,
    broker: String,
}

impl Database {
    /// That of `broker`, below `folder`.
    #[must_use]
    pub fn new(folder: &Path, broker: &str) -> Database {
        Database {
            folder: folder.into(),
            broker: broker.into(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.broker)
    }

    /// There is none: the broker would begin empty.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        // What cannot be looked at is not taken for empty.
        matches!(self.path().try_exists(), Ok(false))
    }

    /// The next start does not wait for other brokers.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn allow_alone(&self) -> Result<(), AgentError> {
        let path = self.path().join(FORCE_LOAD);
        fs::write(&path, "").map_err(|error| AgentError(format!("cannot write {}: {error}", path.display())))
    }

    /// Renames it, with what RabbitMQ keeps beside it: where it is now.
    ///
    /// # Errors
    /// It cannot be renamed.
    pub fn put_aside(&self) -> Result<PathBuf, AgentError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{ASIDE}{}", since.as_millis());
        let aside = self.folder.join(format!("{mark}.{}", self.broker));
        let flags = format!("{}-feature_flags", self.broker);
        // The flags first: without them the folder is still whole, with them alone a new one would not be empty.
        match fs::rename(
            self.folder.join(&flags),
            self.folder.join(format!("{mark}.{flags}")),
        ) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.told(&error)),
            _ => {}
        }
        fs::rename(self.path(), &aside).map_err(|error| self.told(&error))?;
        Ok(aside)
    }

    fn told(&self, error: &io::Error) -> AgentError {
        AgentError(format!(
            "cannot put the database {} aside: {error}",
            self.path().display()
        ))
    }

    /// As [`Database::put_aside`], on a thread that may wait for the disk.
    ///
    /// # Errors
    /// See there.
    pub async fn move_aside(&self) -> Result<PathBuf, AgentError> {
        let own = self.clone();
        blocking(move || own.put_aside()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_aside_whole_and_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::new(folder.path(), "rabbit@a");
        assert!(database.is_blank());
        assert!(database.allow_alone().is_err(), "nothing is made");
        fs::create_dir(folder.path().join("rabbit@a")).unwrap();
        fs::write(folder.path().join("rabbit@a/schema.DAT"), "x").unwrap();
        fs::write(folder.path().join("rabbit@a-feature_flags"), "[].").unwrap();
        assert!(!database.is_blank());
        database.allow_alone().unwrap();
        assert!(folder.path().join("rabbit@a/force_load").exists());
        let aside = database.put_aside().unwrap();
        assert!(database.is_blank());
        assert_eq!(fs::read_to_string(aside.join("schema.DAT")).unwrap(), "x");
        assert!(!folder.path().join("rabbit@a-feature_flags").exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}

//! What an agent leaves for the one after a restart of had-agentd. Gone after a reboot, as the process is that it is about.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::roles::InSync;

/// Longest file that is read.
const BYTES_MAX: u64 = 64 << 10;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    /// Wishes that may still be committed: all their nodes, and the highest generation.
    generation: u64,
    nodes: Vec<String>,
    /// The `run_id` of the process whose copy was whole.
    whole: String,
}

/// The file.
#[derive(Clone, Debug)]
pub struct Memo {
    path: PathBuf,
    kept: Kept,
}

impl Memo {
    /// Reads the file. One that is damaged is as none: the copy is not whole then until that is seen again.
    pub async fn read(path: PathBuf) -> Memo {
        let small = tokio::fs::metadata(&path)
            .await
            .is_ok_and(|file| file.is_file() && file.len() <= BYTES_MAX);
        let bytes = match small {
            true => tokio::fs::read(&path).await.unwrap_or_default(),
            false => Vec::new(),
        };
        let kept = serde_json::from_slice(&bytes).unwrap_or_default();
        Memo { path, kept }
    }

    /// Wishes that may still be committed: see [`super::waiting::Waiting::pending`].
    pub fn pending(&self) -> InSync {
        InSync {
            generation: self.kept.generation,
            nodes: self.kept.nodes.iter().cloned().collect(),
        }
    }

    /// The process whose copy was whole; empty for none.
    pub fn whole(&self) -> &str {
        &self.kept.whole
    }

    /// Keeps that, and which process has a whole copy. Nothing is written when it is kept already.
    pub async fn keep(&mut self, pending: &InSync, whole: &str) -> std::io::Result<()> {
        self.write(Kept {
            generation: pending.generation,
            nodes: pending.nodes.iter().cloned().collect(),
            whole: whole.to_owned(),
        })
        .await
    }

    async fn write(&mut self, kept: Kept) -> std::io::Result<()> {
        if kept == self.kept {
            return Ok(());
        }
        let draft = self.path.with_extension("draft");
        tokio::fs::write(&draft, serde_json::to_vec(&kept)?).await?;
        tokio::fs::rename(&draft, &self.path).await?;
        self.kept = kept;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_read_again_and_damage_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redis.json");
        let mut memo = Memo::read(path.clone()).await;
        assert_eq!((memo.pending(), memo.whole()), (InSync::default(), ""));
        let wish = InSync {
            generation: 4,
            nodes: ["db1".to_owned()].into(),
        };
        memo.keep(&wish, "abc").await.unwrap();
        let again = Memo::read(path.clone()).await;
        assert_eq!((again.pending(), again.whole()), (wish.clone(), "abc"));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Memo::read(path.clone()).await.pending(), InSync::default());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let mut memo = Memo::read(path).await;
        assert!(memo.keep(&wish, "x").await.is_err());
    }
}

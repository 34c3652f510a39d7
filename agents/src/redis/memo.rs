//! What an agent leaves for the one after a restart of had-agentd. Gone after a reboot, as the process is that it is about.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::roles::{InSync, RolesView};
use crate::wishes::UNKNOWN;

/// Longest file that is read.
const BYTES_MAX: u64 = 64 << 10;

/// What is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
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
    /// None: what was kept cannot be read.
    kept: Option<Kept>,
}

/// What is in the file; None of one that is damaged.
async fn load(path: &Path) -> io::Result<Option<Kept>> {
    let file = tokio::fs::metadata(path).await?;
    if !file.is_file() || file.len() > BYTES_MAX {
        return Ok(None);
    }
    Ok(parse(&tokio::fs::read(path).await?))
}

pub(super) fn parse(bytes: &[u8]) -> Option<Kept> {
    serde_json::from_slice(bytes).ok()
}

impl Memo {
    /// Reads the file. Of one that is damaged the worst is assumed: the copy is not whole until that is seen again, and whatever
    /// may have been wished may still be committed.
    pub async fn read(path: PathBuf) -> Memo {
        let kept = match load(&path).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Kept::default()),
            read => read.unwrap_or_default(),
        };
        Memo { path, kept }
    }

    /// Wishes that may still be committed: see [`super::waiting::Waiting::pending`].
    pub fn pending(&self, view: &RolesView) -> InSync {
        let Some(kept) = &self.kept else {
            let everybody = view.others.iter().chain([&view.own]);
            let nodes: BTreeSet<String> = everybody.map(|peer| peer.name.clone()).collect();
            let generation = view.in_sync.generation.saturating_add(UNKNOWN);
            return InSync { generation, nodes };
        };
        InSync {
            generation: kept.generation,
            nodes: kept.nodes.iter().cloned().collect(),
        }
    }

    /// The process whose copy was whole; empty for none.
    pub fn whole(&self) -> &str {
        self.kept.as_ref().map_or("", |kept| &kept.whole)
    }

    /// Keeps that, and which process has a whole copy. Nothing is written when it is kept already.
    pub async fn keep(&mut self, pending: &InSync, whole: &str) -> io::Result<()> {
        self.write(Kept {
            generation: pending.generation,
            nodes: pending.nodes.iter().cloned().collect(),
            whole: whole.to_owned(),
        })
        .await
    }

    async fn write(&mut self, kept: Kept) -> io::Result<()> {
        if self.kept.as_ref() == Some(&kept) {
            return Ok(());
        }
        let draft = self.path.with_extension("draft");
        tokio::fs::write(&draft, serde_json::to_vec(&kept)?).await?;
        tokio::fs::rename(&draft, &self.path).await?;
        self.kept = Some(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Peer;

    fn view() -> RolesView {
        let peer = |name: &str| Peer {
            name: name.into(),
            ..Peer::default()
        };
        RolesView {
            own: peer("db1"),
            others: vec![peer("db2")],
            in_sync: InSync {
                generation: 3,
                nodes: ["db1".to_owned()].into(),
            },
            ..RolesView::default()
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redis.json");
        let mut memo = Memo::read(path.clone()).await;
        assert_eq!((memo.pending(&view()), memo.whole()), (InSync::default(), ""));
        let wish = InSync {
            generation: 4,
            nodes: ["db1".to_owned()].into(),
        };
        memo.keep(&wish, "abc").await.unwrap();
        let again = Memo::read(path.clone()).await;
        assert_eq!((again.pending(&view()), again.whole()), (wish.clone(), "abc"));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        let mut memo = Memo::read(path).await;
        assert!(memo.keep(&wish, "x").await.is_err());
    }

    #[tokio::test]
    async fn what_was_wished_and_cannot_be_read_may_be_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("redis.json");
        for damaged in ["", "{", "{}", "7", "\0\0\0"] {
            std::fs::write(&path, damaged).unwrap();
            let mut memo = Memo::read(path.clone()).await;
            let pending = memo.pending(&view());
            assert!(
                pending.generation > 3 && pending.nodes.contains("db2"),
                "{damaged}"
            );
            assert_eq!(memo.whole(), "");
            memo.keep(&pending, "").await.unwrap();
            assert_eq!(Memo::read(path.clone()).await.pending(&view()), pending);
        }
    }
}

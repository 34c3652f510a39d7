//! Wishes that are written down, for services that are told whether they wait: MariaDB, MySQL, RabbitMQ. Which of the two kinds
//! an agent takes stands in [`super`].

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;

use super::UNKNOWN;
use crate::roles::{InSync, RolesView};

/// The wishes of one primary. What was wished is written down first, into a file that is gone after a reboot: a had-agentd that
/// is started anew must know which of them may still be committed.
pub struct Wishes {
    path: PathBuf,
    /// The newest generation that was wished.
    newest: u64,
    /// The newest that had others in it.
    with_others: u64,
    current: Option<InSync>,
    /// What was written down cannot be read: whatever was wished may still be committed.
    lost: bool,
}

impl Wishes {
    /// Those of before, if there were any since the last boot.
    pub fn load(path: PathBuf) -> Wishes {
        let known = match fs::read_to_string(&path) {
            Ok(text) => numbers(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some((0, 0)),
            Err(_) => None,
        };
        let (newest, with_others) = known.unwrap_or_default();
        Wishes {
            path,
            newest,
            with_others,
            current: None,
            lost: known.is_none(),
        }
    }

    /// Wishes this set, under a generation above all others.
    ///
    /// # Errors
    /// It could not be written down; nothing is wished then.
    pub fn wish(&mut self, nodes: BTreeSet<String>, view: &RolesView) -> io::Result<()> {
        let before = match self.lost {
            true => {
                let highest = view.in_sync.generation.saturating_add(UNKNOWN);
                (highest, highest)
            }
            false => (self.newest, self.with_others),
        };
        let generation = before.0.max(view.in_sync.generation) + 1;
        let others = nodes.iter().any(|node| *node != view.own.name);
        let with_others = if others { generation } else { before.1 };
        let part = self.path.with_extension("part");
        fs::write(&part, format!("{generation} {with_others}\n"))?;
        fs::rename(&part, &self.path)?;
        self.lost = false;
        self.newest = generation;
        self.with_others = with_others;
        self.current = Some(InSync { generation, nodes });
        Ok(())
    }

    /// What is wished and not committed yet.
    pub fn current(&mut self, view: &RolesView) -> Option<InSync> {
        if self
            .current
            .as_ref()
            .is_some_and(|wish| wish.generation <= view.in_sync.generation)
        {
            self.current = None;
        }
        self.current.clone()
    }

    /// True as long as others may be counted on to have what is acknowledged here: they are in the committed set, or in a wish
    /// that may still be committed. One cannot any more when a later generation is.
    pub fn must_wait(&self, view: &RolesView) -> bool {
        self.lost || view.waits_for_others() || self.with_others > view.in_sync.generation
    }
}

/// The newest generation that was wished, and the newest with others in it.
pub(crate) fn numbers(text: &str) -> Option<(u64, u64)> {
    let mut words = text.split_whitespace().map(str::parse);
    Some((words.next()?.ok()?, words.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn view(generation: u64, nodes: &[&str]) -> RolesView {
        let mut view = RolesView::default();
        view.own.name = "a".into();
        view.in_sync = InSync {
            generation,
            nodes: names(nodes),
        };
        view
    }

    #[test]
    fn the_wait_ends_only_with_a_later_generation_without_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wish");
        let mut wishes = Wishes::load(path.clone());
        let alone = view(3, &["a"]);
        assert!(!wishes.must_wait(&alone));
        wishes.wish(names(&["a", "b"]), &alone).unwrap();
        // It may be committed at any time: that the committed set is still the old one proves nothing.
        assert!(wishes.must_wait(&alone));
        wishes.wish(names(&["a"]), &alone).unwrap();
        assert_eq!(wishes.current(&alone).unwrap().generation, 5);
        assert!(wishes.must_wait(&alone));
        let wished = view(5, &["a"]);
        assert!(!wishes.must_wait(&wished));
        assert_eq!(wishes.current(&wished), None);
        assert!(wishes.must_wait(&view(5, &["a", "b"])));
    }

    #[test]
    fn a_new_process_knows_what_was_wished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wish");
        let alone = view(3, &["a"]);
        Wishes::load(path.clone())
            .wish(names(&["a", "b"]), &alone)
            .unwrap();
        let mut again = Wishes::load(path);
        assert!(again.must_wait(&alone));
        again.wish(names(&["a"]), &alone).unwrap();
        assert_eq!(again.current(&alone).unwrap().generation, 5);
    }

    #[test]
    fn what_was_wished_and_cannot_be_read_may_be_anything() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wish");
        let alone = view(3, &["a"]);
        for damaged in ["", "7", "7 x\n", "-1 2"] {
            fs::write(&path, damaged).unwrap();
            let mut wishes = Wishes::load(path.clone());
            assert!(wishes.must_wait(&alone), "{damaged}");
            wishes.wish(names(&["a"]), &alone).unwrap();
            let fresh = wishes.current(&alone).unwrap().generation;
            assert!(wishes.must_wait(&view(4, &["a"])), "one of before");
            assert!(Wishes::load(path.clone()).must_wait(&view(4, &["a"])));
            assert!(!wishes.must_wait(&view(fresh, &["a"])));
        }
    }
}

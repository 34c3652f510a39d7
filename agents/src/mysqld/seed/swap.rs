//! The fetched data takes the place of the old: entry by entry, because the data directory may be a mount point. Where that
//! stands is in the name of one file, so a crash in the middle is gone on from at the next start.
//!
//! `ready` (fetched and whole) -> `out` (the old data is moved aside; from here on there is no way back) -> `in` (the new is moved
//! in) -> `done` (the server still has to be told its position).
//!
//! Old data is only ever moved. What is removed is what was fetched, which the primary has.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::mark;
use super::super::params::Params;

/// Files and folders of the agent in the data directory.
const OWN: &str = "holdfast.";
/// Where the fetched data is until it is moved in.
const FETCHED: &str = "holdfast.seed";
/// Longest note that is read.
const NOTE_BYTES_MAX: u64 = 64 << 10;

/// What is known of the fetched data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Whose data it is.
    pub primary: String,
    /// Under which assignment that node was the primary.
    pub epoch: u64,
    /// When it was fetched, in seconds since 1970: part of the name of what is moved aside.
    pub at_s: u64,
    /// What is in it, as gtid_binlog_state takes it; empty if nothing is.
    pub gtid: String,
}

impl Note {
    pub(in crate::mysqld) fn to_text(&self) -> String {
        format!("{}\n{}\n{}\n{}\n", self.primary, self.epoch, self.at_s, self.gtid)
    }

    pub(in crate::mysqld) fn parse(text: &str) -> Option<Note> {
        let mut lines = text.lines();
        let note = Note {
            primary: lines.next()?.to_owned(),
            epoch: lines.next()?.parse().ok()?,
            at_s: lines.next()?.parse().ok()?,
            gtid: lines.next().unwrap_or_default().to_owned(),
        };
        let is_name = !note.primary.contains(char::is_control);
        (is_name && is_gtid(&note.gtid)).then_some(note)
    }
}

/// Digits, hyphens and commas: it becomes a part of a statement.
fn is_gtid(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_digit() || "-,".contains(c))
}

fn file(datadir: &Path, step: &str) -> PathBuf {
    datadir.join(format!("{FETCHED}.{step}"))
}

/// Where data is fetched to.
pub fn fetched(datadir: &Path) -> PathBuf {
    datadir.join(FETCHED)
}

/// Where the old data goes.
pub fn replaced(datadir: &Path, note: &Note) -> PathBuf {
    datadir.join(format!("{OWN}replaced-{}", note.at_s))
}

/// What to say of old data that takes room in `datadir`; empty if there is none.
pub fn kept(datadir: &Path) -> String {
    let prefix = format!("{OWN}replaced-");
    let entries = fs::read_dir(datadir).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut kept: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
    kept.sort_unstable();
    if kept.is_empty() {
        return String::new();
    }
    format!(
        "; data that was replaced earlier is there too, remove it when nobody needs it: {}",
        kept.join(", ")
    )
}

fn read(datadir: &Path, step: &str) -> io::Result<Option<Note>> {
    let path = file(datadir, step);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
        Ok(data) if data.len() > NOTE_BYTES_MAX => {}
        Ok(_) => {
            if let Some(note) = Note::parse(&fs::read_to_string(&path)?) {
                return Ok(Some(note));
            }
        }
    }
    let text = format!(
        "{} makes no sense: look at what is in the folder, then remove it",
        path.display()
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn sync(datadir: &Path) -> io::Result<()> {
    fs::File::open(datadir)?.sync_all()
}

/// The data in [`fetched`] is whole and on disk: it may be moved in at the next start.
pub fn ready(datadir: &Path, note: &Note) -> io::Result<()> {
    let making = file(datadir, "making");
    fs::write(&making, note.to_text())?;
    fs::File::open(&making)?.sync_all()?;
    fs::rename(making, file(datadir, "ready"))?;
    sync(datadir)
}

/// Removes what was fetched. Only of use before it is moved in.
pub fn discard(datadir: &Path) -> io::Result<()> {
    match fs::remove_file(file(datadir, "ready")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => sync(datadir)?,
    }
    match fs::remove_dir_all(fetched(datadir)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What came of fetched data before a start.
#[derive(Debug, PartialEq, Eq)]
pub enum Swapped {
    /// There is none.
    Nothing,
    /// It is not what the primary of now has any more, and was removed.
    Stale(Note),
    /// It is in place.
    Done(Note),
}

/// Moves it in, or goes on with that. With no server running. `fits` is the proof: it says whether the committed state still
/// names the node that the data is from, and does not count on the copy that is here.
pub fn before_start(params: &Params, fits: impl Fn(&Note) -> bool) -> io::Result<Swapped> {
    let datadir = &params.datadir;
    if let Some(note) = read(datadir, "ready")? {
        if !fits(&note) {
            discard(datadir)?;
            return Ok(Swapped::Stale(note));
        }
        fs::rename(file(datadir, "ready"), file(datadir, "out"))?;
        sync(datadir)?;
    }
    if let Some(note) = read(datadir, "out")? {
        let aside = replaced(datadir, &note);
        if !aside.exists() {
            fs::create_dir(&aside)?;
        }
        for name in entries(datadir, |name| !name.starts_with(OWN) && name != "lost+found")? {
            fs::rename(datadir.join(&name), aside.join(&name))?;
        }
        sync(&aside)?;
        fs::rename(file(datadir, "out"), file(datadir, "in"))?;
        sync(datadir)?;
    }
    let Some(note) = read(datadir, "in")? else {
        return Ok(Swapped::Nothing);
    };
    let from = fetched(datadir);
    if from.exists() {
        for name in entries(&from, |_| true)? {
            fs::rename(from.join(&name), datadir.join(&name))?;
        }
        fs::remove_dir(&from)?;
    }
    // What the old data may have lacked is no matter any more.
    mark::clear(params);
    fs::rename(file(datadir, "in"), file(datadir, "done"))?;
    sync(datadir)?;
    Ok(Swapped::Done(note))
}

/// The position that the server has to be told, until [`positioned`].
pub fn position(datadir: &Path) -> io::Result<Option<Note>> {
    read(datadir, "done")
}

/// It knows. On disk when this returns: told once more later, it would apply again what it has.
pub fn positioned(datadir: &Path) -> io::Result<()> {
    fs::remove_file(file(datadir, "done"))?;
    sync(datadir)
}

fn entries(folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        if wanted(&name.to_string_lossy()) {
            found.push(PathBuf::from(name));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn note() -> Note {
        Note {
            primary: "db1".into(),
            epoch: 7,
            at_s: 1_700_000_000,
            gtid: "0-1-100,1-2-3".into(),
        }
    }

    /// Old data, fetched data beside it, and a note that says so.
    fn fetched_beside(folder: &Path) -> Params {
        for name in ["ibdata1", "holdfast.follows", "shop/t.ibd"] {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "old").unwrap();
        }
        for name in ["ibdata1", "shop/t.ibd", "shop/u.ibd"] {
            let path = fetched(folder).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "new").unwrap();
        }
        ready(folder, &note()).unwrap();
        let datadir = BTreeMap::from([("datadir".to_owned(), folder.display().to_string())]);
        Params::read(&datadir).unwrap()
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    fn assert_swapped(folder: &Path) {
        let aside = replaced(folder, &note());
        for name in ["ibdata1", "shop/t.ibd"] {
            assert_eq!(text(&folder.join(name)), "new", "{name}");
            assert_eq!(text(&aside.join(name)), "old", "{name}");
        }
        assert_eq!(text(&folder.join("shop/u.ibd")), "new");
        assert!(!folder.join("holdfast.follows").exists());
        assert!(!fetched(folder).exists());
        assert_eq!(position(folder).unwrap(), Some(note()));
        positioned(folder).unwrap();
        assert_eq!(position(folder).unwrap(), None);
    }

    #[test]
    fn new_data_takes_the_place_of_the_old_which_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let params = fetched_beside(folder.path());
        let swapped = before_start(&params, |found| *found == note()).unwrap();
        assert_eq!(swapped, Swapped::Done(note()));
        assert_swapped(folder.path());
        assert!(
            kept(folder.path()).ends_with(": holdfast.replaced-1700000000"),
            "{}",
            kept(folder.path())
        );
        assert_eq!(before_start(&params, |_| true).unwrap(), Swapped::Nothing);
    }

    #[test]
    fn a_crash_anywhere_is_gone_on_from_whatever_is_committed_by_then() {
        // The old data is half out.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let params = fetched_beside(path);
        fs::rename(file(path, "ready"), file(path, "out")).unwrap();
        let aside = replaced(path, &note());
        fs::create_dir(&aside).unwrap();
        fs::rename(path.join("ibdata1"), aside.join("ibdata1")).unwrap();
        assert_eq!(before_start(&params, |_| false).unwrap(), Swapped::Done(note()));
        assert_swapped(path);
        // The new data is half in: it is not moved aside as if it was old.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let params = fetched_beside(path);
        let aside = replaced(path, &note());
        fs::create_dir(&aside).unwrap();
        for name in ["ibdata1", "shop"] {
            fs::rename(path.join(name), aside.join(name)).unwrap();
        }
        fs::rename(file(path, "ready"), file(path, "in")).unwrap();
        fs::rename(fetched(path).join("ibdata1"), path.join("ibdata1")).unwrap();
        assert_eq!(before_start(&params, |_| false).unwrap(), Swapped::Done(note()));
        assert_swapped(path);
    }

    #[test]
    fn without_the_proof_nothing_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let params = fetched_beside(folder.path());
        assert_eq!(before_start(&params, |_| false).unwrap(), Swapped::Stale(note()));
        assert_eq!(text(&folder.path().join("shop/t.ibd")), "old");
        assert!(folder.path().join("holdfast.follows").exists());
        assert!(!fetched(folder.path()).exists() && !file(folder.path(), "ready").exists());
    }

    #[test]
    fn a_note_that_makes_no_sense_is_an_error() {
        for bad in [
            "",
            "db1\n7\n",
            "db1\n7\n1\n0-1-1'; DROP\n",
            "db1\nx\n1\n\n",
            "db\u{1b}1\n7\n1\n\n",
        ] {
            let folder = tempfile::tempdir().unwrap();
            let params = fetched_beside(folder.path());
            fs::rename(file(folder.path(), "ready"), file(folder.path(), "in")).unwrap();
            fs::write(file(folder.path(), "in"), bad).unwrap();
            assert!(before_start(&params, |_| true).is_err(), "{bad:?}");
            assert_eq!(text(&folder.path().join("ibdata1")), "old");
        }
    }
}

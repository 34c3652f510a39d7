//! Where a copy is in the history of its cluster while no server runs on it, and whether it may be the one to go on from.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::Path;
use std::time::Duration;

use holdfast_guards::galera::State;

use super::params::Params;
use crate::agent::AgentError;
use crate::program;
use crate::roles::RolesView;

/// What a state file says of data that belongs to no cluster yet, or was thrown away by a state transfer.
const NO_HISTORY: &str = "00000000-0000-0000-0000-000000000000";
/// Written when the copy was in step with all others; taken away before it is not any more.
const MARKER: &str = "holdfast-galera.whole";
/// A state file has a few lines.
const STATE_BYTES_MAX: u64 = 4096;

/// Where a copy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The cluster's uuid; empty for data that belongs to no cluster.
    pub history: String,
    /// The last transaction.
    pub seqno: u64,
    /// The server ended by itself, so the state file holds the position.
    pub is_clean: bool,
    /// It was the last one to leave.
    pub is_last: bool,
    /// It was in step with the others when it ended.
    pub is_whole: bool,
}

impl Place {
    /// Reads it; after a crash by asking the server's own recovery, which takes as long as InnoDB's does.
    ///
    /// # Errors
    /// It cannot be found out.
    pub async fn find(params: &Params, limit: Duration) -> Result<Place, AgentError> {
        let is_whole = marker(&params.datadir).exists();
        let state = read_state(&params.datadir)?;
        let Some(state) = state.filter(|state| state.uuid != NO_HISTORY) else {
            return Ok(Place::default());
        };
        let mut place = Place {
            history: state.uuid.clone(),
            seqno: state.seqno.unwrap_or_default(),
            is_clean: state.seqno.is_some(),
            is_last: state.is_safe,
            is_whole,
        };
        if !place.is_clean {
            let (history, seqno) = recover(params, limit).await?;
            // A state transfer that was cut short leaves data of nowhere.
            if history == NO_HISTORY {
                return Ok(Place::default());
            }
            (place.history, place.seqno) = (history, seqno);
        }
        Ok(place)
    }

    /// For people, and for the server's `--wsrep-start-position`.
    #[must_use]
    pub fn text(&self) -> String {
        if self.history.is_empty() {
            "no data of a cluster".into()
        } else {
            format!("{}:{}", self.history, self.seqno)
        }
    }

    /// Which history it counts in, for the register: data of no cluster is told apart from any that is.
    #[must_use]
    pub fn told_history(&self) -> String {
        if self.history.is_empty() {
            NO_HISTORY.into()
        } else {
            self.history.clone()
        }
    }

    /// Why the cluster must not go on from this copy, whatever the others are like; empty if it may.
    ///
    /// The committed set names the members of the last primary component. It does not say which of them left it in order, nor
    /// who was still being filled: that stands in the data folder of each, and here it is put together.
    #[must_use]
    pub fn obstacle(&self, roles: &RolesView) -> String {
        let set = &roles.in_sync;
        let only_this = set.nodes.len() == 1 && set.nodes.contains(&roles.own.name);
        if set.generation == 0 {
            return String::new();
        }
        // Generation 1 is the first promotion ever: then a cluster without data is what is founded. Later it would be one whose
        // data is gone.
        if self.history.is_empty() && !(only_this && set.generation == 1) {
            return "it has no data of the cluster; it is filled when another member runs".into();
        }
        if only_this {
            return String::new();
        }
        if self.is_clean && !self.is_last {
            return "it left while another member went on, and that one has more".into();
        }
        if !self.is_whole && !self.is_last {
            return "it was not in step with the others when it ended".into();
        }
        String::new()
    }
}

fn marker(datadir: &Path) -> std::path::PathBuf {
    datadir.join(MARKER)
}

/// The copy is in step with all others; or it may not be any more. On disk when it returns.
///
/// # Errors
/// The folder cannot be written to.
pub fn mark_whole(datadir: &Path, whole: bool) -> io::Result<()> {
    let path = marker(datadir);
    if whole == path.exists() {
        return Ok(());
    }
    if whole {
        fs::File::create(&path)?.sync_all()?;
    } else {
        fs::remove_file(&path)?;
    }
    fs::File::open(datadir)?.sync_all()
}

/// The state file; None when there is none, or none that can be read as one.
///
/// # Errors
/// It is there and cannot be read.
pub fn read_state(datadir: &Path) -> Result<Option<State>, AgentError> {
    use std::io::Read;
    let path = datadir.join("grastate.dat");
    let mut text = String::new();
    let read = fs::File::open(&path).and_then(|file| file.take(STATE_BYTES_MAX).read_to_string(&mut text));
    match read {
        Ok(_) => Ok(State::parse(&text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(AgentError(format!("{} cannot be read: {error}", path.display()))),
    }
}

/// Lets the server found a cluster from this copy: Galera refuses it unless the state file says so. Only called when the
/// register has decided on this copy.
///
/// # Errors
/// The file cannot be written.
pub fn allow_founding(datadir: &Path) -> Result<(), AgentError> {
    let path = datadir.join("grastate.dat");
    let wrong = |error: io::Error| AgentError(format!("{} cannot be written: {error}", path.display()));
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(wrong(error)),
    };
    let lines = text.lines().map(|line| {
        if line.starts_with("safe_to_bootstrap") {
            "safe_to_bootstrap: 1"
        } else {
            line
        }
    });
    let changed: Vec<&str> = lines.collect();
    let write = || -> io::Result<()> {
        use std::os::unix::fs::MetadataExt;
        let owner = fs::metadata(&path)?;
        let beside = path.with_extension("dat.new");
        let mut options = fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(&beside)?;
        file.write_all(format!("{}\n", changed.join("\n")).as_bytes())?;
        file.sync_all()?;
        chown(&beside, Some(owner.uid()), Some(owner.gid()))?;
        fs::rename(&beside, &path)
    };
    write().map_err(wrong)
}

/// Asks the server's recovery for the last transaction in the data.
async fn recover(params: &Params, limit: Duration) -> Result<(String, u64), AgentError> {
    let mut args: Vec<String> = params.command[1..].to_vec();
    args.push(format!("--user={}", params.user));
    // With rsync it wants an address, and uses none.
    args.extend(
        [
            "--wsrep-cluster-address=gcomm://127.0.0.1",
            "--wsrep-recover",
            "--disable-log-error",
        ]
        .map(str::to_owned),
    );
    let wrong = |why: String| {
        AgentError(format!(
            "the position of the data in {} cannot be found out: {} --wsrep-recover {why}",
            params.datadir.display(),
            params.command[0]
        ))
    };
    let run = program::run(params.program(), &args, "", limit).await;
    let run = run.map_err(|error| wrong(error.to_string()))?;
    recovered(&run.stderr)
        .or_else(|| recovered(&run.stdout))
        .ok_or_else(|| wrong(format!("said {}", run.excerpt(&[] as &[&str]))))
}

/// `WSREP: Recovered position: UUID:SEQNO` in what the server said.
fn recovered(said: &str) -> Option<(String, u64)> {
    let (_, after) = said.rsplit_once("Recovered position:")?;
    let word = after.split_whitespace().next()?;
    let (uuid, seqno) = word.split(',').next()?.rsplit_once(':')?;
    let is_uuid = uuid.len() == 36 && uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    // -1 stands beside a uuid of zeros.
    is_uuid.then(|| (uuid.to_owned(), seqno.parse().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::{InSync, Peer};

    const UUID: &str = "2dfd1921-e628-11f1-a5f6-a7235c425517";

    #[test]
    fn recovery_is_read_from_what_the_server_says() {
        let said = format!("x [Note] WSREP: Recovered position: {UUID}:42,0-1-7\nmore\n");
        assert_eq!(recovered(&said), Some((UUID.to_owned(), 42)));
        assert_eq!(
            recovered(&format!("WSREP: Recovered position: {NO_HISTORY}:-1")),
            Some((NO_HISTORY.to_owned(), 0))
        );
        assert_eq!(recovered("WSREP: Recovered position: x:1"), None);
    }

    fn roles(generation: u64, nodes: &[&str]) -> RolesView {
        let own = Peer {
            name: "db1".into(),
            ..Peer::default()
        };
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        RolesView {
            own,
            in_sync: InSync { generation, nodes },
            ..RolesView::default()
        }
    }

    #[test]
    fn only_a_copy_that_may_have_everything_goes_on() {
        let crashed = Place {
            history: UUID.into(),
            seqno: 7,
            is_whole: true,
            ..Place::default()
        };
        let both = roles(3, &["db1", "db2"]);
        assert_eq!(crashed.obstacle(&both), "");
        let filling = Place {
            is_whole: false,
            ..crashed.clone()
        };
        assert!(filling.obstacle(&both).contains("not in step"));
        assert_eq!(filling.obstacle(&roles(4, &["db1"])), "");
        let left_first = Place {
            is_clean: true,
            ..crashed.clone()
        };
        assert!(
            left_first
                .obstacle(&both)
                .contains("left while another member went on")
        );
        let left_last = Place {
            is_last: true,
            ..left_first
        };
        assert_eq!(left_last.obstacle(&both), "");
        assert!(Place::default().obstacle(&both).contains("no data"));
        assert_eq!(Place::default().obstacle(&roles(0, &[])), "");
        assert_eq!(Place::default().obstacle(&roles(1, &["db1"])), "");
        assert!(Place::default().obstacle(&roles(2, &["db1"])).contains("no data"));
    }

    #[test]
    fn founding_is_allowed_in_the_state_file_and_the_marker_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grastate.dat");
        assert_eq!(read_state(folder.path()).unwrap(), None);
        fs::write(
            &path,
            format!("version: 2.1\nuuid: {UUID}\nseqno: -1\nsafe_to_bootstrap: 0\n"),
        )
        .unwrap();
        allow_founding(folder.path()).unwrap();
        let state = read_state(folder.path()).unwrap().unwrap();
        assert_eq!(
            (state.is_safe, state.seqno, state.uuid.as_str()),
            (true, None, UUID)
        );
        for whole in [true, true, false, false] {
            mark_whole(folder.path(), whole).unwrap();
            assert_eq!(marker(folder.path()).exists(), whole);
        }
    }
}

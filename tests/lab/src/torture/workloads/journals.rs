//! Takes copies of the nodes' journals before `had` rotates them away, and of what is true about their power.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::machine::Machine;

/// File of the journal of `node`.
#[must_use]
pub fn file(dir: &Path, node: &str) -> PathBuf {
    dir.join(format!("events-{node}.jsonl"))
}

/// File of the instants at which the power of the nodes was switched.
#[must_use]
pub fn power_file(dir: &Path) -> PathBuf {
    dir.join("power.json")
}

/// Instants at which the power of each node came (true) and went (false), in nanoseconds of the host's monotonic clock.
pub type Switched = BTreeMap<String, Vec<(u64, bool)>>;

/// Appends to the copies in `dir` what is new in the journal of every machine that has power.
pub fn collect(machines: &[Arc<Machine>], dir: &Path) -> Result<()> {
    let switched = |machine: &Arc<Machine>| (machine.name.clone(), machine.node().switched.clone());
    let switched: Switched = machines.iter().map(switched).collect();
    let path = power_file(dir);
    fs::write(&path, serde_json::to_vec(&switched)?).with_context(|| path.display().to_string())?;
    for machine in machines {
        // The older file first; one that is not there yet is no error. What `had` could not write to a full disk it still
        // knows.
        let read = "cd /var/lib/holdfast && cat events.jsonl.1 events.jsonl 2>/dev/null; \
                    timeout -s KILL 10 hactl events --json --last 2000 2>/dev/null; true";
        let Ok(text) = machine.sh(read) else { continue };
        let path = file(dir, &machine.name);
        append_new(&path, &text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Appends those whole lines of `text` that the file does not hold.
fn append_new(path: &Path, text: &str) -> Result<()> {
    let known = fs::read_to_string(path).unwrap_or_default();
    let mut known: BTreeSet<&str> = known.lines().collect();
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let mut new = String::new();
    for line in whole.lines().filter(|line| known.insert(line)) {
        new.push_str(line);
        new.push('\n');
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    file.write_all(new.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_and_whole_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), "n1");
        append_new(&path, "a\nb\n").unwrap();
        append_new(&path, "b\nc\nc\nhal").unwrap();
        append_new(&path, "").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a\nb\nc\n");
    }
}

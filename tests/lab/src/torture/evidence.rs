//! What is kept of a run beside what clients and nemesis wrote: the nodes' system journals and what they shared. The
//! journals tell if a daemon ended by itself: a broken invariant that its restart would hide.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::act::NAMES;
use super::stage::Stage;
use crate::sh;

/// Writes down what every member's system journal has of Holdfast and of the services.
pub fn keep(stage: &Stage, dir: &Path) -> Result<()> {
    for machine in &stage.cluster.machines {
        let text = machine.look(
            "timeout -s KILL 60 journalctl --no-pager -o short-iso-precise \
             -u had -u had-agentd -u had-witness -u torture-redis -u torture-mariadb",
        );
        let path = dir.join(format!("journal-{}.txt", machine.name));
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Each end of a daemon that was its own doing, as the journals in `dir` have it.
pub fn crashes(dir: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for name in NAMES {
        let path = dir.join(format!("journal-{name}.txt"));
        if path.exists() {
            let text = fs::read(&path).with_context(|| path.display().to_string())?;
            let text = String::from_utf8_lossy(&text);
            found.extend(text.lines().filter(|line| is_crash(line)).map(str::to_string));
        }
    }
    Ok(found)
}

/// True if a line of a journal tells of a daemon that panicked, or that ended neither well nor by SIGKILL.
fn is_crash(line: &str) -> bool {
    let ended = line.contains(" had") && line.contains("Main process exited");
    let as_told = ["status=0/SUCCESS", "status=9/KILL", "status=15/TERM"];
    line.contains("panicked at") || ended && !as_told.iter().any(|status| line.contains(status))
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    sh::run("cp", &["-a", "--sparse=always", &from, &to]).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_of_its_own_is_told_from_a_kill() {
        let systemd = "2026-11-21T14:00:00+00:00 n1 systemd[1]: had.service: Main process exited, code=";
        assert!(is_crash(&format!("{systemd}dumped, status=6/ABRT")));
        assert!(is_crash(&format!("{systemd}exited, status=1/FAILURE")));
        assert!(!is_crash(&format!("{systemd}killed, status=9/KILL")));
        assert!(!is_crash(&format!("{systemd}exited, status=0/SUCCESS")));
        assert!(is_crash(
            "n1 had[7]: thread 'decide' panicked at core/src/node/mod.rs:1"
        ));
        let service =
            "n1 systemd[1]: torture-redis.service: Main process exited, code=exited, status=1/FAILURE";
        assert!(!is_crash(service));
    }
}

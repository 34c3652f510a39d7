//! What is kept of a run beside what clients and nemesis wrote: the nodes' system journals and what they shared.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

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

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    sh::run("cp", &["-a", "--sparse=always", &from, &to]).map(|_| ())
}

//! Finds a fence agent by its name.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::agent::AgentError;

/// Where agents are looked for, and the `PATH` they get. Not the caller's `PATH`: what runs as root is decided here.
pub const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The program of a ClusterLabs agent.
///
/// # Errors
/// The name is not one, or no such agent is installed.
pub fn agent(name: &str) -> Result<PathBuf, AgentError> {
    let plain = name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !name.starts_with("fence_") || !plain {
        return Err(AgentError(format!(
            "{name:?} is not the name of a fence agent; they are called fence_…, or `exec` for a program of your own"
        )));
    }
    if let Some(path) = search(name) {
        return Ok(path);
    }
    let installed = installed();
    let near = super::params::nearest(name, installed.iter().map(String::as_str));
    let hint = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
    Err(AgentError(format!(
        "fence agent {name} is not installed here (package fence-agents){hint}"
    )))
}

/// A program given by absolute path or by name.
///
/// # Errors
/// It is not there or not executable.
pub fn program(name: &str) -> Result<PathBuf, AgentError> {
    let path = if name.starts_with('/') {
        Some(PathBuf::from(name)).filter(|path| is_program(path))
    } else if name.contains('/') {
        None
    } else {
        search(name)
    };
    path.ok_or_else(|| {
        AgentError(format!(
            "{name:?} is not an executable file; give its absolute path (looked in {SEARCH_PATH})"
        ))
    })
}

fn search(name: &str) -> Option<PathBuf> {
    SEARCH_PATH
        .split(':')
        .map(|folder| Path::new(folder).join(name))
        .find(|path| is_program(path))
}

/// Names of all fence agents installed here.
#[must_use]
pub fn installed() -> Vec<String> {
    let folders = SEARCH_PATH
        .split(':')
        .filter_map(|folder| std::fs::read_dir(folder).ok());
    let names = folders
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("fence_")).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_paths_and_strangers() {
        assert!(agent("rm").unwrap_err().0.contains("fence_"));
        assert!(agent("fence_/../../bin/sh").is_err());
        assert!(
            agent("fence_no_such_thing")
                .unwrap_err()
                .0
                .contains("not installed")
        );
        assert!(program("bin/sh").is_err());
        assert!(program("sh").is_ok());
        assert!(program("/etc/passwd").is_err());
    }
}

//! Which processes have a DRBD device open.

use std::fs;
use std::path::PathBuf;

use crate::blocking::blocking;
use crate::exec::process;
use crate::filesystem::users::{self, User};
use crate::sys::mounts;

/// DRBD's major number.
const MAJOR: u32 = 147;

/// Those that have one of the devices `minors` open.
pub async fn of(minors: Vec<u32>) -> Vec<User> {
    blocking(move || find(&minors)).await
}

fn find(minors: &[u32]) -> Vec<User> {
    let own = std::process::id() as i32;
    let opened = |pid: i32| {
        let files = fs::read_dir(PathBuf::from(format!("/proc/{pid}/fd"))).ok()?;
        let mut paths = files.flatten().map(|entry| entry.path());
        let path = paths.find(|path| {
            let number = mounts::block_device(path).ok().flatten();
            number.is_some_and(|(major, minor)| major == MAJOR && minors.contains(&minor))
        })?;
        Some(format!("fd {}", path.file_name()?.to_string_lossy()))
    };
    process::all()
        .filter(|pid| *pid != own && *pid != 1)
        .filter_map(|pid| users::user(pid, opened(pid)?))
        .collect()
}

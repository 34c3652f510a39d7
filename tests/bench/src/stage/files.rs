//! Where the files of a peer's machines are on the stage.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use holdfast_hactl::demo::stage::ROOT;

/// A folder of `machine`: `disk` outlives its boots, `run` does not, `log` is for us.
#[must_use]
pub fn folder(machine: &str, which: &str) -> PathBuf {
    Path::new(ROOT).join(machine).join(which)
}

/// The bench's own program as every machine finds it.
#[must_use]
pub fn bench() -> PathBuf {
    Path::new(ROOT).join("bin/holdfast-bench")
}

/// A log of `machine`.
#[must_use]
pub fn log_path(machine: &str, name: &str) -> PathBuf {
    folder(machine, "log").join(format!("{name}.log"))
}

/// Opens a log for appending.
pub fn log(machine: &str, name: &str) -> io::Result<File> {
    fs::create_dir_all(folder(machine, "log"))?;
    File::options()
        .create(true)
        .append(true)
        .open(log_path(machine, name))
}

/// Writes a program that is a shell script.
pub fn script(path: &Path, text: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

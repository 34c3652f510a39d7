//! What is mounted: found by path or by a tag, and known again in the mount table.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::mountinfo::Mount;
use super::params::Params;
use crate::agent::AgentError;
use crate::blocking::blocking;
use crate::fence::locate;
use crate::program::{self, Run};
use crate::sys::mounts::{self, DeviceNumber};

/// Longest look of blkid at the devices: a disk may have to spin up.
const BLKID_LIMIT: Duration = Duration::from_secs(10);
/// blkid found nothing.
const BLKID_NOTHING: i32 = 2;
/// blkid found several kinds of file systems at once.
const BLKID_AMBIVALENT: i32 = 8;

/// What is mounted, by how the kernel knows it. Kept over a restart of had-agentd: the device may be gone by then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A block device.
    Block {
        /// As it was found.
        path: PathBuf,
        /// Its number.
        number: DeviceNumber,
    },
    /// A file that holds a file system; the kernel gives it a loop device.
    Image {
        /// Without links.
        path: PathBuf,
    },
    /// A folder, shown a second time.
    Folder {
        /// Without links.
        path: PathBuf,
        /// The device of the file system that it is in.
        number: DeviceNumber,
        /// Its place in that file system.
        root: PathBuf,
    },
}

/// What blkid says is on a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Kind of file system.
    pub fstype: Option<String>,
    /// Its UUID.
    pub uuid: Option<String>,
}

impl Source {
    /// As it was given or found.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Source::Block { path, .. } | Source::Image { path } | Source::Folder { path, .. } => path,
        }
    }

    /// True when `mount` shows this very thing, or for a device any part of it.
    #[must_use]
    pub fn is_shown_by(&self, mount: &Mount) -> bool {
        match self {
            Source::Block { number, .. } => {
                // File systems on several devices have a number of their own.
                mount.device == *number
                    || mount.device.0 == 0
                        && mount.source.starts_with('/')
                        && mounts::block_device(Path::new(&mount.source))
                            .is_ok_and(|found| found == Some(*number))
            }
            Source::Image { path } => backing_file(mount.device).is_some_and(|file| file == *path),
            Source::Folder { number, root, .. } => mount.device == *number && mount.root == *root,
        }
    }

    /// Why a file system on it is still at work here though nothing of it is in the mount table: mounted in another
    /// namespace, unmounted lazily, or claimed by something else. None when it is free.
    #[must_use]
    pub fn hold(&self) -> Option<String> {
        match self {
            Source::Block { path, .. } => {
                let opened = fs::OpenOptions::new()
                    .read(true)
                    .custom_flags(libc::O_EXCL | libc::O_CLOEXEC | libc::O_NONBLOCK)
                    .open(path);
                let busy = opened.is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY));
                let why = "is still in use: mounted in another mount namespace, unmounted lazily while files were open, or \
                           claimed by device mapper, RAID or swap";
                busy.then(|| format!("{} {why}", path.display()))
            }
            Source::Image { path } => loop_of(path).map(|device| {
                format!(
                    "{} is still attached to /dev/{device}; if nobody uses it: losetup -d /dev/{device}",
                    path.display()
                )
            }),
            Source::Folder { .. } => None,
        }
    }
}

/// Finds what `params` name. `mounts` is the mount table.
///
/// # Errors
/// It is not there, or there is more than one.
pub async fn find(params: &Params, mounts: Vec<Mount>) -> Result<Source, AgentError> {
    let path = match params.device.starts_with('/') {
        true => PathBuf::from(&params.device),
        false => find_by_tag(&params.device).await?,
    };
    let wrong = |path: &Path, error: &io::Error| {
        AgentError(format!("device {} cannot be used: {error}", path.display()))
    };
    blocking(move || {
        let plain = fs::canonicalize(&path).map_err(|error| wrong(&path, &error))?;
        let about = fs::metadata(&plain).map_err(|error| wrong(&path, &error))?;
        if about.is_dir() {
            return folder(plain, &mounts);
        }
        if about.is_file() {
            return Ok(Source::Image { path: plain });
        }
        match mounts::block_device(&plain).map_err(|error| wrong(&path, &error))? {
            Some(number) => Ok(Source::Block { path, number }),
            None => Err(AgentError(format!(
                "{} is no block device, no folder and no image file",
                path.display()
            ))),
        }
    })
    .await
}

fn folder(path: PathBuf, table: &[Mount]) -> Result<Source, AgentError> {
    let number = mounts::device_holding(&path)
        .map_err(|error| AgentError(format!("folder {} cannot be looked at: {error}", path.display())))?;
    let around = table
        .iter()
        .filter(|mount| path.starts_with(&mount.path))
        .max_by_key(|mount| (mount.path.components().count(), mount.id));
    let inside = around.and_then(|mount| {
        let rest = path.strip_prefix(&mount.path).ok()?;
        let root = match rest.as_os_str().is_empty() {
            true => mount.root.clone(),
            false => mount.root.join(rest),
        };
        Some((mount.device, root))
    });
    let (number, root) = inside.unwrap_or((number, path.clone()));
    Ok(Source::Folder { path, number, root })
}

async fn blkid(args: &[&str]) -> Result<Run, AgentError> {
    let program = locate::program("blkid")?;
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    program::run(&program, &args, "", BLKID_LIMIT)
        .await
        .map_err(|error| AgentError(format!("blkid {error}")))
}

async fn find_by_tag(tag: &str) -> Result<PathBuf, AgentError> {
    // Without its cache: a device that was there yesterday is not meant.
    let run = blkid(&["-c", "/dev/null", "-o", "device", "-t", tag]).await?;
    let found: Vec<&str> = run
        .stdout
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    match found[..] {
        [path] => Ok(path.into()),
        [] => Err(AgentError(format!(
            "no device has {tag}: is its disk there, or the DRBD resource below it promoted? lsblk -f shows what is"
        ))),
        _ => Err(AgentError(format!(
            "{tag} is on several devices ({}): give the device by its path, and `uuid` if it must be that one",
            found.join(", ")
        ))),
    }
}

/// Looks what is on the device or in the image. A device that cannot be opened says why.
///
/// # Errors
/// It cannot be read, or holds several file systems at once.
pub async fn content(path: &Path) -> Result<Content, AgentError> {
    let shown = path.display().to_string();
    let opened = path.to_path_buf();
    let opened = blocking(move || fs::File::open(opened).map(drop)).await;
    if let Err(error) = opened {
        let hint = match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EMEDIUMTYPE) => {
                ": it is a DRBD device that is Secondary here; its drbd resource must be promoted first"
            }
            Some(Errno::ENXIO | Errno::ENOMEDIUM | Errno::ENODEV) => {
                ": there is nothing behind it; is it attached?"
            }
            _ => "",
        };
        return Err(AgentError(format!("{shown} cannot be opened: {error}{hint}")));
    }
    let run = blkid(&["-p", "-o", "export", &shown]).await?;
    match run.code {
        Some(0 | BLKID_NOTHING) => Ok(parse_content(&run.stdout)),
        Some(BLKID_AMBIVALENT) => Err(AgentError(format!(
            "{shown} shows signs of several file systems at once: wipefs {shown} lists them"
        ))),
        _ => Err(AgentError(format!(
            "blkid cannot look at {shown}: {}",
            run.excerpt(&[""; 0])
        ))),
    }
}

fn parse_content(text: &str) -> Content {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
            .map(str::to_owned)
    };
    Content {
        fstype: value("TYPE"),
        uuid: value("UUID"),
    }
}

/// The file behind the loop device `number`.
fn backing_file(number: DeviceNumber) -> Option<PathBuf> {
    let path = format!("/sys/dev/block/{}:{}/loop/backing_file", number.0, number.1);
    Some(fs::read_to_string(path).ok()?.trim_end_matches('\n').into())
}

/// The loop device that `image` is attached to.
#[must_use]
pub fn loop_of(image: &Path) -> Option<String> {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let mut names = devices.filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| {
        let file = fs::read_to_string(format!("/sys/block/{name}/loop/backing_file"));
        name.starts_with("loop") && file.is_ok_and(|file| Path::new(file.trim_end_matches('\n')) == image)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_blkid_says() {
        let text =
            "DEVNAME=/dev/loop0\nUUID=6d1f\nVERSION=1.0\nBLOCK_SIZE=1024\nTYPE=ext4\nUSAGE=filesystem\n";
        let content = parse_content(text);
        assert_eq!(content.fstype.as_deref(), Some("ext4"));
        assert_eq!(content.uuid.as_deref(), Some("6d1f"));
        assert_eq!(parse_content(""), Content::default());
    }
}

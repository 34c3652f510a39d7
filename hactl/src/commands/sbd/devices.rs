//! Which disks are meant: those named, those of the configuration, or those of an SBD that is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_proto::config::{self, SBD_DISKS_MAX, SBD_IO_TIMEOUT_MS, SbdTimeouts};

use super::DiskArgs;
use crate::outcome::{Exit, Failure};

/// Where SBD's own configuration is: on Debian, and elsewhere.
const SBD_FILES: [&str; 2] = ["/etc/default/sbd", "/etc/sysconfig/sbd"];

/// The disks meant.
pub struct Disks {
    pub paths: Vec<PathBuf>,
    pub io_timeout: Duration,
    /// For disks that are still to be made.
    pub timeouts: SbdTimeouts,
}

/// Finds them.
///
/// # Errors
/// When none is named anywhere, or more than SBD knows.
pub fn find(args: &DiskArgs) -> anyhow::Result<Disks> {
    let mut disks = Disks {
        paths: args.devices.clone(),
        io_timeout: Duration::from_millis(SBD_IO_TIMEOUT_MS.into()),
        timeouts: SbdTimeouts::default(),
    };
    if args.config.exists() {
        let text = crate::commands::config::read(&args.config)?;
        match config::parse(&text, &args.config.display().to_string()).map(|valid| valid.sbd) {
            Ok(Some(section)) => {
                disks.io_timeout = Duration::from_millis(section.io_timeout_ms.into());
                disks.timeouts = section.timeouts;
                if disks.paths.is_empty() {
                    disks.paths = section.devices.iter().map(PathBuf::from).collect();
                }
            }
            Ok(None) => {}
            // Whoever names disks does not depend on a file that is wrong elsewhere.
            Err(_) if !disks.paths.is_empty() => {}
            Err(_) => {
                let at = args.config.display();
                return Err(Failure::new(Exit::InvalidConfig, format!("{at} is invalid"))
                    .hint(format!("`hactl config check {at}` says where"))
                    .hint("or name the disks: -d /dev/disk/by-id/...")
                    .into());
            }
        }
    }
    if disks.paths.is_empty() {
        disks.paths = SBD_FILES
            .iter()
            .find_map(|file| of_sbd(Path::new(file)))
            .unwrap_or_default();
    }
    match disks.paths.len() {
        0 => Err(Failure::new(Exit::Usage, "which disk?")
            .hint("name it: -d /dev/disk/by-id/...")
            .hint("or write [sbd] with `devices` into the configuration")
            .into()),
        count if count > SBD_DISKS_MAX => Err(Failure::new(
            Exit::Usage,
            format!("{count} disks: SBD has at most {SBD_DISKS_MAX}"),
        )
        .into()),
        _ => Ok(disks),
    }
}

/// The disks in SBD's own configuration; None if it names none.
fn of_sbd(file: &Path) -> Option<Vec<PathBuf>> {
    let named = devices_in(&fs::read_to_string(file).ok()?);
    (!named.is_empty()).then_some(named)
}

/// The value of the last `SBD_DEVICE="A;B"`.
fn devices_in(text: &str) -> Vec<PathBuf> {
    let value = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("SBD_DEVICE="))
        .next_back()
        .unwrap_or_default();
    value
        .trim()
        .trim_matches(['"', '\''])
        .split(';')
        .map(str::trim)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disks_of_an_installed_sbd_are_found() {
        let text = "# SBD_DEVICE=\"/dev/old\"\nSBD_DEVICE=\"/dev/a; /dev/b;\"\nSBD_PACEMAKER=yes\n";
        assert_eq!(
            devices_in(text),
            [PathBuf::from("/dev/a"), PathBuf::from("/dev/b")]
        );
        assert!(devices_in("SBD_DEVICE=\"\"\n").is_empty());
        assert!(devices_in("").is_empty());
    }
}

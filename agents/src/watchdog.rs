//! The hardware watchdog: the last step of the ladder, taken by not petting it.
//!
//! What a takeover counts on is that an armed device resets the machine once nobody pets it, whatever became of the
//! process that held it. So a device that is disarmed by the mere end of that process is refused, and the timeout that
//! others are told is the one that the device says it has, not the one it was asked for.

mod choice;
pub mod kept;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use choice::choose;

use crate::sys;

/// `WDIOF_CARDRESET`: the machine was reset by this device.
const CARD_RESET: u32 = 0x0020;
/// `WDIOF_MAGICCLOSE`: only a close after the letter V disarms it.
const MAGIC_CLOSE: u32 = 0x0100;

/// What can be petted. Only a [`Device`] outside of tests.
pub trait Watchdog: Send {
    /// Starts the count anew.
    ///
    /// # Errors
    /// When the device does not take it.
    fn pet(&mut self) -> io::Result<()>;
    /// Disarms it.
    ///
    /// # Errors
    /// When the device does not take it.
    fn disarm(&mut self) -> io::Result<()>;
    /// After how long without petting it resets the machine.
    fn timeout(&self) -> Duration;
    /// How its driver calls itself.
    fn identity(&self) -> &str;
}

/// What is known about a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// How its driver calls itself.
    pub identity: String,
    /// It cannot be disarmed: once armed, the machine is reset unless somebody pets it.
    pub no_way_out: bool,
    /// This boot began because it had reset the machine.
    pub has_reset: bool,
}

/// An open watchdog device: armed from the moment it is opened.
#[derive(Debug)]
pub struct Device {
    file: File,
    timeout: Duration,
    facts: Facts,
}

impl Device {
    /// Opens and thereby arms the device at `path`, and asks for `wanted`; the device may choose another timeout.
    ///
    /// # Errors
    /// When it is absent, in use (systemd's RuntimeWatchdogSec), no watchdog at all, or one that would be disarmed by the
    /// death of this process.
    pub fn open(path: &Path, wanted: Duration) -> io::Result<Device> {
        Device::begin(OpenOptions::new().write(true).open(path)?, path, wanted)
    }

    /// Goes on with the one at `path` that an earlier process opened, which pets it as well. While something `runs` its
    /// timeout is not made longer: nodes that hear nothing of this one any more count with the one it had.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn adopt(file: File, path: &Path, wanted: Duration, runs: bool) -> io::Result<Device> {
        let had = sys::watchdog_timeout(&file).ok().filter(|_| runs);
        let longest = had.map_or(wanted, Duration::from_secs);
        Device::begin(file, path, wanted.min(longest))
    }

    fn begin(mut file: File, path: &Path, wanted: Duration) -> io::Result<Device> {
        let made = examine(&file, path).and_then(|facts| Ok((facts, set_timeout(&file, wanted)?)));
        match made {
            Ok((facts, timeout)) => {
                // Not every driver begins a new count with a new timeout.
                file.write_all(b"\0")?;
                Ok(Device { file, timeout, facts })
            }
            Err(error) => {
                // Opening may have armed it: do not leave an armed device behind that nobody pets.
                file.write_all(b"V")?;
                Err(error)
            }
        }
    }

    /// Sees to it that the death of this process does not begin the count anew.
    ///
    /// # Errors
    /// When nobody is there who could keep it open.
    pub fn outlive(&self) -> io::Result<()> {
        kept::give(&self.file)
    }

    /// What is known about it.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}

impl Watchdog for Device {
    fn pet(&mut self) -> io::Result<()> {
        self.file.write_all(b"\0")
    }

    fn disarm(&mut self) -> io::Result<()> {
        kept::let_go();
        // The "magic close": without it the device keeps counting after it is closed.
        self.file.write_all(b"V")
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }

    fn identity(&self) -> &str {
        &self.facts.identity
    }
}

fn examine(file: &File, path: &Path) -> io::Result<Facts> {
    let (options, identity) = sys::watchdog_support(file)
        .map_err(|error| io::Error::other(format!("it is no watchdog ({error})")))?;
    let facts = Facts {
        no_way_out: is_no_way_out(path),
        // A driver that cannot tell says nothing.
        has_reset: sys::watchdog_boot_status(file).unwrap_or(0) & CARD_RESET != 0,
        identity,
    };
    if survives_its_holder(options, facts.no_way_out) {
        return Ok(facts);
    }
    Err(io::Error::other(format!(
        "the driver of {} disarms it when the process that holds it is killed, so nobody could count on it: load that \
         driver with nowayout=1",
        facts.identity
    )))
}

/// True if the device goes on counting when whoever holds it is killed.
fn survives_its_holder(options: u32, no_way_out: bool) -> bool {
    no_way_out || options & MAGIC_CLOSE != 0
}

/// Asks for `wanted`; what the device says that it has now.
fn set_timeout(file: &File, wanted: Duration) -> io::Result<Duration> {
    // Devices with a fixed timeout cannot set it, but say what it is; others take the nearest that they can.
    let set = sys::watchdog_set_timeout(file, wanted.as_secs().max(1));
    let seconds = sys::watchdog_timeout(file).or(set);
    match seconds {
        Ok(0) => Err(io::Error::other("it says that its timeout is 0 s")),
        Ok(seconds) => Ok(Duration::from_secs(seconds)),
        Err(error) => Err(io::Error::other(format!("it has no watchdog timeout ({error})"))),
    }
}

/// What the kernel says about the device at `path`: that closing it never disarms it.
fn is_no_way_out(path: &Path) -> bool {
    let said = class_of(path).and_then(|class| fs::read_to_string(class.join("nowayout")).ok());
    said.is_some_and(|said| said.trim() == "1")
}

/// The kernel's folder about the device at `path`.
fn class_of(path: &Path) -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt;
    let number = fs::metadata(path).ok()?.rdev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    // The old name of the first one, from when there could be only one.
    if (major, minor) == (10, 130) {
        return Some(PathBuf::from("/sys/class/watchdog/watchdog0"));
    }
    Some(PathBuf::from(format!("/sys/dev/char/{major}:{minor}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_watchdog_is_refused_and_disarmed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Device::open(file.path(), Duration::from_secs(5)).unwrap_err();
        assert!(error.to_string().contains("no watchdog"), "{error}");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"V");
    }

    #[test]
    fn a_device_that_the_death_of_its_holder_disarms_is_no_watchdog_to_count_on() {
        assert!(survives_its_holder(MAGIC_CLOSE, false));
        assert!(survives_its_holder(0, true));
        assert!(!survives_its_holder(CARD_RESET, false));
    }
}

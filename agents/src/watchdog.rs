//! The hardware watchdog: the last step of the ladder, taken by not petting it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::sys;

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
}

/// An open watchdog device: armed from the moment it is opened.
pub struct Device {
    file: File,
    timeout: Duration,
}

impl Device {
    /// Opens and thereby arms the device at `path`, and asks for `wanted`; the device may choose another timeout.
    ///
    /// # Errors
    /// When it is absent, in use (systemd's RuntimeWatchdogSec), or no watchdog at all.
    pub fn open(path: &Path, wanted: Duration) -> io::Result<Device> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let seconds = wanted.as_secs().max(1);
        // Devices with a fixed timeout cannot set it, but say what it is.
        let set = sys::watchdog_set_timeout(&file, seconds).or_else(|_| sys::watchdog_timeout(&file));
        let seconds = match set {
            Ok(seconds) => seconds,
            Err(error) => {
                // Opening may have armed it: do not leave an armed device behind that nobody pets.
                file.write_all(b"V")?;
                return Err(io::Error::other(format!("it has no watchdog timeout ({error})")));
            }
        };
        let timeout = Duration::from_secs(seconds);
        Ok(Device { file, timeout })
    }
}

impl Watchdog for Device {
    fn pet(&mut self) -> io::Result<()> {
        self.file.write_all(b"\0")
    }

    fn disarm(&mut self) -> io::Result<()> {
        // The "magic close": without it the device keeps counting after it is closed.
        self.file.write_all(b"V")
    }

    fn timeout(&self) -> Duration {
        self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_watchdog_is_refused_and_disarmed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Device::open(file.path(), Duration::from_secs(5))
            .map(|_| ())
            .unwrap_err();
        assert!(error.to_string().contains("no watchdog timeout"), "{error}");
        assert_eq!(std::fs::read(file.path()).unwrap(), b"V");
    }
}

//! Notifications to systemd. Never blocks: the deciding thread pets systemd's watchdog with it.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// A way to the service manager, or nowhere when there is none.
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
}

impl Notifier {
    /// Reads NOTIFY_SOCKET.
    #[must_use]
    pub fn from_env() -> Notifier {
        Notifier {
            manager: std::env::var_os("NOTIFY_SOCKET").and_then(|path| connect(&path)),
        }
    }

    /// True when there is a manager.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.manager.is_some()
    }

    /// Sends `state`, for example `READY=1`. A manager that does not read is not waited for.
    pub fn send(&self, state: &str) {
        if let Some((socket, manager)) = &self.manager {
            let _ = socket.send_to_addr(state.as_bytes(), manager);
        }
    }

    /// Sends `STATUS=`, in one line.
    pub fn status(&self, sentence: &str) {
        self.send(&format!("STATUS={}", sentence.replace('\n', " ")));
    }
}

fn connect(path: &std::ffi::OsStr) -> Option<(UnixDatagram, SocketAddr)> {
    let manager = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok()?,
        _ => SocketAddr::from_pathname(path).ok()?,
    };
    let socket = UnixDatagram::unbound().ok()?;
    socket.set_nonblocking(true).ok()?;
    Some((socket, manager))
}

/// How often systemd's watchdog is to be petted: a quarter of WATCHDOG_USEC, if it watches this process.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    if let Some(pid) = number("WATCHDOG_PID")
        && pid != u64::from(std::process::id())
    {
        return None;
    }
    number("WATCHDOG_USEC")
        .filter(|usec| *usec > 0)
        .map(|usec| Duration::from_micros(usec / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reaches_a_manager_and_survives_its_absence() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).expect("manager");
        let notifier = Notifier {
            manager: connect(path.as_os_str()),
        };
        notifier.status("two\nlines");
        let mut buffer = [0u8; 64];
        let length = manager.recv(&mut buffer).expect("message");
        assert_eq!(&buffer[..length], b"STATUS=two lines");
        drop(manager);
        notifier.send("READY=1");
    }
}

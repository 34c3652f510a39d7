//! The open device outlives the process that holds it: systemd keeps a descriptor of it.
//!
//! The kernel pets a watchdog that is closed while it counts ("watchdog did not stop!"), and a process that dies closes what
//! it has. So a had-agentd that died while it may not pet would begin the count anew, and whoever counts from the end of the
//! permit would take over before the reset.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socket,
};
use sd_notify::NotifyState;

use crate::sys;

/// Under which name systemd keeps it.
const NAME: &str = "FDNAME=watchdog";

/// Has systemd keep `device` open, and hand it to the next had-agentd.
///
/// # Errors
/// When this process was not started by systemd, or that cannot be reached.
pub fn give(device: &File) -> io::Result<()> {
    let manager = std::env::var_os("NOTIFY_SOCKET");
    let manager = manager.ok_or_else(|| io::Error::other("this process was not started by systemd"))?;
    send(&manager, device)
}

/// What an earlier had-agentd gave. Called once, before anything is executed that would inherit it.
#[must_use]
pub fn take() -> Option<File> {
    let name = NAME.strip_prefix("FDNAME=");
    let given = sd_notify::listen_fds_with_names().ok()?;
    given
        .filter(|(_, called)| Some(called.as_str()) == name)
        .map(|(fd, _)| File::from(sys::inherited(fd)))
        .last()
}

/// Has systemd close it: nothing is to count any more.
pub fn let_go() {
    let words = [NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(NAME)];
    if let Err(error) = sd_notify::notify(&words) {
        tracing::warn!("systemd cannot be told to close the watchdog: {error}");
    }
}

fn send(manager: &OsStr, device: &File) -> io::Result<()> {
    let manager = match manager.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        path => UnixAddr::new(path)?,
    };
    let socket = socket(
        AddressFamily::Unix,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let words = format!("FDSTORE=1\n{NAME}\n");
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(words.as_bytes())],
        &[ControlMessage::ScmRights(&[device.as_raw_fd()])],
        MsgFlags::MSG_NOSIGNAL,
        Some(&manager),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read, Write};
    use std::os::unix::net::UnixDatagram;

    use nix::sys::socket::{ControlMessageOwned, recvmsg};

    use super::*;

    #[test]
    fn who_keeps_the_device_has_it_open_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        // A pipe: its reader sees when nobody has it open for writing any more.
        let (mut reader, writer) = io::pipe().unwrap();
        let device = File::from(std::os::fd::OwnedFd::from(writer));
        send(path.as_os_str(), &device).unwrap();
        drop(device);

        let mut words = [0u8; 64];
        let mut parts = [IoSliceMut::new(&mut words)];
        let mut space = nix::cmsg_space!([i32; 1]);
        let message = recvmsg::<()>(
            manager.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .unwrap();
        let fds: Vec<i32> = message
            .cmsgs()
            .unwrap()
            .flat_map(|part| match part {
                ControlMessageOwned::ScmRights(fds) => fds,
                _ => Vec::new(),
            })
            .collect();
        assert_eq!(fds.len(), 1);
        let mut kept = File::from(sys::inherited(fds[0]));
        assert!(words.starts_with(b"FDSTORE=1\nFDNAME=watchdog\n"), "{words:?}");
        kept.write_all(b"still open").unwrap();
        drop(kept);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "still open");
    }

    #[test]
    fn the_unit_has_room_for_it() {
        let unit = include_str!("../../../systemd/had-agentd.service");
        assert!(unit.lines().any(|line| line == "FileDescriptorStoreMax=1"));
    }
}

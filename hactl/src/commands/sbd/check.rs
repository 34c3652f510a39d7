//! What the disks themselves say about the configuration that names them, for `hactl config check` on a node.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use holdfast_proto::config::{Config, SbdSection};
use holdfast_sbd::{Disk, Error, Header, Volume};

/// What an operator should know before this configuration is applied. Nothing where the disks cannot be looked at, because
/// this is another machine or another user.
pub fn warnings(config: &Config) -> Vec<String> {
    let Some(section) = &config.sbd else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut headers = Vec::new();
    for device in &section.devices {
        match header(section, device) {
            Ok(header) => {
                found.extend(about(section, device, &header));
                headers.push((device, header));
            }
            Err(Error::Open { source, .. })
                if matches!(source.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {}
            Err(error) => found.push(error.to_string()),
        }
    }
    if let Some((first, others)) = headers.split_first() {
        for (device, header) in others {
            if header.uuid.is_some() && header.uuid == first.1.uuid {
                found.push(format!("{} and {device} are one disk: it has one vote", first.0));
            }
            if header.timeouts != first.1.timeouts {
                found.push(format!(
                    "{} and {device} have different timeouts in their headers",
                    first.0
                ));
            }
        }
    }
    found
}

fn header(section: &SbdSection, device: &str) -> holdfast_sbd::Result<Header> {
    let timeout = Duration::from_millis(section.io_timeout_ms.into());
    Ok(*Volume::read(Disk::open(Path::new(device), timeout)?)?.header())
}

fn about(section: &SbdSection, device: &str, header: &Header) -> Vec<String> {
    let io_timeout = Duration::from_millis(section.io_timeout_ms.into());
    let contradictions = header.timeouts.contradictions(io_timeout).into_iter();
    let mut found: Vec<String> = contradictions.map(|text| format!("{device}: {text}")).collect();
    let (disk, file) = (header.timeouts, section.timeouts);
    if disk != file {
        found.push(format!(
            "{device} has timeouts of its own, which override those of [sbd]: watchdog {} s, allocate {} s, loop {} s, \
             msgwait {} s",
            disk.watchdog_s, disk.allocate_s, disk.loop_s, disk.msgwait_s
        ));
    }
    found
}

//! `hactl sbd list` and `hactl sbd dump`.

use holdfast_sbd::volume::Entry;
use holdfast_sbd::{Header, Mark};
use serde::Serialize;

use super::{Disks, all_well, each, open, warn_of_failures};
use crate::ui::Ui;
use crate::ui::text::{pad, widest};

#[derive(Serialize)]
struct Document<T> {
    ok: bool,
    disks: Vec<T>,
}

#[derive(Serialize)]
struct ListJson {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    slots: Vec<SlotJson>,
}

#[derive(Serialize)]
struct SlotJson {
    slot: u8,
    node: String,
    message: &'static str,
    from: String,
    watched: Option<WatchedJson>,
}

#[derive(Serialize)]
struct WatchedJson {
    boot: String,
    watchdog_ms: u64,
    patience_ms: u64,
    disks: u8,
}

/// The slots that are taken.
pub fn list(disks: &Disks, ui: &Ui) -> anyhow::Result<()> {
    let found = each(disks, |path| open(disks, path)?.list());
    if ui.json() {
        let documents = found.iter().map(|(device, done)| ListJson {
            device: device.clone(),
            error: done.as_ref().err().cloned(),
            slots: done.iter().flatten().map(slot_json).collect(),
        });
        ui.document(&Document {
            ok: found.iter().all(|(_, done)| done.is_ok()),
            disks: documents.collect(),
        })?;
        return all_well(&found);
    }
    let mut lines = Vec::new();
    for (device, done) in &found {
        if let Ok(entries) = done {
            lines.push(pad(device, 0));
            lines.extend(table(entries));
        }
    }
    ui.lines(&lines)?;
    warn_of_failures(&found, ui);
    all_well(&found)
}

fn slot_json(entry: &Entry) -> SlotJson {
    SlotJson {
        slot: entry.slot,
        node: entry.node.clone(),
        message: entry.mail.command.word(),
        from: entry.mail.from.clone(),
        watched: entry.mark.map(|mark| WatchedJson {
            boot: format!("{:032x}", mark.boot.0),
            watchdog_ms: millis(mark.watchdog),
            patience_ms: millis(mark.patience),
            disks: mark.disks,
        }),
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn table(entries: &[Entry]) -> Vec<String> {
    if entries.is_empty() {
        return vec!["  no slot is taken".to_string()];
    }
    let nodes = widest(entries.iter().map(|entry| entry.node.as_str()), 4);
    entries
        .iter()
        .map(|entry| {
            let from = if entry.mail.from.is_empty() {
                String::new()
            } else {
                format!("from {}", entry.mail.from)
            };
            let line = format!(
                "  {:>3}  {}  {:<9}  {:<12}  {}",
                entry.slot,
                pad(&entry.node, nodes),
                entry.mail.command.word(),
                pad(&from, 0),
                entry.mark.map(watched).unwrap_or_default()
            );
            line.trim_end().to_string()
        })
        .collect()
}

fn watched(mark: Mark) -> String {
    format!(
        "watched by boot {}, watchdog {} s",
        mark.boot,
        mark.watchdog.as_secs_f64()
    )
}

#[derive(Serialize)]
struct DumpJson {
    device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    header: Option<HeaderJson>,
}

#[derive(Serialize)]
struct HeaderJson {
    version: String,
    uuid: String,
    slots: u8,
    sector_size: u32,
    watchdog_timeout_s: u32,
    allocate_timeout_s: u32,
    loop_timeout_s: u32,
    msgwait_timeout_s: u32,
    /// Timeouts that cannot be together.
    contradictions: Vec<String>,
}

/// The headers.
pub fn dump(disks: &Disks, ui: &Ui) -> anyhow::Result<()> {
    let found = each(disks, |path| open(disks, path).map(|volume| *volume.header()));
    let contradictions = |header: &Header| header.timeouts.contradictions(disks.io_timeout);
    if ui.json() {
        let documents = found.iter().map(|(device, done)| DumpJson {
            device: device.clone(),
            error: done.as_ref().err().cloned(),
            header: done
                .as_ref()
                .ok()
                .map(|header| header_json(header, contradictions(header))),
        });
        ui.document(&Document {
            ok: found.iter().all(|(_, done)| done.is_ok()),
            disks: documents.collect(),
        })?;
        return all_well(&found);
    }
    for (device, done) in &found {
        let Ok(header) = done else { continue };
        ui.lines(&header_lines(device, header))?;
        for text in contradictions(header) {
            ui.warn(format_args!("{}: {text}", pad(device, 0)));
        }
    }
    warn_of_failures(&found, ui);
    all_well(&found)
}

fn header_json(header: &Header, contradictions: Vec<String>) -> HeaderJson {
    HeaderJson {
        version: format!("{}.{}", header.version.0, header.version.1),
        uuid: header.uuid_text(),
        slots: header.slots,
        sector_size: header.sector_size,
        watchdog_timeout_s: header.timeouts.watchdog_s,
        allocate_timeout_s: header.timeouts.allocate_s,
        loop_timeout_s: header.timeouts.loop_s,
        msgwait_timeout_s: header.timeouts.msgwait_s,
        contradictions,
    }
}

/// As `sbd dump` names them.
fn header_lines(device: &str, header: &Header) -> Vec<String> {
    let timeouts = header.timeouts;
    vec![
        pad(device, 0),
        format!("  Header version     : {}.{}", header.version.0, header.version.1),
        format!("  UUID               : {}", header.uuid_text()),
        format!("  Number of slots    : {}", header.slots),
        format!("  Sector size        : {}", header.sector_size),
        format!("  Timeout (watchdog) : {}", timeouts.watchdog_s),
        format!("  Timeout (allocate) : {}", timeouts.allocate_s),
        format!("  Timeout (loop)     : {}", timeouts.loop_s),
        format!("  Timeout (msgwait)  : {}", timeouts.msgwait_s),
    ]
}

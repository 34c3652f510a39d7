//! Reads `[sbd]`: the disks that nodes are fenced by, and their timeouts. What stands on a disk overrides these.

use std::collections::BTreeMap;
use std::time::Duration;

use super::diagnostic::Problem;
use super::reader::{At, Table};
use super::schema::path_fault;
use super::{SbdSection, Timers, values};

/// The fence agent that writes an order for the node onto the disks of `[sbd]`.
pub const SBD_AGENT: &str = "sbd";
/// Most disks, as in SBD.
pub const SBD_DISKS_MAX: usize = 3;
/// Time allowed for one read or write unless set, in milliseconds: SBD's.
pub const SBD_IO_TIMEOUT_MS: u32 = 3000;

/// Added to the promised time: what it takes a watchdog to reset a machine, and timers to be late.
const MARGIN: Duration = Duration::from_millis(250);

/// How long an order has to stand until the boot that it is for is over: who watches its mailbox there `promised` to obey, or
/// to end by its watchdog, within that time on its own clock.
#[must_use]
pub fn order_is_certain_after(msgwait: Duration, promised: Duration) -> Duration {
    msgwait.max(Timers::stretch(promised)) + MARGIN
}

const HOUR_MS: u32 = 3_600_000;

/// The timeouts in the header of a disk, in whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SbdTimeouts {
    /// Within so much the watchdog ends a node that cannot read its mailbox.
    pub watchdog_s: u32,
    /// Who claims a slot waits so long before it looks whether it still has it.
    pub allocate_s: u32,
    /// Time between two looks into the mailbox.
    pub loop_s: u32,
    /// Who wrote an order waits so long before it counts as carried out.
    pub msgwait_s: u32,
}

impl Default for SbdTimeouts {
    /// As `sbd create` chooses them.
    fn default() -> Self {
        SbdTimeouts {
            watchdog_s: 5,
            allocate_s: 2,
            loop_s: 1,
            msgwait_s: 10,
        }
    }
}

impl SbdTimeouts {
    /// Time a node may go on for after it last began to read its mailbox on enough disks: a round, and the I/O of the
    /// next.
    #[must_use]
    pub fn patience(&self, io_timeout: Duration) -> Duration {
        seconds(self.loop_s) + io_timeout
    }

    /// Contradictions: each sentence names timeouts that cannot be together.
    #[must_use]
    pub fn contradictions(&self, io_timeout: Duration) -> Vec<String> {
        let (watchdog_s, loop_s, msgwait_s) = (self.watchdog_s, self.loop_s, self.msgwait_s);
        if watchdog_s == 0 || loop_s == 0 || msgwait_s == 0 {
            return vec!["the watchdog, loop and msgwait timeouts must be at least 1 s each".to_string()];
        }
        let mut found = Vec::new();
        if self.patience(io_timeout) >= seconds(watchdog_s) {
            found.push(format!(
                "the loop timeout ({loop_s} s) and the I/O timeout ({} s) together must be shorter than the watchdog \
                 timeout ({watchdog_s} s), or one slow read resets the node",
                io_timeout.as_secs_f64()
            ));
        }
        if u64::from(msgwait_s) < 2 * u64::from(watchdog_s) {
            found.push(format!(
                "the msgwait timeout ({msgwait_s} s) must be at least twice the watchdog timeout ({watchdog_s} s), or a \
                 node is taken for dead before its watchdog has fired"
            ));
        }
        found
    }

    /// The shortest timeout of a fence device that uses such a disk: msgwait, and a fifth of it for the I/O.
    #[must_use]
    pub fn fence_least(&self) -> Duration {
        seconds(self.msgwait_s) * 6 / 5
    }
}

impl SbdSection {
    /// How long an order stands until it is certain, by the timeouts of the configuration.
    #[must_use]
    pub fn order_is_certain_after(&self) -> Duration {
        let patience = self
            .timeouts
            .patience(Duration::from_millis(self.io_timeout_ms.into()));
        let promised = patience + seconds(self.timeouts.watchdog_s);
        order_is_certain_after(seconds(self.timeouts.msgwait_s), promised)
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

pub(super) fn read_sbd(root: &Table) -> Option<SbdSection> {
    let table = root.table("sbd", "[sbd]", "write [sbd]")?;
    table.only(&[
        "devices",
        "watchdog_timeout",
        "allocate_timeout",
        "loop_timeout",
        "msgwait_timeout",
        "io_timeout",
    ]);
    let default = SbdTimeouts::default();
    let watchdog_s = whole_seconds(&table, "watchdog_timeout", 1).unwrap_or(default.watchdog_s);
    let timeouts = SbdTimeouts {
        watchdog_s,
        allocate_s: whole_seconds(&table, "allocate_timeout", 0).unwrap_or(default.allocate_s),
        loop_s: whole_seconds(&table, "loop_timeout", 1).unwrap_or(default.loop_s),
        msgwait_s: whole_seconds(&table, "msgwait_timeout", 1).unwrap_or(2 * watchdog_s),
    };
    let io_timeout_ms = table
        .duration_ms("io_timeout", 100..=60_000)
        .map_or(SBD_IO_TIMEOUT_MS, |span| span.value);
    for text in timeouts.contradictions(Duration::from_millis(io_timeout_ms.into())) {
        table.problems.add(Problem::new(table.span.clone(), text));
    }
    Some(SbdSection {
        devices: read_devices(&table),
        timeouts,
        io_timeout_ms,
    })
}

/// The header of a disk counts in whole seconds.
fn whole_seconds(table: &Table, key: &str, least: u32) -> Option<u32> {
    let span = table.duration_ms(key, least * 1000..=HOUR_MS)?;
    if !span.value.is_multiple_of(1000) {
        let message = format!("`{key}` must be whole seconds");
        table.problems.add(Problem::new(span.span, message));
        return None;
    }
    Some(span.value / 1000)
}

fn read_devices(table: &Table) -> Vec<String> {
    let devices = table.text_or_texts("devices");
    if table.span_of("devices").is_none() || table.is_empty_list("devices") {
        let hint = "one to three shared disks, such as devices = [\"/dev/disk/by-id/scsi-...\"]";
        table.missing("devices", hint);
    }
    if let Some(beyond) = devices.get(SBD_DISKS_MAX) {
        let message = format!("{} disks: SBD has at most {SBD_DISKS_MAX}", devices.len());
        table.problems.add(Problem::new(beyond.span.clone(), message));
    }
    for (index, device) in devices.iter().enumerate() {
        check_device(table, device, &devices[..index]);
    }
    devices
        .into_iter()
        .map(|device| device.value.to_string())
        .collect()
}

fn check_device(table: &Table, device: &At<&str>, before: &[At<&str>]) {
    if let Some(fault) = path_fault(device.value) {
        let message = format!("\"{}\" is no disk: {fault}", device.value.escape_debug());
        let hint = "the same on every node: use the names in /dev/disk/by-id";
        table
            .problems
            .add(Problem::new(device.span.clone(), message).hint(hint));
    }
    if let Some(first) = before.iter().find(|other| other.value == device.value) {
        let problem = Problem::new(device.span.clone(), "the same disk twice: it has one vote")
            .related(first.span.clone(), "it is here as well");
        table.problems.add(problem);
    }
}

/// Parameters of a device of agent `sbd`: the disks of `[sbd]`, and none of its own.
pub(super) fn params(table: &Table, agent: &At<&str>, sbd: Option<&SbdSection>) -> BTreeMap<String, String> {
    if let Some(span) = table.span_of("params") {
        let message = "the agent \"sbd\" has no parameters: it takes its disks from [sbd]";
        table
            .problems
            .add(Problem::new(span, message).hint("remove `params`"));
    }
    let Some(sbd) = sbd else {
        let problem = Problem::new(agent.span.clone(), "the agent \"sbd\" needs the table [sbd]");
        let hint = "write [sbd] with devices = [\"/dev/disk/by-id/...\"]";
        table.problems.add(problem.hint(hint));
        return BTreeMap::new();
    };
    BTreeMap::from([
        ("devices".to_string(), sbd.devices.join("\n")),
        ("io_timeout_ms".to_string(), sbd.io_timeout_ms.to_string()),
    ])
}

/// The timeout of such a device: long enough to wait until the node is down for certain.
pub(super) fn fence_timeout_ms(
    table: &Table,
    given: Option<At<u32>>,
    sbd: &SbdSection,
    default_ms: u32,
) -> u32 {
    let least_ms = u32::try_from(sbd.timeouts.fence_least().as_millis()).unwrap_or(u32::MAX);
    let Some(given) = given else {
        return default_ms.max(least_ms.saturating_mul(2));
    };
    if given.value < least_ms {
        let message = format!(
            "`timeout` must be at least 1.2 times the msgwait timeout of [sbd], which is {} s: {} or more",
            sbd.timeouts.msgwait_s,
            values::show_ms(least_ms)
        );
        table.problems.add(Problem::new(given.span, message));
    }
    given.value
}

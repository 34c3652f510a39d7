//! How long a cluster may take to be whole again (L1): the sum of what each step of the way back may take.
//!
//! | step | at most |
//! |---|---|
//! | what still hangs, stalls, or is under way in a fence device when all is healed | until it ends |
//! | power on, boot, `had` started | 3.4 s |
//! | an acceptor's promise runs out, the election and its retries | 3 leases + 8 election rounds |
//! | a node that was never heard is waited for | 2 x `startup_grace` |
//! | in a pair: the node that is not the survivor waits | `fence_delay` |
//! | a node that devices ended n times has to stay before the only voter lets it vote | 2^(n-2) x `fence_delay`, 16 x at most |
//! | the witness is waited for before it is dropped | `witness_grace` |
//! | a fence device failed before all was healed, and is tried again | 16 x `fence_retry` |
//! | an order on shared disks, which may have to be given twice, and what it ends boots | 2 x 4.3 s + 1 s |
//! | with shared disks, a node says nothing after each boot | 3 x (4.4 s + 2 leases) |
//! | it acts, once per level, and what it fenced boots | 0.3 s x 2 + 2 s + 3.4 s |
//! | a permit or watchdog is counted down | 2 x permit + watchdog + margin |
//! | each member is dropped if need be, catches up, and votes again | 4 leases each |
//! | groups stop and start, those with `after` behind others | 3 x (stop + start) + 10 ms a group |
//! | members start, copies are made anew, catch up and are asked in | 10 s |
//! | a clock has to be set, and `had` restarted, for a run to be numbered upwards | 0.2 s + 0.4 s + 2 leases |
//! | where a human's word is needed: it is noticed after `startup_grace` and 3 s, then all others boot | 3 s + 3.4 s |
//! | an operator who cleans up looks every 0.2 s, and again when a failure is new | 2 s |
//!
//! Spans that are counted on a member's own clock are stretched by 2 %.

use std::time::Duration;

use holdfast_proto::config::GroupSection;

use super::World;
use super::agentd::{START_MAX_US, STOP_MAX_US};
use super::daemon::RESTART_MAX_US;
use super::operator::NOTICED_US;
use super::power::BOOT_MAX_US;
use crate::shared::MSGWAIT_US;

/// A device that works takes up to this long, and up to `DEVICE_ON_US` to turn on again.
const DEVICE_MAX_US: u64 = 300_000;
const DEVICE_ON_US: u64 = 2_000_000;
/// A member starts, its copy is made anew if it has to be, catches up and is asked in.
const COPIES_MAX_US: u64 = 10_000_000;
const WATCHDOG_MAX_US: u64 = 2_000_000;

impl World {
    /// When everything that was still under way has ended.
    pub(super) fn rest_at_us(&self) -> u64 {
        let machines = self.machines.values().map(|machine| {
            let hangs = machine
                .agent
                .groups
                .values()
                .map(|group| group.stop_hangs_until_us.max(group.start_hangs_until_us));
            let members = machine.agent.members.values();
            let members = members
                .map(|member| member.fails_until_us)
                .max()
                .unwrap_or_default();
            let disk = machine.disk.busy_until_us;
            let processes = machine.had_free_us().max(machine.agent_free_us());
            hangs
                .max()
                .unwrap_or_default()
                .max(disk)
                .max(processes)
                .max(members)
        });
        let latest = machines.max().unwrap_or_default();
        latest.max(self.devices_busy_until_us).max(self.now_us)
    }

    /// The true time by which the cluster has to be whole, if nothing is broken any more. See the table above.
    pub(super) fn bound_us(&self) -> u64 {
        let config = self.config_in_force();
        let spans = config.timers();
        let us = |span: Duration| span.as_micros() as u64;
        let lease = us(spans.lease);
        let members = config.members().count() as u64;
        let groups = config.groups.len() as u64;
        let boot = BOOT_MAX_US + 2 * RESTART_MAX_US + 200_000;
        let counted = 5 * lease
            + 8 * us(spans.election)
            + 2 * us(spans.startup_grace)
            + us(spans.fence_delay)
            + self.stays_out_us(us(spans.fence_delay))
            + us(spans.witness_grace)
            + 16 * us(spans.fence_retry)
            + 2 * us(spans.fencing_permit)
            + WATCHDOG_MAX_US
            + us(spans.lapse_margin)
            + members * 4 * lease;
        let acted = boot + 2 * DEVICE_MAX_US + DEVICE_ON_US + boot + NOTICED_US + boot;
        let services = 3 * (START_MAX_US + STOP_MAX_US) + groups * 10_000 + 2_000_000;
        let copies = if config.groups.iter().any(GroupSection::is_promotable) {
            COPIES_MAX_US
        } else {
            0
        };
        self.rest_at_us() + counted * 51 / 50 + acted + services + copies + self.ordered_us()
    }

    /// How long a node that is back may have to stay before it votes again.
    fn stays_out_us(&self, fence_delay_us: u64) -> u64 {
        let most = self.ended_by_devices.values().copied().max().unwrap_or_default();
        match most {
            0 | 1 => 0,
            most => fence_delay_us * (1 << (most - 2).min(4)),
        }
    }

    /// How long orders on shared disks may take.
    fn ordered_us(&self) -> u64 {
        if self.shared.disks.is_empty() {
            0
        } else {
            let lease_us = self.config_in_force().timers().lease.as_micros() as u64;
            let quiet_us = MSGWAIT_US + 400_000 + 2 * lease_us;
            2 * (MSGWAIT_US + 300_000) + 1_000_000 + 3 * quiet_us * 51 / 50
        }
    }
}

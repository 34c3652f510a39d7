//! After all was healed and whole: one more fault that stays, which the cluster has to get over without help (L1).

use holdfast_proto::ids::NodeId;
use holdfast_proto::operator::OperatorRequest;

use super::World;
use crate::checks;
use crate::machine::Machine;
use crate::schedule::{DeviceMode, Lasting};

const REST_US: u64 = 12_000_000;
const FOREVER_US: u64 = 3_600_000_000;
/// Two outlets, and a second level.
const DEVICES_MAX: u8 = 3;

impl World {
    /// Strikes once more and waits until every group that can run runs.
    pub(super) fn aftermath(&mut self) -> Result<(), String> {
        self.come_to_rest()?;
        let Some(fault) = self.lasting else {
            return Ok(());
        };
        let victim = NodeId(fault.victim());
        if !self.machines.contains_key(&victim) {
            return Ok(());
        }
        let now_us = self.now_us;
        self.trace
            .add(now_us, None, || format!("lasting fault {fault:?}"));
        let others = self.others(victim);
        match fault {
            Lasting::PowerLoss(_) => self.power_off(victim, "it lost power for good"),
            Lasting::PowerLossUnheard(_) => {
                self.leave_to_the_watchdog(victim);
                self.power_off(victim, "it lost power for good");
                for other in others {
                    self.kill_had(other);
                }
            }
            Lasting::AgentGone(_) => {
                self.leave_to_the_watchdog(victim);
                self.agent_away(victim, FOREVER_US);
            }
            Lasting::Deaf(_) => self
                .network
                .cut
                .extend(others.into_iter().map(|other| (other, victim))),
            Lasting::FullDisk(_) => {
                if let Some(machine) = self.machines.get_mut(&victim) {
                    machine.disk.full = true;
                }
                // Something to decide. Two voters cannot decide it without that disk, three can.
                if self.config.members().count() > 2 {
                    let (node, on) = (victim, true);
                    self.ask(victim, OperatorRequest::Standby { node, on });
                }
            }
        }
        let bound = self.bound_us();
        // What was running when it struck must not pass for recovered: everything that follows from it comes first.
        self.run_until(now_us + 10_000_000)?;
        loop {
            self.run_until((self.now_us + 500_000).min(bound))?;
            match self.look_recovered() {
                Ok(()) => break,
                Err(why) if self.now_us >= bound => return Err(format!("{why} after {fault:?}")),
                Err(_) => {
                    self.clean_up();
                }
            }
        }
        self.recoveries.note(self.now_us - now_us, bound - now_us);
        Ok(())
    }

    /// If it has a watchdog whose countdown is a proof, that is all there is: no device reaches it any more, and the boot
    /// after the reset hangs.
    fn leave_to_the_watchdog(&mut self, victim: NodeId) {
        let watched = |machine: &Machine| machine.agent.watchdog_us.is_some();
        if !self.machines.get(&victim).is_some_and(watched) || self.config_in_force().members().count() < 3 {
            return;
        }
        self.boot_hangs = Some(victim);
        let devices = self.devices.entry(victim).or_default();
        (0..DEVICES_MAX).for_each(|device| devices.set_mode(device, DeviceMode::Dead));
    }

    /// Waits until nothing hangs any more, so that the next fault is the only one.
    pub(super) fn come_to_rest(&mut self) -> Result<(), String> {
        // A slow fence device may still be at work, and a machine booting.
        self.run_until(self.now_us.max(self.rest_at_us()) + REST_US)?;
        loop {
            let rest_at = self.rest_at_us();
            let clean = self.clean_up();
            if clean && rest_at <= self.now_us && self.look_whole().is_ok() {
                return Ok(());
            }
            let bound = self.bound_us();
            self.run_until(rest_at.max(self.now_us) + 3_000_000)?;
            self.run_until_whole(bound)?;
        }
    }

    fn look_recovered(&self) -> Result<(), String> {
        let config = self.config_in_force();
        for group in config.groups.iter().filter(|group| group.apart_from.is_empty()) {
            checks::runs(group, &self.machines).map_err(|why| format!("{why}{}", self.leaders_view()))?;
        }
        let leader = self.leader().map(|leader| &self.machines[&leader]);
        let mute = leader.is_some_and(|machine| machine.disk.full);
        if mute && self.config.members().count() > 2 {
            return Err("L1: the leader can write nothing, so nothing is decided".into());
        }
        Ok(())
    }
}

//! After all was healed and whole: one more fault that stays, which the cluster has to get over without help (L1).

use holdfast_proto::ids::NodeId;

use holdfast_proto::operator::OperatorRequest;

use super::World;
use crate::checks;

/// A fault that is not healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasting {
    /// A data node loses power.
    PowerLoss,
    /// A data node loses power while `had` is restarted everywhere else: the others never hear it again.
    PowerLossUnheard,
    /// The agent process of a data node never comes back.
    AgentGone,
    /// A data node hears nobody, but is heard.
    Deaf,
    /// A data node can write nothing.
    FullDisk,
}

const ALL: [Lasting; 5] = [
    Lasting::PowerLoss,
    Lasting::PowerLossUnheard,
    Lasting::AgentGone,
    Lasting::Deaf,
    Lasting::FullDisk,
];

/// True time within which the cluster has to be whole again.
const BOUND_US: u64 = 120_000_000;
const REST_US: u64 = 12_000_000;
const FOREVER_US: u64 = 3_600_000_000;

impl World {
    /// Strikes once more and waits until every group that can run runs.
    pub(super) fn aftermath(&mut self) -> Result<(), String> {
        self.come_to_rest()?;
        let data: Vec<NodeId> = self.config.nodes.iter().map(|node| node.id).collect();
        let fault = *self.rng.pick(&ALL);
        let victim = *self.rng.pick(&data);
        let now_us = self.now_us;
        self.trace
            .add(now_us, None, || format!("lasting fault {fault:?} ({victim})"));
        let others: Vec<NodeId> = self
            .machines
            .keys()
            .copied()
            .filter(|node| *node != victim)
            .collect();
        match fault {
            Lasting::PowerLoss => self.power_off(victim, "it lost power for good"),
            Lasting::PowerLossUnheard => {
                self.power_off(victim, "it lost power for good");
                for other in others {
                    self.kill_had(other);
                }
            }
            Lasting::AgentGone => self.agent_away(victim, FOREVER_US),
            Lasting::Deaf => self
                .network
                .cut
                .extend(others.into_iter().map(|other| (other, victim))),
            Lasting::FullDisk => {
                if let Some(machine) = self.machines.get_mut(&victim) {
                    machine.disk_full = true;
                }
                // Something to decide. Two voters cannot decide it without that disk, three can.
                if self.config.members().count() > 2 {
                    let (node, on) = (victim, true);
                    self.ask(victim, OperatorRequest::Standby { node, on });
                }
            }
        }
        // What was running when it struck must not pass for recovered: everything that follows from it comes first.
        let struck = now_us + 10_000_000;
        self.run_until(struck, false)?;
        let bound = self.now_us + BOUND_US;
        loop {
            let look = self.now_us + 500_000;
            self.run_until(look, false)?;
            match self.look_recovered() {
                Ok(()) => return Ok(()),
                Err(why) if self.now_us >= bound => return Err(format!("{why} after {fault:?} of {victim}")),
                Err(_) => self.clean_up(),
            }
        }
    }

    /// Waits until nothing hangs any more, so that the next fault is the only one.
    fn come_to_rest(&mut self) -> Result<(), String> {
        // A slow fence device may still be at work, and a machine booting.
        self.run_until(self.now_us + REST_US, false)?;
        loop {
            let free = self
                .machines
                .values()
                .map(|machine| machine.had_free_us().max(machine.agent_free_us()));
            let free_us = free.max().unwrap_or_default();
            self.clean_up();
            let all_run = self.machines.values().all(|machine| machine.had.is_some());
            if all_run && free_us + 5_000_000 <= self.now_us && self.look_whole().is_ok() {
                return Ok(());
            }
            let bound = free_us.max(self.now_us) + BOUND_US;
            self.run_until(free_us.max(self.now_us) + 3_000_000, false)?;
            self.run_until(bound, true)?;
        }
    }

    fn look_recovered(&self) -> Result<(), String> {
        for group in self
            .config
            .groups
            .iter()
            .filter(|group| group.apart_from.is_empty())
        {
            checks::runs(&group.name, &self.machines)
                .map_err(|why| format!("{why}{}", self.leaders_view()))?;
        }
        let leader = self.leader().map(|leader| &self.machines[&leader]);
        let mute = leader.is_some_and(|machine| machine.disk_full);
        if mute && self.config.members().count() > 2 {
            return Err("L1: the leader can write nothing, so nothing is decided".into());
        }
        Ok(())
    }
}

//! What a run consists of: the cluster forms; faults strike; everything is healed and every group has to come back within a
//! bound; then one more fault that stays.

use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_proto::ids::NodeId;
use holdfast_proto::state::genesis;

use super::World;
use super::happening::Happening;
use super::jobs::JobStep;
use crate::checks;
use crate::disk::Disk;
use crate::machine::Machine;

/// How long the cluster took to be whole again, against its bounds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recoveries {
    /// The longest, in true microseconds.
    pub longest_us: u64,
    /// The largest share of its bound that a recovery took, of a thousand.
    pub closest_permille: u64,
}

impl Recoveries {
    /// The worse of both in each respect.
    #[must_use]
    pub fn worst(self, other: Recoveries) -> Recoveries {
        Recoveries {
            longest_us: self.longest_us.max(other.longest_us),
            closest_permille: self.closest_permille.max(other.closest_permille),
        }
    }

    pub(super) fn note(&mut self, took_us: u64, bound_us: u64) {
        *self = self.worst(Recoveries {
            longest_us: took_us,
            closest_permille: took_us * 1000 / bound_us.max(1),
        });
    }
}

/// The cluster is looked at this often while it has to come back.
const LOOK_US: u64 = 200_000;
/// Reasons are looked at this often while faults strike.
const REASONS_US: u64 = 700_000;

impl World {
    /// Runs all phases. `Err` is the promise that was broken.
    pub fn run(&mut self) -> Result<(), String> {
        self.form();
        let bound = self.bound_us();
        self.run_until_whole(bound)?;
        self.faults()?;
        self.heal();
        let (began, bound) = (self.now_us, self.bound_us());
        self.run_until_whole(bound)?;
        self.recoveries.note(self.now_us - began, bound - began);
        self.aftermath()
    }

    /// The first node is initialised; the others start blank with the same configuration.
    pub(super) fn form(&mut self) {
        let first = NodeId(1);
        let state = genesis(Arc::clone(&self.config), first);
        if let Some(machine) = self.machines.get_mut(&first) {
            machine.disk = Disk::with(Durable::initial(state));
        }
        for node in self.machines.keys().copied().collect::<Vec<_>>() {
            self.power_on(node);
            if !self.config.jobs.is_empty() && !node.is_witness() {
                let at = self.now_us + 1_000 * u64::from(node.0);
                self.schedule(at, Happening::Job(JobStep::Clock { node }));
            }
        }
    }

    /// Safety is asserted after each step, whatever strikes. It ends early when an operator begins to repair.
    fn faults(&mut self) -> Result<(), String> {
        let begins_at = self.now_us;
        self.lie_in_wait();
        for number in 0..self.strikes.len() {
            let at = begins_at + self.strikes[number].at_us;
            let strike = &self.strikes[number];
            if strike.on.is_none() && strike.at_us < self.length_us {
                self.schedule(at, Happening::Strike(number));
            }
        }
        let end = begins_at + self.length_us;
        while self.now_us < end && self.repair_from.is_none() {
            let look = (self.now_us + REASONS_US).min(end);
            self.run_until(look)?;
            self.look_at_reasons()?;
        }
        Ok(())
    }

    /// Runs to `end`, or until an operator begins to repair.
    pub(super) fn run_until(&mut self, end: u64) -> Result<(), String> {
        while self.queue.next_at().is_some_and(|at| at <= end) {
            if self.repair_from.is_some() && !self.healed {
                return Ok(());
            }
            let Some((at, happening)) = self.queue.pop() else {
                break;
            };
            self.now_us = at.max(self.now_us);
            self.happen(happening)?;
            if self.services_changed {
                self.services_changed = checks::one_owner(&self.watched, &self.machines, self.now_us)?;
            }
        }
        self.now_us = self.now_us.max(end);
        Ok(())
    }

    /// Runs until every group runs and every member votes; it is an error if that does not happen before `bound`.
    pub(super) fn run_until_whole(&mut self, bound: u64) -> Result<(), String> {
        loop {
            self.run_until((self.now_us + LOOK_US).min(bound))?;
            self.look_at_reasons()?;
            match self.look_whole() {
                Ok(()) => return Ok(()),
                Err(why) if self.now_us >= bound => return Err(why),
                Err(_) => {
                    self.clean_up();
                    self.rescue();
                }
            }
        }
    }

    pub(super) fn look_whole(&self) -> Result<(), String> {
        let config = self.config_in_force();
        checks::is_whole(&config, &self.machines, self.checker.newest())
            .map_err(|why| format!("{why}{}", self.leaders_view()))?;
        let takes_part = |machine: &Machine| {
            (machine.had.is_some() || machine.serves) && !machine.is_outnumbered() && machine.disk.is_sound()
        };
        if let Some(machine) = self.machines.values().find(|machine| !takes_part(machine)) {
            return Err(format!("L1: {} does not take part", machine.id));
        }
        let newest = self.checker.newest();
        if newest.is_some_and(|state| config.members().all(|member| state.voters.contains(member))) {
            Ok(())
        } else {
            Err("L1: not every member votes again".into())
        }
    }

    /// What the leader says about groups that do not run, for the report of a violation.
    pub(super) fn leaders_view(&self) -> String {
        let Some(leader) = self.leader() else {
            return format!(" (there is no leader{})", self.quorum_sentences());
        };
        let machine = &self.machines[&leader];
        let Some(had) = &machine.had else {
            return String::new();
        };
        let view = had.view(machine.local(self.now_us));
        let said: Vec<String> = view
            .groups
            .iter()
            .filter(|group| group.state != "running")
            .map(|group| format!("{} is {} because {}", group.name, group.state, group.reason))
            .collect();
        format!("; {leader} leads and says: {}", said.join("; "))
    }

    /// Why nobody leads, by the word of each.
    fn quorum_sentences(&self) -> String {
        let said = self.machines.values().filter_map(|machine| {
            let view = machine.had.as_ref()?.view(machine.local(self.now_us));
            let waits = view.next.map_or("nothing", |(_, reason)| reason);
            let warned = view.warnings.join("; ");
            Some(format!(
                "; {}: {}; next: {waits}; {warned}",
                machine.id, view.quorum
            ))
        });
        said.collect()
    }

    /// L2: each node that can be asked says why a group does not run, in a sentence.
    fn look_at_reasons(&self) -> Result<(), String> {
        for machine in self.machines.values() {
            let local = machine.local(self.now_us);
            if let Some(had) = machine
                .had
                .as_ref()
                .filter(|_| machine.had_free_us() <= self.now_us)
            {
                checks::says_why(machine.id, &had.view(local))?;
            }
        }
        Ok(())
    }

    /// Stops everything that hurts, and powers everything on. Clocks keep their rates, wall clocks their errors.
    fn heal(&mut self) {
        self.trace
            .add(self.now_us, None, || "everything is healed".into());
        self.healed = true;
        self.heal_network();
        self.finish_upgrade();
        self.start_failures_permille = 0;
        self.devices.values_mut().for_each(crate::device::Devices::mend);
        self.shared.mend();
        for machine in self.machines.values_mut() {
            machine.disk.crash = None;
            machine.disk.full = false;
            machine.disk.slow_until_us = 0;
            let members = machine.agent.members.values_mut();
            members.for_each(|member| member.lags_until_us = 0);
            for group in machine.agent.groups.values_mut() {
                group.stop_hangs_until_us = 0;
                group.start_hangs_until_us = 0;
            }
        }
        self.unled_since_us = self.now_us;
        if self.repair_from.is_none() {
            self.power_all_on();
        }
    }

    pub(super) fn power_all_on(&mut self) {
        for node in self.machines.keys().copied().collect::<Vec<_>>() {
            if !self.machines[&node].powered {
                self.power_on(node);
            }
        }
    }
}

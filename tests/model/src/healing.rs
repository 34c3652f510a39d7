//! "Some owner stays possible": from a state, everything heals, and by default the cluster has to become whole.

use std::time::Duration;

use holdfast_core::durable::Durable;
use holdfast_proto::ids::NodeId;

use crate::action::Action;
use crate::promises::{Broken, Promise};
use crate::world::World;
use crate::world::machine::Machine;

/// Time within which a healed cluster has to be whole. Longer than every grace and pause of the configurations together.
const BOUND: Duration = Duration::from_secs(60);

/// Time until somebody switches a machine on again that was fenced on the way: longer than it takes to be missed and
/// fenced once more, or hands and fence device would undo each other's work for ever.
const HAND: Duration = Duration::from_secs(5);

impl World {
    /// Ends every deviation: links, disks, stops and devices work, late packets arrive, machines have power.
    pub fn heal(&mut self) {
        let members: Vec<_> = self.machines.iter().map(|machine| machine.id).collect();
        for a in &members {
            for b in &members {
                self.heal_link(*a, *b);
            }
        }
        while !self.held.is_empty() {
            self.strike(Action::Release(0));
        }
        if self.spare.is_some() {
            self.strike(Action::RegisterBack);
        }
        while !self.late_errands.is_empty() {
            self.strike(Action::ReleaseErrand(0));
        }
        while let Some(late) = self.asks.iter().position(|ask| ask.acts_at.is_none()) {
            self.strike(Action::FenceActs(late));
        }
        for number in 0..self.machines.len() {
            let machine = &self.machines[number];
            let node = machine.id;
            if machine.disk_stalls_until.is_some() {
                self.strike(Action::DiskRecovers(node));
            }
            for group in 0..self.machines[number].agentd.groups.len() {
                if self.machines[number].agentd.groups[group].stop_hangs {
                    self.strike(Action::StopEnds(node, group));
                }
            }
            if self.shared.as_ref().is_some_and(|disk| disk.cut.contains(&node)) {
                self.strike(Action::FindSharedDisk(node));
            }
            if !self.machines[number].powered {
                self.strike(Action::PowerOn(node));
            }
        }
    }

    /// L1 from this state, and every other promise on the way there. A machine that is fenced on the way gets power again,
    /// as an operator would see to.
    pub fn recovers(&self) -> Result<(), Broken> {
        self.clone().become_whole()
    }

    /// What [`World::recovers`] says and everything that happens on the way.
    #[must_use]
    pub fn tell_healing(&self) -> (String, Vec<String>) {
        let mut world = self.clone();
        world.story = Some(vec!["everything heals".into()]);
        let outcome = world.become_whole();
        let text = outcome.err().map_or_else(String::new, |broken| broken.text);
        (text, world.story.unwrap_or_default())
    }

    /// True when no disk holds the newest committed state any more: then nothing may start, which is not for L1 to mend.
    fn newest_is_lost(&self) -> bool {
        let newest = self.ghost.newest().map_or(0, |state| state.version);
        let known = |durable: &Durable| durable.accepted.version >= newest;
        let on_disk = self
            .machines
            .iter()
            .filter_map(|machine| machine.disk.as_deref())
            .any(known);
        let states = self.register.as_ref().and_then(|record| record.states.as_ref());
        let in_register = states.is_some_and(|states| states.accepted.version >= newest);
        !on_disk && !in_register && !self.nodes().filter_map(|(_, had)| had.durable()).any(known)
    }

    fn is_any_blank(&self) -> bool {
        let mut disks = self.machines.iter();
        disks.any(|machine| machine.disk.is_none() && !(machine.id.is_witness() && self.has_register()))
    }

    /// A lost disk and a restart of everything together leave nobody who may vote for the blank node: that is what
    /// `hactl quorum force` is for. The operator switches all others off, forces, and switches them on again.
    fn let_operator_force(&mut self) {
        let version = |machine: &Machine| machine.disk.as_ref().map(|disk| disk.committed.version);
        let newest = self
            .machines
            .iter()
            .filter(|machine| !machine.id.is_witness())
            .max_by_key(|machine| version(machine));
        let Some(newest) = newest.map(|machine| machine.id) else {
            return;
        };
        let others: Vec<NodeId> = self
            .machines
            .iter()
            .map(|machine| machine.id)
            .filter(|id| *id != newest)
            .collect();
        for other in others {
            self.strike(Action::PowerOff(other));
        }
        self.run_until(Duration::from_secs(3), |_| false);
        self.strike(Action::Force(newest));
        self.run_until(Duration::from_secs(3), |_| false);
    }

    fn become_whole(&mut self) -> Result<(), Broken> {
        let (end, operator_comes) = (self.now + BOUND, self.now + BOUND / 2);
        self.heal();
        while self.now < end {
            let whole = self.run_until(HAND, World::is_whole);
            if let Some(broken) = &self.broken {
                return Err(Broken::clone(broken));
            }
            if whole || self.newest_is_lost() {
                return Ok(());
            }
            if self.now > operator_comes && self.is_any_blank() {
                self.let_operator_force();
            }
            self.heal();
        }
        let text = format!(
            "{} s after everything healed the cluster is not whole",
            BOUND.as_secs()
        );
        Err(Broken::of(Promise::L1, text))
    }
}

//! "Some owner stays possible": from a state, everything heals, and by default the cluster has to become whole.

use std::time::Duration;

use crate::action::Action;
use crate::promises::{Broken, Promise};
use crate::world::World;

/// Time within which a healed cluster has to be whole. Longer than every grace and pause of the configurations together.
const BOUND: Duration = Duration::from_secs(60);

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
        while let Some(late) = self.asks.iter().position(|ask| ask.acts_at.is_none()) {
            self.strike(Action::FenceActs(late));
        }
        for number in 0..self.machines.len() {
            let machine = &self.machines[number];
            let node = machine.id;
            if machine.disk_stalls {
                self.strike(Action::DiskRecovers(node));
            }
            for group in 0..self.machines[number].agentd.groups.len() {
                if self.machines[number].agentd.groups[group].stop_hangs {
                    self.strike(Action::StopEnds(node, group));
                }
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

    fn become_whole(&mut self) -> Result<(), Broken> {
        let end = self.now + BOUND;
        self.heal();
        while self.now < end {
            let whole = self.run_until(Duration::from_secs(1), World::is_whole);
            if let Some(broken) = &self.broken {
                return Err(Broken::clone(broken));
            }
            if whole {
                return Ok(());
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

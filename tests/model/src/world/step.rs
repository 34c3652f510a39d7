//! How the world goes on by itself: the next item of this instant, or else the next instant at which something is due.

use std::time::Duration;

use holdfast_core::event::Event;
use holdfast_core::witness::Input;
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::devices::Ask;
use super::machine::Word;
use super::network::Payload;
use super::{GRID, Item, World};
use crate::promises::{Broken, Promise};

/// Faults may strike at each instant after something happened, and this often when only heartbeats did.
pub const LOOK: Duration = Duration::from_millis(250);
/// More items than this at one instant are an endless loop.
const BUSY_MAX: u32 = 5_000;

/// What is due on a machine, a device or a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Watchdog(usize),
    Order(usize),
    Unpetted(usize),
    Device(usize),
    Link(NodeId, NodeId),
    Disk(usize),
    Agentd(usize),
    Start(usize),
    Resume(usize),
    Proxy(usize),
    Timeout(usize),
}

impl World {
    /// Goes on from a choice: the one item or instant that it is about, and then whatever needs no choice.
    pub fn go(&mut self) {
        self.step();
        self.run_to_choice();
    }

    /// Goes on to the next instant or item at which something may go differently, unless the world is at one now.
    pub fn run_to_choice(&mut self) {
        while self.broken.is_none() && !self.is_at_choice() {
            self.step();
        }
        if self.inbox.is_empty() {
            self.calm = !self.active;
            self.active = false;
            self.looked_at = self.now;
        }
    }

    /// Goes on for `span` without any choice, or until `is_so`. True if it was so.
    pub fn run_until(&mut self, span: Duration, is_so: impl Fn(&World) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if is_so(self) {
                return true;
            }
            let over = self.inbox.is_empty() && self.next_due().is_none_or(|(at, _)| at > end);
            if over || self.broken.is_some() {
                return false;
            }
            self.step();
        }
    }

    /// True at an item or an instant at which something may go differently.
    fn is_at_choice(&self) -> bool {
        match self.inbox.front() {
            Some(Item::Packet(packet)) => self.budget.for_packets() && packet.is_protocol(),
            Some(Item::Errand(errand)) => self.budget.for_packets() && errand.is_protocol(),
            Some(Item::Written { .. }) => self.budget.for_writes(),
            Some(Item::Own { .. }) => false,
            None => self.is_time_for_faults(),
        }
    }

    /// True at the end of an instant at which faults may strike.
    #[must_use]
    pub fn is_time_for_faults(&self) -> bool {
        let ends = self.inbox.is_empty() && self.next_due().is_none_or(|(at, _)| at > self.now);
        ends && (self.active || self.now.since(self.looked_at) >= LOOK)
    }

    fn step(&mut self) {
        self.busy += 1;
        if self.busy > BUSY_MAX {
            let text = "the world does not come to the end of an instant".into();
            return self.check(Err(Broken::of(Promise::Assertions, text)));
        }
        if let Some(item) = self.inbox.pop_front() {
            return self.dispatch(item);
        }
        let Some((at, due)) = self.next_due() else {
            // Every machine is off.
            self.now = self.now + LOOK;
            self.busy = 0;
            return;
        };
        if at > self.now {
            self.now = at;
            self.busy = 0;
        }
        self.happen(due);
    }

    fn dispatch(&mut self, item: Item) {
        match item {
            Item::Packet(packet) => {
                let number = self.number_of(packet.to);
                self.active |= packet.is_protocol();
                if packet.is_protocol() {
                    let node = packet.to;
                    self.tell(Some(node), || format!("gets {}", packet.name()));
                }
                let from = packet.from;
                let event = match &*packet.payload {
                    Payload::Beat(beat) => Event::Beat { from, beat: *beat },
                    Payload::Message(message) => Event::Message {
                        from,
                        message: message.clone(),
                    },
                };
                self.feed(number, event);
            }
            Item::Written {
                machine,
                run,
                id,
                record,
            } => {
                if self.runs(machine, run) {
                    self.machine_mut(machine).disk = Some(record);
                    self.feed(machine, Event::Persisted(id));
                }
            }
            Item::Errand(errand) => self.errand_arrives(errand),
            Item::Own { machine, run, event } => {
                self.active = true;
                if self.runs(machine, run) {
                    self.feed(machine, event);
                }
            }
        }
    }

    fn runs(&self, number: usize, run: u64) -> bool {
        self.machines[number].had.is_some() && self.machines[number].runs == run
    }

    /// Gives `had` an event, or keeps it until `had` is scheduled again. Lost if it does not run.
    fn feed(&mut self, number: usize, event: Event) {
        if self.machines[number].can_decide(self.now) {
            self.handle(number, event);
        } else if self.machines[number].had.is_some() {
            self.machine_mut(number).backlog.push_back(Word::Core(event));
        }
    }

    /// What is due next, and when.
    fn next_due(&self) -> Option<(Time, Due)> {
        let machines = (0..self.machines.len()).flat_map(|number| self.due_on(number));
        let acting = self.asks.iter().enumerate();
        let devices = acting.filter_map(|(number, ask)| Some((self.acts_at(ask)?, Due::Device(number))));
        let links = self
            .slow
            .iter()
            .map(|((from, to), until)| (*until, Due::Link(*from, *to)));
        machines
            .chain(devices)
            .chain(links)
            .map(|(at, due)| (at.max(self.now), due))
            .min()
    }

    /// An order is the agent process's own work, which waits while the machine is paused.
    fn acts_at(&self, ask: &Ask) -> Option<Time> {
        let awake = self.machines[ask.by]
            .paused_until
            .filter(|_| self.is_order(ask.device));
        ask.acts_at.max(awake.filter(|_| ask.acts_at.is_some()))
    }

    fn due_on(&self, number: usize) -> impl Iterator<Item = (Time, Due)> {
        let machine = &self.machines[number];
        let awake = machine.paused_until.unwrap_or(Time::ZERO);
        let decides = machine.decides_again_at(self.now).unwrap_or(Time::ZERO);
        let fires = machine.agentd.fires_at();
        let acts = machine.agentd.wakes_at().map(|at| at.max(awake));
        let starts = machine.had_starts_at.map(|at| at.max(awake));
        let resumes = (machine.had.is_some() && !machine.backlog.is_empty()).then_some(decides);
        let wakes = machine.wakes_at().map(|at| on_grid(at).max(decides));
        let proxy = machine.proxy.as_ref().and_then(|proxy| proxy.poll_timeout());
        let gives_up = proxy.map(|at| on_grid(machine.true_time(at)).max(decides));
        let recovers = machine.disk_stalls_until;
        let watch = &machine.agentd.disk;
        let obeys = watch.obeys_at.map(|at| at.max(awake));
        let unpetted = watch.petted_until().filter(|until| *until > self.now);
        let dues = [
            obeys.map(|at| (at, Due::Order(number))),
            unpetted.map(|at| (at, Due::Unpetted(number))),
            recovers.map(|at| (at, Due::Disk(number))),
            fires.map(|at| (at, Due::Watchdog(number))),
            acts.map(|at| (at, Due::Agentd(number))),
            starts.map(|at| (at, Due::Start(number))),
            resumes.map(|at| (at, Due::Resume(number))),
            wakes.map(|at| (at, Due::Timeout(number))),
            gives_up.map(|at| (at, Due::Proxy(number))),
        ];
        let powered = machine.powered;
        dues.into_iter().flatten().filter(move |_| powered)
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Watchdog(number) => {
                self.active = true;
                self.power_off(number, "its watchdog fired");
                self.power_on(number);
            }
            Due::Order(number) => {
                self.active = true;
                self.obey(number);
            }
            Due::Unpetted(_) => self.active = true,
            Due::Device(number) => {
                self.active = true;
                self.device_is_due(number);
            }
            Due::Link(from, to) => {
                self.active = true;
                self.release_direction((from, to));
            }
            Due::Disk(number) => {
                self.active = true;
                self.disk_recovers(number);
            }
            Due::Agentd(number) => self.wake_agentd(number),
            Due::Start(number) => {
                self.active = true;
                self.start_had(number);
            }
            Due::Resume(number) => match self.machine_mut(number).backlog.pop_front() {
                Some(Word::Core(event)) => self.handle(number, event),
                Some(Word::Proxy(input)) => self.give_to_proxy(number, input),
                None => {}
            },
            Due::Proxy(number) => self.give_to_proxy(number, Input::Timeout),
            Due::Timeout(number) => self.handle(number, Event::Timeout),
        }
        self.pet_watchdogs();
    }

    fn wake_agentd(&mut self, number: usize) {
        self.active = true;
        let now = self.now;
        let (changed, begun) = self.machine_mut(number).agentd.wake(now);
        for group in changed {
            self.report_group(number, group);
        }
        for group in begun {
            self.group_begins(number, group);
        }
    }

    /// Looks at every watchdog: permits came or ran out.
    pub(super) fn pet_watchdogs(&mut self) {
        let now = self.now;
        for number in 0..self.machines.len() {
            let machine = &self.machines[number];
            if !machine.agentd.watchdog || !machine.powered {
                continue;
            }
            let mut agentd = machine.agentd.clone();
            agentd.pet(now, machine.is_paused(now));
            if agentd.starved_since != machine.agentd.starved_since {
                self.machine_mut(number).agentd = agentd;
            }
        }
    }
}

/// The next instant of the grid at or after `at`.
fn on_grid(at: Time) -> Time {
    let grid = GRID.as_micros() as u64;
    Time(at.0.div_ceil(grid) * grid)
}

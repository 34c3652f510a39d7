//! Faults: what can go wrong, and the schedule that a seed draws.

use holdfast_proto::ids::NodeId;
use holdfast_proto::operator::OperatorRequest;

use crate::rng::Rng;
use crate::world::World;

/// How a fence device behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Device {
    /// Extra time before it acts.
    pub slow_us: u64,
    /// Cannot be reached.
    pub refuses: bool,
    /// Exits 0 without doing anything.
    pub pretends: bool,
}

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Cut,
    CutOneWay,
    Isolate,
    HealNetwork,
    Lossy,
    KillHad,
    PowerLoss,
    PowerReturns,
    PowerLossOfAll,
    PauseMachine,
    HangHad,
    SlowDisk,
    FullDisk,
    CrashInWrite,
    AgentAway,
    StopHangs,
    AgentFailures,
    SlowDevice,
    DeadDevice,
    PretendingDevice,
    MendDevice,
    WitnessLoss,
    Move,
    Standby,
    Online,
    FenceAsked,
}

const ALL: [Fault; 26] = [
    Fault::Cut,
    Fault::CutOneWay,
    Fault::Isolate,
    Fault::HealNetwork,
    Fault::Lossy,
    Fault::KillHad,
    Fault::PowerLoss,
    Fault::PowerReturns,
    Fault::PowerLossOfAll,
    Fault::PauseMachine,
    Fault::HangHad,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::CrashInWrite,
    Fault::AgentAway,
    Fault::StopHangs,
    Fault::AgentFailures,
    Fault::SlowDevice,
    Fault::DeadDevice,
    Fault::PretendingDevice,
    Fault::MendDevice,
    Fault::WitnessLoss,
    Fault::Move,
    Fault::Standby,
    Fault::Online,
    Fault::FenceAsked,
];

/// A seed's schedule: its own subset of faults (swarm testing, Groce et al. 2012) and its own pace.
#[derive(Clone, Debug, Default)]
pub struct FaultPlan {
    kinds: Vec<Fault>,
    gap_us: u64,
    /// Length of the phase.
    pub length_us: u64,
}

impl FaultPlan {
    /// Draws a plan.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> FaultPlan {
        let share = rng.range(200, 900);
        let mut kinds: Vec<Fault> = ALL.into_iter().filter(|_| rng.chance(share)).collect();
        kinds.extend([
            Fault::HealNetwork,
            Fault::PowerReturns,
            Fault::PowerReturns,
            Fault::MendDevice,
        ]);
        FaultPlan {
            kinds,
            gap_us: *rng.pick(&[200_000, 600_000, 1_500_000, 4_000_000]),
            length_us: rng.range(10_000_000, 60_000_000),
        }
    }

    /// Strikes once and returns the time to the next.
    pub fn strike(&mut self, world: &mut World) -> u64 {
        if self.kinds.is_empty() {
            return 3_600_000_000;
        }
        let fault = *world.rng.pick(&self.kinds);
        let any: Vec<NodeId> = world.machines.keys().copied().collect();
        let data: Vec<NodeId> = any.iter().copied().filter(|node| !node.is_witness()).collect();
        let node = *world.rng.pick(&data);
        let other = *world.rng.pick(&any);
        let text = format!("fault {fault:?} ({node}, {other})");
        let now_us = world.now_us;
        world.trace.add(now_us, None, || text);
        apply(fault, world, node, other);
        world.rng.range(self.gap_us / 4, self.gap_us * 2)
    }
}

/// Faults of network, power, processes and disks.
fn apply(fault: Fault, world: &mut World, node: NodeId, other: NodeId) {
    let now_us = world.now_us;
    match fault {
        Fault::Cut if node != other => {
            world.network.cut.extend([(node, other), (other, node)]);
        }
        Fault::CutOneWay if node != other => {
            world.network.cut.insert((node, other));
        }
        Fault::Isolate => {
            for peer in world
                .machines
                .keys()
                .copied()
                .filter(|peer| *peer != node)
                .collect::<Vec<_>>()
            {
                world.network.cut.extend([(node, peer), (peer, node)]);
            }
        }
        Fault::HealNetwork => {
            world.network.cut.clear();
            world.network.loss_permille = 0;
            world.network.duplicate_permille = 0;
            world.network.jitter_us = 0;
        }
        Fault::Lossy => {
            world.network.loss_permille = world.rng.range(0, 400);
            world.network.duplicate_permille = world.rng.range(0, 300);
            world.network.jitter_us = world.rng.range(0, 150_000);
        }
        Fault::KillHad => world.kill_had(other),
        Fault::PowerLoss => world.power_off(node, "it lost power"),
        Fault::PowerReturns => {
            for off in world
                .machines
                .values()
                .filter(|machine| !machine.powered)
                .map(|machine| machine.id)
                .collect::<Vec<_>>()
            {
                world.power_on(off);
            }
        }
        Fault::PowerLossOfAll if world.rng.chance(300) => {
            for machine in world.machines.keys().copied().collect::<Vec<_>>() {
                world.power_off(machine, "the whole site lost power");
            }
        }
        Fault::PauseMachine => {
            let span = world.rng.range(20_000, 4_000_000);
            if let Some(machine) = world.machines.get_mut(&other) {
                machine.paused_until_us = machine.paused_until_us.max(now_us + span);
                machine.unscheduled_us = machine.unscheduled_us.max(now_us + span);
            }
        }
        Fault::HangHad => {
            let span = world.rng.range(20_000, 4_000_000);
            if let Some(machine) = world.machines.get_mut(&other) {
                machine.had_hung_until_us = machine.had_hung_until_us.max(now_us + span);
            }
        }
        Fault::SlowDisk => {
            let takes = world.rng.range(5_000, 250_000);
            if let Some(machine) = world.machines.get_mut(&other) {
                machine.disk_slow_us = takes;
                machine.disk_slow_until_us = now_us + 20 * takes;
            }
        }
        Fault::FullDisk => {
            let full = world.rng.chance(500);
            if let Some(machine) = world.machines.get_mut(&other) {
                machine.disk_full = full;
            }
        }
        Fault::CrashInWrite => {
            if let Some(machine) = world.machines.get_mut(&other) {
                machine.crashes_in_write = true;
            }
        }
        Fault::AgentAway => {
            let span = world.rng.range(20_000, 5_000_000);
            world.agent_away(node, span);
        }
        Fault::Cut | Fault::CutOneWay | Fault::PowerLossOfAll => {}
        _ => apply_to_services(fault, world, node, other),
    }
}

/// Faults of resources and fence devices, and operators at the worst moment.
fn apply_to_services(fault: Fault, world: &mut World, node: NodeId, other: NodeId) {
    match fault {
        Fault::StopHangs => {
            let until = world.now_us + world.rng.range(500_000, 8_000_000);
            let fencing: Vec<_> = world
                .config
                .groups
                .iter()
                .filter(|group| group.requires == holdfast_proto::config::Requires::Fencing)
                .map(|group| group.name.clone())
                .collect();
            if let Some(machine) = world.machines.get_mut(&node) {
                for group in fencing {
                    machine.agent.groups.entry(group).or_default().stop_hangs_until_us = until;
                }
            }
        }
        Fault::AgentFailures => world.agent_failures_permille = world.rng.range(0, 500),
        Fault::SlowDevice => device(world, node).slow_us = 6_000_000,
        Fault::DeadDevice => device(world, node).refuses = true,
        Fault::PretendingDevice => device(world, node).pretends = true,
        Fault::MendDevice => *device(world, node) = Device::default(),
        Fault::WitnessLoss => world.power_off(NodeId::WITNESS, "it lost power"),
        Fault::Move => {
            let group = world.rng.pick(&world.config.groups.clone()).name.clone();
            world.ask(node, OperatorRequest::Move { group, to: None });
        }
        Fault::Standby => world.ask(node, OperatorRequest::Standby { node, on: true }),
        Fault::Online => world.ask(node, OperatorRequest::Standby { node, on: false }),
        Fault::FenceAsked if node != other && !other.is_witness() => {
            world.ask(node, OperatorRequest::Fence { node: other });
        }
        _ => {}
    }
}

fn device(world: &mut World, node: NodeId) -> &mut Device {
    world.devices.entry(node).or_default()
}

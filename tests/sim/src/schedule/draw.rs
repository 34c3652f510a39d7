//! Drawing a schedule from a seed: swarm testing (Groce et al. 2012). Each seed leaves out some kinds of fault altogether
//! and draws the others at rates of its own, because many situations arise only where other faults do not interfere.

use super::{Ambush, DeviceMode, Fault, Lasting, Left, Moment, Request, Schedule, Strike};
use crate::cluster::{Cluster, drift_ppm};
use crate::rng::Rng;

/// What draws one fault.
type Draw = fn(&mut Rng, &Cluster) -> Fault;

/// Every kind of fault.
const KINDS: &[Draw] = &[
    |rng, cluster| Fault::Cut {
        a: data(rng, cluster),
        b: any(rng, cluster),
    },
    |rng, cluster| Fault::CutOneWay {
        from: any(rng, cluster),
        to: any(rng, cluster),
    },
    |rng, cluster| Fault::Isolate {
        node: any(rng, cluster),
    },
    |rng, _| Fault::Lossy {
        loss: rng.range(0, 400),
        duplicate: rng.range(0, 300),
        jitter_us: rng.range(0, 150_000),
    },
    |rng, cluster| Fault::Delay {
        from: any(rng, cluster),
        to: any(rng, cluster),
        us: rng.range(1_000, 800_000),
    },
    |rng, cluster| Fault::Replay {
        to: any(rng, cluster),
        count: rng.range(1, 30),
    },
    |rng, cluster| Fault::KillHad {
        node: any(rng, cluster),
    },
    |rng, cluster| Fault::PowerLoss {
        node: data(rng, cluster),
    },
    |rng, cluster| Fault::PowerLoss {
        node: any(rng, cluster),
    },
    |_, _| Fault::SitePowerLoss,
    |rng, cluster| Fault::PauseMachine {
        node: any(rng, cluster),
        us: rng.range(20_000, 4_000_000),
    },
    |rng, cluster| Fault::HangHad {
        node: any(rng, cluster),
        us: rng.range(20_000, 4_000_000),
    },
    slow_disk,
    |rng, cluster| Fault::StallDisk {
        node: any(rng, cluster),
        us: rng.range(100_000, 6_000_000),
    },
    |rng, cluster| Fault::FullDisk {
        node: any(rng, cluster),
        full: rng.chance(500),
    },
    |rng, cluster| Fault::CrashInWrite {
        node: any(rng, cluster),
        power: rng.chance(500),
        left: *rng.pick(&[Left::Old, Left::Old, Left::New, Left::New, Left::Torn]),
    },
    |rng, cluster| Fault::CorruptDisk {
        node: any(rng, cluster),
    },
    |rng, cluster| Fault::ReplaceDisk {
        node: any(rng, cluster),
        us: rng.range(300_000, 5_000_000),
    },
    |rng, cluster| Fault::Drift {
        node: any(rng, cluster),
        ppm: drift_ppm(rng),
    },
    wall_jump,
    |rng, cluster| Fault::AgentAway {
        node: data(rng, cluster),
        us: rng.range(20_000, 5_000_000),
    },
    |rng, cluster| Fault::AgentAway {
        node: data(rng, cluster),
        us: rng.range(20_000, 250_000),
    },
    |rng, cluster| Fault::StopHangs {
        node: data(rng, cluster),
        us: rng.range(500_000, 8_000_000),
    },
    |rng, cluster| Fault::StartHangs {
        node: data(rng, cluster),
        us: rng.range(500_000, 8_000_000),
    },
    |rng, _| Fault::StartFailures {
        permille: rng.range(0, 500),
    },
    |rng, cluster| Fault::ResourceFails {
        group: group(rng, cluster),
    },
    |rng, cluster| Fault::MonitorLies {
        group: group(rng, cluster),
    },
    |rng, cluster| Fault::CarrierLost {
        node: data(rng, cluster),
    },
    device,
    device,
    device,
];

/// Of a thousand seeds, those in which Holdfast is upgraded. Everything that travels is then written and read as bytes.
const UPGRADES_PERMILLE: u64 = 100;

/// Mostly the next version or back to this one; sometimes one too far ahead.
const UPGRADE: Draw = |rng, cluster| Fault::Upgrade {
    node: any(rng, cluster),
    version: *rng.pick(&[1, 2, 2, 2, 2, 3]),
};

/// What ends faults; always among those that strike.
const ENDS: &[Draw] = &[
    |_, _| Fault::HealNetwork,
    |_, _| Fault::PowerReturns,
    |_, _| Fault::PowerReturns,
    |rng, cluster| Fault::MendDevices {
        node: data(rng, cluster),
    },
];

/// What operators ask for at the worst moment.
const REQUESTS: &[fn(&mut Rng, &Cluster) -> Request] = &[
    |rng, cluster| Request::Move {
        group: group(rng, cluster),
        to: rng.chance(500).then(|| data(rng, cluster)),
    },
    |rng, cluster| Request::Standby {
        node: data(rng, cluster),
        on: true,
    },
    |rng, cluster| Request::Standby {
        node: data(rng, cluster),
        on: false,
    },
    |_, _| Request::StandbyAll,
    |rng, cluster| Request::Fence {
        node: data(rng, cluster),
    },
    |rng, cluster| Request::FenceConfirm {
        node: data(rng, cluster),
    },
    |_, _| Request::QuorumForce,
    |rng, _| Request::Maintenance { on: rng.chance(400) },
    |rng, cluster| Request::Enable {
        group: group(rng, cluster),
        on: rng.chance(600),
    },
    |rng, cluster| Request::Restart {
        group: group(rng, cluster),
    },
    |rng, _| Request::ApplyDetection {
        ms: *rng.pick(&[300, 700, 1000]),
    },
    |_, _| Request::ApplyMoreGroups,
    |_, _| Request::ApplyFewerGroups,
];

impl Schedule {
    /// The schedule of a seed, with a witness that is kept in etcd.
    #[must_use]
    pub fn draw_with_etcd(seed: u64) -> Schedule {
        let mut schedule = Schedule::draw(seed);
        schedule.cluster.witness_ppm.get_or_insert(0);
        schedule.cluster.etcd = true;
        schedule
    }

    /// The schedule of a seed, with a witness that is kept on one or three shared disks.
    #[must_use]
    pub fn draw_with_disk_witness(seed: u64) -> Schedule {
        let mut schedule = Schedule::draw(seed);
        schedule.cluster.witness_ppm.get_or_insert(0);
        let cluster = &mut schedule.cluster;
        if cluster.disks == 0 {
            cluster.disks = if seed.is_multiple_of(2) { 3 } else { 1 };
        }
        cluster.witness_disks = if cluster.disks == 3 { 3 } else { 1 };
        schedule
    }

    /// The schedule of a seed, with a group that has roles, and with what goes wrong with copies of data.
    #[must_use]
    pub fn draw_with_roles(seed: u64) -> Schedule {
        let mut schedule = Schedule::draw(seed);
        let rng = &mut Rng::of(&[seed, ROLES]);
        schedule.cluster.draw_roles(rng);
        schedule
            .strikes
            .extend(role_strikes(rng, &schedule.cluster, schedule.length_us));
        schedule.strikes.sort_by_key(|strike| strike.at_us);
        schedule
    }

    /// The schedule of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Schedule {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let mut cluster = Cluster::draw(rng);
        cluster.draw_races(&mut Rng::of(&[seed, RACES]));
        cluster.draw_disks(&mut Rng::of(&[seed, DISKS]));
        cluster.draw_job(&mut Rng::of(&[seed, JOBS]));
        let swarm = Swarm::draw(rng);
        let gap_us = *rng.pick(&[200_000, 600_000, 1_500_000, 4_000_000]);
        let length_us = match cluster.is_crowded() {
            // Hundreds of groups are dear: a short phase of them shows what they show.
            true => rng.range(4_000_000, 12_000_000),
            false => rng.range(10_000_000, 60_000_000),
        };
        let mut strikes = Vec::new();
        let mut at_us = 1;
        while at_us < length_us {
            let fault = swarm.fault(rng, &cluster);
            strikes.push(Strike {
                at_us,
                on: None,
                fault,
            });
            at_us += rng.range(gap_us / 4, gap_us * 2);
        }
        strikes.extend(swarm.ambushes(rng, &cluster));
        strikes.extend(disk_strikes(
            &mut Rng::of(&[seed, DISK_FAULTS]),
            &cluster,
            length_us,
        ));
        strikes.extend(watchdogs(&mut Rng::of(&[seed, WATCHDOGS]), &cluster, length_us));
        strikes.sort_by_key(|strike| strike.at_us);
        let lasting = match Lasting::draw(rng, cluster.nodes.len() as u8) {
            // An order needs the boot that is to end: without another device such a node is waited for.
            Lasting::PowerLossUnheard(node) if cluster.disks_only => Lasting::PowerLoss(node),
            drawn => drawn,
        };
        Schedule {
            seed,
            cluster,
            length_us,
            strikes,
            lasting: Some(lasting),
        }
    }
}

/// What tells the stream of the races from others of a seed.
const RACES: u64 = 4;
/// The same for shared disks, and for their faults.
const DISKS: u64 = 5;
const DISK_FAULTS: u64 = 6;
/// The same for a job.
const JOBS: u64 = 9;

/// The same for groups with roles.
const ROLES: u64 = 8;

/// What goes wrong with copies of data, and who asks for their loss.
fn role_strikes(rng: &mut Rng, cluster: &Cluster, length_us: u64) -> Vec<Strike> {
    let draw = |rng: &mut Rng| {
        let node = data(rng, cluster);
        let fault = match rng.range(0, 9) {
            0..=2 => Fault::ReplicaLags {
                node,
                us: rng.range(300_000, 8_000_000),
            },
            3 | 4 => Fault::MemberFails {
                node,
                us: rng.range(50_000, 4_000_000),
            },
            5 => Fault::AgentAway {
                node,
                us: rng.range(20_000, 300_000),
            },
            6 => Fault::PowerLoss { node },
            7 => Fault::Ask {
                at: data(rng, cluster),
                request: Request::MoveAcceptingLoss { group: 0, to: node },
            },
            _ => Fault::Ask {
                at: data(rng, cluster),
                request: Request::Move {
                    group: 0,
                    to: Some(node),
                },
            },
        };
        Strike {
            at_us: rng.range(1, length_us),
            on: None,
            fault,
        }
    };
    (0..rng.range(0, 24)).map(|_| draw(rng)).collect()
}

/// The same for faults of watchdogs.
const WATCHDOGS: u64 = 7;
/// Of a thousand seeds, those with such faults.
const WATCHDOGS_PERMILLE: u64 = 150;

/// Agent processes that come back with another watchdog than before; now and then that node is lost a moment later, with stops
/// that hang: then all depends on who counts on what.
fn watchdogs(rng: &mut Rng, cluster: &Cluster, length_us: u64) -> Vec<Strike> {
    // A mark on shared disks says more of a watchdog than the agent process of this simulator can take back.
    if !rng.chance(WATCHDOGS_PERMILLE) || cluster.disks > 0 {
        return Vec::new();
    }
    let mut strikes = Vec::new();
    for _ in 0..rng.range(1, 6) {
        let node = data(rng, cluster);
        let mut at_us = rng.range(1, length_us);
        let mut strike = |at_us, fault| {
            let on = None;
            strikes.push(Strike { at_us, on, fault });
        };
        let us = *rng.pick(&[0, 0, 1_000_000, 2_000_000]);
        strike(at_us, Fault::Watchdog { node, us });
        let us = rng.range(20_000, 300_000);
        strike(at_us, Fault::AgentAway { node, us });
        if rng.chance(400) {
            at_us += rng.range(1, 1_500_000);
            strike(at_us, Fault::StopHangs { node, us: 8_000_000 });
            strike(at_us, Fault::Isolate { node });
        }
    }
    strikes
}

/// The kinds of fault of one seed, each as often as its rate.
struct Swarm {
    kinds: Vec<Draw>,
    requests: Vec<fn(&mut Rng, &Cluster) -> Request>,
    asks_permille: u64,
}

impl Swarm {
    fn draw(rng: &mut Rng) -> Swarm {
        let share = rng.range(150, 900);
        let mut kinds = Vec::new();
        for kind in KINDS {
            if rng.chance(share) {
                let rate = *rng.pick(&[1, 2, 2, 4, 8]);
                kinds.extend(std::iter::repeat_n(*kind, rate));
            }
        }
        if rng.chance(UPGRADES_PERMILLE) {
            let rate = kinds.len() / 4 + 1;
            kinds.extend(std::iter::repeat_n(UPGRADE, rate));
        }
        let ends = *rng.pick(&[1, 2, 3]) * (1 + kinds.len() / 24);
        kinds.extend(ENDS.iter().flat_map(|kind| std::iter::repeat_n(*kind, ends)));
        let mut requests: Vec<_> = REQUESTS.iter().copied().filter(|_| rng.chance(share)).collect();
        let asks_permille = *rng.pick(&[0, 50, 150, 400]);
        if requests.is_empty() {
            requests.push(*rng.pick(REQUESTS));
        }
        Swarm {
            kinds,
            requests,
            asks_permille,
        }
    }

    /// Faults that wait for moments of the protocol; in half of the seeds, and each of these for its own few kinds.
    fn ambushes(&self, rng: &mut Rng, cluster: &Cluster) -> Vec<Strike> {
        if rng.chance(500) {
            return Vec::new();
        }
        let share = *rng.pick(&[100, 300, 1000]);
        let mut moments: Vec<Moment> = Moment::ALL.into_iter().filter(|_| rng.chance(share)).collect();
        if moments.is_empty() {
            moments.push(*rng.pick(&Moment::ALL));
        }
        let strike = |rng: &mut Rng| {
            let (on, at_us) = Ambush::draw(rng, &moments);
            let fault = self.fault(rng, cluster);
            let on = Some(on);
            Strike { at_us, on, fault }
        };
        (0..rng.range(2, 40)).map(|_| strike(rng)).collect()
    }

    fn fault(&self, rng: &mut Rng, cluster: &Cluster) -> Fault {
        if rng.chance(self.asks_permille) {
            let request = rng.pick(&self.requests)(rng, cluster);
            return Fault::Ask {
                at: data(rng, cluster),
                request,
            };
        }
        rng.pick(&self.kinds)(rng, cluster)
    }
}

fn data(rng: &mut Rng, cluster: &Cluster) -> u8 {
    rng.range(1, cluster.nodes.len() as u64 + 1) as u8
}

fn any(rng: &mut Rng, cluster: &Cluster) -> u8 {
    let first = if cluster.witness_ppm.is_some() { 0 } else { 1 };
    rng.range(first, cluster.nodes.len() as u64 + 1) as u8
}

fn group(rng: &mut Rng, cluster: &Cluster) -> u16 {
    rng.range(0, cluster.groups.len() as u64) as u16
}

/// Shared disks are lost to one node or to all, and come back.
fn disk_strikes(rng: &mut Rng, cluster: &Cluster, length_us: u64) -> Vec<Strike> {
    if cluster.disks == 0 {
        return Vec::new();
    }
    let draw = |rng: &mut Rng| {
        let disk = rng.range(0, u64::from(cluster.disks)) as u8;
        let node = data(rng, cluster);
        let fault = match rng.range(0, 4) {
            0 | 1 => Fault::DiskPathLost { node, disk },
            2 => Fault::SharedDiskLost { disk },
            _ => Fault::SharedDisksReturn,
        };
        let at_us = rng.range(1, length_us);
        Strike {
            at_us,
            on: None,
            fault,
        }
    };
    (0..rng.range(0, 16)).map(|_| draw(rng)).collect()
}

fn slow_disk(rng: &mut Rng, cluster: &Cluster) -> Fault {
    let us = rng.range(5_000, 250_000);
    Fault::SlowDisk {
        node: any(rng, cluster),
        us,
        for_us: 20 * us,
    }
}

/// Up to a day either way, or a clock that lost its battery.
fn wall_jump(rng: &mut Rng, cluster: &Cluster) -> Fault {
    const DAY_US: u64 = 86_400_000_000;
    let node = any(rng, cluster);
    let us = match rng.range(0, 3) {
        0 => -(DAY_US as i64) * 20_000,
        1 => -(rng.range(1, DAY_US) as i64),
        _ => rng.range(1, DAY_US) as i64,
    };
    Fault::WallJump { node, us }
}

fn device(rng: &mut Rng, cluster: &Cluster) -> Fault {
    let mode = match rng.range(0, 6) {
        0 => DeviceMode::Slow {
            us: rng.range(500_000, 8_000_000),
        },
        1 => DeviceMode::Dead,
        2 => DeviceMode::Pretends,
        3 => DeviceMode::ActsLate {
            us: rng.range(100_000, 8_000_000),
        },
        4 => DeviceMode::OffOnly,
        _ => DeviceMode::Flaps,
    };
    Fault::Device {
        node: data(rng, cluster),
        device: rng.range(0, 3) as u8,
        mode,
    }
}

//! The rows: what fails. The group runs on node 1, which leads; in a pair it is also the agreed survivor.

use super::Configuration;
use crate::schedule::{DeviceMode, Fault, Strike};

/// Something that fails.
#[derive(Debug)]
pub struct Failure {
    /// Its name on the command line.
    pub name: &'static str,
    /// What an operator would call it.
    pub title: &'static str,
    /// The faults; none where the row makes no sense.
    pub strikes: fn(Configuration) -> Option<Vec<Strike>>,
}

const OWNER: u8 = 1;
const OTHER: u8 = 2;
const FOREVER_US: u64 = 3_600_000_000;
const SECOND_US: u64 = 1_000_000;

/// All of them, from top to bottom.
pub const ALL: &[Failure] = &[
    Failure {
        name: "power-loss",
        title: "power loss, BMC has power",
        strikes: |_| at_once([power_loss(OWNER)]),
    },
    Failure {
        name: "power-loss-with-bmc",
        title: "power loss of server and BMC",
        strikes: |with| with.has_bmc().then(|| strikes([dead(OWNER), power_loss(OWNER)])),
    },
    Failure {
        name: "kernel-panic",
        title: "kernel panic, frozen machine",
        strikes: |_| {
            at_once([Fault::PauseMachine {
                node: OWNER,
                us: FOREVER_US,
            }])
        },
    },
    Failure {
        name: "had-hangs",
        title: "`had` hangs (SIGSTOP)",
        strikes: |_| {
            at_once([Fault::HangHad {
                node: OWNER,
                us: FOREVER_US,
            }])
        },
    },
    Failure {
        name: "agentd-hangs",
        title: "`had-agentd` hangs",
        strikes: |_| {
            at_once([Fault::AgentAway {
                node: OWNER,
                us: FOREVER_US,
            }])
        },
    },
    Failure {
        name: "all-hang",
        title: "both hang",
        strikes: |_| {
            at_once([
                Fault::HangHad {
                    node: OWNER,
                    us: FOREVER_US,
                },
                Fault::AgentAway {
                    node: OWNER,
                    us: FOREVER_US,
                },
            ])
        },
    },
    Failure {
        name: "nodes-cut",
        title: "the nodes lose each other",
        strikes: |_| at_once([Fault::Cut { a: OWNER, b: OTHER }]),
    },
    Failure {
        name: "unplugged",
        title: "every link of the node is cut, BMC reachable",
        strikes: |_| at_once([Fault::CarrierLost { node: OWNER }]),
    },
    Failure {
        name: "bmc-unreachable",
        title: "the BMC cannot be reached, nothing else",
        strikes: |with| with.has_bmc().then(|| strikes([dead(OWNER)])),
    },
    Failure {
        name: "unplugged-with-bmc",
        title: "every link is cut, the BMC's too",
        strikes: |with| {
            with.has_bmc()
                .then(|| strikes([dead(OWNER), Fault::CarrierLost { node: OWNER }]))
        },
    },
    Failure {
        name: "bmc-lies",
        title: "every link is cut, the BMC says done and does nothing",
        strikes: |with| {
            let lies = device(OWNER, DeviceMode::Pretends);
            with.has_bmc()
                .then(|| strikes([lies, Fault::CarrierLost { node: OWNER }]))
        },
    },
    Failure {
        name: "bmc-slow",
        title: "power loss, the BMC takes 20 s",
        strikes: |with| {
            let slow = device(OWNER, DeviceMode::Slow { us: 20 * SECOND_US });
            with.has_bmc().then(|| strikes([slow, power_loss(OWNER)]))
        },
    },
    Failure {
        name: "disks-lost",
        title: "the node loses its shared disks, nothing else",
        strikes: |with| with_disks(with, disks_of(OWNER, with), []),
    },
    Failure {
        name: "disks-lost-by-both",
        title: "both nodes lose them",
        strikes: |with| with_disks(with, all_disks(with), []),
    },
    Failure {
        name: "disks-lost-unplugged",
        title: "the node loses its disks and every link",
        strikes: |with| {
            let unplugged = Fault::CarrierLost { node: OWNER };
            with_disks(with, disks_of(OWNER, with), [unplugged])
        },
    },
    Failure {
        name: "one-disk-lost-power-loss",
        title: "both lose one disk, then power loss",
        strikes: |with| {
            let lost = vec![Fault::SharedDiskLost { disk: 0 }];
            with_disks(with, lost, [power_loss(OWNER)])
        },
    },
    Failure {
        name: "disks-lost-by-both-power-loss",
        title: "both lose all disks, then power loss",
        strikes: |with| with_disks(with, all_disks(with), [power_loss(OWNER)]),
    },
    Failure {
        name: "disks-lost-by-both-nodes-cut",
        title: "both lose all disks, then each other",
        strikes: |with| with_disks(with, all_disks(with), [Fault::Cut { a: OWNER, b: OTHER }]),
    },
    Failure {
        name: "stop-hangs",
        title: "a stop hangs in a move",
        strikes: |_| {
            let ask = Fault::Ask {
                at: OWNER,
                request: crate::schedule::Request::Move {
                    group: 0,
                    to: Some(OTHER),
                },
            };
            at_once([
                Fault::StopHangs {
                    node: OWNER,
                    us: FOREVER_US,
                },
                ask,
            ])
        },
    },
    Failure {
        name: "cold-start-of-one",
        title: "all lose power, the other node comes back alone",
        strikes: |with| {
            let mut faults = vec![Fault::SitePowerLoss, Fault::PowerReturnsTo { node: OTHER }];
            if with.has_witness() {
                faults.push(Fault::PowerReturnsTo { node: 0 });
            }
            Some(strikes(faults))
        },
    },
    Failure {
        name: "cold-start-of-one-with-bmc",
        title: "the same, and the BMC of the dead one has no power",
        strikes: |with| {
            let mut faults = vec![
                dead(OWNER),
                Fault::SitePowerLoss,
                Fault::PowerReturnsTo { node: OTHER },
            ];
            if with.has_witness() {
                faults.push(Fault::PowerReturnsTo { node: 0 });
            }
            with.has_bmc().then(|| strikes(faults))
        },
    },
    Failure {
        name: "cold-start-of-both",
        title: "all lose power and come back",
        strikes: |_| at_once([Fault::SitePowerLoss, Fault::PowerReturns]),
    },
];

/// What fails, a tenth of a second after the other, so that the order is the same with all dice.
fn strikes(faults: impl IntoIterator<Item = Fault>) -> Vec<Strike> {
    let number = (0..).step_by(100_000);
    let strike = |(at_us, fault)| Strike {
        at_us,
        on: None,
        fault,
    };
    number.zip(faults).map(strike).collect()
}

fn at_once(faults: impl IntoIterator<Item = Fault>) -> Option<Vec<Strike>> {
    Some(strikes(faults))
}

/// The disks are lost first: a look at them before that counts no more when the rest follows.
fn with_disks(
    with: Configuration,
    lost: Vec<Fault>,
    then: impl IntoIterator<Item = Fault>,
) -> Option<Vec<Strike>> {
    let strike = |at_us, fault| Strike {
        at_us,
        on: None,
        fault,
    };
    let first = lost.into_iter().map(|fault| strike(0, fault));
    let then = then.into_iter().map(|fault| strike(3 * SECOND_US, fault));
    (with.disks() > 0).then(|| first.chain(then).collect())
}

fn disks_of(node: u8, with: Configuration) -> Vec<Fault> {
    (0..with.disks())
        .map(|disk| Fault::DiskPathLost { node, disk })
        .collect()
}

fn all_disks(with: Configuration) -> Vec<Fault> {
    (0..with.disks())
        .map(|disk| Fault::SharedDiskLost { disk })
        .collect()
}

fn power_loss(node: u8) -> Fault {
    Fault::PowerLoss { node }
}

fn dead(node: u8) -> Fault {
    device(node, DeviceMode::Dead)
}

fn device(node: u8, mode: DeviceMode) -> Fault {
    Fault::Device {
        node,
        device: 0,
        mode,
    }
}

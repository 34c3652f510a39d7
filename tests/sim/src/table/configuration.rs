//! The columns: how the cluster can be certain that a node is off.

use crate::cluster::{Cluster, GroupPlan, JobPlan, Kind, NodePlan};

/// A way to be certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Configuration {
    /// A witness, and an armed watchdog in each node; no fence device.
    WitnessWatchdog,
    /// A witness, and a BMC for each node; no watchdog.
    WitnessBmc,
    /// A witness, a BMC and an armed watchdog.
    WitnessBoth,
    /// A pair with a BMC for each node, no witness and no watchdog.
    Bmc,
    /// A pair with one shared disk, and the watchdog that SBD needs; nothing else.
    Disk,
    /// The same with three disks.
    ThreeDisks,
}

impl Configuration {
    /// All of them, from left to right.
    pub const ALL: [Configuration; 6] = [
        Configuration::WitnessWatchdog,
        Configuration::WitnessBmc,
        Configuration::WitnessBoth,
        Configuration::Bmc,
        Configuration::Disk,
        Configuration::ThreeDisks,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Configuration::WitnessWatchdog => "witness-watchdog",
            Configuration::WitnessBmc => "witness-bmc",
            Configuration::WitnessBoth => "witness-both",
            Configuration::Bmc => "bmc",
            Configuration::Disk => "disk",
            Configuration::ThreeDisks => "three-disks",
        }
    }

    /// The head of its column.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Configuration::WitnessWatchdog => "witness, watchdog",
            Configuration::WitnessBmc => "witness, BMC",
            Configuration::WitnessBoth => "witness, BMC, watchdog",
            Configuration::Bmc => "pair, BMC",
            Configuration::Disk => "pair, disk",
            Configuration::ThreeDisks => "pair, 3 disks",
        }
    }

    /// There is a witness.
    #[must_use]
    pub fn has_witness(self) -> bool {
        matches!(
            self,
            Configuration::WitnessWatchdog | Configuration::WitnessBmc | Configuration::WitnessBoth
        )
    }

    /// Each node has a BMC.
    #[must_use]
    pub fn has_bmc(self) -> bool {
        matches!(
            self,
            Configuration::WitnessBmc | Configuration::WitnessBoth | Configuration::Bmc
        )
    }

    /// Each node has an armed watchdog.
    #[must_use]
    pub fn has_watchdog(self) -> bool {
        matches!(self, Configuration::WitnessWatchdog | Configuration::WitnessBoth) || self.disks() > 0
    }

    /// How many shared disks there are.
    #[must_use]
    pub fn disks(self) -> u8 {
        match self {
            Configuration::Disk => 1,
            Configuration::ThreeDisks => 3,
            _ => 0,
        }
    }

    /// Two nodes and one group that requires fencing, at `balanced`, with clocks that err a little.
    pub(super) fn cluster(self) -> Cluster {
        let node = |drift_ppm| NodePlan {
            drift_ppm,
            watchdog: self.has_watchdog(),
            bare: !self.has_bmc(),
            ..NodePlan::default()
        };
        Cluster {
            nodes: vec![node(100), node(-100)],
            witness_ppm: self.has_witness().then_some(0),
            etcd: false,
            witness_disks: 0,
            detection_ms: 1000,
            default_spans: true,
            disks: self.disks(),
            disks_only: self.disks() > 0,
            job: JobPlan::None,
            groups: vec![GroupPlan {
                fencing: true,
                prefer: None,
                apart: false,
                after: false,
                kind: Kind::Plain,
            }],
        }
    }
}

//! The columns: how the cluster can be certain that a node is off.

use crate::cluster::{Cluster, GroupPlan, NodePlan};

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
}

impl Configuration {
    /// All of them, from left to right.
    pub const ALL: [Configuration; 4] = [
        Configuration::WitnessWatchdog,
        Configuration::WitnessBmc,
        Configuration::WitnessBoth,
        Configuration::Bmc,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Configuration::WitnessWatchdog => "witness-watchdog",
            Configuration::WitnessBmc => "witness-bmc",
            Configuration::WitnessBoth => "witness-both",
            Configuration::Bmc => "bmc",
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
        }
    }

    /// There is a witness.
    #[must_use]
    pub fn has_witness(self) -> bool {
        self != Configuration::Bmc
    }

    /// Each node has a BMC.
    #[must_use]
    pub fn has_bmc(self) -> bool {
        self != Configuration::WitnessWatchdog
    }

    /// Each node has an armed watchdog.
    #[must_use]
    pub fn has_watchdog(self) -> bool {
        matches!(self, Configuration::WitnessWatchdog | Configuration::WitnessBoth)
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
            detection_ms: 1000,
            default_spans: true,
            disks: 0,
            disks_only: false,
            groups: vec![GroupPlan {
                fencing: true,
                prefer: None,
                apart: false,
                after: false,
            }],
        }
    }
}

//! The scenarios, in the order in which they run.

mod etcd;
mod failures;
mod fencing;
mod front;
mod galera;
mod jobs;
mod membership;
mod operations;
mod overlap;
mod pair;

use anyhow::Result;

use crate::lab::Lab;

/// A scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line and in docs/failure-scenarios.md.
    pub name: &'static str,
    /// Runs it; one sentence of what was seen.
    pub run: fn(&mut Lab) -> Result<String>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "form",
        run: membership::form,
    },
    Scenario {
        name: "standby",
        run: operations::standby,
    },
    Scenario {
        name: "daemon-kill",
        run: failures::daemon_kill,
    },
    Scenario {
        name: "link-cut",
        run: failures::link_cut,
    },
    Scenario {
        name: "node-cut",
        run: failures::node_cut,
    },
    Scenario {
        name: "power-loss",
        run: failures::power_loss,
    },
    Scenario {
        name: "rolling-upgrade",
        run: operations::rolling_upgrade,
    },
    Scenario {
        name: "ipmi",
        run: fencing::ipmi,
    },
    Scenario {
        name: "blackout",
        run: failures::blackout,
    },
    Scenario {
        name: "wrong-key",
        run: membership::wrong_key,
    },
    Scenario {
        name: "wrong-cluster",
        run: membership::wrong_cluster,
    },
    Scenario {
        name: "wrong-version",
        run: membership::wrong_version,
    },
    Scenario {
        name: "pair-blackout",
        run: pair::pair_blackout,
    },
    Scenario {
        name: "fence-race",
        run: pair::fence_race,
    },
    Scenario {
        name: "overlap",
        run: overlap::overlap,
    },
];

/// Those that are run by name only: they need an etcd, or take minutes.
pub const BY_NAME: &[Scenario] = &[
    Scenario {
        name: "front",
        run: front::front,
    },
    Scenario {
        name: "galera",
        run: galera::galera,
    },
    Scenario {
        name: "jobs",
        run: jobs::jobs,
    },
    Scenario {
        name: "etcd-power-loss",
        run: etcd::power_loss,
    },
    Scenario {
        name: "etcd-nodes-part",
        run: etcd::nodes_part,
    },
    Scenario {
        name: "etcd-node-cut",
        run: etcd::node_cut,
    },
    Scenario {
        name: "etcd-trouble",
        run: etcd::trouble,
    },
    Scenario {
        name: "etcd-wiped",
        run: etcd::wiped,
    },
];

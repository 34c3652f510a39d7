//! The scenarios, in the order in which they run.

mod blackout;
mod boards;
mod cuts;
mod drbd;
mod panics;
mod phases;
mod split;
mod takeover;
mod watchdogs;

use std::fmt;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::cluster::Shape;
use crate::lab::Lab;

/// What a scenario saw.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// What happened, in words.
    pub seen: String,
    /// Kind of the proof on which the takeover rests.
    pub proof: Option<String>,
    /// Longest time from one answer to a client to the next.
    pub outage_ms: Option<u128>,
    /// For how long two services were heard at once.
    pub dual_active_ms: u128,
}

impl Outcome {
    /// With nothing measured yet.
    #[must_use]
    pub fn new(seen: String, dual: Duration) -> Outcome {
        Outcome {
            seen,
            dual_active_ms: dual.as_millis(),
            ..Outcome::default()
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(proof) = &self.proof {
            write!(out, "proof {proof}, ")?;
        }
        if let Some(outage) = self.outage_ms {
            write!(out, "outage {outage} ms, ")?;
        }
        write!(out, "dual-active {} ms; {}", self.dual_active_ms, self.seen)
    }
}

/// A scenario.
pub struct Scenario {
    /// Its name on the command line and in docs/failure-scenarios.md.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// The cluster that it begins with.
    pub shape: Shape,
    /// Runs it.
    pub run: fn(&mut Lab) -> Result<Outcome>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "agentd-stopped",
        about: "had-agentd is stopped (SIGSTOP) on the active node: its watchdog resets it",
        shape: Shape::Trio,
        run: watchdogs::agentd_stopped,
    },
    Scenario {
        name: "agentd-killed",
        about: "had-agentd is killed on the active node and not started again: its watchdog resets it",
        shape: Shape::Trio,
        run: watchdogs::agentd_killed,
    },
    Scenario {
        name: "agentd-restarted",
        about: "had-agentd is restarted and killed on both nodes: the next one holds the watchdog, nobody is reset",
        shape: Shape::Trio,
        run: watchdogs::agentd_restarted,
    },
    Scenario {
        name: "hung-stop",
        about: "the active node is cut off and its service cannot be stopped: it ends itself, before its watchdog fires",
        shape: Shape::Trio,
        run: watchdogs::hung_stop,
    },
    Scenario {
        name: "hung-stop-no-reset",
        about: "the same where the kernel's own reset does nothing: its watchdog resets it",
        shape: Shape::Trio,
        run: watchdogs::hung_stop_no_reset,
    },
    Scenario {
        name: "hung-stop-crashes",
        about: "the same while had-agentd dies again and again: no start of it puts the reset off",
        shape: Shape::Trio,
        run: watchdogs::hung_stop_crashes,
    },
    Scenario {
        name: "hung-stop-stopped",
        about: "the same, and had-agentd is stopped by an operator: that does not put the reset off",
        shape: Shape::Trio,
        run: watchdogs::hung_stop_stopped,
    },
    Scenario {
        name: "panic",
        about: "the kernel of the active node panics and hangs (sysrq c): watchdog",
        shape: Shape::Trio,
        run: panics::sysrq,
    },
    Scenario {
        name: "panic-nmi",
        about: "the kernel of the active node panics and hangs (NMI): fenced by its management board",
        shape: Shape::Boards,
        run: panics::nmi,
    },
    Scenario {
        name: "frozen",
        about: "the active machine stands still with all its clocks: fenced by its board",
        shape: Shape::Boards,
        run: panics::frozen,
    },
    Scenario {
        name: "fence-ipmilan",
        about: "the active node is cut off: fence_ipmilan powers it off",
        shape: Shape::Boards,
        run: boards::fence_ipmilan,
    },
    Scenario {
        name: "ipmi",
        about: "the same with our own ipmi device, which verifies the machine",
        shape: Shape::Boards,
        run: boards::ipmi,
    },
    Scenario {
        name: "board-dead-with-server",
        about: "server and management board lose power together: watchdog countdown",
        shape: Shape::Trio,
        run: boards::dead_with_server,
    },
    Scenario {
        name: "board-dead-no-watchdog",
        about: "the same without a watchdog: it waits, says for what, and an operator's word resolves it",
        shape: Shape::Boards,
        run: boards::dead_without_watchdog,
    },
    Scenario {
        name: "pair-board-dead",
        about: "the same in a pair without a witness: it waits, says for what, and the board's return resolves it",
        shape: Shape::Pair,
        run: boards::dead_in_a_pair,
    },
    Scenario {
        name: "board-unreachable",
        about: "the active node is cut off and its board does not answer: watchdog countdown",
        shape: Shape::Trio,
        run: boards::unreachable,
    },
    Scenario {
        name: "cut-active",
        about: "the active node is cut from the other node and the witness",
        shape: Shape::Trio,
        run: cuts::active,
    },
    Scenario {
        name: "cut-passive",
        about: "the passive node is cut from the other node and the witness",
        shape: Shape::Trio,
        run: cuts::passive,
    },
    Scenario {
        name: "cut-witness",
        about: "the witness is cut from both nodes",
        shape: Shape::Trio,
        run: cuts::witness,
    },
    Scenario {
        name: "cut-nodes",
        about: "the nodes are cut from each other, and both reach the witness",
        shape: Shape::Trio,
        run: cuts::nodes,
    },
    Scenario {
        name: "pair-cut",
        about: "a pair without a witness, cut: exactly one survives",
        shape: Shape::Pair,
        run: cuts::pair,
    },
    Scenario {
        name: "blackout",
        about: "both nodes lose power and one comes back, with boards",
        shape: Shape::Boards,
        run: blackout::with_boards,
    },
    Scenario {
        name: "blackout-no-board",
        about: "the same without boards: it waits, says for what, and an operator's word resolves it",
        shape: Shape::Trio,
        run: blackout::without_boards,
    },
    Scenario {
        name: "drbd-mariadb",
        about: "MariaDB on DRBD under a write load: the active node loses power again and again (--cuts), no acknowledged write is lost",
        shape: Shape::Patient,
        run: drbd::mariadb,
    },
    Scenario {
        name: "drbd-split",
        about: "somebody forces DRBD up on the other node: the agreed copy goes on, nothing is thrown away by itself, hactl drbd resolve ends it",
        shape: Shape::Patient,
        run: split::forced_up,
    },
    Scenario {
        name: "pair-blackout",
        about: "a pair without a witness: one that comes back alone waits for the other",
        shape: Shape::Pair,
        run: blackout::pair,
    },
];

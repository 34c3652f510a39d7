//! What can go wrong, and how it is put right again.

use std::time::Duration;

use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::clock::now_us;
use super::cluster::Cluster;
use super::link::{self, Carries};
use super::switch::{self, VIP};
use super::{FaultChoice, Service};
use super::{control, node};

impl FaultChoice {
    /// Every fault that strikes the same group.
    pub const EACH: [FaultChoice; 10] = [
        FaultChoice::Crash,
        FaultChoice::Cut,
        FaultChoice::CutOneway,
        FaultChoice::HangHad,
        FaultChoice::HangAgentd,
        FaultChoice::HangBoth,
        FaultChoice::KillHad,
        FaultChoice::Switchover,
        FaultChoice::VipDeleted,
        FaultChoice::ServiceDies,
    ];

    /// Its name on the command line and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            FaultChoice::Crash => "crash",
            FaultChoice::Cut => "cut",
            FaultChoice::CutOneway => "cut-oneway",
            FaultChoice::HangHad => "hang-had",
            FaultChoice::HangAgentd => "hang-agentd",
            FaultChoice::HangBoth => "hang-both",
            FaultChoice::HangAll => "hang-all",
            FaultChoice::KillHad => "kill-had",
            FaultChoice::Switchover => "switchover",
            FaultChoice::VipDeleted => "vip-deleted",
            FaultChoice::ServiceDies => "service-dies",
            FaultChoice::All => "all",
        }
    }

    /// What the group requires: only without a fence does anything depend on the kernel alone.
    pub fn requires(self) -> &'static str {
        if self == FaultChoice::HangAll {
            "lease"
        } else {
            "fencing"
        }
    }

    /// False for a fault of the service where there is none.
    pub fn applies_to(self, service: Service) -> bool {
        self != FaultChoice::ServiceDies || service != Service::None
    }

    /// What is done to active node `active`, in words.
    pub fn words(self, active: &str) -> String {
        match self {
            FaultChoice::Crash => format!("{active} loses power"),
            FaultChoice::Cut => format!("the links of {active} go dead"),
            FaultChoice::CutOneway => format!("nothing that is sent to {active} arrives any more"),
            FaultChoice::HangHad => format!("had on {active} is frozen"),
            FaultChoice::HangAgentd => format!("had-agentd on {active} is frozen"),
            FaultChoice::HangBoth => format!("had and had-agentd on {active} are frozen"),
            FaultChoice::HangAll => {
                format!("had and had-agentd on {active} are frozen, and nobody is fenced")
            }
            FaultChoice::KillHad => format!("had on {active} is killed"),
            FaultChoice::Switchover => format!("the operator moves the group away from {active}"),
            FaultChoice::VipDeleted => format!("the virtual IP is deleted by hand on {active}"),
            FaultChoice::ServiceDies => format!("the service on {active} is killed"),
            FaultChoice::All => "everything".into(),
        }
    }

    /// True when it takes from the node that is struck the means to know or to tell: others have to notice.
    pub fn blinds(self) -> bool {
        matches!(
            self,
            FaultChoice::Crash
                | FaultChoice::Cut
                | FaultChoice::CutOneway
                | FaultChoice::HangHad
                | FaultChoice::HangBoth
                | FaultChoice::HangAll
        )
    }

    /// How long at least is watched for what the fault does.
    pub fn watch(self, lease: Duration) -> Duration {
        match self {
            FaultChoice::Switchover | FaultChoice::VipDeleted | FaultChoice::ServiceDies => {
                Duration::from_millis(800)
            }
            FaultChoice::KillHad => lease * 4 + Duration::from_secs(1),
            // Until the kernel has taken the address away as well.
            FaultChoice::HangAll => lease * 2 + Duration::from_secs(4),
            _ => lease * 2 + Duration::from_millis(500),
        }
    }

    /// How long is waited for an outage to begin, where the fault causes one sooner or later.
    pub fn outage_begins_within(self, lease: Duration) -> Duration {
        match self {
            FaultChoice::HangHad | FaultChoice::HangAgentd | FaultChoice::HangBoth | FaultChoice::HangAll => {
                lease * 4 + Duration::from_secs(6)
            }
            _ => Duration::ZERO,
        }
    }

    /// Does it to active node `active`. Returns when it was done, in microseconds.
    pub fn strike(self, cluster: &Cluster, active: &str) -> anyhow::Result<u64> {
        let init = cluster
            .outlets
            .init_pid(active)
            .with_context(|| format!("{active} is off"))?;
        // Found before the clock is read: looking through /proc takes a millisecond.
        let daemons = node::daemons_of(init);
        let daemon = |name: &str, signal| -> anyhow::Result<()> {
            let found = daemons.iter().find(|(found, _)| found == name);
            let (_, pid) = found.with_context(|| format!("no {name} runs on {active}"))?;
            Ok(kill(*pid, signal)?)
        };
        let at_us = now_us();
        cluster.story.add(at_us, "demo", "fault", self.words(active));
        match self {
            FaultChoice::Crash => cluster.outlets.off(active)?,
            FaultChoice::Cut => cluster.outlets.carry(active, Carries::Nothing)?,
            FaultChoice::CutOneway => cluster.outlets.carry(active, Carries::OutwardOnly)?,
            FaultChoice::HangHad => daemon("had", Signal::SIGSTOP)?,
            FaultChoice::HangAgentd => daemon("had-agentd", Signal::SIGSTOP)?,
            FaultChoice::HangBoth | FaultChoice::HangAll => {
                daemon("had", Signal::SIGSTOP)?;
                daemon("had-agentd", Signal::SIGSTOP)?;
            }
            FaultChoice::KillHad => daemon("had", Signal::SIGKILL)?,
            FaultChoice::Switchover => {
                let answer = control::move_group(&cluster.paths, active, Cluster::other(active))?;
                cluster.story.now("demo", "move-answered", answer);
            }
            FaultChoice::VipDeleted => {
                let namespace = cluster
                    .outlets
                    .namespace(active)
                    .context("the node has no network")?;
                link::inside(&namespace, || {
                    link::delete_address(&switch::interface(0), VIP, switch::PREFIX)
                })?;
            }
            FaultChoice::ServiceDies => {
                let pid: Pid = cluster.truth.service_pid(active).context("no service runs")?;
                kill(pid, Signal::SIGKILL)?;
            }
            FaultChoice::All => anyhow::bail!("`all` is not one fault"),
        }
        Ok(at_us)
    }

    /// Takes away what is left of the fault: cables carry again, frozen processes go on, failures are forgotten.
    pub fn heal(self, cluster: &Cluster, struck: &str) -> anyhow::Result<()> {
        match self {
            FaultChoice::Crash => cluster.outlets.on(struck),
            FaultChoice::Cut | FaultChoice::CutOneway => cluster.outlets.carry(struck, Carries::All),
            FaultChoice::HangHad | FaultChoice::HangAgentd | FaultChoice::HangBoth => {
                thaw(cluster, struck);
                Ok(())
            }
            FaultChoice::HangAll => {
                thaw(cluster, struck);
                // Nobody was fenced, so no reboot ends the count of moves.
                control::cleanup(&cluster.paths, Cluster::other(struck)).map(|_| ())
            }
            // As an operator does who found out why: else the group is held down after some kills, as it should be.
            FaultChoice::ServiceDies => control::cleanup(&cluster.paths, struck).map(|_| ()),
            _ => Ok(()),
        }
    }
}

/// Lets what is frozen on `node` go on. One that has just been fenced is gone, which is as good.
fn thaw(cluster: &Cluster, node: &str) {
    let daemons = cluster.outlets.init_pid(node).map(node::daemons_of);
    for (_, pid) in daemons.into_iter().flatten() {
        let _ = kill(pid, Signal::SIGCONT);
    }
}

//! What is done to the node on which the group is promoted, or to both, and how it is mended.

use std::fmt;
use std::fs;

use anyhow::{Context, Result, bail};

use super::service::Service;
use crate::machine::Machine;
use crate::net::{MANAGEMENT, Net};
use crate::place::{freeze, thaw};

/// Name of the file that fills a disk.
const BALLAST: &str = "ballast";

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Its power goes.
    Power,
    /// All its cables to the others and to clients are pulled.
    Cut,
    /// All of it stands still for some time, and goes on.
    Hang,
    /// SIGKILL to the server.
    Kill,
    /// The disk that holds the data is full.
    Full,
    /// The power of both nodes goes at the same instant, and comes back for both.
    Blackout,
}

impl Fault {
    /// All of them, in the order in which they take turns.
    pub const ALL: [Fault; 6] = [
        Fault::Power,
        Fault::Kill,
        Fault::Cut,
        Fault::Full,
        Fault::Hang,
        Fault::Blackout,
    ];

    /// By its name.
    pub fn parse(name: &str) -> Result<Fault> {
        let found = Fault::ALL.into_iter().find(|fault| fault.to_string() == name);
        found.with_context(|| {
            format!("there is no fault '{name}'; there are power, cut, hang, kill, full, blackout")
        })
    }

    /// True when the service may come back on the same node: nothing is wrong with that.
    pub fn may_stay(self) -> bool {
        matches!(self, Fault::Kill | Fault::Full | Fault::Blackout)
    }

    /// True when no node is left to go on: it has to be mended first.
    pub fn is_everywhere(self) -> bool {
        self == Fault::Blackout
    }

    /// True for what has to last for some time before it is a fault at all: a server may have room left in its last block.
    pub fn lasts(self) -> bool {
        matches!(self, Fault::Hang | Fault::Full)
    }

    /// Does it to `machine`.
    pub fn strike(self, machine: &Machine, net: &Net, service: &Service) -> Result<()> {
        match self {
            Fault::Power | Fault::Blackout => machine.node().power_off(),
            Fault::Cut => cables(machine, net, false),
            Fault::Hang => freeze(&machine.node().cgroup()?),
            Fault::Kill => {
                let script = format!("kill -KILL $({})", service.pid);
                machine.sh(&script).map(drop)
            }
            Fault::Full => {
                let file = format!("{}/{BALLAST}", service.disk());
                // Until nothing fits any more: what else is written there meanwhile takes its part.
                let script = format!(
                    "dd if=/dev/zero of={file} bs=64k 2>/dev/null; dd if=/dev/zero of={file}2 bs=512 2>/dev/null; true"
                );
                machine.sh(&script).map(drop)
            }
        }
    }

    /// Mends it. Returns when that is done; what follows from it may take longer.
    pub fn mend(self, machine: &Machine, net: &Net, service: &Service) -> Result<()> {
        match self {
            Fault::Power | Fault::Blackout => {}
            Fault::Cut => cables(machine, net, true)?,
            Fault::Hang if machine.node().is_on() => thaw(&machine.node().cgroup()?)?,
            Fault::Hang | Fault::Kill => {}
            Fault::Full => {
                let disk = machine
                    .node()
                    .fittings
                    .binds
                    .first()
                    .map(|(from, _)| from.clone());
                let disk = disk.context("the node has no disk of its own for the data")?;
                for file in [BALLAST.to_string(), format!("{BALLAST}2")] {
                    let path = disk.join(file);
                    match fs::remove_file(&path) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            bail!("{}: {error}", path.display())
                        }
                        _ => {}
                    }
                }
                let _ = service;
            }
        }
        // Fenced meanwhile, or off for good: somebody switches it on.
        machine.node().power_on()
    }
}

fn cables(machine: &Machine, net: &Net, plugged: bool) -> Result<()> {
    (0..MANAGEMENT).try_for_each(|lan| net.cable(&machine.name, lan, plugged))
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Power => "power",
            Fault::Cut => "cut",
            Fault::Hang => "hang",
            Fault::Kill => "kill",
            Fault::Full => "full",
            Fault::Blackout => "blackout",
        })
    }
}

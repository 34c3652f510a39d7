//! A cluster of machines, made as an operator would.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_proto::control::{NodeView, StatusView};

use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::{VIP, address};
use crate::witness::Witness;
use crate::{bmc, qemu, sh};

/// The group.
pub const GROUP: &str = "beacon";
/// How long the cluster may take to be whole again after a fault, with a boot in it.
pub const SETTLE: Duration = Duration::from_secs(240);
/// What the nodes ask of their watchdogs.
pub const WATCHDOG: Duration = Duration::from_secs(5);
/// What adds the watchdog to the unit.
const WATCHED: &str = "/etc/systemd/system/had-agentd.service.d/watchdog.conf";
/// What its configuration says of its lease at first.
const PROFILE: &str = "\nprofile = \"wan\"";
/// An emulated machine that shares its processors is slow, not dead; and one that loses its power again and again is meant to.
const PATIENCE: &str = "\nflap_budget = 1000\ndetection = \"15s\"";
/// An emulated machine may need longer for its daemons' start than a server has for it.
const UNHURRIED: &str = "[Service]\nTimeoutStartSec=15min\n";
/// Where the nodes have the service.
const SERVICE: &str = "/usr/local/lib/holdfast-vm/beacon";

/// Members of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two nodes and a witness, and no fence device: only the watchdogs.
    Trio,
    /// Two nodes and a witness, without watchdogs; scenarios make the management boards its fence devices.
    Boards,
    /// The same with a long lease, for what keeps the machines so busy that they seem dead.
    Patient,
    /// Two nodes without watchdogs, each with its management board as fence device.
    Pair,
}

impl Shape {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Shape::Trio => "trio",
            Shape::Boards => "boards",
            Shape::Patient => "patient",
            Shape::Pair => "pair",
        }
    }

    /// True if there is a witness.
    #[must_use]
    pub fn has_witness(self) -> bool {
        self != Shape::Pair
    }
}

/// A formed cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What it is made of.
    pub shape: Shape,
    /// The data nodes.
    pub machines: Vec<Arc<Machine>>,
    /// The witness, if there is one.
    pub witness: Option<Witness>,
}

impl Cluster {
    /// Installs the package and forms the cluster on machines that have booted.
    pub fn form(&mut self, lab: &Lab) -> Result<()> {
        let shape = self.shape;
        std::thread::scope(|scope| {
            let works: Vec<_> = self
                .machines
                .iter()
                .map(|machine| scope.spawn(move || install(machine, lab, shape)))
                .collect();
            for work in works {
                work.join()
                    .map_err(|_| anyhow::anyhow!("an installing thread panicked"))??;
            }
            anyhow::Ok(())
        })?;
        let [first, second] = self.data();
        let profile = if shape == Shape::Patient {
            "wan"
        } else {
            "balanced"
        };
        first.sh(&format!(
            "hactl cluster init --name vm --profile {profile} --links {}",
            links(first)
        ))?;
        let token = first.sh("hactl cluster token")?;
        second.sh_with(&format!("hactl cluster join --links {} -", links(second)), &token)?;
        if shape.has_witness() {
            let token = first.sh("hactl cluster token --witness")?;
            self.witness.as_mut().context("no witness")?.join(&token)?;
        }
        self.whole(SETTLE)?;
        let group = group();
        let devices = match shape {
            Shape::Trio | Shape::Boards | Shape::Patient => String::new(),
            Shape::Pair => self.devices("ipmi"),
        };
        let patient = |config: String| match shape {
            Shape::Patient => config.replacen(PROFILE, PATIENCE, 1),
            _ => config,
        };
        self.configure(|config| patient(config) + &devices + &group)?;
        self.healthy()
    }

    /// Sections of the management boards of both nodes, used through `agent`.
    #[must_use]
    pub fn devices(&self, agent: &str) -> String {
        let section = |machine: &Arc<Machine>| bmc::section(agent, &machine.name, machine.host);
        self.machines.iter().map(section).collect()
    }

    /// Has the cluster take over what `edit` makes of its configuration.
    pub fn configure(&self, edit: impl FnOnce(String) -> String) -> Result<()> {
        let first = &self.machines[0];
        let config = edit(first.sh("hactl config show")?);
        let mut refused = None;
        let applied = sh::wait("the configuration to be applied", SETTLE, || {
            let apply = "cat > /root/new.toml && hactl config apply /root/new.toml";
            match first.sh_with(apply, &config) {
                Ok(_) => Some(Ok(())),
                // No leader in this moment: machines that are slow lose one now and then.
                Err(error) if error.to_string().contains("exit status 4") => {
                    refused = Some(error);
                    None
                }
                Err(error) => Some(Err(error)),
            }
        });
        applied.with_context(|| format!("{refused:?}"))??;
        self.whole(SETTLE)
    }

    /// The data nodes.
    #[must_use]
    pub fn data(&self) -> [&Machine; 2] {
        [&self.machines[0], &self.machines[1]]
    }

    /// The machine called `name`.
    #[must_use]
    pub fn machine(&self, name: &str) -> &Machine {
        let found = self.machines.iter().find(|machine| machine.name == name);
        found.unwrap_or(&self.machines[0])
    }

    /// The other data node.
    #[must_use]
    pub fn other(&self, name: &str) -> &Machine {
        self.machine(if name == "n1" { "n2" } else { "n1" })
    }

    /// Waits until every member votes, is online, and every data node has the current state.
    pub fn whole(&self, limit: Duration) -> Result<()> {
        let members = self.machines.len() + usize::from(self.witness.is_some());
        for machine in &self.machines {
            machine.wait_status("every member to be back", limit, |view| {
                view.nodes.len() == members
                    && view.voters.len() == members
                    && view
                        .nodes
                        .iter()
                        .all(|node| node.state == "online" && is_synced(node))
            })?;
        }
        Ok(())
    }

    /// Waits until the cluster is whole and runs its group.
    pub fn healthy(&self) -> Result<()> {
        self.whole(SETTLE)?;
        for machine in &self.machines {
            machine.wait_status("the group to run", SETTLE, |view| !owner_in(view).is_empty())?;
        }
        Ok(())
    }

    /// The node that runs the group, as the nodes that answer say.
    pub fn owner(&self) -> Result<String> {
        let view = self.machines.iter().find_map(|machine| machine.status());
        let owner = owner_in(&view.context("no node answers hactl")?);
        ensure!(!owner.is_empty(), "no node runs the group");
        Ok(owner)
    }

    /// Waits until `machine` says that `node` runs the group.
    pub fn runs_on(&self, machine: &Machine, node: &str) -> Result<()> {
        let what = format!("the group to run on {node}");
        machine
            .wait_status(&what, SETTLE, |view| owner_in(view) == node)
            .map(|_| ())
    }

    /// What an engineer wants to read after a failed scenario.
    #[must_use]
    pub fn report(&self) -> String {
        // One by one: what a busy machine does not tell in time is missing, and not all of it.
        let looks = [
            "hactl status",
            "hactl events --last 80",
            "hactl fence history",
            "journalctl --no-pager -o short-precise -n 300 -u had -u had-agentd",
            "journalctl --no-pager -o short-precise -n 100 -k",
            "journalctl --no-pager -o short-precise -n 60 -u mariadb",
        ];
        let mut text: String = self
            .machines
            .iter()
            .map(|machine| {
                let console = machine.vm().files.at("console");
                let console = std::fs::read_to_string(console).unwrap_or_default();
                let tail: Vec<&str> = console.lines().rev().take(40).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                format!(
                    "### {}\n{}\n## console\n{}\n",
                    machine.name,
                    looks.map(|look| machine.look(look)).concat(),
                    tail.join("\n")
                )
            })
            .collect();
        if let Some(witness) = &self.witness {
            text.push_str(&format!("### witness\n{}\n", witness.said()));
        }
        text
    }
}

/// The node on which the group runs according to `view`; empty if on none.
#[must_use]
pub fn owner_in(view: &StatusView) -> String {
    let mut groups = view.groups.iter();
    let group = groups.find(|group| group.name == GROUP && group.state == "running");
    group.map(|group| group.node.clone()).unwrap_or_default()
}

fn is_synced(node: &NodeView) -> bool {
    node.synced || node.role == "witness"
}

fn links(machine: &Machine) -> String {
    format!("{},{}", address(0, machine.host), address(1, machine.host))
}

fn install(machine: &Machine, lab: &Lab, shape: Shape) -> Result<()> {
    machine.put(std::fs::read(&lab.package)?, "/root/holdfast.deb", "644")?;
    machine.put(lab.service.clone(), SERVICE, "755")?;
    machine.put(bmc::PASSWORD.into(), bmc::SECRET, "600")?;
    for unit in ["had", "had-agentd"] {
        let path = format!("/etc/systemd/system/{unit}.service.d/vm.conf");
        machine.put(UNHURRIED.into(), &path, "644")?;
    }
    if shape == Shape::Trio {
        machine.put(watched().into_bytes(), WATCHED, "644")?;
    }
    machine
        .sh("dpkg -i /root/holdfast.deb && rm /root/holdfast.deb")
        .map(|_| ())
}

/// Has `had-agentd` hold the watchdog.
fn watched() -> String {
    format!(
        "[Service]\nExecStart=\nExecStart=/usr/bin/had-agentd --watchdog \"{}\" --watchdog-timeout-ms {}\n",
        qemu::WATCHDOG,
        WATCHDOG.as_millis()
    )
}

/// The service, and the address under which clients find it.
fn group() -> String {
    format!(
        "\n[[group]]\nname = \"{GROUP}\"\nprefer = [\"n1\"]\n\n\
         [[group.resource]]\nname = \"service\"\ntype = \"exec\"\ncommand = [\"{SERVICE}\"]\n\n\
         [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{VIP}/24\"\n"
    )
}

//! A cluster of nodes: made as an operator would, by the provision scripts that Vagrant uses too.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_proto::control::{NodeView, StatusView};

use crate::etcd::Etcd;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::{HARNESS, MANAGEMENT, VIP, address};
use crate::node::{Fittings, Node};

/// The redis group.
pub const GROUP: &str = "cache";
/// How long the cluster may take to be whole again after a fault, on a busy machine.
pub const SETTLE: Duration = Duration::from_secs(60);

/// Members of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Two nodes and a witness.
    Trio,
    /// Two nodes.
    Pair,
    /// Two nodes, and a witness in etcd.
    Etcd,
}

/// A formed cluster.
#[derive(Debug)]
pub struct Cluster {
    /// What it is made of.
    pub shape: Shape,
    /// All members; the witness last.
    pub machines: Vec<Arc<Machine>>,
}

impl Cluster {
    /// Fresh machines with power.
    pub fn boot(lab: &Lab, shape: Shape) -> Result<Cluster> {
        Cluster::boot_with(lab, shape, |_| Ok(Fittings::default()))
    }

    /// The same; `fit` says what each machine has beside its own disk.
    pub fn boot_with(lab: &Lab, shape: Shape, fit: impl Fn(&str) -> Result<Fittings>) -> Result<Cluster> {
        let mut names = vec!["n1", "n2"];
        if shape == Shape::Trio {
            names.push("witness");
        }
        let mut machines = Vec::new();
        for (name, host) in names.into_iter().zip(1..) {
            let mut node = Node::new(&lab.place, &lab.net, &lab.base, name, host)?;
            node.fittings = fit(name)?;
            node.power_on().with_context(|| format!("power on {name}"))?;
            machines.push(Arc::new(Machine::new(node)));
        }
        lab.power.wire(&machines);
        Ok(Cluster { shape, machines })
    }

    /// Installs the packages and forms the cluster.
    pub fn form(&self, lab: &Lab) -> Result<()> {
        self.provision(lab).context("install the packages")?;
        self.join().context("form the cluster")?;
        let mut text = services();
        if self.shape == Shape::Etcd {
            text.push_str(&Etcd::section());
        }
        self.machines[0].sh_with("/root/provision/services.sh", &text)?;
        self.healthy()
    }

    /// Installs every machine, all at once.
    pub fn provision(&self, lab: &Lab) -> Result<()> {
        std::thread::scope(|scope| {
            let works: Vec<_> = self
                .machines
                .iter()
                .map(|machine| scope.spawn(move || install_all(machine, lab)))
                .collect();
            for work in works {
                work.join()
                    .map_err(|_| anyhow::anyhow!("a provisioning thread panicked"))??;
            }
            Ok(())
        })
    }

    /// Makes the cluster on the first node and brings the others in.
    pub fn join(&self) -> Result<()> {
        let first = &self.machines[0];
        first.sh(&format!("/root/provision/first.sh lab {}", links(1)))?;
        let token = first.sh("hactl cluster token")?;
        self.machines[1].sh_with(&format!("/root/provision/join.sh {}", links(2)), &token)?;
        if self.shape == Shape::Trio {
            let token = first.sh("hactl cluster token --witness")?;
            let join = format!("/root/provision/join.sh {} --witness", address(0, 3));
            self.machines[2].sh_with(&join, &token)?;
        }
        self.whole(SETTLE)
    }

    /// The machine called `name`.
    #[must_use]
    pub fn machine(&self, name: &str) -> &Machine {
        let found = self.machines.iter().find(|machine| machine.name == name);
        found.unwrap_or(&self.machines[0])
    }

    /// The data nodes.
    #[must_use]
    pub fn data(&self) -> &[Arc<Machine>] {
        &self.machines[..2]
    }

    /// The other data node.
    #[must_use]
    pub fn other(&self, name: &str) -> &Machine {
        if name == "n1" {
            self.machine("n2")
        } else {
            self.machine("n1")
        }
    }

    /// Waits until every member votes, is online, and every data node has the current state.
    pub fn whole(&self, limit: Duration) -> Result<()> {
        for machine in self.data() {
            machine.wait_status("every member to be back", limit, |view| {
                // A witness in etcd is a member without a machine, from when the configuration has it.
                let register =
                    self.shape == Shape::Etcd && view.nodes.iter().any(|node| node.role == "witness");
                let members = self.machines.len() + usize::from(register);
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
        for machine in self.data() {
            machine.wait_status("the group to run", SETTLE, |view| !owner_in(view).is_empty())?;
        }
        Ok(())
    }

    /// The node that runs the group.
    pub fn owner(&self) -> Result<String> {
        let view = self.machines[0].status().or_else(|| self.machines[1].status());
        let owner = owner_in(&view.context("no node answers hactl")?);
        anyhow::ensure!(!owner.is_empty(), "no node runs the group");
        Ok(owner)
    }

    /// Waits until `machine` says that `node` runs the group.
    pub fn runs_on(&self, machine: &Machine, node: &str) -> Result<()> {
        machine.wait_status(&format!("the group to run on {node}"), SETTLE, |view| {
            owner_in(view) == node
        })?;
        Ok(())
    }

    /// Fails if the virtual address or redis is active on more than one node.
    pub fn single(&self) -> Result<()> {
        let active = |machine: &&Arc<Machine>| {
            machine
                .look("ip -o addr show; systemctl is-active redis-server")
                .lines()
                .any(|line| line.contains(&format!("inet {VIP}/")) || line == "active")
        };
        let nodes: Vec<&str> = self
            .data()
            .iter()
            .filter(active)
            .map(|machine| machine.name.as_str())
            .collect();
        anyhow::ensure!(nodes.len() <= 1, "active on {}", nodes.join(" and "));
        Ok(())
    }

    /// What an engineer wants to read after a failed scenario.
    #[must_use]
    pub fn report(&self) -> String {
        let look = "hactl status; hactl events --last 80; \
                    journalctl -b --no-pager -o short-precise -n 250 -u had -u had-agentd -u had-witness";
        self.machines
            .iter()
            .map(|machine| format!("### {}\n{}\n", machine.name, machine.look(look)))
            .collect()
    }
}

/// The node on which the group runs according to `view`; empty if on none.
fn owner_in(view: &StatusView) -> String {
    let group = view
        .groups
        .iter()
        .find(|group| group.name == GROUP && group.state == "running");
    group.map(|group| group.node.clone()).unwrap_or_default()
}

fn is_synced(node: &NodeView) -> bool {
    node.synced || node.role == "witness"
}

fn links(host: u8) -> String {
    format!("{},{}", address(0, host), address(1, host))
}

fn install_all(machine: &Machine, lab: &Lab) -> Result<()> {
    machine.node().booted()?;
    let package = if machine.name == "witness" {
        "holdfast-witness"
    } else {
        "holdfast"
    };
    {
        let node = machine.node();
        for script in ["install.sh", "redis.sh", "first.sh", "join.sh", "services.sh"] {
            node.put(
                &lab.source.join("vagrant/provision").join(script),
                &format!("/root/provision/{script}"),
            )?;
        }
        let fence = lab.source.join("tests/lab/files/fence_lab");
        node.put(&fence, "/usr/local/lib/holdfast-lab/fence_lab")?;
    }
    if package == "holdfast" {
        machine.sh("/root/provision/redis.sh")?;
    }
    install(machine, &lab.package(package, "")?)
}

/// Installs or upgrades to the package file `deb`.
pub fn install(machine: &Machine, deb: &Path) -> Result<()> {
    machine.node().put(deb, "/root/package.deb")?;
    machine
        .sh("/root/provision/install.sh /root/package.deb")
        .map(|_| ())
}

/// The fence devices, as an operator would write them.
#[must_use]
pub fn fences() -> String {
    let mut text = String::new();
    for node in ["n1", "n2"] {
        text.push_str(&format!(
            "[[fence]]\nnode = \"{node}\"\nagent = \"exec\"\n\
             params = {{ program = \"/usr/local/lib/holdfast-lab/fence_lab\", ip = \"{}\", plug = \"{node}\" }}\n\n",
            address(MANAGEMENT, HARNESS)
        ));
    }
    text
}

/// The fence devices and the redis group.
fn services() -> String {
    let mut text = fences();
    text.push_str(&format!(
        "[[group]]\nname = \"{GROUP}\"\nprefer = [\"n1\"]\n\n\
         [[group.resource]]\nname = \"redis\"\ntype = \"systemd\"\nunit = \"redis-server.service\"\n\n\
         [[group.resource.probe]]\ntcp = \"127.0.0.1:6379\"\n\n\
         [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{VIP}/24\"\n"
    ));
    text
}

/// The newest file of `dir` whose name begins with `prefix` and ends with `end`.
pub fn find(dir: &Path, prefix: &str, end: &str) -> Result<PathBuf> {
    let entries = std::fs::read_dir(dir).with_context(|| dir.display().to_string())?;
    let mut found: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(end)
    });
    found.sort();
    found
        .pop()
        .with_context(|| format!("no {prefix}*{end} in {}: run `cargo xtask lab`", dir.display()))
}

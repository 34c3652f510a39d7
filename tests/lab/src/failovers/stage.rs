//! The cluster that runs the service, and what is asked of it.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_proto::control::{GroupView, StatusView};

use super::FAILOVER_VIP;
use super::sentinel::Follower;
use super::service::{Copies, Service};
use super::writer::{Target, Writer};
use crate::cluster::{Cluster, Shape, fences};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::address;
use crate::node::Fittings;
use crate::sh;
use crate::torture::history::Clock;

/// How long it may take until the service runs and both copies are whole, on a busy machine.
pub const WHOLE: Duration = Duration::from_secs(120);
/// Size of the disk that holds the data.
const DISK_MIB: u64 = 640;

/// As provision/services.sh. Failovers follow each other here as nowhere else, so the budget for them is large.
const APPLY: &str = "set -e; new=$(mktemp); \
                     { hactl config show | sed '/^flap_budget/d; s/^\\[cluster\\]$/[cluster]\\nflap_budget = 1000/'; echo; cat; } >$new; \
                     hactl config check $new; hactl config apply $new";

/// A cluster of two nodes and a witness that runs one service.
pub struct Stage {
    /// The service.
    pub service: &'static Service,
    /// Its machines.
    pub cluster: Cluster,
    /// What they stand in. Last, so that it goes last.
    pub lab: Lab,
}

impl Stage {
    /// Boots the nodes.
    pub fn set(service: &'static Service) -> Result<Stage> {
        if let Some((programs, _)) = service.programs {
            let unpack = format!("cargo xtask failovers {} unpacks it", service.name);
            anyhow::ensure!(Path::new(programs).is_dir(), "{programs} is missing; {unpack}");
        }
        let lab = Lab::new(0)?;
        let dir = lab.place.dir();
        let cluster = Cluster::boot_with(&lab, Shape::Trio, |name| {
            let mut fittings = Fittings::default();
            if name != "witness" {
                let disk = match service.copies {
                    Copies::Replica | Copies::Cluster => disk(&dir, name)?,
                    Copies::Shared if dir.join("shared.data").exists() => dir.join("shared.data"),
                    Copies::Shared => disk(&dir, "shared")?,
                };
                fittings.binds.push((disk, service.bound().into()));
                let programs = service.programs.into_iter();
                fittings
                    .shown
                    .extend(programs.map(|(from, to)| (from.into(), to.into())));
            }
            Ok(fittings)
        })?;
        Ok(Stage {
            service,
            cluster,
            lab,
        })
    }

    /// Installs the service and forms the cluster.
    pub fn form(&self) -> Result<()> {
        self.cluster
            .provision(&self.lab)
            .context("install the packages")?;
        self.cluster.join().context("form the cluster")?;
        std::thread::scope(|scope| {
            let data = self.data().iter();
            let works: Vec<_> = data
                .map(|machine| scope.spawn(|| self.prepare(machine)))
                .collect();
            works
                .into_iter()
                .try_for_each(|work| work.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
        })?;
        self.add(&format!("{}{}", fences(), self.service.group()))?;
        self.whole()?;
        self.create()
    }

    fn prepare(&self, machine: &Machine) -> Result<()> {
        let script = self.lab.source.join("tests/lab/files").join(self.service.prepare);
        machine.node().put(&script, "/root/prepare")?;
        machine.sh("sh /root/prepare").map(drop)
    }

    /// What the clients need, made on the primary.
    fn create(&self) -> Result<()> {
        if self.service.create.is_empty() {
            return Ok(());
        }
        self.cluster
            .machine(&self.primary()?)
            .sh(self.service.create)
            .map(drop)
    }

    /// Adds to the configuration.
    pub fn add(&self, text: &str) -> Result<()> {
        self.cluster.machines[0].sh_with(APPLY, text).map(drop)
    }

    /// Where the clients of the virtual address connect.
    pub fn vip(&self) -> Result<SocketAddr> {
        at(FAILOVER_VIP, self.service.port)
    }

    /// The own address of the node at `place` among the data nodes.
    pub fn own(&self, place: u8) -> Result<SocketAddr> {
        at(&address(0, place + 1), self.service.port)
    }

    /// Where node `name` is reached by clients.
    pub fn address_of(&self, name: &str) -> Result<String> {
        let place = self.data().iter().position(|machine| machine.name == name);
        let place = place.with_context(|| format!("{name} is no data node"))?;
        Ok(address(0, u8::try_from(place)? + 1))
    }

    /// Starts a client that asks the nodes for the primary.
    pub fn follower(&self, port: u16, clock: Clock) -> Result<Follower> {
        let addresses: Result<Vec<String>> = self
            .data()
            .iter()
            .map(|machine| self.address_of(&machine.name))
            .collect();
        Follower::start(&self.lab.source, port, &addresses?, &self.lab.net, clock)
    }

    /// The node on which the group is promoted.
    pub fn primary(&self) -> Result<String> {
        let view = self.cluster.data().iter().find_map(|machine| machine.status());
        let view = view.context("no node answers hactl")?;
        let group = self.group(&view).context("the group is not configured")?;
        anyhow::ensure!(
            group.state == "running",
            "the group is {}: {}",
            group.state,
            group.reason
        );
        Ok(group.node.clone())
    }

    fn group<'a>(&self, view: &'a StatusView) -> Option<&'a GroupView> {
        view.groups.iter().find(|group| group.name == self.service.name)
    }

    /// Waits until the group runs, both copies are whole and all members are back.
    pub fn whole(&self) -> Result<()> {
        self.cluster.whole(WHOLE)?;
        for machine in self.cluster.data() {
            machine.wait_status("both copies to be whole", WHOLE, |view| {
                self.group(view).is_some_and(|group| self.is_whole(group))
            })?;
        }
        Ok(())
    }

    /// It runs, and both nodes have a copy that holds everything.
    fn is_whole(&self, group: &GroupView) -> bool {
        let well = group
            .members
            .iter()
            .filter(|member| member.in_sync && member.state == "running");
        group.state == "running" && (self.service.copies == Copies::Shared || well.count() == 2)
    }

    /// All that the primary has, and that the other copy has the same.
    pub fn read_back(&self) -> Result<Vec<u64>> {
        let primary = self.read_primary()?;
        if self.service.copies != Copies::Replica {
            return Ok(primary);
        }
        let mut seen = [primary, Vec::new(), Vec::new()];
        let same = sh::wait("both copies to be the same", WHOLE, || {
            // All of them anew: a write that nobody waits for any more may be committed late.
            let places = [self.vip(), self.own(0), self.own(1)];
            for (seen, at) in seen.iter_mut().zip(places) {
                *seen = self.read(at.ok()?).ok()?;
            }
            (seen[0] == seen[1] && seen[1] == seen[2]).then_some(())
        });
        let [primary, first, second] = seen;
        same.with_context(|| difference(&first, &second))?;
        Ok(primary)
    }

    /// All that the primary has, read at the virtual address.
    pub fn read_primary(&self) -> Result<Vec<u64>> {
        self.read(self.vip()?)
    }

    fn read(&self, at: SocketAddr) -> Result<Vec<u64>> {
        let (net, store) = (self.lab.net.clone(), self.service.store);
        let thread = std::thread::spawn(move || {
            net.enter()?;
            let mut store = store(at);
            sh::wait("the server to tell all that it has", WHOLE, || {
                store.read_all().ok()
            })
        });
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
    }

    /// What an engineer wants to read after a run that went wrong.
    pub fn report(&self) -> String {
        let log = |machine: &Arc<Machine>| {
            format!(
                "### log of {}\n{}\n",
                machine.name,
                machine.look(self.service.log)
            )
        };
        let logs: String = self.data().iter().map(log).collect();
        format!("{}{logs}", self.cluster.report())
    }

    /// Writes that down, and says where.
    pub fn keep_report(&self, word: &str) -> Result<()> {
        let name = format!("{word}-{}", self.service.name);
        let file = self.lab.log(&name, &self.report())?;
        eprintln!("lab: what the nodes say is in {}", file.display());
        Ok(())
    }

    /// A client that writes at the virtual address, from its first acknowledged write on.
    pub fn writing(&self, clock: Clock) -> Result<Writer> {
        let target = (Target::Vip, self.vip()?);
        let writer = Writer::start(self.service, target, (0, 1), &self.lab.net, clock)?;
        sh::wait("a write to be acknowledged", WHOLE, || {
            writer.last_ack_ms().map(drop)
        })?;
        Ok(writer)
    }

    /// The data nodes.
    pub fn data(&self) -> &[Arc<Machine>] {
        self.cluster.data()
    }
}

/// What one copy has and the other lacks.
fn difference(first: &[u64], second: &[u64]) -> String {
    let only = |these: &[u64], others: &[u64]| {
        let others: BTreeSet<u64> = others.iter().copied().collect();
        let only = these.iter().filter(|id| !others.contains(id)).map(u64::to_string);
        only.collect::<Vec<_>>().join(" ")
    };
    format!(
        "n1 has {} writes, n2 {}; only n1: [{}], only n2: [{}]",
        first.len(),
        second.len(),
        only(first, second),
        only(second, first)
    )
}

fn at(address: &str, port: u16) -> Result<SocketAddr> {
    let address: IpAddr = address.parse().with_context(|| format!("address {address}"))?;
    Ok(SocketAddr::new(address, port))
}

/// A disk of its own for the data of node `name`, mounted. It goes with the mount namespace of this process.
fn disk(dir: &Path, name: &str) -> Result<PathBuf> {
    let (file, mounted) = (dir.join(format!("{name}.disk")), dir.join(format!("{name}.data")));
    fs::create_dir_all(&mounted)?;
    fs::File::create(&file)?.set_len(DISK_MIB << 20)?;
    let (file, folder) = (file.display().to_string(), mounted.display().to_string());
    sh::run("mkfs.ext4", &["-q", "-F", "-m", "0", "-O", "^has_journal", &file])?;
    sh::run("mount", &["-o", "loop", &file, &folder])?;
    Ok(mounted)
}

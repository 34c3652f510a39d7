//! What all scenarios share: network, boards, observer and client, and a cluster that is as new for each of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::beacon;
use crate::bmc::Bmc;
use crate::client::Client;
use crate::cluster::{Cluster, Shape};
use crate::image::{Image, Lock};
use crate::machine::Machine;
use crate::net::Net;
use crate::place::Place;
use crate::power::Power;
use crate::saved::Saved;
use crate::sh;
use crate::vm::Vm;
use crate::watch::Watch;
use crate::witness::Witness;

/// The data nodes; the first has number 1.
const NODES: [&str; 2] = ["n1", "n2"];

/// Everything but the machines.
#[derive(Debug)]
pub struct Lab {
    /// The network.
    pub net: Net,
    /// What switches the machines.
    pub power: Power,
    /// Hears the service wherever it runs.
    pub watch: Watch,
    /// Asks the service at its address.
    pub client: Client,
    /// The package that the nodes install.
    pub package: PathBuf,
    /// The service that they run.
    pub service: Vec<u8>,
    /// How often a scenario that repeats itself cuts the power.
    pub cuts: u32,
    boards: Vec<Bmc>,
    cluster: Option<Cluster>,
    witness_package: PathBuf,
    source: PathBuf,
    place: Place,
    image: Image,
    _lock: Lock,
}

impl Lab {
    /// Makes it, with the packages in `packages`.
    pub fn new(packages: &Path, cuts: u32) -> Result<Lab> {
        let lock = Lock::take()?;
        let image = Image::get(&lock)?;
        let place = Place::new(std::process::id());
        fs::create_dir_all(place.dir())?;
        let net = Net::new(&place, &NODES).context("make the network")?;
        let mut source = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        source.pop();
        source.pop();
        let board = |(name, host): (&&str, u8)| Bmc::start(&place, &net, &source, name, host);
        Ok(Lab {
            power: Power::start(&net)?,
            watch: Watch::start(&net)?,
            client: Client::start(&net)?,
            package: package(packages, "holdfast_")?,
            witness_package: package(packages, "holdfast-witness_")?,
            service: stripped(&place)?,
            cuts,
            boards: NODES.iter().zip(1..).map(board).collect::<Result<_>>()?,
            cluster: None,
            net,
            source,
            place,
            image,
            _lock: lock,
        })
    }

    /// A new cluster of that shape, which runs its group on n1.
    pub fn fresh(&mut self, shape: Shape) -> Result<()> {
        self.discard();
        self.net.heal()?;
        for board in &mut self.boards {
            board.run()?;
        }
        let packages = [fs::read(&self.package)?, fs::read(&self.witness_package)?];
        let parts = [&self.service[..], &packages[0], &packages[1]];
        let saved = Saved::new(shape.name(), &self.key(&parts));
        if !saved.is_there() {
            let begun = Instant::now();
            self.cluster = Some(self.form(shape)?);
            let cluster = self.cluster.as_mut().context("no cluster")?;
            saved.save(&cluster.machines, cluster.witness.as_mut())?;
            self.discard();
            eprintln!(
                "vm: formed a {} and saved it in {:.0} s",
                shape.name(),
                begun.elapsed().as_secs_f64()
            );
        }
        // Kept also when it does not come up: its report is wanted.
        let cluster = self.parts(shape)?;
        let cluster = self.cluster.insert(cluster);
        saved.restore(&cluster.machines, cluster.witness.as_mut())?;
        self.power.wire(&cluster.machines);
        cluster.healthy()
    }

    /// The cluster of the scenario.
    pub fn cluster(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("no cluster")
    }

    /// The board of the node `name`.
    pub fn board(&mut self, name: &str) -> Result<&mut Bmc> {
        let at = NODES
            .iter()
            .position(|node| *node == name)
            .context("no such board")?;
        Ok(&mut self.boards[at])
    }

    /// The source tree.
    #[must_use]
    pub fn source(&self) -> &Path {
        &self.source
    }

    /// Switches the cluster off and forgets it.
    pub fn discard(&mut self) {
        self.power.wire(&[]);
        self.cluster = None;
    }

    /// Machines without power.
    fn parts(&self, shape: Shape) -> Result<Cluster> {
        let machine = |(name, host): (&&str, u8)| {
            let vm = Vm::new(&self.place, &self.net, &self.image, name, host)?;
            Ok(Arc::new(Machine::new(vm)))
        };
        let witness = || Witness::new(&self.place, &self.net, &self.witness_package);
        Ok(Cluster {
            shape,
            machines: NODES.iter().zip(1..).map(machine).collect::<Result<_>>()?,
            witness: shape.has_witness().then(witness).transpose()?,
        })
    }

    fn form(&mut self, shape: Shape) -> Result<Cluster> {
        let booted = Saved::new("booted", &self.key(&[]));
        if !booted.is_there() {
            let begun = Instant::now();
            let cluster = self.parts(shape)?;
            for machine in &cluster.machines {
                machine.vm().lay_disks(None)?;
                machine.vm().power_on()?;
            }
            for machine in &cluster.machines {
                machine.booted()?;
            }
            booted.save(&cluster.machines, None)?;
            eprintln!(
                "vm: booted both machines and saved them in {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
        let mut cluster = self.parts(shape)?;
        booted.restore(&cluster.machines, None)?;
        self.power.wire(&cluster.machines);
        if let Err(error) = cluster.form(self) {
            eprintln!("{}", cluster.report());
            return Err(error.context("form the cluster"));
        }
        Ok(cluster)
    }

    /// What a saved state is made of: the image, and `parts`.
    fn key(&self, parts: &[&[u8]]) -> String {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        add(self.image.name().as_bytes());
        // The machines know the cards that they have talked to, and their memory and devices go on as they were.
        add(include_bytes!("net.rs"));
        add(include_bytes!("qemu.rs"));
        for part in parts {
            add(part);
        }
        format!("{hash:016x}")
    }
}

/// The only package in `dir` whose name begins so.
fn package(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(prefix) && name.ends_with(".deb")
    });
    match found.len() {
        1 => Ok(found.remove(0)),
        count => bail!(
            "{count} packages {prefix}*.deb in {}: run `cargo xtask vm`",
            dir.display()
        ),
    }
}

/// The service without what only a debugger reads, and what would make it another one with each change of the harness.
fn stripped(place: &Place) -> Result<Vec<u8>> {
    let from = std::env::current_exe()?.with_file_name(beacon::PROGRAM);
    let to = place.dir().join("service");
    sh::run(
        "strip",
        &[
            "--remove-section=.note.gnu.build-id",
            "-o",
            &to.display().to_string(),
            &from.display().to_string(),
        ],
    )?;
    Ok(fs::read(to)?)
}

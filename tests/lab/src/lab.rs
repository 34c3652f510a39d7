//! The lab: what all scenarios share, and the cluster that one hands to the next.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cluster::{Cluster, Shape, find};
use crate::etcd::Etcd;
use crate::image;
use crate::net::Net;
use crate::place::Place;
use crate::power::Power;

/// A lab without nodes yet.
#[derive(Debug)]
pub struct Lab {
    /// Names of what it makes.
    pub place: Place,
    /// Its network.
    pub net: Net,
    /// Its power controller.
    pub power: Power,
    /// The Debian root under every node.
    pub base: PathBuf,
    /// The project's source tree.
    pub source: PathBuf,
    /// How often the fence race is run.
    pub races: u32,
    cluster: Option<Cluster>,
    etcd: Option<Etcd>,
}

impl Lab {
    /// Makes it, for that many fence races.
    pub fn new(races: u32) -> Result<Lab> {
        let base = image::root().context("make the nodes' root")?;
        let place = Place::new(std::process::id());
        std::fs::create_dir_all(place.dir())?;
        let net = Net::new(&place).context("make the network")?;
        let power = Power::start(&net)?;
        let mut source = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        source.pop();
        source.pop();
        Ok(Lab {
            place,
            net,
            power,
            base,
            source,
            races,
            cluster: None,
            etcd: None,
        })
    }

    /// Writes down what an engineer wants to read after `name` went wrong; the file.
    pub fn log(&self, name: &str, text: &str) -> std::io::Result<PathBuf> {
        let dir = self.source.join("target/lab/logs");
        std::fs::create_dir_all(&dir)?;
        let file = dir.join(format!("{name}.txt"));
        std::fs::write(&file, text)?;
        Ok(file)
    }

    /// A healthy cluster of that shape: the one of the last scenario if it fits, otherwise a new one.
    pub fn cluster(&mut self, shape: Shape) -> Result<&Cluster> {
        if self
            .cluster
            .as_ref()
            .is_some_and(|cluster| cluster.shape != shape)
        {
            self.discard();
        }
        if shape == Shape::Etcd && self.etcd.is_none() {
            self.etcd = Some(Etcd::start(self).context("start etcd")?);
        }
        if self.cluster.is_none() {
            let cluster = Cluster::boot(self, shape)?;
            let formed = cluster.form(self);
            // Kept also when it could not be formed: its report is wanted.
            self.cluster = Some(cluster);
            formed?;
        }
        let cluster = self.cluster.as_ref().context("no cluster")?;
        cluster.healthy()?;
        // What one scenario ordered is not the next one's business.
        drop(self.power.take_orders());
        Ok(cluster)
    }

    /// Switches the cluster off and forgets it; the next scenario forms a new one.
    pub fn discard(&mut self) {
        self.power.wire(&[]);
        self.cluster = None;
        self.etcd = None;
    }

    /// The cluster as the scenario under way left it.
    pub fn cluster_as_it_is(&self) -> Result<&Cluster> {
        self.cluster.as_ref().context("no cluster")
    }

    /// The etcd that holds the witness.
    pub fn etcd(&mut self) -> Result<&mut Etcd> {
        self.etcd.as_mut().context("no etcd")
    }

    /// The same, to be asked.
    pub fn etcd_now(&self) -> Result<&Etcd> {
        self.etcd.as_ref().context("no etcd")
    }

    /// What the cluster says of itself, for a failed scenario's log.
    #[must_use]
    pub fn report(&self) -> String {
        self.cluster.as_ref().map(Cluster::report).unwrap_or_default()
    }

    /// The file of a package; with `suffix` the one with the higher version.
    pub fn package(&self, name: &str, suffix: &str) -> Result<PathBuf> {
        let dir = self.source.join("target/lab");
        let version = format!("{name}_{}{suffix}_", env!("CARGO_PKG_VERSION"));
        find(&dir, &version, ".deb")
    }
}

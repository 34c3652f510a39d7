//! Holdfast on the stage: the cluster of `hactl demo`, two nodes and a witness.

use std::time::Duration;

use holdfast_hactl::demo::cluster::{Cluster, MACHINES};
use holdfast_hactl::demo::paths::Paths;
use holdfast_hactl::demo::{DemoArgs, Profile, Service, control};

use super::team::{Surroundings, Team};

/// The cluster.
pub struct Holdfast {
    cluster: Cluster,
    around: Surroundings,
}

impl Holdfast {
    /// Builds it with the lease of `profile`.
    pub fn start(profile: Profile) -> anyhow::Result<Holdfast> {
        let args = DemoArgs {
            fault: None,
            runs: 1,
            profile,
            service: Service::Builtin,
            verbose: false,
            json: true,
            keep_logs: None,
            hogs: None,
            hogs_for: Duration::ZERO,
            idle: None,
            internal: Vec::new(),
        };
        let cluster = Cluster::start(&args, &Paths::in_stage())?;
        let around = Surroundings {
            outlets: cluster.outlets.clone(),
            client: cluster.client.clone(),
            truth: cluster.truth.clone(),
            story: cluster.story.clone(),
        };
        Ok(Holdfast { cluster, around })
    }
}

impl Team for Holdfast {
    fn around(&self) -> &Surroundings {
        &self.around
    }

    fn machines(&self) -> &[&'static str] {
        &MACHINES
    }

    fn trouble(&self) -> Option<String> {
        self.cluster.unhealthy().err()
    }

    fn switch(&self, from: &str, to: &str) -> anyhow::Result<()> {
        control::move_group(&self.cluster.paths, from, to).map(|_| ())
    }

    fn tidy(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(60) + self.cluster.lease * 3
    }
}

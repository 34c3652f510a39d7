//! keepalived on two nodes: the address moves, the service runs on both all the time. Nobody is fenced.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use holdfast_hactl::demo::node::{Daemon, daemon_command, daemons_of, supervise};
use holdfast_hactl::demo::switch::{PREFIX, VIP, interface};
use nix::sys::signal::{Signal, kill};

use super::team::{Surroundings, Team};
use super::{files, peer};
use crate::contender::{Contender, Manager};

const MACHINES: [&str; 2] = ["n1", "n2"];

/// The pair.
pub struct Keepalived {
    around: Surroundings,
    detection: Duration,
}

impl Keepalived {
    /// Writes the configurations and powers both nodes on.
    pub fn start(contender: Contender) -> anyhow::Result<Keepalived> {
        let Manager::Keepalived { advert_cs, priority } = contender.manager else {
            anyhow::bail!("{contender} is not keepalived");
        };
        for (machine, priority) in MACHINES.iter().zip([priority, priority - 1]) {
            let disk = files::folder(machine, "disk");
            fs::create_dir_all(&disk)?;
            fs::write(disk.join("keepalived.conf"), config(machine, advert_cs, priority))?;
        }
        Ok(Keepalived {
            around: peer::surround(contender, peer::machines(MACHINES.len()))?,
            detection: contender.detection(),
        })
    }
}

/// Both are BACKUP with `nopreempt`, so that a node that returns does not take the address back.
fn config(machine: &str, advert_cs: u32, priority: u8) -> String {
    let advert = f64::from(advert_cs) / 100.0;
    let interface = interface(0);
    format!(
        "global_defs {{\n  router_id {machine}\n  vrrp_version 3\n}}\nvrrp_instance bench {{\n  state BACKUP\n  \
         nopreempt\n  interface {interface}\n  virtual_router_id 77\n  priority {priority}\n  advert_int {advert:.2}\n  \
         virtual_ipaddress {{\n    {VIP}/{PREFIX}\n  }}\n}}\n"
    )
}

/// PID 1 of node `name`.
pub fn run(name: &str) -> anyhow::Result<ExitCode> {
    peer::settle_in(name)?;
    let config = files::folder(name, "disk/keepalived.conf");
    // What the log says is read by `trouble`: it must be of this boot.
    let _ = fs::remove_file(files::log_path(name, "keepalived"));
    let mut keepalived = daemon_command("/usr/sbin/keepalived".as_ref(), files::log(name, "keepalived")?)?;
    keepalived.args(["--dont-fork", "--log-console", "--log-detail", "--use-file"]);
    keepalived.arg(config);
    let mut service = Command::new(files::bench());
    service.args(["--internal", "service"]);
    supervise(vec![
        Daemon::new("service", service),
        Daemon::new("keepalived", keepalived),
    ])
}

impl Team for Keepalived {
    fn around(&self) -> &Surroundings {
        &self.around
    }

    fn machines(&self) -> &[&'static str] {
        &MACHINES
    }

    fn trouble(&self) -> Option<String> {
        if MACHINES.iter().all(|node| self.around.truth.has_vip(node)) {
            return Some("both nodes have the address".into());
        }
        let asleep = MACHINES.iter().find(|node| !has_state(node));
        asleep.map(|node| format!("keepalived on {node} has not begun yet"))
    }

    /// As `systemctl stop keepalived` does: the master says that it resigns. It is started again as backup.
    fn switch(&self, from: &str, _to: &str) -> anyhow::Result<()> {
        let init = self.around.outlets.init_pid(from).context("the node is off")?;
        let daemons = daemons_of(init);
        let found = daemons.iter().find(|(name, _)| name == "keepalived");
        let (_, pid) = found.with_context(|| format!("no keepalived runs on {from}"))?;
        Ok(kill(*pid, Signal::SIGTERM)?)
    }

    fn tidy(&self) -> anyhow::Result<()> {
        Ok(())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(30) + self.detection * 3
    }
}

/// True when the latest that keepalived on `node` said about itself is that it is master or backup.
fn has_state(node: &str) -> bool {
    let said = fs::read_to_string(files::log_path(node, "keepalived")).unwrap_or_default();
    let entered = said.rfind(" STATE");
    let stopped = said.rfind("Stopping");
    entered > stopped
}

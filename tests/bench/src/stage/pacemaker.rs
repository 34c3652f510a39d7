//! Corosync and Pacemaker: two nodes that can run the service, and a third in standby whose vote is the majority's.

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use anyhow::Context;
use holdfast_hactl::demo::node::{Daemon, daemon_command, supervise};
use nix::unistd::{Uid, User, chown};

use super::team::{Surroundings, Team};
use super::{files, peer};
use crate::contender::{Contender, Manager};
use crate::peers::{cib, corosync};

const MACHINES: [&str; 3] = ["n1", "n2", "n3"];
/// Longest wait for the first election and for the configuration to be taken.
const FORM_WAIT: Duration = Duration::from_secs(120);

/// The cluster.
pub struct Pacemaker {
    around: Surroundings,
}

impl Pacemaker {
    /// Writes the configurations, powers the nodes on, and gives the cluster its resources once it has formed.
    pub fn start(contender: Contender) -> anyhow::Result<Pacemaker> {
        let Manager::Pacemaker { token_ms } = contender.manager else {
            anyhow::bail!("{contender} is not Pacemaker");
        };
        let mut key = [0; 256];
        io::Read::read_exact(&mut fs::File::open("/dev/urandom")?, &mut key)?;
        for machine in MACHINES {
            prepare_disk(machine, &corosync::config(token_ms, contender.realtime), &key)?;
        }
        prepare_programs()?;
        let team = Pacemaker {
            around: peer::surround(contender, peer::machines(MACHINES.len()))?,
        };
        team.form()?;
        Ok(team)
    }

    fn form(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        while !self.status().is_ok_and(|status| cib::formed(&status, &MACHINES)) {
            anyhow::ensure!(
                begun.elapsed() < FORM_WAIT,
                "Pacemaker's nodes did not find each other within {} s",
                FORM_WAIT.as_secs()
            );
            std::thread::sleep(Duration::from_millis(500));
        }
        let service = cib::service();
        for (section, xml) in service {
            self.within(
                "n1",
                &["cibadmin", "--replace", "--scope", section, "--xml-text", &xml],
            )?;
        }
        let sticky = ["--name", "resource-stickiness", "--update", "100"];
        self.within(
            "n1",
            &[&["crm_attribute", "--type", "rsc_defaults"][..], &sticky].concat(),
        )?;
        self.within("n1", &["crm_standby", "--node", "n3", "--update", "on"])?;
        Ok(())
    }

    /// `crm_mon` of a node that has power, as XML.
    fn status(&self) -> anyhow::Result<String> {
        let on = |node: &&&str| self.around.outlets.init_pid(node).is_some();
        let node = MACHINES.iter().find(on).context("every node is off")?;
        self.within(node, &["crm_mon", "--one-shot", "--output-as=xml"])
    }

    /// Runs a command in `node`; its standard output.
    fn within(&self, node: &str, words: &[&str]) -> anyhow::Result<String> {
        let init = self.around.outlets.init_pid(node);
        let init = init.with_context(|| format!("{node} is off"))?;
        let output = Command::new("nsenter")
            .args(["--target", &init.to_string(), "-m", "-u", "-i", "-n", "-p", "--"])
            .args(words)
            .stdin(Stdio::null())
            .output()
            .context("cannot run nsenter")?;
        anyhow::ensure!(
            output.status.success(),
            "`{}` failed: {}",
            words[0],
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Team for Pacemaker {
    fn around(&self) -> &Surroundings {
        &self.around
    }

    fn machines(&self) -> &[&'static str] {
        &MACHINES
    }

    fn trouble(&self) -> Option<String> {
        match self.status() {
            Ok(status) => cib::trouble(&status, &MACHINES),
            Err(error) => Some(format!("{error:#}")),
        }
    }

    fn switch(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let words = ["crm_resource", "--move", "--resource", cib::GROUP, "--node", to];
        self.within(from, &words).map(|_| ())
    }

    /// `crm_resource --move` leaves a rule behind, and failures are remembered.
    fn tidy(&self) -> anyhow::Result<()> {
        let on = |node: &&&str| self.around.outlets.init_pid(node).is_some();
        let node = MACHINES.iter().rev().find(on).context("every node is off")?;
        self.within(node, &["crm_resource", "--clear", "--resource", cib::GROUP])?;
        self.within(node, &["crm_resource", "--cleanup"]).map(|_| ())
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(120)
    }
}

/// What outlives the boots of a machine: configuration, key, and the folders of both daemons.
fn prepare_disk(machine: &str, corosync: &str, key: &[u8]) -> anyhow::Result<()> {
    let etc = files::folder(machine, "disk/etc");
    fs::create_dir_all(&etc)?;
    fs::write(etc.join("corosync.conf"), corosync)?;
    fs::write(etc.join("authkey"), key)?;
    fs::create_dir_all(files::folder(machine, "disk/corosync"))?;
    for folder in ["blackbox", "cib", "cores", "pengine"] {
        let path = files::folder(machine, "disk/pacemaker").join(folder);
        fs::create_dir_all(&path)?;
        give_to_cluster(&path)?;
    }
    let log = files::folder(machine, "log/pacemaker");
    fs::create_dir_all(&log)?;
    give_to_cluster(&log)?;
    Ok(fs::create_dir_all(files::folder(machine, "log/corosync"))?)
}

fn give_to_cluster(path: &std::path::Path) -> anyhow::Result<()> {
    let user = User::from_name("hacluster")?.context("there is no user hacluster: install pacemaker")?;
    debug_assert_ne!(user.uid, Uid::from_raw(0));
    Ok(chown(path, Some(user.uid), Some(user.gid))?)
}

/// The fence agent and the resource agent of the service. They are laid over the folders in which Pacemaker looks.
fn prepare_programs() -> io::Result<()> {
    let bench = files::bench().display().to_string();
    let agent = files::folder("extra", "sbin").join("fence_outlet");
    files::script(&agent, &cib::fence_agent(&bench))?;
    let agent = files::folder("extra", "ocf").join("bench/service");
    files::script(&agent, &cib::service_agent(&bench))
}

/// PID 1 of node `name`.
pub fn run(name: &str) -> anyhow::Result<ExitCode> {
    peer::settle_in(name)?;
    for (from, to) in [
        ("disk/etc", "/etc/corosync"),
        ("disk/corosync", "/var/lib/corosync"),
        ("disk/pacemaker", "/var/lib/pacemaker"),
    ] {
        peer::bind(&files::folder(name, from), to.as_ref())?;
    }
    peer::lay_over(&files::folder("extra", "sbin"), "/usr/sbin")?;
    peer::lay_over(&files::folder("extra", "ocf"), "/usr/lib/ocf/resource.d")?;
    fs::create_dir_all("/run/resource-agents")?;
    let mut corosync = daemon_command("/usr/sbin/corosync".as_ref(), files::log(name, "corosync")?)?;
    corosync.arg("-f");
    // As the unit's `After=corosync.service` does: not before Corosync answers.
    let mut pacemaker = daemon_command("/bin/sh".as_ref(), files::log(name, "pacemakerd")?)?;
    pacemaker.args([
        "-c",
        "until corosync-cmapctl -g totem.version >/dev/null 2>&1; do sleep 0.05; done; exec pacemakerd",
    ]);
    supervise(vec![
        Daemon::new("corosync", corosync),
        Daemon::new("pacemakerd", pacemaker),
    ])
}

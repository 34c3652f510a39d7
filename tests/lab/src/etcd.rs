//! An etcd cluster of three members (Debian's `etcd-server`), each in a network namespace of its own on the nodes' switches.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cluster::SETTLE;
use crate::lab::Lab;
use crate::net::{Net, address};
use crate::place::{Place, kill_cgroup, remove_cgroup};
use crate::sh;

/// Names of the members, and their host numbers.
const MEMBERS: [(&str, u8); 3] = [("e1", 31), ("e2", 32), ("e3", 33)];

/// One member.
#[derive(Debug)]
struct Member {
    name: &'static str,
    host: u8,
    dir: PathBuf,
    cgroup: PathBuf,
    process: Option<Child>,
}

/// The cluster; gone when dropped.
#[derive(Debug)]
pub struct Etcd {
    place: Place,
    net: Net,
    members: Vec<Member>,
}

fn clients(host: u8) -> String {
    format!("{}:2379", address(0, host))
}

fn peers(host: u8) -> String {
    format!("http://{}:2380", address(0, host))
}

impl Etcd {
    /// Starts all members, and waits until they answer.
    pub fn start(lab: &Lab) -> Result<Etcd> {
        let mut etcd = Etcd {
            place: lab.place.clone(),
            net: lab.net.clone(),
            members: Vec::new(),
        };
        for (name, host) in MEMBERS {
            lab.net.attach(name, host)?;
            let cgroup = lab.place.cgroup(name)?;
            fs::create_dir_all(&cgroup)?;
            etcd.members.push(Member {
                name,
                host,
                dir: lab.place.dir().join(format!("etcd-{name}")),
                cgroup,
                process: None,
            });
        }
        (0..MEMBERS.len()).try_for_each(|member| etcd.run(member))?;
        etcd.answers()?;
        Ok(etcd)
    }

    /// The section of the configuration that puts the witness here.
    #[must_use]
    pub fn section() -> String {
        let members = MEMBERS.map(|(_, host)| format!("\"{}\"", clients(host)));
        format!("\n[witness]\netcd = [{}]\n\n", members.join(", "))
    }

    /// Names of the members, for [`Net::part`].
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        MEMBERS.iter().map(|(name, _)| *name)
    }

    /// Starts a member, on what it wrote before.
    pub fn run(&mut self, member: usize) -> Result<()> {
        let initial = MEMBERS.map(|(name, host)| format!("{name}={}", peers(host)));
        let member = &mut self.members[member];
        fs::create_dir_all(&member.dir)?;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(member.dir.join("log"))?;
        let clients = format!("http://{}", clients(member.host));
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&member.cgroup)
            .args(["ip", "netns", "exec", &self.place.netns(member.name)])
            .args(["etcd", "--name", member.name, "--data-dir"])
            .arg(member.dir.join("data"))
            .args([
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
            ])
            .args(["--listen-peer-urls", &peers(member.host)])
            .args(["--initial-advertise-peer-urls", &peers(member.host)])
            .args(["--initial-cluster", &initial.join(",")]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        member.process = Some(command.spawn().context("could not run etcd")?);
        Ok(())
    }

    /// Kills a member; what it wrote stays.
    pub fn kill(&mut self, member: usize) -> Result<()> {
        let member = &mut self.members[member];
        let Some(mut process) = member.process.take() else {
            return Ok(());
        };
        process.kill().context("kill a member of etcd")?;
        kill_cgroup(&member.cgroup)?;
        process.wait().context("wait for a member of etcd")?;
        Ok(())
    }

    /// Holds every member where it is (true), or lets them go on.
    pub fn hold(&self, still: bool) -> Result<()> {
        for member in &self.members {
            let file = member.cgroup.join("cgroup.freeze");
            fs::write(&file, if still { "1" } else { "0" }).with_context(|| file.display().to_string())?;
        }
        Ok(())
    }

    /// Cuts the node `name` off from every member.
    pub fn part(&self, name: &str) -> Result<()> {
        self.names().try_for_each(|member| self.net.part(name, member))
    }

    /// What `etcdctl` says.
    pub fn ctl(&self, args: &[&str]) -> Result<String> {
        let endpoints = MEMBERS.map(|(_, host)| clients(host)).join(",");
        let netns = self.place.netns(MEMBERS[0].0);
        let etcdctl = [
            "netns",
            "exec",
            &netns,
            "env",
            "ETCDCTL_API=3",
            "etcdctl",
            "--endpoints",
            &endpoints,
        ];
        sh::run("ip", &[&etcdctl[..], args].concat())
    }

    /// Keeps what stands in the witness's keys, as a backup would.
    pub fn back_up(&self) -> Result<()> {
        self.for_both_keys("get \"$key\" --print-value-only | head -c -1 > \"$file\"")
    }

    /// Puts that back, whatever stands there now; the head last, so that nobody sees it with another body.
    pub fn restore(&self) -> Result<()> {
        self.for_both_keys("put \"$key\" < \"$file\"")
    }

    fn for_both_keys(&self, what: &str) -> Result<()> {
        let keys = self.ctl(&["get", "--prefix", "/holdfast/", "--keys-only"])?;
        let endpoints = MEMBERS.map(|(_, host)| clients(host)).join(",");
        for key in keys.lines().filter(|line| !line.is_empty()) {
            let part = key.rsplit('/').next().unwrap_or_default();
            let file = self.place.dir().join(format!("etcd-backup-{part}"));
            let script = format!(
                "set -e; key={key}; file={}; ETCDCTL_API=3 etcdctl --endpoints {endpoints} {what}",
                file.display()
            );
            let netns = self.place.netns(MEMBERS[0].0);
            sh::run("ip", &["netns", "exec", &netns, "sh", "-c", &script])?;
        }
        Ok(())
    }

    /// Waits until a majority of the members answers.
    pub fn answers(&self) -> Result<()> {
        sh::wait("etcd to answer", SETTLE, || self.ctl(&["get", "nothing"]).ok()).map(|_| ())
    }

    /// The line of the witness; empty if there is none.
    pub fn head(&self) -> Result<String> {
        self.ctl(&["get", "--prefix", "/holdfast/", "--print-value-only"])
            .map(|text| {
                let head = text.lines().find(|line| line.starts_with("holdfast-witness/"));
                head.unwrap_or_default().to_string()
            })
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for member in 0..self.members.len() {
            let gone = self.kill(member);
            let member = &self.members[member];
            let gone = gone.and_then(|()| remove_cgroup(&member.cgroup));
            if let Err(error) = gone.and_then(|()| self.net.detach(member.name)) {
                eprintln!("lab: a member of etcd did not go away: {error:#}");
            }
        }
    }
}

//! Management boards: OpenIPMI's simulator speaks IPMI for each node, its chassis control asks the power controller.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::lab::Lab;
use crate::net::{HARNESS, MANAGEMENT, address};
use crate::place::remove_cgroup;

/// The board's user.
pub const USER: &str = "admin";
/// Its password.
pub const PASSWORD: &str = "lab-secret";
/// Host number of the board of node 1, less one.
const FIRST: u8 = 100;

const BOARD: &str = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                     sel_enable 0x20 100 0x0a\nmc_enable 0x20\n";

/// The board of one node; gone when dropped.
#[derive(Debug)]
pub struct Bmc {
    process: Child,
    cgroup: PathBuf,
}

impl Bmc {
    /// The address of the board of the node with number `host`.
    #[must_use]
    pub fn address(host: u8) -> String {
        address(MANAGEMENT, FIRST + host)
    }

    /// Starts the board of node `name`.
    pub fn start(lab: &Lab, name: &str, host: u8) -> Result<Bmc> {
        let ip = Bmc::address(host);
        lab.net.alias(MANAGEMENT, FIRST + host)?;
        let dir = lab.place.dir().join(format!("bmc-{name}"));
        fs::create_dir_all(dir.join("state"))?;
        let chassis = lab.source.join("tests/lab/files/bmc_chassis");
        let control = format!("{} {name} {}", chassis.display(), address(MANAGEMENT, HARNESS));
        let auths: String = ["callback", "user", "operator", "admin"]
            .iter()
            .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
            .collect();
        let config = format!(
            "name \"{name}\"\nset_working_mc 0x20\n  startlan 1\n    addr {ip} 623\n    priv_limit admin\n{auths}    \
             guid a123456789abcdefa123456789abcdef\n  endlan\n  chassis_control \"{control}\"\n  \
             user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n"
        );
        fs::write(dir.join("lan.conf"), config)?;
        fs::write(dir.join("board.emu"), BOARD)?;
        let cgroup = lab.place.cgroup(&format!("bmc-{name}"))?;
        fs::create_dir_all(&cgroup)?;
        let log = fs::File::create(dir.join("log"))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&cgroup);
        command
            .args(["ip", "netns", "exec", lab.net.netns(), "ipmi_sim", "-n", "-c"])
            .arg(dir.join("lan.conf"));
        command
            .arg("-f")
            .arg(dir.join("board.emu"))
            .arg("-s")
            .arg(dir.join("state"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let process = command.spawn().context("could not run ipmi_sim")?;
        Ok(Bmc { process, cgroup })
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        if let Err(error) = remove_cgroup(&self.cgroup) {
            eprintln!("lab: a management board did not go away: {error:#}");
        }
        let _ = self.process.wait();
    }
}

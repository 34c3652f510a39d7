//! Management boards: OpenIPMI's simulator speaks IPMI for each machine, its chassis control asks the power controller.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use anyhow::{Context, Result};

use crate::net::{HARNESS, MANAGEMENT, Net, address};
use crate::place::{Cgroup, Place};
use crate::qemu;

/// The board's user.
const USER: &str = "admin";
/// Its password.
pub const PASSWORD: &str = "vm-secret";
/// The file on the nodes that holds the password.
pub const SECRET: &str = "/etc/holdfast/secrets/bmc";
/// Host number of the board of node 1, less one.
const FIRST: u8 = 100;

const BOARD: &str = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                     sel_enable 0x20 100 0x0a\nmc_enable 0x20\n";

/// The board of one machine; gone when dropped.
#[derive(Debug)]
pub struct Bmc {
    process: Option<Child>,
    dir: PathBuf,
    cgroup: Cgroup,
    netns: String,
}

/// The section of the fence device that is the board of the node `name`, used through `agent`.
#[must_use]
pub fn section(agent: &str, name: &str, host: u8) -> String {
    // Python on an emulated processor needs seconds to begin.
    let timeout = if agent == "ipmi" { "30s" } else { "90s" };
    let more = match agent {
        "ipmi" => format!(
            "cipher = \"3\", privlvl = \"administrator\", uuid = \"{}\"",
            qemu::uuid(host)
        ),
        _ => "lanplus = \"1\", cipher = \"3\"".into(),
    };
    format!(
        "\n[[fence]]\nnode = \"{name}\"\nagent = \"{agent}\"\ntimeout = \"{timeout}\"\nparams = {{ ip = \"{}\", username = \"{USER}\", \
         password_file = \"{SECRET}\", {more} }}\n",
        address(MANAGEMENT, FIRST + host)
    )
}

impl Bmc {
    /// Starts the board of the machine `name`.
    pub fn start(place: &Place, net: &Net, source: &Path, name: &str, host: u8) -> Result<Bmc> {
        net.alias(MANAGEMENT, FIRST + host)?;
        let dir = place.dir().join(format!("bmc-{name}"));
        fs::create_dir_all(dir.join("state"))?;
        fs::write(dir.join("board.emu"), BOARD)?;
        let chassis = source.join("tests/lab/files/bmc_chassis");
        let control = format!("{} {name} {}", chassis.display(), address(MANAGEMENT, HARNESS));
        fs::write(dir.join("lan.conf"), config(name, host, &control))?;
        let mut board = Bmc {
            process: None,
            cgroup: place.cgroup(&format!("bmc-{name}"))?,
            dir,
            netns: net.netns().into(),
        };
        board.run()?;
        Ok(board)
    }

    /// Runs it, if it does not.
    pub fn run(&mut self) -> Result<()> {
        self.cgroup.hold(false)?;
        if self.process.is_some() {
            return Ok(());
        }
        let log = fs::File::create(self.dir.join("log"))?;
        let mut command = self.cgroup.command(&self.netns, "ipmi_sim");
        command.arg("-n").arg("-c").arg(self.dir.join("lan.conf"));
        command.arg("-f").arg(self.dir.join("board.emu"));
        command.arg("-s").arg(self.dir.join("state"));
        command.stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("could not run ipmi_sim")?);
        Ok(())
    }

    /// Ends it: it lost its power.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            self.cgroup.kill()?;
            process.wait().context("wait for a management board")?;
        }
        Ok(())
    }

    /// Holds it where it is (true): it answers nothing. Or lets it go on.
    pub fn hold(&self, still: bool) -> Result<()> {
        self.cgroup.hold(still)
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        if let Err(error) = self.kill().and_then(|()| self.cgroup.remove()) {
            eprintln!("vm: a management board did not go away: {error:#}");
        }
    }
}

fn config(name: &str, host: u8, control: &str) -> String {
    let auths: String = ["callback", "user", "operator", "admin"]
        .iter()
        .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
        .collect();
    format!(
        "name \"{name}\"\nset_working_mc 0x20\n  startlan 1\n    addr {} 623\n    priv_limit admin\n{auths}    \
         guid {}\n  endlan\n  chassis_control \"{control}\"\n  \
         user 2 true \"{USER}\" \"{PASSWORD}\" admin 10 none md2 md5 straight\n",
        address(MANAGEMENT, FIRST + host),
        qemu::uuid(host).replace('-', "")
    )
}

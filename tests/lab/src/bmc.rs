//! Management boards: OpenIPMI's simulator speaks IPMI for each node, its chassis control asks the power controller.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cluster::SETTLE;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::{HARNESS, MANAGEMENT, address};
use crate::place::{kill_cgroup, remove_cgroup};
use crate::sh;

/// The board's user.
pub const USER: &str = "admin";
/// Its password.
pub const PASSWORD: &str = "lab-secret";
/// The file on the nodes that holds the password.
pub const SECRET: &str = "/etc/holdfast/secrets/bmc";
/// Host number of the board of node 1, less one.
const FIRST: u8 = 100;

const BOARD: &str = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\n\
                     sel_enable 0x20 100 0x0a\nmc_enable 0x20\n";

/// Gives `machine` the boards' password, and waits until both boards answer it.
pub fn introduce(machine: &Machine) -> Result<()> {
    let write = format!("umask 077 && mkdir -p /etc/holdfast/secrets && cat > {SECRET}");
    machine.sh_with(&write, PASSWORD)?;
    for host in [1, 2] {
        let ask = format!(
            "ipmitool -I lanplus -C 3 -H {} -U {USER} -P {PASSWORD} power status",
            Bmc::address(host)
        );
        sh::wait("a management board to answer", SETTLE, || {
            machine.look(&ask).contains("is on").then_some(())
        })?;
    }
    Ok(())
}

/// The board of one node; gone when dropped.
#[derive(Debug)]
pub struct Bmc {
    process: Option<Child>,
    name: String,
    host: u8,
    dir: PathBuf,
    cgroup: PathBuf,
    netns: String,
    control: String,
    is_well: bool,
}

impl Bmc {
    /// The address of the board of the node with number `host`.
    #[must_use]
    pub fn address(host: u8) -> String {
        address(MANAGEMENT, FIRST + host)
    }

    /// The configuration's section of the fence device that is the board of the node `name`.
    #[must_use]
    pub fn section(name: &str, host: u8) -> String {
        format!(
            "\n[[fence]]\nnode = \"{name}\"\nagent = \"fence_ipmilan\"\nparams = {{ ip = \"{}\", username = \"{USER}\", \
             password_file = \"{SECRET}\", lanplus = \"1\", cipher = \"3\" }}\n",
            Bmc::address(host)
        )
    }

    /// Starts the board of node `name`.
    pub fn start(lab: &Lab, name: &str, host: u8) -> Result<Bmc> {
        lab.net.alias(MANAGEMENT, FIRST + host)?;
        let dir = lab.place.dir().join(format!("bmc-{name}"));
        fs::create_dir_all(dir.join("state"))?;
        fs::write(dir.join("board.emu"), BOARD)?;
        let chassis = lab.source.join("tests/lab/files/bmc_chassis");
        let cgroup = lab.place.cgroup(&format!("bmc-{name}"))?;
        fs::create_dir_all(&cgroup)?;
        let mut board = Bmc {
            process: None,
            name: name.into(),
            host,
            dir,
            cgroup,
            netns: lab.net.netns().into(),
            control: format!("{} {name} {}", chassis.display(), address(MANAGEMENT, HARNESS)),
            is_well: false,
        };
        board.run(PASSWORD)?;
        Ok(board)
    }

    /// Runs the board with another password than before, or again.
    pub fn run(&mut self, password: &str) -> Result<()> {
        self.kill()?;
        fs::write(self.dir.join("lan.conf"), self.config(password))?;
        let log = fs::File::create(self.dir.join("log"))?;
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.cgroup);
        command.args(["ip", "netns", "exec", &self.netns, "ipmi_sim", "-n", "-c"]);
        command.arg(self.dir.join("lan.conf"));
        command.arg("-f").arg(self.dir.join("board.emu"));
        command.arg("-s").arg(self.dir.join("state"));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("could not run ipmi_sim")?);
        self.is_well = password == PASSWORD;
        Ok(())
    }

    /// Makes it as it was at the start, if it is not.
    pub fn mend(&mut self) -> Result<()> {
        if self.is_well {
            return Ok(());
        }
        self.hold(false)?;
        self.run(PASSWORD)
    }

    fn config(&self, password: &str) -> String {
        let (name, control) = (&self.name, &self.control);
        let auths: String = ["callback", "user", "operator", "admin"]
            .iter()
            .map(|level| format!("    allowed_auths_{level} none md2 md5 straight\n"))
            .collect();
        format!(
            "name \"{name}\"\nset_working_mc 0x20\n  startlan 1\n    addr {} 623\n    priv_limit admin\n{auths}    \
             guid a123456789abcdefa123456789abcdef\n  endlan\n  chassis_control \"{control}\"\n  \
             user 2 true \"{USER}\" \"{password}\" admin 10 none md2 md5 straight\n",
            Bmc::address(self.host)
        )
    }

    /// Ends it: nobody answers at its address.
    pub fn kill(&mut self) -> Result<()> {
        self.is_well = false;
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        // By its number as well: it may not be in its group yet.
        process.kill().context("kill a management board")?;
        kill_cgroup(&self.cgroup)?;
        process.wait().context("wait for a management board")?;
        Ok(())
    }

    /// Holds it where it is (true), or lets it go on.
    pub fn hold(&mut self, still: bool) -> Result<()> {
        self.is_well = false;
        let file = self.cgroup.join("cgroup.freeze");
        fs::write(&file, if still { "1" } else { "0" }).with_context(|| file.display().to_string())
    }
}

impl Drop for Bmc {
    fn drop(&mut self) {
        if let Err(error) = self.kill().and_then(|()| remove_cgroup(&self.cgroup)) {
            eprintln!("lab: a management board did not go away: {error:#}");
        }
    }
}

//! Where things are on the stage.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::outlet::{Boot, Machine};
use super::stage::ROOT;

/// Where things are on the stage.
#[derive(Clone, Debug)]
pub struct Paths {
    /// hactl itself.
    pub hactl: PathBuf,
    logs: Option<Arc<File>>,
}

impl Paths {
    /// The paths on a stage whose programs were put into `bin`; logs are copied to folder `logs` in the end.
    pub fn new(logs: Option<File>) -> Paths {
        Paths {
            logs: logs.map(Arc::new),
            ..Paths::in_stage()
        }
    }

    /// The paths as processes inside the stage know them.
    pub fn in_stage() -> Paths {
        Paths {
            hactl: Path::new(ROOT).join("bin/hactl"),
            logs: None,
        }
    }

    fn of(&self, node: &str, rest: &str) -> PathBuf {
        Path::new(ROOT).join(node).join(rest)
    }

    fn program(&self, node: &str, name: &str) -> PathBuf {
        let own = self.of(node, "bin").join(name);
        if own.exists() {
            own
        } else {
            Path::new(ROOT).join("bin").join(name)
        }
    }

    /// The node's `had`.
    pub fn had_program(&self, node: &str) -> PathBuf {
        self.program(node, "had")
    }

    /// The node's `had-agentd`.
    pub fn agentd_program(&self, node: &str) -> PathBuf {
        self.program(node, "had-agentd")
    }

    /// Gives `node` copies of the daemons, so that it shares no memory with the other nodes.
    pub fn copy_programs(&self, node: &str) -> io::Result<()> {
        fs::create_dir_all(self.of(node, "bin"))?;
        for name in ["had", "had-agentd"] {
            fs::copy(
                Path::new(ROOT).join("bin").join(name),
                self.of(node, "bin").join(name),
            )?;
        }
        Ok(())
    }

    /// The node's configuration file.
    pub fn config(&self, node: &str) -> PathBuf {
        self.of(node, "disk/holdfast.toml")
    }

    /// The node's state folder, which outlives its boots.
    pub fn state(&self, node: &str) -> PathBuf {
        self.of(node, "disk/state")
    }

    /// The node's folder for redis.
    pub fn redis(&self, node: &str) -> PathBuf {
        self.of(node, "disk/redis")
    }

    /// The node's run folder of had as the stage sees it.
    pub fn run(&self, node: &str) -> PathBuf {
        self.of(node, "run/had")
    }

    /// The node's state folder of had-agentd, which does not outlive a boot.
    pub fn agentd(&self, node: &str) -> PathBuf {
        self.of(node, "run/agentd")
    }

    /// The file that holds the node's boot id: the kernel's is the same in all namespaces.
    pub fn boot_id(&self, node: &str) -> PathBuf {
        self.of(node, "run/boot_id")
    }

    /// The program that is the fence device of `node`.
    pub fn fence_program(&self, node: &str) -> PathBuf {
        self.of(node, "disk/fence")
    }

    /// The program of the service; its node finds itself by its host name.
    pub fn service_program(&self) -> PathBuf {
        Path::new(ROOT).join("bin/service")
    }

    /// Writes the small programs that call hactl with the right words.
    pub fn write_programs(&self, node: &str) -> io::Result<()> {
        let hactl = self.hactl.display();
        script(
            &self.fence_program(node),
            &format!("exec {hactl} demo --internal power {node}"),
        )?;
        script(
            &self.service_program(),
            &format!("exec {hactl} demo --internal service \"$1\""),
        )
    }

    /// The control socket of the node.
    pub fn control(&self, node: &str) -> PathBuf {
        self.run(node).join("had.sock")
    }

    /// Makes the folders of a node's disk.
    pub fn make_disk(&self, node: &str) -> io::Result<()> {
        fs::create_dir_all(self.state(node))?;
        fs::set_permissions(self.state(node), fs::Permissions::from_mode(0o700))
    }

    /// Opens a log of the node for appending.
    pub fn log(&self, node: &str, name: &str) -> io::Result<File> {
        let folder = self.of(node, "log");
        fs::create_dir_all(&folder)?;
        File::options()
            .create(true)
            .append(true)
            .open(folder.join(format!("{name}.log")))
    }

    /// Copies the logs of `nodes` to the folder asked for, if one was.
    pub fn keep_logs(&self, nodes: &[&str]) -> io::Result<()> {
        let Some(folder) = &self.logs else { return Ok(()) };
        let target = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
        for node in nodes {
            for entry in fs::read_dir(self.of(node, "log"))? {
                let entry = entry?;
                let name = format!("{node}-{}", entry.file_name().to_string_lossy());
                fs::write(target.join(name), fs::read(entry.path())?)?;
            }
            fs::write(
                target.join(format!("{node}-holdfast.toml")),
                fs::read(self.config(node))?,
            )?;
        }
        Ok(())
    }
}

impl Boot for Paths {
    /// Empties what does not outlive a boot and makes a boot id.
    fn fresh(&self, node: &str) -> io::Result<()> {
        match fs::remove_dir_all(self.of(node, "run")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(self.run(node))?;
        fs::create_dir_all(self.agentd(node))?;
        fs::copy("/proc/sys/kernel/random/uuid", self.boot_id(node)).map(|_| ())
    }

    fn init(&self, machine: &Machine) -> io::Result<Command> {
        let log = self.log(machine.name, "init")?;
        let mut command = Command::new(&self.hactl);
        command.args(["demo", "--internal", "node", machine.name, machine.role]);
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

fn script(path: &Path, line: &str) -> io::Result<()> {
    fs::write(path, format!("#!/bin/sh\n{line}\n"))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

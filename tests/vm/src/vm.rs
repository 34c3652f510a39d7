//! A machine: its disks outlive a power cut, its QEMU is its power.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::events::Events;
use crate::image::Image;
use crate::net::{LANS, Net};
use crate::place::{Cgroup, Place};
use crate::qemu::{self, Files};
use crate::{qmp, sh};

/// How long QEMU may take to open its sockets.
const LAUNCH: Duration = Duration::from_secs(20);
/// How long a saved state may take to be read or written.
const STATE: Duration = Duration::from_secs(120);
/// Size of the second disk; the file is sparse.
const DATA: &str = "400M";

/// A machine.
#[derive(Debug)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// Its number in each network.
    pub host: u8,
    /// Where its files are.
    pub files: Files,
    /// What its hardware did.
    pub events: Events,
    image: Image,
    net: Net,
    cgroup: Cgroup,
    qemu: Option<Child>,
}

impl Vm {
    /// A machine without power and without disks.
    pub fn new(place: &Place, net: &Net, image: &Image, name: &str, host: u8) -> Result<Vm> {
        let files = Files::new(place.dir().join(name));
        fs::create_dir_all(files.dir())?;
        Ok(Vm {
            name: name.into(),
            host,
            files,
            events: Events::default(),
            image: image.clone(),
            net: net.clone(),
            cgroup: place.cgroup(name)?,
            qemu: None,
        })
    }

    /// Gives it fresh disks; `over` names a folder that holds older ones to begin with.
    pub fn lay_disks(&self, over: Option<&Path>) -> Result<()> {
        for disk in ["root", "data"] {
            let file = self.files.disk(disk).display().to_string();
            let _ = fs::remove_file(&file);
            let mut args = vec!["create", "-q", "-f", "qcow2"];
            let saved = over.map(|dir| saved_disk(dir, &self.name, disk));
            let base = self.image.disk().display().to_string();
            match (&saved, disk) {
                (Some(saved), _) => args.extend(["-b", saved, "-F", "qcow2", &file]),
                (None, "root") => args.extend(["-b", &base, "-F", "raw", &file]),
                (None, _) => args.extend([file.as_str(), DATA]),
            }
            sh::run("qemu-img", &args)?;
        }
        Ok(())
    }

    /// The network that its cables lead to.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// True while it has power.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.qemu.is_some()
    }

    /// Gives it power: it boots from its disks.
    pub fn power_on(&mut self) -> Result<()> {
        if self.is_on() { Ok(()) } else { self.launch(None) }
    }

    /// Takes its power away, in whatever it is doing. Its disks keep what reached them.
    pub fn power_off(&mut self) -> Result<()> {
        if let Some(mut qemu) = self.qemu.take() {
            self.cgroup.kill()?;
            qemu.wait().context("wait for QEMU")?;
        }
        Ok(())
    }

    /// Has it go on from the state in `dir`, on disks that lie over those in there. It stands still until [`Vm::go`].
    pub fn restore(&mut self, dir: &Path) -> Result<()> {
        self.lay_disks(Some(dir))?;
        self.launch(Some(&dir.join(format!("{}.ram", self.name))))
    }

    /// Waits until the state is read, and lets it go on.
    pub fn go(&self) -> Result<()> {
        sh::wait(&format!("the saved state of {}", self.name), STATE, || {
            let status = self.ask("query-status", Value::Null).ok()?;
            let status = status["status"].as_str()?.to_string();
            (status != "inmigrate" && status != "postmigrate").then_some(())
        })?;
        self.ask("cont", Value::Null).map(|_| ())
    }

    /// Stops it and writes its memory to `dir`; [`Vm::save_disks`] ends it.
    pub fn save_memory(&self, dir: &Path) -> Result<()> {
        let file = dir.join(format!("{}.ram", self.name));
        self.ask("migrate-set-parameters", json!({ "max-bandwidth": 1u64 << 34 }))?;
        let uri = format!("exec:zstd -1 -q -o {}", file.display());
        self.ask("migrate", json!({ "uri": uri })).map(|_| ())
    }

    /// Waits for the end of [`Vm::save_memory`], ends QEMU, and moves the disks to `dir`.
    pub fn save_disks(&mut self, dir: &Path) -> Result<()> {
        let state = sh::wait(&format!("the state of {} to be saved", self.name), STATE, || {
            let state = self.ask("query-migrate", Value::Null).ok()?;
            let state = state["status"].as_str()?.to_string();
            ["completed", "failed", "cancelled"]
                .contains(&state.as_str())
                .then_some(state)
        })?;
        ensure!(state == "completed", "saving {} {state}", self.name);
        // What the disks hold is in files once QEMU has ended in order.
        let _ = self.ask("quit", Value::Null);
        if let Some(mut qemu) = self.qemu.take() {
            qemu.wait()?;
        }
        for disk in ["root", "data"] {
            fs::rename(self.files.disk(disk), saved_disk(dir, &self.name, disk))?;
        }
        Ok(())
    }

    /// One command to QEMU's monitor.
    pub fn ask(&self, command: &str, arguments: Value) -> Result<Value> {
        qmp::ask(&self.files.at("qmp"), command, arguments).with_context(|| self.name.clone())
    }

    /// Pulls (`up` false) or plugs its cable in network `lan`: it sees the carrier go or come.
    pub fn cable(&self, lan: u8, up: bool) -> Result<()> {
        self.net.note_cable(&self.name, lan, up);
        if self.is_on() {
            self.ask("set_link", json!({ "name": format!("e{lan}"), "up": up }))?;
        }
        Ok(())
    }

    /// Stops the whole machine, QEMU included, or lets it go on: then it finds that time has passed.
    pub fn hold(&self, still: bool) -> Result<()> {
        self.cgroup.hold(still)
    }

    fn launch(&mut self, saved: Option<&Path>) -> Result<()> {
        for socket in ["qmp", "events", "agent"] {
            let _ = fs::remove_file(self.files.at(socket));
        }
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.files.at("qemu.log"))?;
        let mut command = self.cgroup.command(self.net.netns(), qemu::PROGRAM);
        command.args(qemu::arguments(
            &self.name,
            self.host,
            &self.files,
            &self.image,
            saved,
        ));
        command.stdout(Stdio::from(log.try_clone()?)).stderr(log);
        let mut qemu = command.spawn().context("could not run QEMU")?;
        let deadline = Instant::now() + LAUNCH;
        // The last one that it opens.
        while UnixStream::connect(self.files.at("agent")).is_err() {
            if qemu.try_wait()?.is_some() || Instant::now() > deadline {
                let _ = qemu.kill();
                let _ = qemu.wait();
                let said = fs::read_to_string(self.files.at("qemu.log")).unwrap_or_default();
                bail!("QEMU of {} did not start: {}", self.name, said.trim());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.qemu = Some(qemu);
        self.events.listen(&self.files.at("events"))?;
        for lan in (0..LANS).filter(|lan| self.net.is_pulled(&self.name, *lan)) {
            self.cable(lan, false)?;
        }
        Ok(())
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if let Err(error) = self.power_off().and_then(|()| self.cgroup.remove()) {
            eprintln!("vm: {} did not go away: {error:#}", self.name);
        }
    }
}

fn saved_disk(dir: &Path, name: &str, disk: &str) -> String {
    dir.join(format!("{name}-{disk}.qcow2")).display().to_string()
}

//! What machines of other cluster managers have in common: files, mounts, power.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context;
use holdfast_hactl::demo::client::Client;
use holdfast_hactl::demo::outlet::{Boot, Machine, Outlets};
use holdfast_hactl::demo::stage::{ROOT, TRUTH_SOCKET};
use holdfast_hactl::demo::story::Story;
use holdfast_hactl::demo::truth::Truth;
use holdfast_hactl::demo::{Service, link, power, switch};
use nix::mount::{MsFlags, mount};
use nix::unistd::sethostname;

use super::files;
use super::team::Surroundings;
use crate::contender::Contender;

/// How machines of a contender boot: `holdfast-bench` is their PID 1.
struct PeerBoot(Contender);

impl Boot for PeerBoot {
    fn fresh(&self, machine: &str) -> io::Result<()> {
        match fs::remove_dir_all(files::folder(machine, "run")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(files::folder(machine, "run"))
    }

    fn init(&self, machine: &Machine) -> io::Result<Command> {
        let log = files::log(machine.name, "init")?;
        let mut command = Command::new(files::bench());
        command.args(["--internal", "node", self.0.name, machine.name]);
        command.stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }
}

/// The first `count` machines of a peer, each with two links.
#[must_use]
pub fn machines(count: usize) -> Vec<Machine> {
    let names = [("n1", 1), ("n2", 2), ("n3", 3)];
    names
        .into_iter()
        .take(count)
        .map(|(name, host)| Machine {
            name,
            host,
            links: 2,
            role: "data",
        })
        .collect()
}

/// Builds the switches and powers `machines` on; a client begins to ask.
pub fn surround(contender: Contender, machines: Vec<Machine>) -> anyhow::Result<Surroundings> {
    let story = Arc::new(Story::default());
    switch::build().context("cannot build the switches (is the kernel's bridge module there?)")?;
    let truth = Truth::start(TRUTH_SOCKET.as_ref(), Arc::clone(&story))?;
    let names: Vec<&str> = machines.iter().map(|machine| machine.name).collect();
    let boot = Arc::new(PeerBoot(contender));
    let outlets = Outlets::new(machines, boot, Arc::clone(&truth), Arc::clone(&story));
    power::serve(Arc::clone(&outlets), Arc::clone(&story))?;
    for name in names {
        outlets
            .on(name)
            .with_context(|| format!("cannot power {name} on"))?;
    }
    let client = Client::start(switch::client()?, Service::Builtin)?;
    Ok(Surroundings {
        outlets,
        client,
        truth,
        story,
    })
}

/// Makes this process's view of the machine that of `name`: its own name, /proc, /run, /tmp, /var/log and shared memory.
pub fn settle_in(name: &str) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
    // The stage's folder is held on /mnt while /run is covered.
    bind(Path::new(ROOT), Path::new("/mnt"))?;
    for at in ["/run", "/tmp", "/dev/shm"] {
        mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), none)
            .with_context(|| format!("cannot mount {at}"))?;
    }
    bind(Path::new("/mnt"), Path::new(ROOT))?;
    fs::create_dir_all(files::folder(name, "log"))?;
    bind(&files::folder(name, "log"), Path::new("/var/log"))?;
    sethostname(name)?;
    link::set_up("lo", true)?;
    Ok(())
}

/// Shows `from` at `to`, which is made if it is not there.
pub fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    let none = None::<&str>;
    fs::create_dir_all(to)?;
    mount(Some(from), to, none, MsFlags::MS_BIND | MsFlags::MS_REC, none)
        .with_context(|| format!("cannot bind {}", to.display()))
}

/// Shows the files of `extra` in `folder`, beside those that are there.
pub fn lay_over(extra: &Path, folder: &str) -> anyhow::Result<()> {
    let layers = format!("lowerdir={}:{folder}", extra.display());
    mount(
        Some("overlay"),
        folder,
        Some("overlay"),
        MsFlags::MS_RDONLY,
        Some(layers.as_str()),
    )
    .with_context(|| format!("cannot lay an overlay over {folder}"))
}

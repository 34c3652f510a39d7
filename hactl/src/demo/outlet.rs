//! The power outlets: each starts and ends one node.
//!
//! On: fresh network and PID namespaces, cables in, a new boot id, and `node::init` as PID 1. Off: SIGKILL of that
//! PID 1, which takes everything in its PID namespace along, and the cables out. A node is off when its PID 1 has
//! been reaped, which the kernel allows only after the last process of the namespace is gone.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::binaries::NODE_PATH;
use super::link::{self, Carries};
use super::netlink::{GROUP_IPV4_ADDRESS, Netlink};
use super::story::Story;
use super::truth::Truth;
use super::{switch, sys};

/// Longest wait for the processes of a node to be gone.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What machines run.
pub trait Boot: Send + Sync {
    /// Empties what does not outlive a boot of `machine`.
    ///
    /// # Errors
    /// When files cannot be written.
    fn fresh(&self, machine: &str) -> io::Result<()>;

    /// PID 1 of `machine`, with its output going to a log. Its namespaces are the outlet's business.
    ///
    /// # Errors
    /// When the log cannot be opened.
    fn init(&self, machine: &Machine) -> io::Result<Command>;
}

/// A machine that can be plugged in.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Its name.
    pub name: &'static str,
    /// Host number of its addresses.
    pub host: u8,
    /// Number of links.
    pub links: usize,
    /// `data` or `witness`.
    pub role: &'static str,
}

#[derive(Default)]
struct Line {
    init: Option<Pid>,
    namespace: Option<Arc<OwnedFd>>,
    boots: u32,
    carries: Option<Carries>,
}

/// The outlets of all machines.
pub struct Outlets {
    machines: Vec<Machine>,
    lines: Mutex<BTreeMap<&'static str, Line>>,
    changed: Condvar,
    /// Held for the whole of an on or off, so that orders for one machine do not overlap.
    order: Mutex<()>,
    boot: Arc<dyn Boot>,
    truth: Arc<Truth>,
    story: Arc<Story>,
}

impl Outlets {
    /// Outlets for `machines`, all off.
    pub fn new(
        machines: Vec<Machine>,
        boot: Arc<dyn Boot>,
        truth: Arc<Truth>,
        story: Arc<Story>,
    ) -> Arc<Outlets> {
        let lines = machines
            .iter()
            .map(|machine| (machine.name, Line::default()))
            .collect();
        let (lines, changed, order) = (Mutex::new(lines), Condvar::new(), Mutex::new(()));
        Arc::new(Outlets {
            machines,
            lines,
            changed,
            order,
            boot,
            truth,
            story,
        })
    }

    /// Powers `name` on; nothing happens if it is on.
    pub fn on(self: &Arc<Self>, name: &str) -> anyhow::Result<()> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let machine = self.machine(name)?.clone();
        if self.lines()[machine.name].init.is_some() {
            return Ok(());
        }
        let namespace = Arc::new(link::new_namespace()?);
        let netlink = link::inside(&namespace, || Netlink::open(GROUP_IPV4_ADDRESS))?;
        self.truth.watch_addresses(name, netlink)?;
        let boots = {
            let mut lines = self.lines();
            let line = lines.entry(machine.name).or_default();
            line.boots += 1;
            line.namespace = Some(Arc::clone(&namespace));
            line.boots
        };
        self.boot.fresh(name)?;
        switch::plug(name, machine.host, machine.links, &namespace)?;
        if let Some(carries) = self.lines()[machine.name].carries {
            switch::set(name, carries)?;
        }
        let command = self.init_command(&machine, Arc::clone(&namespace))?;
        self.start(machine.name, command)?;
        self.story
            .now("demo", "power-on", format!("{name} is powered on (boot {boots})"));
        Ok(())
    }

    /// Cuts the power of `name` and returns when the last of its processes is gone.
    pub fn off(&self, name: &str) -> anyhow::Result<()> {
        let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let Machine {
            name: machine, host, ..
        } = self.machine(name)?.clone();
        let init = self.lines()[machine].init;
        if let Some(init) = init {
            kill(init, Signal::SIGKILL)?;
            switch::carrier_off(name)?;
        }
        let lines = self.lines();
        let running = |lines: &mut BTreeMap<&'static str, Line>| lines[machine].init.is_some();
        let (mut lines, wait) = self
            .changed
            .wait_timeout_while(lines, KILL_WAIT, running)
            .unwrap_or_else(PoisonError::into_inner);
        anyhow::ensure!(
            !wait.timed_out(),
            "processes of {name} survived SIGKILL for {} s",
            KILL_WAIT.as_secs()
        );
        if let Some(line) = lines.get_mut(machine) {
            line.namespace = None;
        }
        drop(lines);
        switch::unplug(name, host)?;
        self.truth.forget_addresses(name);
        if init.is_some() {
            self.story.now(
                "demo",
                "power-off",
                format!("{name} is off: its last process is gone"),
            );
        }
        Ok(())
    }

    /// True unless `name` is off in every respect: no process, no cable.
    pub fn is_on(&self, name: &str) -> anyhow::Result<bool> {
        let machine = self.machine(name)?.name;
        Ok(self.lines()[machine].init.is_some() || switch::plugged(name))
    }

    /// Sets what the links of `name` carry, also after its next boot.
    pub fn carry(&self, name: &str, carries: Carries) -> anyhow::Result<()> {
        let machine = self.machine(name)?.name;
        if let Some(line) = self.lines().get_mut(machine) {
            line.carries = (carries != Carries::All).then_some(carries);
        }
        Ok(switch::set(name, carries)?)
    }

    /// PID 1 of `name` in this PID namespace.
    pub fn init_pid(&self, name: &str) -> Option<Pid> {
        self.lines().get(name).and_then(|line| line.init)
    }

    /// The network namespace of `name`.
    pub fn namespace(&self, name: &str) -> Option<Arc<OwnedFd>> {
        self.lines().get(name).and_then(|line| line.namespace.clone())
    }

    /// How often `name` was powered on.
    pub fn boots(&self, name: &str) -> u32 {
        self.lines().get(name).map_or(0, |line| line.boots)
    }

    fn machine(&self, name: &str) -> anyhow::Result<&Machine> {
        let found = self.machines.iter().find(|machine| machine.name == name);
        found.ok_or_else(|| anyhow::anyhow!("there is no outlet for `{name}`"))
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<&'static str, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn init_command(&self, machine: &Machine, namespace: Arc<OwnedFd>) -> io::Result<Command> {
        let mut command = self.boot.init(machine)?;
        command.current_dir("/").env_clear().env("PATH", NODE_PATH);
        command.stdin(Stdio::null());
        sys::before_exec(&mut command, move || {
            setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC)?;
            Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
        });
        Ok(command)
    }

    /// Starts PID 1 from a thread of its own, which lives as long as the node: the node's parent-death signal
    /// follows the thread that made it.
    fn start(self: &Arc<Self>, name: &'static str, mut command: Command) -> anyhow::Result<()> {
        let (sender, started) = mpsc::channel::<io::Result<Pid>>();
        let outlets = Arc::clone(self);
        std::thread::Builder::new()
            .name(format!("outlet-{name}"))
            .spawn(move || {
                let child = unshare(CloneFlags::CLONE_NEWPID)
                    .map_err(io::Error::from)
                    .and_then(|()| command.spawn());
                let mut child: Child = match child {
                    Ok(child) => child,
                    Err(error) => {
                        let _ = sender.send(Err(error));
                        return;
                    }
                };
                let pid = Pid::from_raw(child.id() as i32);
                if let Some(line) = outlets.lines().get_mut(name) {
                    line.init = Some(pid);
                }
                let _ = sender.send(Ok(pid));
                let _ = child.wait();
                if let Some(line) = outlets.lines().get_mut(name) {
                    line.init = None;
                }
                outlets.changed.notify_all();
            })?;
        started
            .recv()
            .map_err(|_| anyhow::anyhow!("the outlet of {name} broke"))??;
        Ok(())
    }
}

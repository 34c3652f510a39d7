//! A machine shared between the scenario and the power controller.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use holdfast_proto::control::StatusView;

use crate::events::Events;
use crate::guest::{COMMAND, Ended, Guest};
use crate::net::{HARNESS, MANAGEMENT, address};
use crate::sh;
use crate::vm::Vm;

/// How long a boot may take, with the other machine at work on the same processors.
const BOOT: Duration = Duration::from_secs(400);

/// How long a look at what it says may take.
const LOOK: Duration = Duration::from_secs(60);

/// How long a machine that is about to end is listened to.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// A machine behind a lock that is held only to switch it, never while a command runs in it: the power controller must
/// be able to cut one in which something hangs.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Its number in each network.
    pub host: u8,
    /// What its hardware did.
    pub events: Events,
    guest: Guest,
    vm: Mutex<Vm>,
}

impl Machine {
    /// Wraps `vm`.
    #[must_use]
    pub fn new(vm: Vm) -> Machine {
        Machine {
            name: vm.name.clone(),
            host: vm.host,
            events: vm.events.clone(),
            guest: Guest::new(vm.files.at("agent")),
            vm: Mutex::new(vm),
        }
    }

    /// The machine itself.
    pub fn vm(&self) -> MutexGuard<'_, Vm> {
        self.vm.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until its boot is over.
    pub fn booted(&self) -> Result<()> {
        sh::wait(&format!("{} to boot", self.name), BOOT, || {
            let up = self.guest.is_there()
                && self
                    .run("systemctl is-system-running --wait", "")
                    .is_ok_and(|ended| ["running\n", "degraded\n"].contains(&ended.stdout.as_str()));
            up.then_some(())
        })
    }

    /// Waits until it answers commands.
    pub fn answers(&self) -> Result<()> {
        sh::wait(&format!("{} to answer", self.name), BOOT, || {
            self.guest.is_there().then_some(())
        })
    }

    fn run(&self, script: &str, stdin: &str) -> Result<Ended> {
        self.guest
            .sh(script, stdin, COMMAND)
            .with_context(|| self.name.clone())
    }

    /// Runs a shell command as root, which must succeed; its standard output.
    pub fn sh(&self, script: &str) -> Result<String> {
        self.sh_with(script, "")
    }

    /// The same with `input` on its standard input.
    pub fn sh_with(&self, script: &str, input: &str) -> Result<String> {
        let ended = self.run(script, input)?;
        if ended.code != 0 {
            let said = [ended.stdout, ended.stderr].concat();
            bail!(
                "{}: {script}: exit status {}\n{}",
                self.name,
                ended.code,
                said.trim_end()
            );
        }
        Ok(ended.stdout)
    }

    /// Starts a shell command and does not wait for its end.
    pub fn start(&self, script: &str) -> Result<()> {
        self.guest
            .start(script, COMMAND)
            .with_context(|| self.name.clone())
    }

    /// Starts a shell command that ends the machine, perhaps before it has answered: whoever calls looks for the effect.
    pub fn start_the_end(&self, script: &str) {
        let _ = self.guest.start(script, LAST_ANSWER);
    }

    /// All output of a shell command, whether it succeeded or not.
    #[must_use]
    pub fn look(&self, script: &str) -> String {
        if !self.vm().is_on() {
            return format!("{} has no power\n", self.name);
        }
        match self.guest.sh(script, "", LOOK) {
            Ok(ended) => ended.stdout + &ended.stderr,
            Err(error) => format!("{error:#}\n"),
        }
    }

    /// Writes `data` to a file there. It goes over the management network: the guest agent takes a minute for a megabyte.
    pub fn put(&self, data: Vec<u8>, to: &str, mode: &str) -> Result<()> {
        let dir = to.rsplit_once('/').map_or("/", |(dir, _)| dir);
        let length = data.len();
        let port = self.vm().net().serve(data)?;
        let from = address(MANAGEMENT, HARNESS);
        self.sh(&format!(
            "mkdir -p {dir} && bash -c 'cat < /dev/tcp/{from}/{port}' > {to} && chmod {mode} {to} && \
             test $(stat -c %s {to}) = {length}"
        ))
        .map(|_| ())
    }

    /// How far its wall clock is ahead of ours, in seconds.
    pub fn clock_ahead(&self) -> Result<f64> {
        self.guest.clock_ahead().with_context(|| self.name.clone())
    }

    /// The id of the boot that it is in.
    pub fn boot(&self) -> Result<String> {
        let id = self.sh("cat /proc/sys/kernel/random/boot_id")?;
        let id = id.trim();
        ensure!(!id.is_empty(), "{} has no boot id", self.name);
        Ok(id.to_string())
    }

    /// What `hactl status` says there, if it answers.
    #[must_use]
    pub fn status(&self) -> Option<StatusView> {
        if !self.vm().is_on() {
            return None;
        }
        serde_json::from_str(&self.sh("hactl status --json").ok()?).ok()
    }

    /// Waits for a status that fulfils `wanted`.
    pub fn wait_status(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&StatusView) -> bool,
    ) -> Result<StatusView> {
        let mut last = None;
        let found = sh::wait(&format!("{what} ({})", self.name), limit, || {
            let view = self.status()?;
            let good = wanted(&view);
            last = Some(view.clone());
            good.then_some(view)
        });
        found.with_context(|| {
            last.map(|view| view.summary)
                .unwrap_or_else(|| "hactl does not answer".into())
        })
    }
}

//! DRBD's own programs.

use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::events::State;
use crate::agent::AgentError;
use crate::clock;
use crate::fence::locate;
use crate::program::{self, Run};

/// Time for a look.
const LOOK: Duration = Duration::from_secs(10);
/// Where the loaded module says its version.
const VERSION: &str = "/sys/module/drbd/version";

/// The programs, for one resource.
#[derive(Clone, Debug)]
pub struct Drbd {
    /// The resource.
    pub resource: String,
}

/// Why a command did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its exit code; None when it was not run, or did not end in time.
    pub code: Option<i32>,
    /// What it said.
    pub text: String,
}

impl Refusal {
    /// The device is open: a file system is mounted, a program reads it.
    #[must_use]
    pub fn is_held_open(&self) -> bool {
        // -12 of 8.4 and 9; the sentence of 9 names the opener behind it.
        self.text.contains("held open") || self.text.contains("(-12)")
    }
}

impl From<Refusal> for AgentError {
    fn from(refusal: Refusal) -> AgentError {
        AgentError(refusal.text)
    }
}

impl Drbd {
    /// `drbdadm WORDS RESOURCE`.
    pub async fn adm(&self, words: &[&str], deadline: Time) -> Result<Run, Refusal> {
        let limit = clock::now().until(deadline).max(Duration::from_millis(50));
        self.run("drbdadm", words, limit).await
    }

    /// `drbdsetup WORDS RESOURCE`.
    pub async fn setup(&self, words: &[&str], deadline: Time) -> Result<Run, Refusal> {
        let limit = clock::now().until(deadline).max(Duration::from_millis(50));
        self.run("drbdsetup", words, limit).await
    }

    async fn run(&self, program: &str, words: &[&str], limit: Duration) -> Result<Run, Refusal> {
        let command = format!("{program} {} {}", words.join(" "), self.resource);
        let refused = |code: Option<i32>, text: String| Refusal {
            code,
            text: format!("{command}: {text}"),
        };
        let path = locate::program(program)
            .map_err(|_| refused(None, "DRBD's programs are not installed (drbd-utils)".to_owned()))?;
        let mut args: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        args.push(self.resource.clone());
        let run = program::run(&path, &args, "", limit)
            .await
            .map_err(|error| refused(None, error.to_string()))?;
        match run.code {
            Some(0) => Ok(run),
            code => {
                let said = run.excerpt(&[""; 0]);
                let code_text =
                    code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit {code}"));
                Err(refused(code, format!("{code_text}: {said}")))
            }
        }
    }

    /// The state now, with counters.
    pub async fn look(&self) -> Result<State, Refusal> {
        let run = self
            .run("drbdsetup", &["events2", "--now", "--statistics"], LOOK)
            .await?;
        Ok(State::read(&self.resource, &run.stdout))
    }

    /// Generation identifiers of the data of volume 0 and what is known of it, for the record.
    pub async fn generations(&self) -> Result<String, Refusal> {
        let run = self.run("drbdadm", &["get-gi"], LOOK).await?;
        Ok(run.stdout.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    /// The whole configuration that DRBD's programs read on this node, as XML.
    pub async fn dump(&self) -> Result<String, Refusal> {
        Ok(self.run("drbdadm", &["dump-xml"], LOOK).await?.stdout)
    }
}

/// Loads the module if it is not there.
///
/// # Errors
/// It cannot be loaded; what to do.
pub async fn load_module() -> Result<(), AgentError> {
    if is_loaded() {
        return Ok(());
    }
    let said = match locate::program("modprobe") {
        Ok(modprobe) => match program::run(&modprobe, &["drbd".to_owned()], "", LOOK).await {
            Ok(run) => run.excerpt(&[""; 0]),
            Err(error) => format!("modprobe {error}"),
        },
        Err(error) => error.0,
    };
    if is_loaded() {
        return Ok(());
    }
    Err(AgentError(format!(
        "the kernel module drbd is not loaded, and had-agentd may not load it ({said}): echo drbd > /etc/modules-load.d/drbd.conf, \
         and now: modprobe drbd"
    )))
}

/// True when the kernel has DRBD.
#[must_use]
pub fn is_loaded() -> bool {
    Path::new(VERSION).exists()
}

/// True when the loaded module is DRBD 9 or later.
#[must_use]
pub fn is_nine() -> bool {
    let version = fs::read_to_string(VERSION).unwrap_or_default();
    version
        .split('.')
        .next()
        .and_then(|major| major.trim().parse::<u32>().ok())
        >= Some(9)
}

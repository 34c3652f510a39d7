//! One fence device: its actions, and the proof that comes of them.

use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::time::Instant;

use super::Described;
use super::exit::exit_meaning;
use super::ipmi::Ipmi;
use super::params::Prepared;
use super::redfish::Redfish;
use super::state::{self, Power};
use crate::agent::AgentError;
use crate::clock;
use crate::program::{self, Run, RunError};

/// Pause between two looks at the power state: the first, and the longest.
const READ_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// One device, ready to be run.
pub(super) struct Device {
    pub label: String,
    pub node: String,
    pub driver: Driver,
    pub prepared: Prepared,
}

/// What carries actions out.
pub(super) enum Driver {
    /// A fence agent, or a program with the same contract.
    Agent {
        program: PathBuf,
        args: Vec<String>,
        metadata: Option<Described>,
    },
    /// Our own.
    Ipmi(Ipmi),
    /// Our own.
    Redfish(Redfish),
}

/// What a separate look at the power state showed.
pub(super) struct Reading {
    pub is_off: bool,
    /// What was seen, in a sentence.
    pub evidence: String,
    /// When the look began, on CLOCK_BOOTTIME: a boot that was heard before is over if it says off.
    pub begun: Time,
}

impl Device {
    /// Runs one action.
    pub async fn act(&self, action: &str, deadline: Instant) -> Result<Run, AgentError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(AgentError(format!(
                "no time was left for {} {action} of {}",
                self.label, self.node
            )));
        }
        let run = match &self.driver {
            Driver::Agent { program, args, .. } => {
                let input = self.prepared.input(action, &self.node);
                program::run(program, args, input.as_ref(), left).await
            }
            Driver::Ipmi(ipmi) => ipmi.act(action, left).await,
            Driver::Redfish(redfish) => redfish.act(action, left).await,
        };
        run.map_err(|error| self.not_run(action, error))
    }

    fn not_run(&self, action: &str, error: RunError) -> AgentError {
        AgentError(match error {
            RunError::Spawn(error) => format!("{} {action} cannot be run: {error}", self.label),
            timeout @ RunError::Timeout(_) => format!("{} {action} {timeout}", self.label),
        })
    }

    pub fn complaint(&self, action: &str, run: &Run) -> String {
        let said = run.excerpt(&self.prepared.secrets);
        let said = if said.is_empty() {
            "it said nothing".to_owned()
        } else {
            format!("it said: {said}")
        };
        let mut text = format!("{} {action}: {}; {said}", self.label, exit_meaning(run.code));
        if !self.prepared.problems.is_empty() {
            text.push_str(&format!(
                "; its parameters look wrong: {}",
                self.prepared.problems.join("; ")
            ));
        }
        text
    }

    /// Switches off, then reads the power state back until it says off. Ok is the proof's evidence.
    pub async fn fence(&self, deadline: Instant) -> Result<Reading, AgentError> {
        let begun = Instant::now();
        // Half of the time at most: an agent that hangs after it switched off must leave time to see that.
        let half = begun + deadline.saturating_duration_since(begun) / 2;
        let acted = match self.act("off", half).await {
            Ok(run) if run.code == Some(0) => format!("{} off ended well in {:.1?}", self.label, run.took),
            Ok(run) => self.complaint("off", &run),
            Err(error) => error.0,
        };
        let mut pause = READ_PAUSE.0;
        let mut reads = 0u32;
        loop {
            reads += 1;
            // One look that hangs must leave time for another.
            let left = deadline.saturating_duration_since(Instant::now());
            let look = Instant::now() + (left / 2).max(Duration::from_secs(1)).min(left);
            let looked = clock::now();
            let last = match self.act("status", look).await {
                Ok(run) => match state::read(&run) {
                    Power::Off => {
                        return Ok(Reading {
                            is_off: true,
                            evidence: format!(
                                "{acted}; status read after {:.1?} said off ({})",
                                begun.elapsed(),
                                self.quote(&run)
                            ),
                            begun: looked,
                        });
                    }
                    Power::On => format!("status still says on ({})", self.quote(&run)),
                    Power::Unknown(why) => {
                        format!("status proves nothing, {why}: {}", self.complaint("status", &run))
                    }
                },
                Err(error) => error.0,
            };
            if Instant::now() + pause >= deadline {
                return Err(AgentError(format!(
                    "{} was not read back as off within the time allowed ({reads} reads); {acted}; {last}",
                    self.node
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(READ_PAUSE.1);
        }
    }

    fn quote(&self, run: &Run) -> String {
        let said = program::excerpt(&run.stdout, &self.prepared.secrets);
        format!(
            "exit {}, {said:?}",
            run.code.map_or("by signal".to_owned(), |code| code.to_string())
        )
    }

    pub async fn report(&self, deadline: Instant) -> Result<Reading, AgentError> {
        let begun = clock::now();
        let run = self.act("status", deadline).await?;
        let (is_off, word) = match state::read(&run) {
            Power::Off => (true, "off"),
            Power::On => (false, "on"),
            Power::Unknown(why) => {
                return Err(AgentError(format!("{why}: {}", self.complaint("status", &run))));
            }
        };
        Ok(Reading {
            is_off,
            evidence: format!(
                "{} says {} is {word} ({})",
                self.label,
                self.node,
                self.quote(&run)
            ),
            begun,
        })
    }

    /// Checks parameters, asks the agent to check them where it can, and reads the power state. Changes nothing.
    pub async fn test(&self, deadline: Instant) -> Result<Reading, AgentError> {
        let metadata = match &self.driver {
            Driver::Agent { metadata, .. } => metadata.as_ref(),
            Driver::Ipmi(_) | Driver::Redfish(_) => return self.test_own(deadline).await,
        };
        if let Some(Err(why)) = metadata {
            return Err(AgentError(format!(
                "{} does not describe itself: {why}",
                self.label
            )));
        }
        if !self.prepared.problems.is_empty() {
            return Err(AgentError(format!(
                "{}: {}",
                self.label,
                self.prepared.problems.join("; ")
            )));
        }
        if let Some(Ok(metadata)) = metadata
            && metadata.has_action("validate-all")
        {
            let run = self.act("validate-all", deadline).await?;
            if run.code != Some(0) {
                return Err(AgentError(self.complaint("validate-all", &run)));
            }
        }
        self.report(deadline).await
    }

    /// Reads the power state, and says which machine it is about.
    async fn test_own(&self, deadline: Instant) -> Result<Reading, AgentError> {
        let mut reading = self.report(deadline).await?;
        let left = deadline.saturating_duration_since(Instant::now());
        let (guid, verified) = match &self.driver {
            Driver::Ipmi(ipmi) => (ipmi.guid(left).await, ipmi.is_verified()),
            Driver::Redfish(redfish) => (redfish.guid(left).await, redfish.is_verified()),
            Driver::Agent { .. } => return Ok(reading),
        };
        let guid = guid.map_err(|error| self.not_run("guid", error))?;
        reading.evidence.push_str(&match guid {
            Some(guid) if verified => format!("; verified: machine {guid}"),
            Some(guid) => format!("; it is machine {guid}: give that as uuid, and it is verified each time"),
            None => "; it does not tell which machine it is".into(),
        });
        Ok(reading)
    }
}

//! IPMI 2.0 through `ipmitool`, without a fence agent in between: one short process for each question instead of a Python
//! program, and the machine behind the controller is verified by its GUID.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::locate;
use super::machine::{is_guid, same_machine};
use crate::agent::AgentError;
use crate::program::{self, Run, RunError};

/// What asks the controller.
const PROGRAM: &str = "ipmitool";
/// Time between ipmitool's own repetitions of an unanswered packet, in seconds, and how many there are.
const REPEAT: [&str; 2] = ["1", "4"];

/// One management controller.
#[derive(Debug)]
pub(super) struct Ipmi {
    program: PathBuf,
    /// Where it is and how to log in; never a secret, which ipmitool reads from its file.
    login: Vec<String>,
    /// GUID of the machine that it has to control.
    machine: Option<String>,
}

impl Ipmi {
    /// The controller that `params` name.
    ///
    /// # Errors
    /// A parameter is missing, or ipmitool is.
    pub fn new(params: &BTreeMap<String, String>) -> Result<Ipmi, AgentError> {
        let needed = |key: &str| {
            let value = params.get(key).filter(|value| !value.is_empty());
            value
                .cloned()
                .ok_or_else(|| AgentError(format!("an ipmi device needs the parameter {key:?}")))
        };
        let given = |key: &str, default: &str| params.get(key).cloned().unwrap_or_else(|| default.into());
        let mut login: Vec<String> = ["-I", "lanplus", "-N", REPEAT[0], "-R", REPEAT[1]]
            .map(String::from)
            .into();
        login.extend(["-H".into(), needed("ip")?, "-p".into(), given("ipport", "623")]);
        login.extend([
            "-U".into(),
            needed("username")?,
            "-f".into(),
            needed("password_file")?,
        ]);
        login.extend(["-L".into(), given("privlvl", "OPERATOR").to_uppercase()]);
        if let Some(cipher) = params.get("cipher") {
            login.extend(["-C".into(), cipher.clone()]);
        }
        Ok(Ipmi {
            program: locate::program(PROGRAM)
                .map_err(|error| AgentError(format!("{error}; it is in the package ipmitool")))?,
            login,
            machine: params.get("uuid").cloned(),
        })
    }

    /// Runs one action as a fence agent would end it: `status` ends with 0 for on and 2 for off. Whatever is done, the
    /// machine is verified first, if it is known which it has to be.
    ///
    /// # Errors
    /// The controller belongs to another machine, or ipmitool did not end in time.
    pub async fn act(&self, action: &str, limit: Duration) -> Result<Run, RunError> {
        let begun = tokio::time::Instant::now();
        if self.machine.is_some()
            && let Some(wrong) = self.verify(limit).await?
        {
            return Ok(wrong);
        }
        let left = limit.saturating_sub(begun.elapsed());
        let mut run = self.ask(&["chassis", "power", action], left).await?;
        if action == "status" && run.code == Some(0) && run.stdout.trim_end().ends_with("is off") {
            run.code = Some(2);
        }
        Ok(run)
    }

    /// Whether it is known which machine it has to be.
    pub fn is_verified(&self) -> bool {
        self.machine.is_some()
    }

    /// The GUID of the machine, as the controller tells it; `None` if it does not.
    ///
    /// # Errors
    /// As [`Ipmi::act`].
    pub async fn guid(&self, limit: Duration) -> Result<Option<String>, RunError> {
        let run = self.ask(&["mc", "guid"], limit).await?;
        Ok(read_guid(&run.stdout))
    }

    /// `None` if the controller says that it belongs to the machine that was named; otherwise how the action ended.
    async fn verify(&self, limit: Duration) -> Result<Option<Run>, RunError> {
        let run = self.ask(&["mc", "guid"], limit).await?;
        let (Some(wanted), Some(told)) = (&self.machine, read_guid(&run.stdout)) else {
            let unknown = "it does not tell which machine it belongs to, and uuid is given";
            return Ok(Some(refused(run, unknown)));
        };
        if same_machine(wanted, &told) {
            return Ok(None);
        }
        Ok(Some(refused(
            run,
            &format!("it belongs to machine {told}, not to {wanted}: nothing was done"),
        )))
    }

    async fn ask(&self, words: &[&str], limit: Duration) -> Result<Run, RunError> {
        let mut args = self.login.clone();
        args.extend(words.iter().map(|word| (*word).to_string()));
        program::run(&self.program, &args, "", limit).await
    }
}

fn refused(run: Run, why: &str) -> Run {
    Run {
        code: Some(1),
        stdout: String::new(),
        stderr: format!("{} {why}", run.stderr.trim_end()).trim_start().into(),
        took: run.took,
    }
}

/// The GUID in the answer to `mc guid`, in lower case.
fn read_guid(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("System GUID"))?;
    let guid = line.split_once(':')?.1.trim().to_ascii_lowercase();
    is_guid(&guid).then_some(guid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_guid_is_read() {
        let said = "System GUID  : A1234567-89AB-CDEF-A123-456789ABCDEF\nTimestamp    : 01/01/2026\n";
        assert_eq!(
            read_guid(said).as_deref(),
            Some("a1234567-89ab-cdef-a123-456789abcdef")
        );
        assert_eq!(read_guid("System GUID  : a1234567\n"), None);
        assert_eq!(read_guid("Unable to get GUID\n"), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = Ipmi::new(&BTreeMap::from([("ip".into(), "10.0.9.1".into())])).unwrap_err();
        assert!(error.0.contains("\"username\""), "{}", error.0);
    }
}

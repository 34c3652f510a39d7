//! Redfish (DMTF DSP0266): the power of one `ComputerSystem` over HTTPS, with the machine verified by its UUID.

mod http;
mod tls;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::params::Prepared;
use crate::agent::AgentError;
use crate::program::{Run, RunError};
use http::{Answer, Service};

/// Where the systems of a service are (DSP0266, 6.3: a service has them at this place).
const SYSTEMS: &str = "/redfish/v1/Systems";

/// One system of one service.
pub(super) struct Redfish {
    service: Service,
    /// Last part of its path; the only one of the service if absent.
    system: Option<String>,
    machine: Option<String>,
}

/// What a service says of a system.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct System {
    power_state: Option<String>,
    #[serde(rename = "UUID")]
    uuid: Option<String>,
    actions: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Collection {
    members: Vec<Value>,
}

/// Why an action did not succeed, in words.
type Trouble = String;

impl Redfish {
    /// The system that `params` name, with the secrets that were read for it.
    ///
    /// # Errors
    /// A parameter is missing or makes no sense.
    pub fn new(params: &BTreeMap<String, String>, prepared: &Prepared) -> Result<Redfish, AgentError> {
        let needed = |key: &str| {
            let value = prepared.get(key).filter(|value| !value.is_empty());
            value.ok_or_else(|| AgentError(format!("a redfish device needs the parameter {key:?}")))
        };
        let login = format!("{}:{}", needed("username")?, needed("password")?);
        let trust = tls::Trust::new(params.get("certificate"), params.get("authorities"))?;
        let port = match params.get("ipport") {
            None => 443,
            Some(port) => port
                .parse()
                .map_err(|_| AgentError(format!("ipport = {port:?} is no port")))?,
        };
        Ok(Redfish {
            service: Service {
                host: needed("ip")?.to_owned(),
                port,
                login: format!("Basic {}", BASE64_STANDARD.encode(login)),
                trust,
            },
            system: params.get("system").cloned(),
            machine: params.get("uuid").cloned(),
        })
    }

    /// Whether it is known which machine it has to be.
    pub fn is_verified(&self) -> bool {
        self.machine.is_some()
    }

    /// Runs one action as a fence agent would end it: `status` ends with 0 for on and 2 for off, anything else with 1.
    ///
    /// # Errors
    /// It did not end within `limit`.
    pub async fn act(&self, action: &str, limit: Duration) -> Result<Run, RunError> {
        let begun = Instant::now();
        let done = tokio::time::timeout(limit, self.carry_out(action))
            .await
            .map_err(|_| RunError::Timeout(limit))?;
        let (code, stdout, stderr) = match done {
            Ok((code, said)) => (code, said, String::new()),
            Err(trouble) => (1, String::new(), trouble),
        };
        Ok(Run {
            code: Some(code),
            stdout,
            stderr,
            took: begun.elapsed(),
        })
    }

    /// The UUID of the machine as the service tells it; `None` if it does not.
    ///
    /// # Errors
    /// As [`Redfish::act`].
    pub async fn guid(&self, limit: Duration) -> Result<Option<String>, RunError> {
        let find = async {
            let mut session = self.service.connect().await?;
            self.find(&mut session).await
        };
        let found = tokio::time::timeout(limit, find)
            .await
            .map_err(|_| RunError::Timeout(limit))?;
        Ok(found.ok().and_then(|(_, system)| system.uuid))
    }

    async fn carry_out(&self, action: &str) -> Result<(i32, String), Trouble> {
        let mut session = self.service.connect().await?;
        let (path, system) = self.find(&mut session).await?;
        self.verify(&system)?;
        let kind = match action {
            "status" => return read_power(&system),
            "off" => "ForceOff",
            "on" => "On",
            other => return Err(format!("there is no action {other:?}")),
        };
        let target = &system.actions["#ComputerSystem.Reset"]["target"];
        let target = target.as_str().map_or_else(
            || format!("{path}/Actions/ComputerSystem.Reset"),
            ToOwned::to_owned,
        );
        let answer = session.post(&target, &json!({ "ResetType": kind })).await?;
        match answer.status {
            200..300 => Ok((0, format!("ResetType {kind} was taken"))),
            _ => Err(format!("ResetType {kind} was refused: {}", complaint(&answer))),
        }
    }

    /// Path and content of the system.
    async fn find(&self, session: &mut http::Session) -> Result<(String, System), Trouble> {
        let path = match &self.system {
            Some(system) => format!("{SYSTEMS}/{system}"),
            None => only_member(&get(session, SYSTEMS).await?)?,
        };
        let system = get(session, &path).await?;
        Ok((path, system))
    }

    fn verify(&self, system: &System) -> Result<(), Trouble> {
        let Some(wanted) = &self.machine else {
            return Ok(());
        };
        match &system.uuid {
            Some(told) if super::machine::same_machine(wanted, told) => Ok(()),
            Some(told) => Err(format!(
                "it belongs to machine {told}, not to {wanted}: nothing was done"
            )),
            None => Err("it does not tell which machine it belongs to, and uuid is given".into()),
        }
    }
}

async fn get<T: for<'a> Deserialize<'a>>(session: &mut http::Session, path: &str) -> Result<T, Trouble> {
    let answer = session.get(path).await?;
    if answer.status != 200 {
        return Err(format!("GET {path}: {}", complaint(&answer)));
    }
    serde_json::from_slice(&answer.body)
        .map_err(|error| format!("GET {path}: the answer is no Redfish: {error}"))
}

fn only_member(systems: &Collection) -> Result<String, Trouble> {
    let paths: Vec<&str> = systems
        .members
        .iter()
        .filter_map(|member| member["@odata.id"].as_str())
        .collect();
    match paths.as_slice() {
        [] => Err("it names no system".into()),
        [only] => Ok((*only).to_owned()),
        several => {
            let mut names = String::new();
            for path in several {
                let _ = write!(names, " {}", path.rsplit('/').next().unwrap_or(path));
            }
            Err(format!(
                "it has several systems, name one with the parameter system:{names}"
            ))
        }
    }
}

fn read_power(system: &System) -> Result<(i32, String), Trouble> {
    match system.power_state.as_deref() {
        Some("On") => Ok((0, "PowerState On".into())),
        Some("Off") => Ok((2, "PowerState Off".into())),
        Some(other) => Err(format!("PowerState is {other:?}, neither On nor Off")),
        None => Err("it does not tell its PowerState".into()),
    }
}

/// The service's own words, which are in an extended error (DSP0266, 8.6), or else the status.
fn complaint(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = body["error"]["@Message.ExtendedInfo"][0]["Message"]
        .as_str()
        .or_else(|| body["error"]["message"].as_str());
    let meaning = match answer.status {
        401 | 403 => " (the login was refused)",
        404 => " (there is no such thing)",
        _ => "",
    };
    match said {
        Some(said) => format!("status {}{meaning}: {said}", answer.status),
        None => format!("status {}{meaning}", answer.status),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(text: &str) -> System {
        serde_json::from_str(text).expect("a system")
    }

    #[test]
    fn only_on_and_off_are_power_states() {
        let power = |state: &str| read_power(&system(&format!("{{\"PowerState\":\"{state}\"}}")));
        assert_eq!(power("On").map(|(code, _)| code), Ok(0));
        assert_eq!(power("Off").map(|(code, _)| code), Ok(2));
        for state in ["PoweringOff", "off", "Paused", ""] {
            assert!(power(state).is_err(), "{state}");
        }
        assert!(read_power(&system("{}")).is_err());
    }

    #[test]
    fn one_of_several_systems_has_to_be_named() {
        let systems = |names: &[&str]| Collection {
            members: names
                .iter()
                .map(|name| json!({ "@odata.id": format!("{SYSTEMS}/{name}") }))
                .collect(),
        };
        assert_eq!(
            only_member(&systems(&["1"])).as_deref(),
            Ok("/redfish/v1/Systems/1")
        );
        let error = only_member(&systems(&["1", "2"])).unwrap_err();
        assert!(error.ends_with("system: 1 2"), "{error}");
        assert!(only_member(&systems(&[])).is_err());
    }
}

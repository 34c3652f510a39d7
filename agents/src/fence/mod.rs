//! Fence devices: any ClusterLabs fence agent, a program with the same contract (`exec`), or one of our own
//! (`ipmi`, `redfish`, `sbd`).
//!
//! - [`locate`], [`metadata`], [`params`]: which program, how it describes itself, what it is given.
//! - `admission`: the same devices for a node that they shut out.
//! - `device`: its actions and their proof. [`crate::program`]: one run of it. [`state`]: what a `status` run proves.
//!
//! The one rule: a node counts as off only when a separate `status` action read that its power is off. That the
//! `off` action ended well proves nothing, and neither does a status that only failed.

mod admission;
mod device;
mod exit;
mod ipmi;
pub mod locate;
mod machine;
pub mod metadata;
pub mod params;
mod redfish;
mod sbd;
pub mod state;
mod turn;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use holdfast_proto::agent::{FenceDevice, FenceOutcome, Note};
use holdfast_proto::config::{EXEC_AGENT, IPMI_AGENT, REDFISH_AGENT, SBD_AGENT};
use tokio::time::Instant;

use self::device::{Device, Driver, Reading};
use self::ipmi::Ipmi;
use self::metadata::Metadata;
use self::redfish::Redfish;
use self::sbd::Sbd;
use self::turn::{Turn, Turns};
use crate::agent::AgentError;
use crate::clock;

/// Longest time for a request, whatever it says.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);
/// Longest time for an agent to describe itself.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// Time for switching a node on again after its fencing was proved.
const ON_TIMEOUT: Duration = Duration::from_secs(60);
/// Descriptions kept.
const CACHE_MAX: usize = 64;

type Described = Result<Arc<Metadata>, String>;

/// Runs fence devices, one action at a time on each device. Cheap to clone.
#[derive(Clone)]
pub struct Fencer {
    shared: Arc<Shared>,
}

struct Shared {
    notes: Box<dyn Fn(Note) + Send + Sync>,
    turns: Turns,
    described: Mutex<BTreeMap<(PathBuf, SystemTime), Arc<Metadata>>>,
}

impl Fencer {
    /// A fencer; `notes` hears what happens after an outcome was given (switching on again). It must not block.
    pub fn new(notes: impl Fn(Note) + Send + Sync + 'static) -> Self {
        Fencer {
            shared: Arc::new(Shared {
                notes: Box::new(notes),
                turns: Turns::default(),
                described: Mutex::default(),
            }),
        }
    }

    /// Carries out `request`; `own` is the name of this node. Ends within the request's timeout, whatever the agent
    /// does.
    pub async fn run(&self, request: &FenceDevice, own: &str) -> FenceOutcome {
        let begun = Instant::now();
        let mut answer = FenceOutcome {
            id: request.id,
            ..FenceOutcome::default()
        };
        match self.try_run(request, own, deadline_of(request, begun)).await {
            Ok(Some(reading)) => {
                answer.off_read_back = reading.is_off;
                answer.evidence = reading.evidence;
                answer.read_at_us = reading.begun.0;
            }
            Ok(None) => {
                answer.skipped = true;
                answer.error = format!("the fence device of {} was used for something else", request.node);
            }
            Err(error) => answer.error = error.0,
        }
        answer.took_ms = u32::try_from(begun.elapsed().as_millis()).unwrap_or(u32::MAX);
        answer
    }

    /// `None` for a test that was not done.
    async fn try_run(
        &self,
        request: &FenceDevice,
        own: &str,
        deadline: Instant,
    ) -> Result<Option<Reading>, AgentError> {
        if request.node.is_empty() {
            return Err(AgentError::new("the request names no node to fence"));
        }
        refuse_ourselves(request, own)?;
        if request.agent == SBD_AGENT {
            return self.order(request, own, deadline).await.map(Some);
        }
        match request.action.as_str() {
            "test" => self.test(request, deadline).await,
            _ => self.act(request, deadline).await.map(Some),
        }
    }

    /// An order on shared disks. A test only reads, so it need not give way.
    async fn order(
        &self,
        request: &FenceDevice,
        own: &str,
        deadline: Instant,
    ) -> Result<Reading, AgentError> {
        let sbd = Sbd::new(request, own)?;
        match request.action.as_str() {
            "test" | "status" => sbd.test().await,
            action @ ("off" | "reboot") => {
                let _turn = self.take_turn(request, deadline).await?;
                sbd.fence(action == "off", deadline).await
            }
            other => Err(AgentError(format!("an order on a disk cannot be {other:?}"))),
        }
    }

    async fn act(&self, request: &FenceDevice, deadline: Instant) -> Result<Reading, AgentError> {
        let turn = self.take_turn(request, deadline).await?;
        let device = self.open(request, deadline).await?;
        match request.action.as_str() {
            "off" => device.fence(deadline).await,
            "reboot" => {
                let reading = device.fence(deadline).await?;
                self.switch_on(device, turn);
                Ok(reading)
            }
            "on" => {
                self.switch_on(device, turn);
                Ok(Reading {
                    is_off: false,
                    evidence: format!("{} is being switched on", request.node),
                    begun: clock::now(),
                })
            }
            "status" => device.report(deadline).await,
            other => Err(AgentError(format!(
                "there is no fence action {other:?}; use off, reboot, on, status or test"
            ))),
        }
    }

    /// Logs in and reads the power state, without touching it. A fencing that comes meanwhile does not wait for it: `None`
    /// if it gave way, or if the device was busy.
    async fn test(&self, request: &FenceDevice, deadline: Instant) -> Result<Option<Reading>, AgentError> {
        let Some(turn) = self.shared.turns.take_if_idle(device_key(request)) else {
            return Ok(None);
        };
        let look = async { self.open(request, deadline).await?.test(deadline).await };
        tokio::select! {
            biased;
            () = turn.is_wanted() => Ok(None),
            looked = look => looked.map(Some),
        }
    }

    /// Waits until no other action runs on the same device.
    async fn take_turn(&self, request: &FenceDevice, deadline: Instant) -> Result<Turn, AgentError> {
        let turn = self.shared.turns.take(device_key(request), deadline).await;
        turn.ok_or_else(|| {
            AgentError(format!(
                "the fence device of {} was busy with another action all the time",
                request.node
            ))
        })
    }

    async fn open(&self, request: &FenceDevice, deadline: Instant) -> Result<Device, AgentError> {
        if [IPMI_AGENT, REDFISH_AGENT].contains(&request.agent.as_str()) {
            return open_own(request);
        }
        let exec = request.agent == EXEC_AGENT;
        let (program, args) = if exec {
            exec_command(&request.params)?
        } else {
            (locate::agent(&request.agent)?, Vec::new())
        };
        let metadata = if exec {
            None
        } else {
            Some(self.describe(&program, deadline).await)
        };
        // Without a description, spellings are passed as they are: that must not keep a node from being fenced.
        let unknown = Metadata::default();
        let known = metadata
            .as_ref()
            .map(|described| described.as_deref().unwrap_or(&unknown));
        let mut prepared = params::prepare(&request.params, known)?;
        if matches!(metadata, Some(Err(_))) {
            prepared.problems.clear();
        }
        let label = if exec {
            program.display().to_string()
        } else {
            request.agent.clone()
        };
        Ok(Device {
            label,
            node: request.node.clone(),
            driver: Driver::Agent {
                program,
                args,
                metadata,
            },
            prepared,
        })
    }

    /// The agent's own description, from memory unless the program changed.
    async fn describe(&self, program: &PathBuf, deadline: Instant) -> Described {
        let changed = std::fs::metadata(program)
            .and_then(|meta| meta.modified())
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let key = (program.clone(), changed);
        let cache = || {
            self.shared
                .described
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = cache().get(&key) {
            return Ok(known.clone());
        }
        // Never more than a quarter of what is left: the fencing itself matters more.
        let left = deadline.saturating_duration_since(Instant::now());
        let limit = METADATA_TIMEOUT.min(left / 4);
        let run = crate::program::run(program, &[], "action=metadata\n", limit)
            .await
            .map_err(|error| error.to_string())?;
        let parsed = Arc::new(metadata::parse(&run.stdout)?);
        let mut cache = cache();
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        cache.insert(key, parsed.clone());
        Ok(parsed)
    }

    /// The second half of `reboot`, after the proof was handed on: a takeover does not wait for it.
    fn switch_on(&self, device: Device, turn: Turn) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let _turn = turn;
            let done = device.act("on", Instant::now() + ON_TIMEOUT).await;
            let (level, kind, text) = match done {
                Ok(run) if run.code == Some(0) => (
                    "info",
                    "fence-on",
                    format!("{} switched {} on again", device.label, device.node),
                ),
                Ok(run) => ("warn", "fence-on-failed", device.complaint("on", &run)),
                Err(error) => ("warn", "fence-on-failed", error.0),
            };
            (shared.notes)(Note {
                group: String::new(),
                text,
                level: level.into(),
                kind: kind.into(),
                at_us: clock::now().0,
            });
        });
    }
}

/// When a request that began at `begun` has to have ended.
fn deadline_of(request: &FenceDevice, begun: Instant) -> Instant {
    begun + Duration::from_millis(request.timeout_ms.into()).min(TIMEOUT_MAX)
}

/// A device that needs no fence agent.
fn open_own(request: &FenceDevice) -> Result<Device, AgentError> {
    // Reads the secret, for use and so that it can be kept out of all output.
    let mut prepared = params::prepare(&request.params, None)?;
    prepared.problems.clear();
    let driver = if request.agent == IPMI_AGENT {
        Driver::Ipmi(Ipmi::new(&request.params)?)
    } else {
        Driver::Redfish(Redfish::new(&request.params, &prepared)?)
    };
    Ok(Device {
        label: request.agent.clone(),
        node: request.node.clone(),
        driver,
        prepared,
    })
}

/// A parameter that names this node in a request for another one would switch us off.
fn refuse_ourselves(request: &FenceDevice, own: &str) -> Result<(), AgentError> {
    if own.is_empty() || request.node == own {
        return Ok(());
    }
    let keys = ["port", "plug", "nodename"];
    match keys
        .iter()
        .find(|key| request.params.get(**key).is_some_and(|value| value.trim() == own))
    {
        Some(key) => Err(AgentError(format!(
            "the fence device of {} has {key} = {own:?}, which is this node: refused; correct the parameter",
            request.node
        ))),
        None => Ok(()),
    }
}

/// What tells devices apart: where they are, not what is asked of them.
fn device_key(request: &FenceDevice) -> String {
    if request.agent == SBD_AGENT {
        // Each node has a mailbox of its own.
        return format!("{SBD_AGENT} {}", request.node);
    }
    let get = |names: &[&str]| names.iter().find_map(|name| request.params.get(*name)).cloned();
    match get(&["ip", "ipaddr", "devices", "device"]) {
        Some(place) => format!(
            "{} {place} {}",
            request.agent,
            get(&["ipport"]).unwrap_or_default()
        ),
        None => format!("{} {:?}", request.agent, get(&[params::EXEC_KEY])),
    }
}

fn exec_command(params: &BTreeMap<String, String>) -> Result<(PathBuf, Vec<String>), AgentError> {
    let given = params.get(params::EXEC_KEY);
    let mut words = given
        .map(String::as_str)
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let program = words.next().ok_or_else(|| {
        AgentError::new("an exec fence device needs the parameter \"program\": a program, then its arguments")
    })?;
    Ok((locate::program(program)?, words.map(str::to_owned).collect()))
}

//! Follows a unit's state by systemd's signals.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use zbus::fdo::{DBusProxy, PropertiesProxy};

use super::bus::{Bus, UnitState};
use crate::agent::{AgentError, EventSink};

/// First pause before the bus is tried again; doubles up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// What the watcher saw last.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    text: String,
    cgroup: String,
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The unit's state in words.
    pub fn text(&self) -> String {
        self.lock().text.clone()
    }
}

/// Freezes the unit's cgroup. One that is not there any more holds nothing that could run.
pub fn freeze(shared: &Shared) -> Result<(), AgentError> {
    let cgroup = shared.lock().cgroup.clone();
    if cgroup.is_empty() || cgroup == "/" {
        return Err(AgentError::new("its cgroup is not known"));
    }
    // The second is where systemd mounts version 2 beside version 1.
    let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let folder = roots
        .iter()
        .map(|root| format!("{root}{cgroup}"))
        .find(|folder| Path::new(folder).exists());
    let Some(folder) = folder else { return Ok(()) };
    let file = format!("{folder}/cgroup.freeze");
    fs::write(&file, "1").map_err(|error| AgentError(format!("{file}: {error}")))
}

/// Reports once when the unit is no longer up, and ends then.
pub async fn follow(unit: String, shared: Shared, events: EventSink) {
    let mut pause = RETRY;
    loop {
        match follow_once(&unit, &shared, &events).await {
            Ok(Some(state)) => return events.failed(format!("{unit} is {state}; see journalctl -u {unit}")),
            // systemd was executed anew: subscribe again, look again.
            Ok(None) => pause = RETRY,
            Err(error) if pause == RETRY => {
                events.note(
                    "warn",
                    "bus-lost",
                    format!("{unit} is not watched: {error}; trying again"),
                );
            }
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_MAX);
    }
}

/// Follows over one connection. Some(state) when the unit is not up, None when systemd itself went away.
async fn follow_once(
    unit: &str,
    shared: &Shared,
    events: &EventSink,
) -> Result<Option<UnitState>, AgentError> {
    let wrong = |error: zbus::Error| AgentError(error.to_string());
    let bus = Bus::connect().await?;
    let loaded = bus.unit(unit).await?;
    let names = DBusProxy::new(&bus.connection).await.map_err(wrong)?;
    let owner = names.receive_name_owner_changed_with_args(&[(0, "org.freedesktop.systemd1")]);
    let mut owner = owner.await.map_err(wrong)?;
    let builder = PropertiesProxy::builder(&bus.connection).destination("org.freedesktop.systemd1");
    let properties = builder.path(loaded.path.clone()).build().await.map_err(wrong)?;
    let mut changes = properties.receive_properties_changed().await.map_err(wrong)?;
    loop {
        // Looked at after the signals are subscribed to, so that no change falls between.
        let state = loaded.state().await?;
        if !state.is_up() {
            return Ok(Some(state));
        }
        let (pid, cgroup) = main_process(&properties).await;
        let text = if pid == 0 {
            state.to_string()
        } else {
            format!("{state}, pid {pid}")
        };
        let old = std::mem::replace(
            &mut *shared.lock(),
            Seen {
                text: text.clone(),
                cgroup,
            },
        );
        if old.text != text {
            events.detail_changed();
        }
        tokio::select! {
            change = changes.next() => if change.is_none() {
                return Err(AgentError::new("the connection with the system bus ended"));
            },
            change = owner.next() => match change {
                Some(_) => return Ok(None),
                None => return Err(AgentError::new("the connection with the system bus ended")),
            },
        }
    }
}

/// Main pid and cgroup of a service; other kinds of unit have none.
async fn main_process(properties: &PropertiesProxy<'_>) -> (u32, String) {
    let Ok(interface) = zbus::names::InterfaceName::try_from("org.freedesktop.systemd1.Service") else {
        return (0, String::new());
    };
    let pid = properties
        .get(interface.clone(), "MainPID")
        .await
        .ok()
        .and_then(|value| u32::try_from(value).ok());
    let cgroup = properties
        .get(interface, "ControlGroup")
        .await
        .ok()
        .and_then(|value| String::try_from(value).ok());
    (pid.unwrap_or(0), cgroup.unwrap_or_default())
}

//! systemd on the system bus. Connected when the first unit needs it, shared by all, and anew when it broke.

use std::fmt;
use std::num::NonZero;

use futures_util::StreamExt;
use tokio::sync::Mutex;
use zbus::{Connection, MatchRule, MessageStream, OwnedObjectPath};
use zbus_systemd::systemd1::{ManagerProxy, UnitProxy};

use crate::agent::AgentError;

/// Signals that may wait for a job's task.
const SIGNALS_MAX: usize = 256;

/// The connection of this process.
static SHARED: Mutex<Option<Connection>> = Mutex::const_new(None);

/// A connection with systemd.
pub struct Bus {
    pub connection: Connection,
    manager: ManagerProxy<'static>,
}

/// What `connection` itself or systemd answered, in words.
fn wrong(error: &zbus::Error) -> AgentError {
    AgentError(format!("systemd over D-Bus: {error}"))
}

impl Bus {
    /// The shared connection, checked by a call. systemd sends signals only to who has subscribed, so that call is it.
    pub async fn connect() -> Result<Bus, AgentError> {
        let mut shared = SHARED.lock().await;
        if let Some(connection) = shared.clone()
            && let Ok(bus) = Bus::over(connection).await
        {
            return Ok(bus);
        }
        *shared = None;
        let connection = Connection::system().await.map_err(|error| {
            AgentError(format!(
                "the system bus cannot be reached ({error}); is dbus running?"
            ))
        })?;
        let bus = Bus::over(connection.clone()).await?;
        *shared = Some(connection);
        Ok(bus)
    }

    async fn over(connection: Connection) -> Result<Bus, AgentError> {
        let manager = ManagerProxy::new(&connection)
            .await
            .map_err(|error| wrong(&error))?;
        match manager.subscribe().await {
            Ok(()) => {}
            Err(zbus::Error::MethodError(name, ..)) if name.ends_with(".AlreadySubscribed") => {}
            Err(error) => return Err(wrong(&error)),
        }
        Ok(Bus { connection, manager })
    }

    /// The unit, loaded.
    pub async fn unit(&self, name: &str) -> Result<Unit, AgentError> {
        let path = self
            .manager
            .load_unit(name.to_owned())
            .await
            .map_err(|error| wrong(&error))?;
        let builder = UnitProxy::builder(&self.connection).cache_properties(zbus::proxy::CacheProperties::No);
        let proxy = builder
            .path(path.clone())
            .build()
            .await
            .map_err(|error| wrong(&error))?;
        Ok(Unit {
            name: name.to_owned(),
            path,
            proxy,
        })
    }

    /// Queues a job and waits for its result: `done`, `failed`, `timeout`, `dependency`, `canceled`, `skipped`.
    pub async fn run_job(&self, method: &str, unit: &str) -> Result<String, AgentError> {
        // The listener is there before the job: a quick job may be gone before its path is known.
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let rule = rule
            .interface("org.freedesktop.systemd1.Manager")
            .member("JobRemoved")
            .build();
        let rule = rule.map_err(|error| wrong(&error))?;
        let stream = MessageStream::for_match_rule(rule, &self.connection, NonZero::new(SIGNALS_MAX));
        let mut stream = stream.await.map_err(|error| wrong(&error))?;
        let (unit, mode) = (unit.to_owned(), "replace".to_owned());
        let queued = match method {
            "StartUnit" => self.manager.start_unit(unit, mode).await,
            _ => self.manager.stop_unit(unit, mode).await,
        };
        let job = queued.map_err(|error| wrong(&error))?;
        while let Some(message) = stream.next().await {
            let message = message.map_err(|error| wrong(&error))?;
            let body = message.body();
            let removed = body.deserialize::<(u32, OwnedObjectPath, String, String)>();
            if let Ok((_, path, _, result)) = removed
                && path == job
            {
                return Ok(result);
            }
        }
        Err(AgentError::new(
            "the connection with systemd ended before the job did",
        ))
    }

    /// Queues a stop without waiting for it.
    pub async fn queue_stop(&self, unit: &str) -> Result<(), AgentError> {
        let queued = self.manager.stop_unit(unit.to_owned(), "replace".into()).await;
        queued.map(|_| ()).map_err(|error| wrong(&error))
    }

    /// SIGKILL to all of the unit. A unit without processes is not an error: the caller looks at its state.
    pub async fn kill(&self, unit: &str) {
        let killed = self
            .manager
            .kill_unit(unit.to_owned(), "all".into(), libc::SIGKILL)
            .await;
        if let Err(error) = killed {
            tracing::debug!("{unit}: {error}");
        }
    }

    /// Forgets earlier failures. A unit that has none, or is not loaded, is not an error.
    pub async fn reset_failed(&self, unit: &str) {
        if let Err(error) = self.manager.reset_failed_unit(unit.to_owned()).await {
            tracing::debug!("{unit}: {error}");
        }
    }

    /// Whether systemd would start it at boot.
    pub async fn is_enabled(&self, unit: &str) -> bool {
        self.manager
            .get_unit_file_state(unit.to_owned())
            .await
            .is_ok_and(|state| state == "enabled")
    }
}

/// A loaded unit.
pub struct Unit {
    name: String,
    pub path: OwnedObjectPath,
    proxy: UnitProxy<'static>,
}

impl Unit {
    /// Refuses a unit that is not there, or masked.
    pub async fn check_loaded(&self) -> Result<(), AgentError> {
        let load = self.proxy.load_state().await.map_err(|error| wrong(&error))?;
        if load == "loaded" {
            return Ok(());
        }
        let name = &self.name;
        Err(AgentError(format!(
            "the unit {name} is {load} on this node: install it, or correct `unit`"
        )))
    }

    /// Its state now; a unit that is not there is inactive.
    pub async fn state(&self) -> Result<UnitState, AgentError> {
        let active = self.proxy.active_state().await.map_err(|error| wrong(&error))?;
        let sub = self.proxy.sub_state().await.map_err(|error| wrong(&error))?;
        Ok(UnitState { active, sub })
    }
}

/// ActiveState and SubState.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitState {
    pub active: String,
    pub sub: String,
}

impl UnitState {
    /// It does its work.
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// Nothing of it runs.
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }
}

impl fmt::Display for UnitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.active, self.sub)
    }
}

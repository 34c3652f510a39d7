//! What the configuration says about a resource of this kind.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_proto::ocf;

use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::params::Reader;

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "ocf",
    summary: "runs an OCF resource agent, ocf:PROVIDER:TYPE",
    params: &[
        ParamMeta::optional("promotable", "true when it has roles (default: false)"),
        ParamMeta::optional(
            "notify",
            "true when it is told before and after its own actions (default: false)",
        ),
        ParamMeta::optional(
            "monitor_interval_ms",
            "pause between two looks (default: what the agent suggests, else 10 s)",
        ),
        ParamMeta::optional(
            "monitor_timeout_ms",
            "time for one look (default: what the agent suggests, else 20 s)",
        ),
        ParamMeta::optional(
            "check_level",
            "OCF_CHECK_LEVEL of a deeper look beside the plain one: 10 or 20 (default: none)",
        ),
        ParamMeta::optional(
            "check_interval_ms",
            "pause between two deeper looks (default: what the agent suggests, else 60 s)",
        ),
        ParamMeta::optional("ocf_root", "where agents are (default: /usr/lib/ocf)"),
    ],
};

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who made the agent: `heartbeat`, `pacemaker`.
    pub provider: String,
    /// Its type: `IPaddr2`.
    pub agent: String,
    /// `OCF_ROOT`.
    pub root: String,
    /// The agent's own parameters.
    pub params: BTreeMap<String, String>,
    /// It has roles.
    pub promotable: bool,
    /// It is told before and after its own actions.
    pub notify: bool,
    /// Pause between two looks, if it is not the agent that decides.
    pub monitor_interval: Option<Duration>,
    /// Time for one look, likewise.
    pub monitor_timeout: Option<Duration>,
    /// `OCF_CHECK_LEVEL` of a deeper look.
    pub check_level: Option<u32>,
    /// Pause between two deeper looks.
    pub check_interval: Option<Duration>,
}

impl Settings {
    /// Reads the parameters of a resource of `kind`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn read(kind: &str, given: &BTreeMap<String, String>) -> Result<Settings, AgentError> {
        let (provider, agent) = ocf::parts(kind).ok_or_else(|| {
            AgentError(format!(
                "{kind:?} names no OCF agent: it is ocf:PROVIDER:TYPE, such as ocf:heartbeat:IPaddr2"
            ))
        })?;
        if given.values().any(|value| value.contains('\0')) {
            return Err(AgentError::new("agent ocf: a parameter holds a NUL byte"));
        }
        let (of_agent, own): (BTreeMap<_, _>, BTreeMap<_, _>) = given
            .clone()
            .into_iter()
            .partition(|(key, _)| key.starts_with(ocf::PARAM_PREFIX));
        META.check_keys(&own)?;
        let mut params = BTreeMap::new();
        for (key, value) in of_agent {
            let name = key.strip_prefix(ocf::PARAM_PREFIX).unwrap_or(&key);
            if let Some(fault) = ocf::param_name_fault(name) {
                return Err(AgentError(format!("agent ocf: parameter {name:?}: {fault}")));
            }
            params.insert(name.to_owned(), value);
        }
        let read = Reader::new(META.kind, &own);
        let root = read.path("ocf_root")?.unwrap_or_else(|| ocf::ROOT_DEFAULT.into());
        let flag = |key| read.choice(key, &[("false", false), ("true", true)]);
        let millis = |key| {
            let given = read.number(key, 1..=u32::MAX)?;
            Ok::<_, AgentError>(given.map(Duration::from_millis))
        };
        Ok(Settings {
            promotable: flag("promotable")?,
            notify: flag("notify")?,
            monitor_interval: millis("monitor_interval_ms")?,
            monitor_timeout: millis("monitor_timeout_ms")?,
            check_level: read
                .number("check_level", 0..=u32::MAX)?
                .filter(|level| *level > 0),
            check_interval: millis("check_interval_ms")?,
            provider: provider.to_owned(),
            agent: agent.to_owned(),
            root: root.display().to_string(),
            params,
        })
    }

    /// The agent itself.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        Path::new(&self.root)
            .join("resource.d")
            .join(&self.provider)
            .join(&self.agent)
    }

    /// How people call it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("ocf:{}:{}", self.provider, self.agent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: &str, pairs: &[(&str, &str)]) -> Result<Settings, AgentError> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Settings::read(kind, &pairs.collect())
    }

    #[test]
    fn good_settings_are_read() {
        let pairs = [("param.ip", "::1"), ("promotable", "true"), ("check_level", "10")];
        let settings = read("ocf:heartbeat:IPaddr2", &pairs).unwrap();
        assert_eq!(
            settings.program(),
            Path::new("/usr/lib/ocf/resource.d/heartbeat/IPaddr2")
        );
        assert_eq!(settings.params["ip"], "::1");
        assert!(settings.promotable && !settings.notify);
        assert_eq!(settings.check_level, Some(10));
        assert_eq!(settings.monitor_interval, None);
    }

    #[test]
    fn bad_settings_are_refused() {
        let kind = "ocf:heartbeat:Dummy";
        for pair in [
            ("ip", "::1"),
            ("param.a b", ""),
            ("param.x", "\0"),
            ("promotable", "yes"),
            ("ocf_root", "lib"),
            ("monitor_interval_ms", "0"),
            ("monitor_timeout_ms", "x"),
        ] {
            assert!(read(kind, &[pair]).is_err(), "{pair:?}");
        }
        assert!(read("ocf:..:x", &[]).is_err());
    }
}

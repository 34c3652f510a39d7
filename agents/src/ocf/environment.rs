//! The environment of an action: to the letter of the OCF Resource Agent API 1.1, with what Pacemaker adds and agents rely
//! on.

use std::collections::BTreeMap;
use std::ffi::{CString, NulError};
use std::path::Path;
use std::time::Duration;

use super::action::Host;
use super::said::REASON_PREFIX;
use crate::exec::members::MARKER;
use crate::fence::locate::SEARCH_PATH;
use crate::leftovers;

/// Where agents keep files that are gone after a reboot (`HA_RSCTMP`).
pub const TEMPORARY: &str = "/run/resource-agents";
/// Which of Pacemaker's interfaces agents may count on: that of 2.1.5.
const FEATURE_SET: &str = "3.16.1";
/// Tells the stand-ins for Pacemaker's tools where the attributes are.
pub const ATTRIBUTES: &str = "HOLDFAST_OCF_ATTRIBUTES";

/// One call of an agent.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// The action.
    pub action: &'a str,
    /// Time that it may take.
    pub timeout: Duration,
    /// Pause between two of them; zero for all that is done once, and for a probe.
    pub interval: Duration,
    /// `OCF_CHECK_LEVEL`.
    pub level: u32,
    /// More variables, without `OCF_RESKEY_CRM_meta_`: roles, notifications.
    pub more: Vec<(String, String)>,
}

impl<'a> Call<'a> {
    /// A call that is made once.
    #[must_use]
    pub fn new(action: &'a str, timeout: Duration) -> Call<'a> {
        Call {
            action,
            timeout,
            interval: Duration::ZERO,
            level: 0,
            more: Vec::new(),
        }
    }
}

/// NAME=VALUE, all of it. `marker` is how processes of the resource are known, `tools` the folder of the stand-ins for
/// Pacemaker's tools.
pub(super) fn of(
    host: &Host,
    call: &Call<'_>,
    marker: &str,
    tools: Option<&Path>,
) -> Result<Vec<CString>, NulError> {
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: &str| drop(all.insert(name.to_owned(), value.to_owned()));
    let settings = &host.settings;
    let tools = tools.and_then(Path::to_str);
    set("PATH", &search_path(tools));
    set("OCF_ROOT", &settings.root);
    set("OCF_RA_VERSION_MAJOR", "1");
    set("OCF_RA_VERSION_MINOR", "1");
    set("OCF_RESOURCE_INSTANCE", &instance(host));
    set("OCF_RESOURCE_TYPE", &settings.agent);
    set("OCF_RESOURCE_PROVIDER", &settings.provider);
    set("OCF_CHECK_LEVEL", &call.level.to_string());
    set("OCF_OUTPUT_FORMAT", "text");
    set("OCF_EXIT_REASON_PREFIX", REASON_PREFIX);
    set("HA_RSCTMP", TEMPORARY);
    set("HA_LOGFACILITY", "daemon");
    set("HA_logfacility", "daemon");
    set("HA_debug", "0");
    set("PCMK_logfacility", "daemon");
    set("PCMK_service", "had-agentd");
    if let Some(tools) = tools {
        set("HA_SBIN_DIR", tools);
        set(ATTRIBUTES, &host.attributes.to_string_lossy());
    }
    set(MARKER, marker);
    if call.action == "monitor" || call.action == "meta-data" {
        // What outlives its had-agentd is ended by the next one. Of other actions the processes belong to the resource.
        set(leftovers::MARKER, &leftovers::marker().to_string_lossy());
    }
    for (name, value) in &settings.params {
        set(&format!("OCF_RESKEY_{name}"), value);
    }
    set("OCF_RESKEY_crm_feature_set", FEATURE_SET);
    let mut meta = |name: &str, value: &str| set(&format!("OCF_RESKEY_CRM_meta_{name}"), value);
    meta("name", call.action);
    meta("id", &instance(host));
    meta("class", "ocf");
    meta("provider", &settings.provider);
    meta("type", &settings.agent);
    meta("timeout", &call.timeout.as_millis().to_string());
    meta("interval", &call.interval.as_millis().to_string());
    meta("on_node", &host.node);
    meta("on_node_uuid", &host.node);
    call.more.iter().for_each(|(name, value)| meta(name, value));
    all.into_iter()
        .map(|(name, value)| CString::new(format!("{name}={value}")))
        .collect()
}

/// How the agent's instance is called: unique on this node, because agents put it into the names of files.
#[must_use]
pub fn instance(host: &Host) -> String {
    format!("{}.{}", host.group, host.resource)
}

fn search_path(tools: Option<&str>) -> String {
    match tools {
        Some(tools) => format!("{tools}:{SEARCH_PATH}"),
        None => SEARCH_PATH.to_owned(),
    }
}

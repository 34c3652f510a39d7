//! Parameters of the `vip` agent.

use std::time::Duration;

use super::address::{Vip, parse_list};
use crate::agent::{AgentContext, AgentError, AgentMeta, ParamMeta};
use crate::params::Reader;

/// What the agent is.
pub const META: AgentMeta = AgentMeta {
    kind: "vip",
    summary: "virtual IPv4 and IPv6 addresses, announced to the network and removed by the kernel when a permit lapses",
    params: &[
        ParamMeta::required("address", "ADDRESS/PREFIX, one or several"),
        ParamMeta::optional(
            "interface",
            "where to put them (default: the interface that has an address in the same subnet)",
        ),
        ParamMeta::optional(
            "duplicate_check_ms",
            "how long to listen for another host that has the address; 0 asks nobody (default 5)",
        ),
        ParamMeta::optional(
            "announce_interval_s",
            "time between announcements after those of the first 17 seconds (default 60)",
        ),
    ],
};

/// Longest `duplicate_check_ms`: the service is down while it runs.
const DUPLICATE_CHECK_MS_MAX: u32 = 5000;

/// The parameters, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    pub vips: Vec<Vip>,
    pub interface: Option<String>,
    pub duplicate_check: Duration,
    pub announce_interval: Duration,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn parse(context: &AgentContext) -> Result<Self, AgentError> {
        META.check_keys(&context.params)?;
        let read = Reader::new(META.kind, &context.params);
        let announce_interval_s = read.number("announce_interval_s", 1..=3600)?;
        Ok(Settings {
            vips: parse_list(read.text("address").unwrap_or_default())?,
            interface: read.text("interface").map(str::to_owned),
            duplicate_check: read.millis("duplicate_check_ms", 0..=DUPLICATE_CHECK_MS_MAX, 5)?,
            announce_interval: Duration::from_secs(announce_interval_s.unwrap_or(60)),
        })
    }
}

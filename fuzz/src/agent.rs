//! The socket between `had` and `had-agentd`, both ways.

use holdfast_agents::{fuzzing, probe};
use holdfast_daemon::agentd_link::translate;
use holdfast_proto::agent::{AgentReport, AgentRequest, StartGroup, agent_report, agent_request};

use crate::memory::bounded;
use crate::sameness::settled_prost;
use crate::samples::config;
use crate::text::one_line;

/// Memory for each byte of a message: an empty entry of a list takes two bytes on the wire.
const FACTOR: usize = 256;

/// Decodes the bytes as a request and as a report, and takes them in as the other side would.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let request = bounded(data.len(), FACTOR, || settled_prost::<AgentRequest>(data));
    if let Some(agent_request::Body::Start(start)) = request.and_then(|request| request.body) {
        started(&start);
    }
    let report = bounded(data.len(), FACTOR, || settled_prost::<AgentReport>(data));
    match report.and_then(|report| report.body) {
        Some(agent_report::Body::Attached(attached)) => {
            let _ = translate::attached(&attached, config());
        }
        Some(agent_report::Body::Group(status)) => {
            let seen = translate::observation(&status, config());
            // Only words that this version knows may free anything.
            assert!(!seen.run.is_down() || ["stopped", "failed"].contains(&status.run.as_str()));
        }
        Some(agent_report::Body::Fenced(outcome)) => {
            let claimed = outcome.off_read_back;
            assert_eq!(translate::fenced(outcome).off_read_back, claimed);
        }
        _ => {}
    }
}

/// The agents' own check of what `had` asks for.
fn started(start: &StartGroup) {
    for resource in start.spec.iter().flat_map(|spec| &spec.resources) {
        if let Err(error) = fuzzing::accepts(&resource.kind, &resource.params, "") {
            one_line(&error.0);
        }
        for spec in &resource.probes {
            if let Err(error) = probe::validate(spec) {
                one_line(&error.0);
            }
        }
    }
}

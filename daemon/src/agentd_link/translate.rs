//! Between the core's types and the agent API.

use std::time::Duration;

use holdfast_core::effect::{FenceStep, Permit};
use holdfast_core::event::{AgentEvent, FenceResult, GroupObservation};
use holdfast_proto::agent;
use holdfast_proto::config::{
    Config, FenceAction, FenceKind, FenceSection, GroupSection, ProbeKind, ProbeSection,
};
use holdfast_proto::ids::{BootId, JobName, NUMBER_MAX, NodeId};
use holdfast_proto::job::{JobOutcome, JobReport, RunNumber};
use holdfast_proto::peer::RunState;
use holdfast_proto::time::Time;

use super::roles;

/// Longest sentence about a run that is committed: every copy of the state holds it.
const JOB_DETAIL_CHARS: usize = 400;

/// What `Attach` says about this node under `config`.
#[must_use]
pub fn attach(config: &Config, node: NodeId, boot: BootId) -> agent::Attach {
    agent::Attach {
        node: config.name_of(node),
        cluster: config.cluster.name.clone(),
        lease_ms: config.cluster.detection_ms,
        sbd: config.sbd.as_ref().map(|section| agent::SbdDisks {
            devices: section.devices.clone(),
            io_timeout_ms: section.io_timeout_ms,
            boot: self::boot(boot),
            witness: config.witness_disks().to_vec(),
            node_id: node.0.into(),
            cluster_id: config.cluster.id.0,
        }),
    }
}

/// A boot, for the agent process.
#[must_use]
pub fn boot(boot: BootId) -> String {
    format!("{:032x}", boot.0)
}

/// A permit.
#[must_use]
pub fn permit(permit: &Permit) -> agent::Permit {
    agent::Permit {
        group: permit.group.to_string(),
        epoch: permit.epoch,
        until_us: permit.until.0,
    }
}

/// A start on `own`, this node; `None` when the configuration has no such group.
#[must_use]
pub fn start(permit_of_core: &Permit, config: &Config, own: NodeId) -> Option<agent::StartGroup> {
    let section = config.group(&permit_of_core.group)?;
    let name = config.name_of(own);
    let storage = config.fences_of(own).into_iter();
    let storage = storage.filter(|device| device.kind == FenceKind::Storage);
    Some(agent::StartGroup {
        permit: Some(permit(permit_of_core)),
        spec: Some(spec(section)),
        storage: storage
            .map(|device| fence(0, &name, device, FenceStep::On))
            .collect(),
    })
}

pub(super) fn spec(section: &GroupSection) -> agent::GroupSpec {
    let resource = |resource: &holdfast_proto::config::ResourceSection| agent::ResourceSpec {
        name: resource.name.clone(),
        kind: resource.kind.clone(),
        params: resource.params.clone(),
        probes: resource.probes.iter().map(probe).collect(),
        start_timeout_ms: resource.start_timeout_ms,
        stop_timeout_ms: resource.stop_timeout_ms,
    };
    agent::GroupSpec {
        name: section.name.to_string(),
        resources: section.resources.iter().map(resource).collect(),
        max_restarts: section.max_restarts,
        restart_window_ms: section.restart_window_ms,
        requires: section.requires.word().into(),
        every_node: section.is_every_node(),
    }
}

fn probe(section: &ProbeSection) -> agent::ProbeSpec {
    let (kind, target) = match &section.kind {
        ProbeKind::Tcp { target, .. } => ("tcp", target.clone()),
        ProbeKind::Http(url) => ("http", url.clone()),
        ProbeKind::Exec(command) => ("exec", command.join("\n")),
    };
    let (send, expect) = match &section.kind {
        ProbeKind::Tcp { send, expect, .. } => (send.clone(), expect.clone()),
        _ => Default::default(),
    };
    agent::ProbeSpec {
        kind: kind.into(),
        target,
        interval_ms: section.interval_ms,
        timeout_ms: section.timeout_ms,
        failures: section.failures,
        of: section.of,
        send,
        expect,
    }
}

/// A fence command under the wire number `id`: `step` of what the section asks for.
#[must_use]
pub fn fence(id: u64, node: &str, device: &FenceSection, step: FenceStep) -> agent::FenceDevice {
    let action = match (step, device.action) {
        (FenceStep::Off, _) | (FenceStep::Act, FenceAction::Off) => "off",
        (FenceStep::Act, FenceAction::Reboot) => "reboot",
        (FenceStep::ReadBack, _) => "status",
        (FenceStep::On, _) => "on",
    };
    agent::FenceDevice {
        id,
        node: node.into(),
        agent: device.agent.clone(),
        params: device.params.clone(),
        action: action.into(),
        timeout_ms: device.timeout_ms,
        boot: String::new(),
    }
}

/// A test of a fence device under the wire number `id`: it changes nothing.
#[must_use]
pub fn fence_test(id: u64, node: &str, device: &FenceSection) -> agent::FenceDevice {
    agent::FenceDevice {
        action: "test".into(),
        ..fence(id, node, device, FenceStep::ReadBack)
    }
}

/// An order to begin a run of a job; `None` when the configuration has no such job.
#[must_use]
pub fn begin_job(
    job: &str,
    (run, occurrence, attempt): (RunNumber, i64, u32),
    config: &Config,
) -> Option<agent::JobOrder> {
    let section = config.job(job)?;
    Some(agent::JobOrder {
        job: job.into(),
        run,
        begin: true,
        spec: Some(agent::JobSpec {
            command: section.command.clone(),
            user: section.user.clone(),
            cwd: section.cwd.clone(),
            env: section.env.clone(),
            timeout_ms: section.timeout_ms,
            group: section.group.to_string(),
        }),
        reason: String::new(),
        occurrence,
        attempt,
        cluster_id: config.cluster.id.0,
    })
}

/// How the latest run of a job stands; `None` for a word that this version does not know, or without a name.
#[must_use]
pub fn job_report(status: &agent::JobStatus) -> Option<(JobName, JobReport)> {
    let outcome = JobOutcome::ALL
        .into_iter()
        .find(|outcome| outcome.as_str() == status.outcome)?;
    let report = JobReport {
        run: status.run,
        outcome,
        detail: status.detail.chars().take(JOB_DETAIL_CHARS).collect(),
        took_ms: status.took_ms,
    };
    let known = !status.job.is_empty() && status.run <= NUMBER_MAX;
    known.then(|| (status.job.as_str().into(), report))
}

/// What the agent process reported at `Attach`.
#[must_use]
pub fn attached(report: &agent::Attached, config: &Config) -> AgentEvent {
    let watchdog = (report.watchdog_ms > 0).then(|| Duration::from_millis(report.watchdog_ms.into()));
    AgentEvent::Attached {
        groups: report
            .groups
            .iter()
            .map(|status| observation(status, config))
            .collect(),
        watchdog,
    }
}

/// One group's state. A word this version does not know counts as unknown, which frees nothing.
#[must_use]
pub fn observation(status: &agent::GroupStatus, config: &Config) -> GroupObservation {
    GroupObservation {
        group: status.group.as_str().into(),
        epoch: status.epoch,
        run: run_state(&status.run),
        restarts: status.restarts,
        detail: status.detail.clone(),
        member: status
            .member
            .as_deref()
            .map(|member| roles::member(member, config)),
    }
}

pub(super) fn run_state(word: &str) -> RunState {
    [
        RunState::Stopped,
        RunState::Starting,
        RunState::Running,
        RunState::Stopping,
        RunState::Failed,
    ]
    .into_iter()
    .find(|state| state.as_str() == word)
    .unwrap_or(RunState::Unknown)
}

/// How a fence device ended.
#[must_use]
pub fn fenced(outcome: agent::FenceOutcome) -> FenceResult {
    FenceResult {
        off_read_back: outcome.off_read_back,
        evidence: outcome.evidence,
        error: outcome.error,
        read_at: Time(outcome.read_at_us),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_word_is_unknown() {
        assert_eq!(run_state("running"), RunState::Running);
        assert_eq!(run_state("failed"), RunState::Failed);
        assert_eq!(run_state("dancing"), RunState::Unknown);
        assert_eq!(run_state(""), RunState::Unknown);
    }
}

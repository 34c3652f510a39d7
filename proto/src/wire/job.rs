//! Conversion of what is agreed about jobs, and of what nodes say of them.

use super::schema::{JobReportWire, JobWire};
use super::{FIELDS_MAX, WireError, boot, bounded, counted, invalid, node};
use crate::ids::JobName;
use crate::job::{JobOutcome, JobPhase, JobReport, JobState};

/// One job as an encoded entry of a list.
pub fn encode_job((name, job): (&JobName, &JobState)) -> Vec<u8> {
    let place = job.place;
    prost::Message::encode_to_vec(&JobWire {
        name: name.to_string(),
        due: job.due,
        run: job.run,
        occurrence: job.occurrence,
        attempt: job.attempt,
        who: job.who.clone(),
        node: place.map(|(node, _)| node.0.into()),
        boot: place.map(|(_, boot)| boot.into()),
        phase: position(&JobPhase::ALL, &job.phase),
        detail: job.detail.clone(),
        took_ms: job.took_ms,
    })
}

pub fn decode_job(bytes: &[u8]) -> Result<(JobName, JobState), WireError> {
    let wire: JobWire = bounded(bytes, FIELDS_MAX, "state.job")?;
    let name = named(&wire.name, "state.job.name")?;
    let place = match wire.node {
        None => None,
        given => Some((node(given, "state.job.node")?, boot(wire.boot, "state.job.boot")?)),
    };
    let phase = JobPhase::ALL.get(wire.phase as usize).copied();
    let state = JobState {
        due: wire.due,
        run: counted(wire.run, "state.job.run")?,
        occurrence: wire.occurrence,
        attempt: wire.attempt,
        who: wire.who,
        place,
        phase: phase.ok_or_else(|| invalid("state.job.phase", wire.phase))?,
        detail: wire.detail,
        took_ms: wire.took_ms,
    };
    Ok((name, state))
}

/// What a node says of one job, as an encoded entry of a list.
pub fn encode_report((name, report): (&JobName, &JobReport)) -> Vec<u8> {
    prost::Message::encode_to_vec(&JobReportWire {
        job: name.to_string(),
        run: report.run,
        outcome: position(&JobOutcome::ALL, &report.outcome) + 1,
        detail: report.detail.clone(),
        took_ms: report.took_ms,
    })
}

pub fn decode_report(bytes: &[u8]) -> Result<(JobName, JobReport), WireError> {
    let wire: JobReportWire = bounded(bytes, FIELDS_MAX, "report.job")?;
    let name = named(&wire.job, "report.job.job")?;
    let number = (wire.outcome as usize).checked_sub(1);
    let outcome = number.and_then(|number| JobOutcome::ALL.get(number)).copied();
    let report = JobReport {
        run: counted(wire.run, "report.job.run")?,
        outcome: outcome.ok_or_else(|| invalid("report.job.outcome", wire.outcome))?,
        detail: wire.detail,
        took_ms: wire.took_ms,
    };
    Ok((name, report))
}

fn position<T: PartialEq>(all: &[T], wanted: &T) -> u32 {
    all.iter()
        .position(|one| one == wanted)
        .map_or(u32::MAX, |position| position as u32)
}

fn named(name: &str, field: &'static str) -> Result<JobName, WireError> {
    if name.is_empty() {
        Err(WireError::Missing(field))
    } else {
        Ok(name.into())
    }
}

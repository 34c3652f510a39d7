//! Jobs, on the ordinary thread: the clock that says what is due, and the picture for operators.
//!
//! Only the leader's clock counts. What it says is judged by the core, where an occurrence is dealt with once, whatever a
//! clock does; so here nothing has to be remembered.

mod look;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::control::{JobRunView, JobView, JobsView};
use holdfast_proto::ids::NodeId;
use holdfast_proto::job::{JobPhase, JobState};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::clock;
use crate::control::Control;
use crate::journal::Record;
use crate::shell::api::{Ask, Snapshot};
use look::{Look, look};

/// Shortest pause between two looks: a cluster that changes much must not keep this thread busy.
const PAUSE_MIN: Duration = Duration::from_millis(250);
/// Longest pause: the wall clock may be set meanwhile.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Pause while something is due that cannot begin yet.
const PAUSE_DUE: Duration = Duration::from_secs(1);

/// Says what is due, as long as this process lives and whenever it leads.
pub async fn follow(control: Arc<Control>) {
    let mut changed = control.changed.clone();
    let mut told = BTreeSet::new();
    loop {
        changed.borrow_and_update();
        let pause = match control.snapshot().await {
            Ok(snapshot) => say(&control, &snapshot, &mut told).await,
            Err(_) => PAUSE_DUE,
        };
        tokio::time::sleep(PAUSE_MIN).await;
        let gone = tokio::select! {
            changed = changed.changed() => changed.is_err(),
            () = tokio::time::sleep(pause) => false,
        };
        if gone {
            return;
        }
    }
}

/// Says what is due now, and returns when to look again.
async fn say(control: &Control, snapshot: &Snapshot, told: &mut BTreeSet<String>) -> Duration {
    let leads = snapshot.view.leader == Some(snapshot.view.node);
    let Some(state) = snapshot.view.state.as_ref().filter(|_| leads) else {
        return PAUSE_MAX;
    };
    if state.config.jobs.is_empty() {
        return PAUSE_MAX;
    }
    let now = clock::wall_seconds();
    let Look { due, next, troubles } = look(&state.config, &state.jobs, now, zone);
    for trouble in troubles {
        if told.insert(trouble.clone()) {
            control
                .journal()
                .record(Record::new("job-without-clock", "alert", trouble));
        }
    }
    if !due.is_empty() {
        // The deciding thread is gone only when the process ends.
        let _ = control.asks.send(Ask::Due(due)).await;
        return PAUSE_DUE;
    }
    let ahead = next.map_or(PAUSE_MAX, |next| {
        Duration::from_secs(next.saturating_sub(now).try_into().unwrap_or(0))
    });
    ahead.min(PAUSE_MAX)
}

/// The time zone of that name, as this node knows it.
fn zone(name: &str) -> Result<TimeZone, String> {
    if name == "UTC" {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(name).map_err(|_| {
        format!("this node knows no time zone {name}: install the package tzdata, or correct `timezone`")
    })
}

/// The picture of all jobs.
#[must_use]
pub fn view(snapshot: &Snapshot, now: i64) -> JobsView {
    let state = snapshot.view.state.as_ref();
    let jobs = snapshot.config.jobs.iter().map(|section| {
        let latest = state.and_then(|state| state.jobs.get(&section.name));
        let zone = zone(&section.timezone);
        let from = latest.map_or(now, |latest| now.max(latest.due));
        let next = zone.as_ref().ok().and_then(|zone| {
            let at = section.calendar.next(from, zone)?;
            let at = Timestamp::from_second(at).ok()?.to_zoned(zone.clone());
            Some(at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
        });
        let ahead = latest.filter(|latest| latest.due > now);
        let waiting = snapshot.view.waiting_jobs.get(&section.name);
        let trouble = match (zone.err(), ahead, waiting) {
            (Some(trouble), ..) => trouble,
            (_, Some(latest), _) => format!(
                "its calendar is dealt with up to {}, which is ahead of this node's clock: a clock was wrong; `hactl job run {}` \
                 has it followed again",
                stamp(latest.due),
                section.name
            ),
            (.., Some(waiting)) => format!("it is due and waits: {waiting}"),
            _ => String::new(),
        };
        let name = |node: NodeId| snapshot.config.name_of(node);
        JobView {
            name: section.name.to_string(),
            group: section.group.to_string(),
            on: section.on.word().into(),
            calendar: section.calendar_text.clone(),
            timezone: section.timezone.clone(),
            next: next.unwrap_or_default(),
            latest: latest.map(|latest| run_view(&section.name, latest, name)),
            trouble,
        }
    });
    JobsView { jobs: jobs.collect() }
}

/// A run, for people.
#[must_use]
pub fn run_view(job: &str, state: &JobState, name: impl Fn(NodeId) -> String) -> JobRunView {
    JobRunView {
        job: job.into(),
        run: state.run,
        state: state.phase.as_str().into(),
        node: state.place.map(|(node, _)| name(node)).unwrap_or_default(),
        occurrence: match state.phase {
            JobPhase::New => String::new(),
            _ => stamp(state.occurrence),
        },
        attempt: state.attempt,
        who: state.who.clone(),
        detail: state.detail.clone(),
        took_ms: state.took_ms,
    }
}

fn stamp(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |at| at.to_string())
}

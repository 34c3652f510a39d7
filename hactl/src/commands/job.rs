//! `hactl job`: what is due, what became of it, and a run beside the calendar.

use std::time::Instant;

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{Empty, EventView, JobHistoryRequest, JobRequest, JobRunView, JobView};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::events;
use super::wait::ask_and_tell;
use crate::cli::JobCommand;
use crate::client::{ASK_TIMEOUT, Endpoint};
use crate::ui::text::{one_line, pad, span_ms, widest, wrap};
use crate::ui::{Paint, Tone, Ui};

/// Where what stands below a job begins.
const INDENT: usize = 6;

/// Runs the command.
///
/// # Errors
/// When `had` cannot be reached, knows no such job, or the cluster refuses.
pub fn run(had: &Endpoint, command: JobCommand, ui: &Ui) -> anyhow::Result<()> {
    match command {
        JobCommand::List => list(had, ui),
        JobCommand::History { job, last } => history(had, job.unwrap_or_default(), last, ui),
        JobCommand::Run { job } => ask_and_tell(had, Request::JobRun(JobRequest { job }), ui),
    }
}

fn list(had: &Endpoint, ui: &Ui) -> anyhow::Result<()> {
    let view = had.fetch(Request::Jobs(Empty {}), |reply| match reply {
        Reply::Jobs(view) => Some(view),
        _ => None,
    })?;
    if ui.json() {
        return Ok(ui.document(&view)?);
    }
    if view.jobs.is_empty() {
        return Ok(ui.line("the configuration has no [[job]]")?);
    }
    let zone = TimeZone::system();
    Ok(ui.lines(&render(&view.jobs, &zone, ui.paint(), ui.columns()))?)
}

/// One job: a line, and below it what its latest run said and what is wrong.
#[must_use]
pub fn render(jobs: &[JobView], zone: &TimeZone, paint: Paint, columns: usize) -> Vec<String> {
    let names = widest(jobs.iter().map(|job| job.name.as_str()), 3);
    let mut lines = Vec::new();
    for job in jobs {
        let state = job.latest.as_ref().map_or("new", |latest| latest.state.as_str());
        let tone = match state {
            "failed" | "interrupted" => Tone::Bad,
            "skipped" => Tone::Warn,
            "done" => Tone::Good,
            _ => Tone::Plain,
        };
        let next = match job.next.as_str() {
            "" => "not known".to_string(),
            next => local(next, zone),
        };
        lines.push(format!(
            "{}  {}  next {next}  {} on {} of {}",
            pad(&one_line(&job.name), names),
            paint.tone(tone, &pad(&one_line(state), 11)),
            one_line(&calendar(job)),
            one_line(&job.on),
            one_line(&job.group),
        ));
        let latest = job.latest.as_ref().filter(|latest| latest.state != "new");
        if let Some(latest) = latest {
            lines.extend(wrap(&last_run(latest, zone), INDENT, columns));
        }
        if !job.trouble.is_empty() {
            let wrapped = wrap(&one_line(&job.trouble), INDENT, columns);
            lines.extend(wrapped.iter().map(|line| paint.tone(Tone::Warn, line)));
        }
    }
    lines
}

fn calendar(job: &JobView) -> String {
    match job.timezone.as_str() {
        "UTC" => format!("\"{}\"", job.calendar),
        zone => format!("\"{}\" {zone}", job.calendar),
    }
}

/// The latest run in one sentence.
fn last_run(run: &JobRunView, zone: &TimeZone) -> String {
    let mut text = format!("of {}", local(&run.occurrence, zone));
    if !run.node.is_empty() {
        text += &format!(" on {}", one_line(&run.node));
    }
    if run.attempt > 1 {
        text += &format!(", try {}", run.attempt);
    }
    if !run.who.is_empty() {
        text += &format!(", asked for by {}", one_line(&run.who));
    }
    if run.took_ms > 0 {
        text += &format!(", took {}", span_ms(run.took_ms));
    }
    format!("{text}: {}", one_line(&run.detail))
}

/// A time stamp as the operator's clock shows it; as it came if it does not parse.
fn local(at: &str, zone: &TimeZone) -> String {
    at.parse::<Timestamp>().map_or_else(
        |_| one_line(at),
        |stamp| {
            let local = stamp.to_zoned(zone.clone());
            local.strftime("%Y-%m-%d %H:%M").to_string()
        },
    )
}

fn history(had: &Endpoint, job: String, last: u32, ui: &Ui) -> anyhow::Result<()> {
    let deadline = Instant::now() + ASK_TIMEOUT;
    let mut replies = had.send(Request::JobHistory(JobHistoryRequest { job, last }))?;
    let mut shown = false;
    loop {
        match replies.next(Some(deadline))? {
            Some(Reply::Event(event)) if ui.json() => ui.json_line(&event)?,
            Some(Reply::Event(event)) => ui.lines(&entry(&event, ui.paint(), ui.columns()))?,
            Some(Reply::Done(_)) => break,
            Some(_) => continue,
            None => return Err(replies.ended().into()),
        }
        shown = true;
    }
    if !shown && !ui.json() {
        ui.line("no job has begun yet")?;
    }
    Ok(())
}

/// One entry of the history: the sentence, and below it which run it is about.
#[must_use]
pub fn entry(event: &EventView, paint: Paint, columns: usize) -> Vec<String> {
    let mut lines = events::render(event, paint, columns);
    if let Some(run) = event.job.as_ref().filter(|run| run.run > 0) {
        let mut facts = vec![format!("run {}", run.run)];
        if !run.node.is_empty() {
            facts.push(format!("on {}", one_line(&run.node)));
        }
        facts.push(format!("of {}", one_line(&run.occurrence)));
        if run.attempt > 1 {
            facts.push(format!("try {}", run.attempt));
        }
        if !run.who.is_empty() {
            facts.push(format!("asked for by {}", one_line(&run.who)));
        }
        if run.took_ms > 0 {
            facts.push(format!("took {}", span_ms(run.took_ms)));
        }
        lines.extend(wrap(&facts.join(", "), INDENT, columns));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> JobRunView {
        JobRunView {
            job: "backup".into(),
            run: 17,
            state: "failed".into(),
            node: "db2".into(),
            occurrence: "2026-01-02T01:30:00Z".into(),
            attempt: 2,
            who: String::new(),
            detail: "it ended with status 3; it said: no\u{7}room".into(),
            took_ms: 61_000,
        }
    }

    #[test]
    fn a_job_says_when_it_is_due_and_how_it_went() {
        let job = JobView {
            name: "backup".into(),
            group: "mysql".into(),
            on: "replica".into(),
            calendar: "30 2 * * *".into(),
            timezone: "Europe/Berlin".into(),
            next: "2026-01-03T02:30:00+01:00".into(),
            latest: Some(run()),
            trouble: "it is due and waits: db2 is in standby".into(),
        };
        let lines = render(&[job], &TimeZone::UTC, Paint::new(false), 120);
        assert_eq!(
            lines[0],
            "backup  failed       next 2026-01-03 01:30  \"30 2 * * *\" Europe/Berlin on replica of mysql"
        );
        assert!(
            lines[1].starts_with("      of 2026-01-02 01:30 on db2, try 2, took 61"),
            "{lines:?}"
        );
        assert!(!lines.iter().any(|line| line.contains('\u{7}')), "{lines:?}");
        assert_eq!(
            lines.last().unwrap(),
            "      it is due and waits: db2 is in standby"
        );
    }

    #[test]
    fn an_entry_of_the_history_names_its_run() {
        let event = EventView {
            at: "2026-01-02T03:04:05.123456Z".into(),
            node: "db1".into(),
            kind: "job-failed".into(),
            level: "warn".into(),
            text: "job backup: it ended with status 3".into(),
            job: Some(run()),
            ..EventView::default()
        };
        let lines = entry(&event, Paint::new(false), 120);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[1].starts_with("      run 17, on db2, of 2026-01-02T01:30:00Z, try 2, took 61"));
    }
}

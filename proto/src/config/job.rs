//! Reads `[[job]]`.

use std::collections::{BTreeMap, BTreeSet};

use super::cluster::check_name;
use super::diagnostic::Problem;
use super::group::GroupDraft;
use super::reader::{At, Problems, Span, Table};
use super::roles::word;
use super::schema::{path_fault, read_command, read_environment};
use super::{JOBS_MAX, JobFallback, JobInterrupted, JobMoved, JobSection, JobWhere};
use crate::calendar::Calendar;
use crate::ids::GroupName;

const HOUR_MS: u32 = 3_600_000;
/// How long a job may take unless it is said.
const TIMEOUT_MS: u32 = HOUR_MS;
/// How late an occurrence is still run unless it is said: as long as a takeover may take.
const CATCH_UP_MS: u32 = 60_000;
/// How old the data of a replica may be unless it is said.
const MAX_LAG_MS: u32 = 60_000;
/// Longest name of a time zone.
const ZONE_BYTES_MAX: usize = 64;

/// `[[job]]` with the places that later checks point at.
pub(super) struct JobDraft {
    pub section: JobSection,
    name_span: Span,
    group_span: Span,
    place: Option<At<JobWhere>>,
}

pub(super) fn read_jobs(root: &Table) -> Vec<JobDraft> {
    let tables = root.tables("job", "[[job]]");
    if let Some(beyond) = tables.get(JOBS_MAX) {
        let message = format!("{} jobs: a cluster has at most {JOBS_MAX}", tables.len());
        root.problems.add(Problem::new(beyond.span.clone(), message));
    }
    tables.iter().take(JOBS_MAX).filter_map(read_job).collect()
}

fn read_job(table: &Table) -> Option<JobDraft> {
    table.only(&[
        "name",
        "group",
        "on",
        "calendar",
        "timezone",
        "command",
        "user",
        "cwd",
        "env",
        "timeout",
        "max_lag",
        "fallback",
        "catch_up",
        "on_interrupt",
        "on_move",
    ]);
    let name = table.needed_text("name", "such as name = \"backup\"");
    if let Some(name) = &name {
        check_name(table, name, "job");
    }
    let group = table.needed_text("group", "the group that it belongs to, such as group = \"mysql\"");
    let place = word(
        table,
        "on",
        &[
            ("primary", JobWhere::Primary),
            ("replica", JobWhere::Replica),
            ("any", JobWhere::Any),
        ],
    );
    let on = place.as_ref().map(|place| place.value).unwrap_or_default();
    let max_lag_ms = table.duration_ms("max_lag", 1..=24 * HOUR_MS);
    let fallback = word(
        table,
        "fallback",
        &[("skip", JobFallback::Skip), ("primary", JobFallback::Primary)],
    );
    let only_for_replicas = [
        ("max_lag", max_lag_ms.as_ref().map(|lag| &lag.span)),
        ("fallback", fallback.as_ref().map(|fallback| &fallback.span)),
    ];
    for (key, span) in only_for_replicas {
        if let Some(span) = span.filter(|_| on != JobWhere::Replica) {
            let message = format!("`{key}` is for on = \"replica\" only");
            table.problems.add(Problem::new(span.clone(), message));
        }
    }
    let calendar = read_calendar(table).unzip();
    let command = table
        .span_of("command")
        .map(|_| read_command("command", table))
        .unwrap_or_else(|| {
            table.missing(
                "command",
                "a program and its arguments, such as command = [\"/usr/local/bin/backup\", \"--all\"]",
            );
            None
        });
    let section = JobSection {
        name: name.as_ref()?.value.into(),
        group: group.as_ref()?.value.into(),
        on,
        timezone: read_zone(table),
        user: read_user(table),
        cwd: read_folder(table),
        env: read_environment("env", table).unwrap_or_default(),
        timeout_ms: table
            .duration_ms("timeout", 1000..=7 * 24 * HOUR_MS)
            .map_or(TIMEOUT_MS, |ms| ms.value),
        max_lag_ms: max_lag_ms.map_or(MAX_LAG_MS, |lag| lag.value),
        fallback: fallback.map(|fallback| fallback.value).unwrap_or_default(),
        catch_up_ms: table
            .duration_ms("catch_up", 1000..=7 * 24 * HOUR_MS)
            .map_or(CATCH_UP_MS, |ms| ms.value),
        on_interrupt: word(
            table,
            "on_interrupt",
            &[("skip", JobInterrupted::Skip), ("rerun", JobInterrupted::Rerun)],
        )
        .map(|word| word.value)
        .unwrap_or_default(),
        on_move: word(
            table,
            "on_move",
            &[("finish", JobMoved::Finish), ("kill", JobMoved::Kill)],
        )
        .map(|word| word.value)
        .unwrap_or_default(),
        calendar: calendar.0?,
        calendar_text: calendar.1?,
        command: command?,
    };
    Some(JobDraft {
        section,
        name_span: name?.span,
        group_span: group?.span,
        place,
    })
}

fn read_calendar(table: &Table) -> Option<(Calendar, String)> {
    let text = table.needed_text(
        "calendar",
        "such as calendar = \"30 2 * * *\", for 02:30 on every day",
    )?;
    Calendar::parse(text.value)
        .map(|calendar| (calendar, text.value.trim().to_string()))
        .map_err(|fault| {
            let message = format!("`calendar` is wrong: {}", fault.what);
            table
                .problems
                .add(Problem::new(text.span, message).hint(fault.hint));
        })
        .ok()
}

/// Which zones there are is known to the nodes; here only what could be the name of one.
fn read_zone(table: &Table) -> String {
    let Some(text) = table.text("timezone") else {
        return "UTC".into();
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '+');
    let named = text.value.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.value.len() <= ZONE_BYTES_MAX
        && text.value.chars().all(plain);
    if !named {
        let message = format!("\"{}\" is not the name of a time zone", text.value.escape_debug());
        let hint = "a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"";
        table.problems.add(Problem::new(text.span, message).hint(hint));
    }
    text.value.to_string()
}

fn read_user(table: &Table) -> String {
    let Some(text) = table.text("user") else {
        return String::new();
    };
    if text.value.is_empty() {
        let hint = "leave `user` out to run it as root";
        let problem = Problem::new(text.span.clone(), "`user` is empty").hint(hint);
        table.problems.add(problem);
    }
    text.value.to_string()
}

fn read_folder(table: &Table) -> String {
    let Some(text) = table.text("cwd") else {
        return "/".into();
    };
    if let Some(fault) = path_fault(text.value) {
        let message = format!("`cwd` is invalid: {fault}");
        table
            .problems
            .add(Problem::new(text.span.clone(), message).hint("such as cwd = \"/var/lib/backup\""));
    }
    text.value.to_string()
}

/// What jobs say about groups and about each other.
pub(super) fn check(jobs: &[JobDraft], groups: &[GroupDraft], problems: &Problems) {
    let by_name: BTreeMap<&GroupName, &GroupDraft> =
        groups.iter().map(|group| (&group.section.name, group)).collect();
    let mut names: BTreeMap<String, Span> = BTreeMap::new();
    for job in jobs {
        let section = &job.section;
        if let Some(first) = names.get(&*section.name) {
            let message = format!("two jobs are called \"{}\"", section.name);
            problems.add(
                Problem::new(job.name_span.clone(), message).related(first.clone(), "the first of them"),
            );
        } else {
            names.insert(section.name.to_string(), job.name_span.clone());
        }
        let Some(group) = by_name.get(&section.group) else {
            let message = format!("there is no group \"{}\"", section.group.escape_debug());
            let known: BTreeSet<&str> = by_name.keys().map(|name| &***name).collect();
            problems.add_unknown(
                job.group_span.clone(),
                message,
                &section.group,
                known.iter().copied(),
            );
            continue;
        };
        let Some(place) = &job.place else {
            check_default(job, group, problems);
            continue;
        };
        if place.value == JobWhere::Replica && !group.section.is_promotable() {
            let message = format!(
                "{} has no replicas: none of its resources has roles",
                section.group
            );
            let hint = "write on = \"primary\" for the node that runs it, or \"any\"";
            problems.add(Problem::new(place.span.clone(), message).hint(hint));
        }
        if place.value == JobWhere::Primary && group.section.is_every_node() {
            problems.add(no_primary(place.span.clone(), &section.group));
        }
    }
}

fn check_default(job: &JobDraft, group: &GroupDraft, problems: &Problems) {
    if group.section.is_every_node() {
        problems.add(no_primary(job.group_span.clone(), &job.section.group));
    }
}

fn no_primary(span: Span, group: &str) -> Problem {
    let message = format!("{group} runs on every node: it has no primary");
    Problem::new(span, message).hint("write on = \"any\": the job runs on one of them")
}

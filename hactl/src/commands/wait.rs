//! Asks for a change and waits until the cluster has carried it out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{Empty, GroupView, StatusView};
use serde::Serialize;

use crate::cli::Wait;
use crate::client::{Endpoint, Next, Replies};
use crate::outcome::{Exit, Failure};
use crate::ui::text::{clean, span_ms};
use crate::ui::{Progress, Tone, Ui};

/// How often the picture is judged again while nothing changes.
const TICK: Duration = Duration::from_millis(500);
/// Pause before `had` is asked again after it was away (it may be restarting).
const RETRY: Duration = Duration::from_millis(200);

/// How far the cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not there yet: what is waited for.
    Waiting(String),
    /// Done: the outcome in a sentence.
    Done(String),
    /// It will not get there: why.
    Failed(String),
}

/// What was seen of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    /// Its latest state and place, and since when.
    now: (String, String),
    steady_since: Instant,
    away: Away,
}

/// How long a group was away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Away {
    /// When it was first seen not running.
    since: Option<Instant>,
    /// Until it was seen running again.
    span: Option<Duration>,
}

/// A group at the end of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GroupOutcome {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Where it is.
    pub node: String,
    /// How long it was away, if it was.
    pub outage_ms: Option<u64>,
    /// `leader` if the leader measured the outage, `here` if it is what this node saw.
    pub measured_by: &'static str,
}

/// The JSON document of a command that succeeded.
#[derive(Debug, Serialize)]
struct OutcomeJson {
    ok: bool,
    outcome: String,
    groups: Vec<GroupOutcome>,
    waited_ms: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    measured_ms: BTreeMap<&'static str, u64>,
}

/// The pictures seen since before the change was asked for.
#[derive(Debug)]
pub struct Track {
    /// The picture before.
    pub before: StatusView,
    /// The groups that the command is about, with what was seen of them.
    groups: Vec<Seen>,
    started: Instant,
    /// When certain things were first seen, counted from the request.
    measured: RefCell<BTreeMap<&'static str, Duration>>,
}

impl Track {
    /// Follows `groups` from `before` on.
    #[must_use]
    pub fn new(before: StatusView, groups: Vec<String>) -> Track {
        let started = Instant::now();
        let first_look = |name: String| Seen {
            now: group_in(&before, &name).map(place_of).unwrap_or_default(),
            name,
            steady_since: started,
            away: Away::default(),
        };
        let groups = groups.into_iter().map(first_look).collect();
        Track {
            before,
            groups,
            started,
            measured: RefCell::default(),
        }
    }

    /// Notes that `what` is seen; the time since the change was asked for when it first was.
    pub fn measure(&self, what: &'static str) -> Duration {
        *self
            .measured
            .borrow_mut()
            .entry(what)
            .or_insert_with(|| self.elapsed())
    }

    /// When `what` was first seen, if it was.
    #[must_use]
    pub fn measured(&self, what: &str) -> Option<Duration> {
        self.measured.borrow().get(what).copied()
    }

    /// Time since the change was asked for.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// The group in the picture before.
    #[must_use]
    pub fn group_before(&self, name: &str) -> Option<&GroupView> {
        group_in(&self.before, name)
    }

    /// True when the group was seen in another state than running.
    #[must_use]
    pub fn was_away(&self, name: &str) -> bool {
        self.groups
            .iter()
            .any(|seen| seen.name == name && seen.away.since.is_some())
    }

    /// How long the group has been in its state and place.
    #[must_use]
    pub fn steady(&self, name: &str) -> Duration {
        let seen = self.groups.iter().find(|seen| seen.name == name);
        seen.map_or(Duration::ZERO, |seen| seen.steady_since.elapsed())
    }

    /// Names of the groups followed.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|seen| seen.name.as_str())
    }

    fn observe(&mut self, view: &StatusView) {
        for seen in &mut self.groups {
            let now = group_in(view, &seen.name).map(place_of).unwrap_or_default();
            if now != seen.now {
                seen.steady_since = Instant::now();
            }
            match (now.0 == "running", seen.away.since) {
                (false, None) => seen.away.since = Some(Instant::now()),
                (true, Some(since)) if seen.away.span.is_none() => seen.away.span = Some(since.elapsed()),
                _ => {}
            }
            seen.now = now;
        }
    }

    /// What became of the groups followed.
    #[must_use]
    pub fn outcomes(&self, view: &StatusView) -> Vec<GroupOutcome> {
        self.groups
            .iter()
            .filter_map(|seen| self.outcome(&seen.name, seen.away, view))
            .collect()
    }

    fn outcome(&self, name: &str, away: Away, view: &StatusView) -> Option<GroupOutcome> {
        let group = group_in(view, name)?;
        let before = self.group_before(name);
        let ran = before.is_some_and(|before| before.state == "running");
        let changed = before.is_some_and(|before| {
            before.epoch != group.epoch || before.last_outage_ms != group.last_outage_ms
        });
        let by_leader = (changed && group.last_outage_ms > 0).then_some(group.last_outage_ms);
        let by_us = away
            .span
            .map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        let outage_ms = if ran && group.state == "running" {
            by_leader.or(by_us)
        } else {
            None
        };
        Some(GroupOutcome {
            name: name.into(),
            state: group.state.clone(),
            node: group.node.clone(),
            outage_ms,
            measured_by: if by_leader.is_some() { "leader" } else { "here" },
        })
    }
}

impl GroupOutcome {
    /// In a sentence without its full stop.
    #[must_use]
    pub fn sentence(&self) -> String {
        let place = match (self.state.as_str(), self.node.as_str()) {
            ("running", node) => format!("{} runs on {node}", self.name),
            (state, "") => format!("{} is {state}", self.name),
            (state, node) => format!("{} is {state} on {node}", self.name),
        };
        match (self.outage_ms, self.measured_by) {
            (Some(ms), "leader") => format!("{place}; it was away {}", span_ms(ms)),
            (Some(ms), _) => format!(
                "{place}; it was away about {}, as seen from this node",
                span_ms(ms)
            ),
            (None, _) => place,
        }
    }
}

fn place_of(group: &GroupView) -> (String, String) {
    (group.state.clone(), group.node.clone())
}

/// The group called `name`.
#[must_use]
pub fn group_in<'a>(view: &'a StatusView, name: &str) -> Option<&'a GroupView> {
    view.groups.iter().find(|group| group.name == name)
}

/// What is waited for, of a group.
#[must_use]
pub fn waiting_for(group: &GroupView) -> Step {
    let place = if group.node.is_empty() {
        String::new()
    } else {
        format!(" on {}", group.node)
    };
    let why = if group.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", group.reason)
    };
    Step::Waiting(format!("{} is {}{place}{why}", group.name, group.state))
}

/// Sends `request`, then waits until `judge` is satisfied. `about` names the groups whose outage is reported.
///
/// # Errors
/// When the cluster refuses, when it will not get there, or when the time is over.
pub fn carry_out(
    had: &Endpoint,
    request: Request,
    wait: &Wait,
    ui: &Ui,
    about: impl FnOnce(&StatusView) -> Vec<String>,
    judge: impl FnMut(&Track, &StatusView) -> Step,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(wait.timeout);
    // Before the request: what happens quickly must not be missed.
    let mut watch = had.send(Request::Watch(Empty {}))?;
    let before = first_picture(&mut watch, deadline)?;
    let about = about(&before);
    let mut track = Track::new(before, about);
    let mut progress = ui.progress();
    let answer = had.ask_until(request, deadline, |text| progress.show(text))?;
    if wait.no_wait {
        drop(progress);
        return finish(ui, &clean(&answer), Vec::new(), &track);
    }
    progress.show(&answer);
    let (text, view) = follow(had, watch, deadline, wait, &mut track, &mut progress, judge)?;
    drop(progress);
    let outcomes = track.outcomes(&view);
    finish(ui, &clean(&text), outcomes, &track)
}

/// The first picture of a `Watch`.
fn first_picture(watch: &mut Replies, deadline: Instant) -> anyhow::Result<StatusView> {
    loop {
        match watch.next(Some(deadline))? {
            Some(Reply::Status(view)) => return Ok(view),
            Some(_) => {}
            None => return Err(watch.ended().into()),
        }
    }
}

/// Judges each picture until it is decided or the time is over.
fn follow(
    had: &Endpoint,
    watch: Replies,
    deadline: Instant,
    wait: &Wait,
    track: &mut Track,
    progress: &mut Progress,
    mut judge: impl FnMut(&Track, &StatusView) -> Step,
) -> anyhow::Result<(String, StatusView)> {
    let mut watch = Some(watch);
    let mut latest: Option<StatusView> = None;
    let mut doing = String::from("waiting for the first picture");
    loop {
        if Instant::now() >= deadline {
            return Err(out_of_time(wait, &doing).into());
        }
        match next_picture(had, &mut watch, deadline)? {
            Some(view) => {
                track.observe(&view);
                latest = Some(view);
            }
            // Nothing changed: then the picture from before still holds.
            None if latest.is_none() && watch.is_some() => latest = Some(track.before.clone()),
            None if watch.is_none() => progress.show("waiting for had, which is away (restarting?)"),
            None => {}
        }
        let Some(view) = &latest else { continue };
        match judge(track, view) {
            Step::Waiting(what) => {
                progress.show(&what);
                doing = what;
            }
            Step::Done(text) => return Ok((text, view.clone())),
            Step::Failed(text) => {
                return Err(Failure::new(Exit::Failed, clean(&text))
                    .hint("more: hactl events, hactl why GROUP")
                    .into());
            }
        }
    }
}

/// The next picture, if there is one within a tick. Connects again when `had` went away.
fn next_picture(
    had: &Endpoint,
    watch: &mut Option<Replies>,
    deadline: Instant,
) -> anyhow::Result<Option<StatusView>> {
    let Some(replies) = watch else {
        std::thread::sleep(RETRY);
        *watch = match had.send(Request::Watch(Empty {})) {
            Ok(replies) => Some(replies),
            Err(error) if is_away(&error) => None,
            Err(error) => return Err(error),
        };
        return Ok(None);
    };
    match replies.poll(Some(deadline.min(Instant::now() + TICK))) {
        Ok(Next::Reply(reply)) => match *reply {
            Reply::Status(view) => Ok(Some(view)),
            _ => Ok(None),
        },
        Ok(Next::Quiet) => Ok(None),
        Ok(Next::Ended) => {
            *watch = None;
            Ok(None)
        }
        Err(error) if is_away(&error) => {
            *watch = None;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn is_away(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Failure>()
        .is_some_and(|failure| failure.exit == Exit::Unreachable)
}

fn out_of_time(wait: &Wait, doing: &str) -> Failure {
    Failure::new(
        Exit::Timeout,
        format!("not done after {} s: {}", wait.timeout, clean(doing)),
    )
    .hint("the cluster goes on by itself: hactl status --watch")
    .hint("to wait longer: --timeout SECONDS")
}

/// Prints the outcome.
fn finish(ui: &Ui, text: &str, groups: Vec<GroupOutcome>, track: &Track) -> anyhow::Result<()> {
    let own = (!text.is_empty() || groups.is_empty()).then(|| text.to_string());
    let mut lines: Vec<String> = own.into_iter().collect();
    lines.extend(groups.iter().map(|group| clean(&group.sentence())));
    if ui.json() {
        let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let waited_ms = ms(track.elapsed());
        let measured = track.measured.borrow();
        let measured_ms = measured.iter().map(|(what, span)| (*what, ms(*span))).collect();
        ui.document(&OutcomeJson {
            ok: true,
            outcome: lines.join("\n"),
            groups,
            waited_ms,
            measured_ms,
        })?;
        return Ok(());
    }
    if let Some(first) = lines.first_mut() {
        *first = format!("{} {first}", ui.paint().tone(Tone::Good, "done:"));
    }
    ui.lines(&lines)?;
    Ok(())
}

/// Asks for a change that is over once the cluster has agreed to it.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub fn ask_and_tell(had: &Endpoint, request: Request, ui: &Ui) -> anyhow::Result<()> {
    let track = Track::new(StatusView::default(), Vec::new());
    let mut progress = ui.progress();
    let deadline = Instant::now() + Duration::from_secs(60);
    let answer = had.ask_until(request, deadline, |text| progress.show(text))?;
    drop(progress);
    finish(ui, &clean(&answer), Vec::new(), &track)
}

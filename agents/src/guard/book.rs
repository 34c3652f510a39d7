//! What `had` has yet to be told. Bounded however long it does not listen: only the newest state of each group is kept.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use holdfast_proto::agent::{
    AgentReport, Alive, Attached, FenceOutcome, GroupStatus, JobStatus, Note, RegisterAnswer,
    agent_report::Body,
};

/// Notes kept; the oldest go first.
const NOTES_MAX: usize = 256;
/// Outcomes of fence devices kept.
const FENCED_MAX: usize = 256;

/// Reports that wait, and the newest state of every group.
pub struct Book {
    kinds: Vec<String>,
    watchdog_ms: u32,
    watchdog: String,
    groups: BTreeMap<String, GroupStatus>,
    /// In the order they changed.
    changed: VecDeque<String>,
    waiting: BTreeSet<String>,
    notes: VecDeque<Note>,
    fenced: VecDeque<FenceOutcome>,
    /// Only the newest: `had` has one call under way.
    registered: Option<RegisterAnswer>,
    /// The newest state of every job.
    jobs: BTreeMap<String, JobStatus>,
    jobs_waiting: BTreeSet<String>,
    attach: bool,
    alive: Option<Alive>,
}

impl Book {
    pub fn new(kinds: Vec<String>, watchdog: Option<(u32, String)>) -> Book {
        let (watchdog_ms, watchdog) = watchdog.unwrap_or_default();
        Book {
            kinds,
            watchdog_ms,
            watchdog,
            groups: BTreeMap::new(),
            changed: VecDeque::new(),
            waiting: BTreeSet::new(),
            notes: VecDeque::new(),
            fenced: VecDeque::new(),
            registered: None,
            jobs: BTreeMap::new(),
            jobs_waiting: BTreeSet::new(),
            attach: false,
            alive: None,
        }
    }

    /// `had` attached: it is told everything anew.
    pub fn attached(&mut self) {
        self.attach = true;
        self.changed.clear();
        self.waiting.clear();
        self.jobs_waiting = self.jobs.keys().cloned().collect();
    }

    pub fn job(&mut self, status: JobStatus) {
        self.jobs_waiting.insert(status.job.clone());
        self.jobs.insert(status.job.clone(), status);
    }

    pub fn status(&mut self, status: GroupStatus) {
        if self.waiting.insert(status.group.clone()) {
            self.changed.push_back(status.group.clone());
        }
        self.groups.insert(status.group.clone(), status);
    }

    /// Groups of which something may run, by what was last said of them.
    pub fn open(&self) -> impl Iterator<Item = &str> {
        let down = |status: &&GroupStatus| ["stopped", "failed"].contains(&status.run.as_str());
        let open = self.groups.values().filter(move |status| !down(status));
        open.map(|status| status.group.as_str())
    }

    /// A sign of life; replaces one that was not sent yet.
    pub fn alive(&mut self, alive: Alive) {
        self.alive = Some(alive);
    }

    pub fn note(&mut self, note: Note) {
        if self.notes.len() == NOTES_MAX {
            self.notes.pop_front();
        }
        self.notes.push_back(note);
    }

    pub fn fenced(&mut self, outcome: FenceOutcome) {
        if self.fenced.len() == FENCED_MAX {
            self.fenced.pop_front();
        }
        self.fenced.push_back(outcome);
    }

    pub fn registered(&mut self, answer: RegisterAnswer) {
        self.registered = Some(answer);
    }

    /// The next report to send: what decisions rest on before what is only told.
    pub fn next(&mut self) -> Option<AgentReport> {
        let body = if std::mem::take(&mut self.attach) {
            let groups = self
                .groups
                .values()
                .filter(|status| status.run != "stopped")
                .cloned()
                .collect();
            Body::Attached(Attached {
                groups,
                watchdog_ms: self.watchdog_ms,
                watchdog: self.watchdog.clone(),
                kinds: self.kinds.clone(),
            })
        } else if let Some(outcome) = self.fenced.pop_front() {
            Body::Fenced(outcome)
        } else if let Some(answer) = self.registered.take() {
            Body::Registered(answer)
        } else if let Some(group) = self.changed.pop_front() {
            self.waiting.remove(&group);
            Body::Group(self.groups.get(&group)?.clone())
        } else if let Some(job) = self.jobs_waiting.pop_first() {
            Body::Job(self.jobs.get(&job)?.clone())
        } else if let Some(alive) = self.alive.take() {
            Body::Alive(alive)
        } else {
            Body::Note(self.notes.pop_front()?)
        };
        Some(AgentReport { body: Some(body) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(group: &str, run: &str) -> GroupStatus {
        GroupStatus {
            group: group.into(),
            run: run.into(),
            ..GroupStatus::default()
        }
    }

    #[test]
    fn a_deaf_had_gets_the_newest_state_once() {
        let mut book = Book::new(Vec::new(), None);
        for _ in 0..1000 {
            book.status(status("web", "starting"));
            book.note(Note::default());
            book.alive(Alive::default());
        }
        book.status(status("web", "running"));
        let reports: Vec<_> = std::iter::from_fn(|| book.next()).collect();
        assert_eq!(reports.len(), 2 + NOTES_MAX);
        assert_eq!(reports[0].body, Some(Body::Group(status("web", "running"))));
    }

    #[test]
    fn attach_is_answered_first_with_all_that_is_not_stopped() {
        let mut book = Book::new(vec!["exec".into()], Some((9, "dog".into())));
        book.status(status("web", "running"));
        book.status(status("db", "stopped"));
        book.attached();
        let Some(Body::Attached(attached)) = book.next().unwrap().body else {
            panic!("not the answer to attach")
        };
        assert_eq!((attached.groups.len(), attached.watchdog_ms), (1, 9));
        assert_eq!(attached.watchdog, "dog");
        assert!(book.next().is_none());
    }
}

//! Groups with copies of their data, and jobs: what agents say of them, what operators ask, what is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Result, Unstructured};
use holdfast_core::event::{AgentEvent, Due, DueVerdict, Event, GroupObservation};
use holdfast_core::node::Node;
use holdfast_proto::ids::{Epoch, GroupName, JobName, NodeId};
use holdfast_proto::job::{JobOutcome, JobReport, JobState};
use holdfast_proto::operator::OperatorRequest;
use holdfast_proto::peer::{CopyReport, GroupReport, MemberReport, Message, NodeReport, RunState};
use holdfast_proto::state::{ClusterState, InSync};

use super::states::World;
use super::{Inputs, run_state};
use crate::core::peers::first;

/// Names of jobs; the last is in no configuration.
pub const JOBS: [&str; 4] = ["j0", "j1", "j2", "gone"];

/// Some nodes, mostly those that there are.
pub fn nodes(source: &mut Unstructured<'_>) -> Result<BTreeSet<NodeId>> {
    let mut nodes = BTreeSet::new();
    for _ in 0..source.int_in_range(1..=3u8)? {
        nodes.insert(Inputs::node(source)?);
    }
    Ok(nodes)
}

/// Seconds since 1970, as occurrences have them: close together, or at the end of their range.
pub fn instant(source: &mut Unstructured<'_>) -> Result<i64> {
    Ok(match source.int_in_range(0..=15u8)? {
        0 => source.arbitrary()?,
        _ => source.int_in_range(0..=20)?,
    })
}

pub fn request(group: &str, node: NodeId, source: &mut Unstructured<'_>) -> Result<OperatorRequest> {
    let group: GroupName = group.into();
    Ok(match source.int_in_range(0..=5u8)? {
        0 | 1 => OperatorRequest::MoveAcceptingLoss { group, to: node },
        2 | 3 => OperatorRequest::RunJob {
            job: (*source.choose(&JOBS)?).into(),
            at: instant(source)?,
        },
        4 => OperatorRequest::Move {
            group,
            to: Some(node),
        },
        _ => OperatorRequest::Drill { node },
    })
}

impl Inputs {
    /// The last kind of step.
    pub fn step_max(&self) -> u8 {
        match self.world {
            World::Plain => 19,
            World::Copies => 24,
        }
    }

    pub fn has_willing_peers(&self, source: &mut Unstructured<'_>) -> Result<bool> {
        Ok(self.world == World::Copies && source.ratio(7, 8)?)
    }

    /// On every node everything runs that is to run there, and every copy is good.
    pub fn all_is_well(&mut self, node: &Node, source: &mut Unstructured<'_>) -> Result<Vec<Event>> {
        let Some(durable) = node.durable() else {
            return Ok(Vec::new());
        };
        let state = Arc::clone(&durable.committed);
        let attached = AgentEvent::Attached {
            groups: Vec::new(),
            watchdog: Some(Duration::from_secs(5)),
        };
        let mut events = Vec::new();
        if source.ratio(1, 4)? {
            events.push(Event::Agent(attached));
        }
        let outcome = *source.choose(&JobOutcome::ALL)?;
        let wishes = source.arbitrary()?;
        for section in &state.config.nodes {
            let mut report = self.well(&state, section.id, wishes, source)?;
            let begun = |job: &&JobState| job.place.is_some_and(|(node, _)| node == section.id);
            let jobs = state.jobs.iter().filter(|(_, job)| begun(job));
            for (name, job) in jobs {
                let ended = JobReport {
                    run: job.run,
                    outcome,
                    detail: "it ended".into(),
                    took_ms: 5,
                };
                report.jobs.insert(name.clone(), ended);
            }
            if section.id != self.me.node {
                events.push(Event::Message {
                    from: first(section.id),
                    message: Message::Report(report),
                });
                continue;
            }
            let groups = report.groups.into_iter().map(|(group, seen)| {
                AgentEvent::Group(GroupObservation {
                    group,
                    epoch: seen.epoch,
                    run: seen.run,
                    restarts: 0,
                    detail: String::new(),
                    member: seen.member,
                })
            });
            let jobs = report
                .jobs
                .into_iter()
                .map(|(job, report)| AgentEvent::Job { job, report });
            events.extend(groups.chain(jobs).map(Event::Agent));
        }
        Ok(events)
    }

    fn well(
        &mut self,
        state: &ClusterState,
        node: NodeId,
        wishes: bool,
        source: &mut Unstructured<'_>,
    ) -> Result<NodeReport> {
        let mut report = NodeReport {
            version: state.version,
            ..NodeReport::default()
        };
        for (group, entry) in &state.groups {
            let epoch = entry.assignment.epoch();
            let is_here = entry.assignment.runs_on(node);
            let wish = if is_here && wishes {
                let mut nodes = nodes(source)?;
                nodes.insert(node);
                let generation = entry.in_sync.generation.saturating_add(1);
                Some(InSync { generation, nodes })
            } else {
                None
            };
            if let Some(wish) = &wish {
                self.given.wishes.push((node, group.clone(), epoch, wish.clone()));
            }
            let copy = CopyReport {
                position: 7,
                history: "h".into(),
                lag_ms: Some(0),
                wish,
                readable: true,
                ..CopyReport::default()
            };
            let member = MemberReport {
                run: RunState::Running,
                copy: Some(copy),
                detail: String::new(),
            };
            let seen = GroupReport {
                epoch,
                run: if is_here {
                    RunState::Running
                } else {
                    RunState::Stopped
                },
                restarts: 0,
                detail: String::new(),
                member: (&**group == "db").then(|| Arc::new(member)),
            };
            report.groups.insert(group.clone(), seen);
        }
        Ok(report)
    }

    /// The epoch that something is said of: with copies mostly the one that a known state names.
    pub(super) fn epoch(&self, group: &str, source: &mut Unstructured<'_>) -> Result<Epoch> {
        if self.world == World::Plain || source.ratio(1, 8)? {
            return Self::count(source);
        }
        let known = &self.states[source.choose_index(self.states.len())?];
        let entry = known.groups.get(group);
        Ok(entry.map_or(0, |entry| entry.assignment.epoch()))
    }

    /// The part of `group` that runs on `node` without a permit.
    pub(super) fn member(
        &mut self,
        node: NodeId,
        group: &str,
        epoch: Epoch,
        source: &mut Unstructured<'_>,
    ) -> Result<Option<Arc<MemberReport>>> {
        if self.world == World::Plain || group == "gone" || source.ratio(1, 8)? {
            return Ok(None);
        }
        let copy = if source.ratio(7, 8)? {
            Some(self.copy(node, group, epoch, source)?)
        } else {
            None
        };
        Ok(Some(Arc::new(MemberReport {
            run: run_state(source)?,
            copy,
            detail: "member".into(),
        })))
    }

    fn copy(
        &mut self,
        node: NodeId,
        group: &str,
        epoch: Epoch,
        source: &mut Unstructured<'_>,
    ) -> Result<CopyReport> {
        let some = |text: &str, source: &mut Unstructured<'_>| -> Result<String> {
            let said = source.ratio(1, 8)?;
            Ok(if said { text.to_owned() } else { String::new() })
        };
        let wish = if source.arbitrary()? {
            Some(self.wish(node, group, source)?)
        } else {
            None
        };
        if let Some(wish) = &wish {
            let said = (node, group.into(), epoch, wish.clone());
            self.given.wishes.push(said);
        }
        Ok(CopyReport {
            obstacle: some("it is damaged", source)?,
            position: Self::count(source)?,
            history: (*source.choose(&["", "h", "h", "i"])?).into(),
            position_text: String::new(),
            lag_ms: match source.int_in_range(0..=3u8)? {
                0 => None,
                _ => Some(Self::count(source)?.saturating_mul(200)),
            },
            possible_loss: some("two writes", source)?,
            wish,
            readable: source.ratio(3, 4)?,
        })
    }

    /// A set that follows a known one, with this node in it; or any.
    fn wish(&self, node: NodeId, group: &str, source: &mut Unstructured<'_>) -> Result<InSync> {
        let known = &self.states[source.choose_index(self.states.len())?];
        let entry = known.groups.get(group);
        let before = entry.map_or(0, |entry| entry.in_sync.generation);
        let mut nodes = nodes(source)?;
        if source.ratio(1, 8)? {
            return Ok(InSync {
                generation: Self::count(source)?,
                nodes,
            });
        }
        nodes.insert(node);
        let generation = before.saturating_add(source.int_in_range(0..=2)?);
        Ok(InSync { generation, nodes })
    }

    fn job_report(&self, job: &str, source: &mut Unstructured<'_>) -> Result<JobReport> {
        let known = &self.states[source.choose_index(self.states.len())?];
        let run = known.jobs.get(job).map_or(0, |job| job.run);
        Ok(JobReport {
            run: if source.ratio(1, 8)? {
                Self::count(source)?
            } else {
                run
            },
            outcome: *source.choose(&JobOutcome::ALL)?,
            detail: "it said so".into(),
            took_ms: Self::count(source)?,
        })
    }

    pub(super) fn job_reports(&self, source: &mut Unstructured<'_>) -> Result<BTreeMap<JobName, JobReport>> {
        let mut reports = BTreeMap::new();
        if self.world == World::Copies {
            for job in JOBS {
                if source.ratio(1, 4)? {
                    reports.insert(job.into(), self.job_report(job, source)?);
                }
            }
        }
        Ok(reports)
    }

    pub(super) fn job_event(&self, source: &mut Unstructured<'_>) -> Result<AgentEvent> {
        let job = *source.choose(&JOBS)?;
        Ok(AgentEvent::Job {
            job: job.into(),
            report: self.job_report(job, source)?,
        })
    }

    /// The wall clock of this node, which nobody vouches for.
    pub fn due(&self, source: &mut Unstructured<'_>) -> Result<Event> {
        let verdict = match source.int_in_range(0..=3u8)? {
            0 => DueVerdict::First,
            1 => DueVerdict::Missed("it is too late for it".into()),
            _ => DueVerdict::Begin,
        };
        Ok(Event::Due(Due {
            job: (*source.choose(&JOBS)?).into(),
            occurrence: instant(source)?,
            verdict,
        }))
    }
}

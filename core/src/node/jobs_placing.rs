//! Which node a run of a job is given to, and what an operator may ask of a job.

use std::sync::Arc;

use holdfast_proto::config::{JobFallback, JobSection, JobWhere};
use holdfast_proto::ids::{BootId, JobName, NodeId};
use holdfast_proto::job::JobState;
use holdfast_proto::operator::OperatorOutcome;
use holdfast_proto::peer::RunState;
use holdfast_proto::state::{Assignment, ClusterState};

use super::Node;
use crate::placement::{Observations, Observed};

impl Node {
    /// The node that a run of `section` is given to now, or why there is none.
    pub(super) fn place_for(
        &self,
        state: &ClusterState,
        section: &JobSection,
        seen: &Observations,
    ) -> Result<(NodeId, BootId), String> {
        if state.maintenance {
            return Err("maintenance is on: nothing is started".into());
        }
        let group = &section.group;
        let primary = self.primary_of(state, group);
        let fit = |node: NodeId| self.is_fit(state, node, seen).map(|boot| (node, boot));
        let on_primary = || {
            let node = primary.clone()?;
            let running = seen.get(&node).is_some_and(|seen| seen.running.contains(group));
            if !running {
                return Err(format!("{group} is not running on {}", self.name(node)));
            }
            fit(node)
        };
        let others = || {
            let nodes = state.config.nodes.iter().map(|node| node.id);
            nodes.filter(|node| Ok(*node) != primary)
        };
        match section.on {
            JobWhere::Primary => on_primary(),
            JobWhere::Replica => {
                let mut unfit = Vec::new();
                for node in others() {
                    match fit(node).and_then(|place| self.is_good_copy(section, node, seen).map(|()| place)) {
                        Ok(place) => return Ok(place),
                        Err(why) => unfit.push(why),
                    }
                }
                let why = format!("no replica is fit: {}", unfit.join("; "));
                match section.fallback {
                    JobFallback::Primary => on_primary().map_err(|more| format!("{why}; {more}")),
                    JobFallback::Skip => Err(why),
                }
            }
            JobWhere::Any => {
                let last = primary.as_ref().ok().copied();
                let mut unfit = Vec::new();
                for node in others().chain(last) {
                    match fit(node) {
                        Ok(place) => return Ok(place),
                        Err(why) => unfit.push(why),
                    }
                }
                Err(format!("no node is fit: {}", unfit.join("; ")))
            }
        }
    }

    fn primary_of(&self, state: &ClusterState, group: &str) -> Result<NodeId, String> {
        match state.groups.get(group).map(|entry| &entry.assignment) {
            Some(Assignment::Owned { owner, .. }) => Ok(*owner),
            Some(Assignment::Releasing { .. }) => Err(format!("{group} is being moved")),
            _ => Err(format!("{group} runs nowhere")),
        }
    }

    /// The boot of a node that could begin a run now.
    fn is_fit(&self, state: &ClusterState, node: NodeId, seen: &Observations) -> Result<BootId, String> {
        let name = self.name(node);
        let none = Observed::default();
        let seen = seen.get(&node).unwrap_or(&none);
        if state.nodes.get(&node).is_some_and(|node| node.standby) {
            Err(format!("{name} is in standby"))
        } else if !seen.online || seen.lost || seen.fencing {
            Err(format!("{name} is not heard"))
        } else if !seen.synced {
            Err(format!("{name} has not caught up since its boot"))
        } else if !seen.agent_ready {
            Err(format!("the agent process of {name} is away"))
        } else {
            self.boot_of(node).ok_or_else(|| format!("{name} is not heard"))
        }
    }

    fn is_good_copy(&self, section: &JobSection, node: NodeId, seen: &Observations) -> Result<(), String> {
        let name = self.name(node);
        let member = seen.get(&node).and_then(|seen| seen.members.get(&section.group));
        let Some(member) = member.filter(|member| member.run == RunState::Running) else {
            return Err(format!("{} does not run on {name}", section.group));
        };
        let Some(copy) = member.copy.as_ref().filter(|copy| copy.readable) else {
            return Err(format!("the data of {name} cannot be read from"));
        };
        match copy.lag_ms {
            Some(lag_ms) if lag_ms <= section.max_lag_ms.into() => Ok(()),
            Some(lag_ms) => Err(format!(
                "{name} is {lag_ms} ms behind (max_lag {} ms)",
                section.max_lag_ms
            )),
            None => Err(format!("how old the data of {name} is, is not known")),
        }
    }

    /// Whether an operator's `job run` can be followed. Ok: the sentence for when it is committed.
    pub(super) fn check_run_job(
        &self,
        state: &ClusterState,
        job: &JobName,
    ) -> Result<String, OperatorOutcome> {
        let refused = |text: String| Err(OperatorOutcome::Refused(text));
        let Some(section) = state.config.job(job) else {
            let names: Vec<&str> = state.config.jobs.iter().map(|job| &*job.name).collect();
            return refused(format!("there is no job {job}; there are: {}", names.join(", ")));
        };
        if let Some(entry) = state.jobs.get(job).filter(|entry| entry.is_started()) {
            let node = entry.place.map(|(node, _)| self.name(node)).unwrap_or_default();
            return refused(format!("{job} runs already, on {node}; hactl job list shows it"));
        }
        match self.place_for(state, section, &self.observations()) {
            Ok((node, _)) => Ok(format!("{job} runs on {}", self.name(node))),
            Err(why) => refused(format!("{job} cannot run now: {why}")),
        }
    }

    /// Begins a run that an operator asked for, beside the calendar. It also has the calendar followed again after a clock
    /// that was ahead: what is dealt with is never later than the operator's now.
    pub(super) fn apply_run_job(&self, next: &mut ClusterState, job: &JobName, (who, at): (&str, i64)) {
        let config = Arc::clone(&next.config);
        let Some(section) = config.job(job) else { return };
        let before = next.jobs.get(job).cloned().unwrap_or(JobState {
            due: at,
            ..JobState::default()
        });
        let Some((node, boot)) = self
            .place_for(next, section, &self.observations())
            .ok()
            .filter(|_| !before.is_started())
        else {
            return;
        };
        let begun = JobState {
            due: before.due.min(at),
            occurrence: at,
            attempt: 1,
            who: who.into(),
            ..self.given(next, node, boot)
        };
        next.jobs.insert(job.clone(), begun);
    }
}

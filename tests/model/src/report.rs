//! Runs an exploration and says what came of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use stateright::report::{ReportData, Reporter};
use stateright::{Checker, HasDiscoveries, Model};

use crate::bounds::Budget;
use crate::model::Exploration;
use crate::setup::Setup;

/// What an exploration came to.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Its configuration.
    pub config: &'static str,
    /// What that is.
    pub title: &'static str,
    /// Its bounds.
    pub bounds: Budget,
    /// Different states.
    pub states: usize,
    /// Steps that led to them, also to known ones.
    pub steps: usize,
    /// Longest shortest way from the beginning.
    pub depth: usize,
    /// Time in seconds.
    pub wall_s: f64,
    /// Nothing is left to explore within the bounds.
    pub exhausted: bool,
    /// Promises that were broken, each with the way there.
    pub broken: Vec<Counterexample>,
}

/// How a promise was broken.
#[derive(Debug, Serialize)]
pub struct Counterexample {
    /// The promise.
    pub promise: &'static str,
    /// How.
    pub text: String,
    /// The deviations on the way, in order.
    pub deviations: Vec<String>,
    /// Everything that happened on the way, in order.
    pub story: Vec<String>,
}

/// Where to stop before everything is explored.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// After so many steps.
    pub states: Option<usize>,
    /// After so long.
    pub time: Option<Duration>,
    /// Threads.
    pub threads: usize,
}

struct Progress {
    last: Instant,
    name: &'static str,
}

impl<M: Model> Reporter<M> for Progress {
    fn report_checking(&mut self, data: ReportData) {
        if !data.done && self.last.elapsed() >= Duration::from_secs(10) {
            self.last = Instant::now();
            eprintln!(
                "{}: {} states, {} steps, depth {}, {} s",
                self.name,
                data.unique_states,
                data.total_states,
                data.max_depth,
                data.duration.as_secs()
            );
        }
    }

    fn report_discoveries(
        &mut self,
        _model: &M,
        _discoveries: std::collections::BTreeMap<&'static str, stateright::report::ReportDiscovery<M>>,
    ) where
        M::Action: std::fmt::Debug,
        M::State: std::fmt::Debug + std::hash::Hash,
    {
    }

    fn delay(&self) -> Duration {
        Duration::from_millis(100)
    }
}

/// Explores breadth first.
#[must_use]
pub fn explore(setup: &Arc<Setup>, mut exploration: Exploration, limits: Limits) -> Outcome {
    let begun = Instant::now();
    let teller = Exploration {
        initial: exploration.initial.clone(),
        heal_every: exploration.heal_every,
        ends_at: None,
    };
    exploration.ends_at = limits.time.map(|time| begun + time);
    let mut builder = exploration
        .checker()
        .threads(limits.threads)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(states) = limits.states {
        builder = builder.target_state_count(states);
    }
    let mut progress = Progress {
        last: begun,
        name: setup.name,
    };
    let checker = builder.spawn_bfs().join_and_report(&mut progress);
    let broken: Vec<Counterexample> = checker
        .discoveries()
        .into_iter()
        .map(|(promise, path)| tell(&teller, promise, &path.into_actions()))
        .collect();
    let in_time = limits.time.is_none_or(|time| begun.elapsed() < time);
    let steps = checker.state_count();
    Outcome {
        config: setup.name,
        title: setup.title,
        bounds: setup.budget,
        states: checker.unique_state_count(),
        steps,
        depth: checker.max_depth(),
        wall_s: begun.elapsed().as_secs_f64(),
        exhausted: broken.is_empty() && in_time && limits.states.is_none_or(|states| steps < states),
        broken,
    }
}

/// Goes the way of `actions` again and writes down what happens on it.
fn tell(
    exploration: &Exploration,
    promise: &'static str,
    actions: &[crate::action::Action],
) -> Counterexample {
    let (mut world, mut deviations) = (None, Vec::new());
    for start in &exploration.initial {
        let mut here = start.clone();
        here.story = Some(Vec::new());
        let mut done = Vec::new();
        let leads = actions.iter().all(|action| {
            let offered = here.choices().contains(action);
            if offered && *action != crate::action::Action::Go {
                done.push(format!("{} ms: {action}", here.now.as_millis()));
            }
            if offered {
                here = exploration.after(&here, *action);
            }
            offered
        });
        let fits = leads && (here.broken.is_some() || exploration.recovers(&here).is_err());
        if fits || world.is_none() {
            (world, deviations) = (Some(here), done);
        }
        if fits {
            break;
        }
    }
    let world = world.expect("an exploration begins somewhere");
    let (text, healing) = match &world.broken {
        Some(broken) => (broken.text.clone(), Vec::new()),
        None => world.tell_healing(),
    };
    let mut story = world.story.unwrap_or_default();
    story.extend(healing);
    Counterexample {
        promise,
        text,
        deviations,
        story,
    }
}

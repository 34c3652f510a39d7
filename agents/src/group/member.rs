//! One resource of a group.

use holdfast_proto::agent::{ResourceSpec, ResourceStatus};
use tokio::task::JoinHandle;

use super::Run;
use crate::agent::{EventSink, ResourceAgent};
use crate::probe;

/// A resource with its agent.
pub struct Member {
    pub spec: ResourceSpec,
    pub agent: Box<dyn ResourceAgent>,
    /// Whether it runs as part of the group that is (to be) promoted or placed here: that needs a permit.
    pub run: Run,
    /// It is active here without a permit: unpromoted, or part of a group that runs on every node. Stays true while it is
    /// promoted.
    pub unpromoted: bool,
    /// Trouble with it, one sentence; the agent's own detail otherwise.
    pub trouble: String,
    /// How many attempts to end it by force it has survived in a row.
    pub survived: u32,
    pub events: EventSink,
    probes: Vec<JoinHandle<()>>,
}

impl Member {
    pub fn new(spec: ResourceSpec, agent: Box<dyn ResourceAgent>, events: EventSink) -> Member {
        Member {
            spec,
            agent,
            run: Run::Stopped,
            unpromoted: false,
            trouble: String::new(),
            survived: 0,
            events,
            probes: Vec::new(),
        }
    }

    pub fn status(&self) -> ResourceStatus {
        let detail = if self.trouble.is_empty() {
            self.agent.detail()
        } else {
            self.trouble.clone()
        };
        ResourceStatus {
            name: self.spec.name.clone(),
            kind: self.spec.kind.clone(),
            run: self.word().into(),
            detail,
        }
    }

    fn word(&self) -> &'static str {
        match self.run {
            Run::Stopped if self.unpromoted => "unpromoted",
            run => run.word(),
        }
    }

    /// It is active without a permit. The probes of a resource with roles are for what is promoted: its agent watches the rest.
    pub fn follows(&mut self) {
        self.unpromoted = true;
        self.trouble.clear();
        if !self.agent.has_roles() {
            self.watch();
        }
    }

    /// It runs: from now on its probes run too.
    pub fn running(&mut self) {
        self.run = Run::Running;
        self.unpromoted = self.agent.has_roles();
        self.trouble.clear();
        self.watch();
    }

    fn watch(&mut self) {
        self.stop_probes();
        let watch = |spec: &_| tokio::spawn(probe::watch(Clone::clone(spec), self.events.clone()));
        self.probes = self.spec.probes.iter().map(watch).collect();
    }

    pub fn stop_probes(&mut self) {
        self.probes.drain(..).for_each(|probe| probe.abort());
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop_probes();
    }
}

//! For an agent that builds its inner agent anew at each start, because a process is told other things each time.
//!
//! The runner asks the outer agent for its halter before a start only, and stores what it saves after its own actions only,
//! while a keeper may start a process at any time. So what belongs to the newest inner agent is kept here.

use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::agent::{AgentContext, AgentError, Cutter, ResourceAgent};

/// What outlives each inner agent.
pub struct Relaunch {
    context: AgentContext,
    /// What the newest one needs after a restart of had-agentd to find its process again.
    saved: PathBuf,
    /// What freezes or kills that process, for the thread that enforces permits.
    halt: Arc<Mutex<Option<Cutter>>>,
}

impl Relaunch {
    /// No inner agent yet; `kind` names the file in which the newest one is kept.
    #[must_use]
    pub fn new(context: &AgentContext, kind: &str) -> Relaunch {
        Relaunch {
            context: context.clone(),
            saved: context.file(kind),
            halt: Arc::default(),
        }
    }

    /// For an inner agent that takes over what an earlier had-agentd started, if it still runs.
    #[must_use]
    pub fn resumed(&self) -> AgentContext {
        AgentContext {
            saved: fs::read_to_string(&self.saved).unwrap_or_default(),
            ..self.context.clone()
        }
    }

    /// For one that starts a new process.
    #[must_use]
    pub fn fresh(&self) -> AgentContext {
        AgentContext {
            saved: String::new(),
            ..self.context.clone()
        }
    }

    /// This is the newest one from now on: before its start, so that a permit that lapses during that halts it.
    pub fn is_newest(&self, agent: &dyn ResourceAgent) {
        *self.halt.lock().unwrap_or_else(PoisonError::into_inner) = agent.halter();
    }

    /// It has started. What is written is gone after a reboot, so it waits for no disk; and an action that is dropped cannot leave
    /// it out.
    ///
    /// # Errors
    /// It cannot be written: after a restart of had-agentd the process would not be found.
    pub fn has_started(&self, agent: &dyn ResourceAgent) -> Result<(), AgentError> {
        fs::write(&self.saved, agent.saved())
            .map_err(|error| AgentError(format!("{}: {error}", self.saved.display())))
    }

    /// Halts whichever process is the newest.
    #[must_use]
    pub fn halter(&self) -> Cutter {
        let halt = Arc::clone(&self.halt);
        Arc::new(move || {
            let newest = halt.lock().unwrap_or_else(PoisonError::into_inner).clone();
            newest.map_or(Ok(()), |halt| halt())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use holdfast_proto::time::Time;

    use super::*;
    use crate::agent::{Action, Presence, tests};

    /// Counts how often it is halted.
    struct Fake {
        saved: &'static str,
        halts: Arc<AtomicU32>,
    }

    impl ResourceAgent for Fake {
        fn start(&mut self, _: Time) -> Action<'_, Result<(), AgentError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn stop(&mut self, _: Time) -> Action<'_, Result<(), AgentError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn probe(&mut self) -> Action<'_, Presence> {
            Box::pin(std::future::ready(Presence::Inactive))
        }

        fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn halter(&self) -> Option<Cutter> {
            let halts = Arc::clone(&self.halts);
            Some(Arc::new(move || {
                halts.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }))
        }

        fn detail(&self) -> String {
            String::new()
        }

        fn saved(&self) -> String {
            self.saved.into()
        }
    }

    fn fake(saved: &'static str) -> Fake {
        let halts = Arc::default();
        Fake { saved, halts }
    }

    #[test]
    fn a_halter_of_before_halts_the_newest() {
        let relaunch = Relaunch::new(&tests::context(), "fake");
        let halter = relaunch.halter();
        halter().expect("nothing runs yet");
        let (first, second) = (fake(""), fake(""));
        relaunch.is_newest(&first);
        halter().unwrap();
        relaunch.is_newest(&second);
        halter().unwrap();
        let halts = |fake: &Fake| fake.halts.load(Ordering::SeqCst);
        assert_eq!((halts(&first), halts(&second)), (1, 1));
    }

    #[test]
    fn the_next_had_agentd_finds_what_the_newest_saved() {
        let folder = tempfile::tempdir().unwrap();
        let mut context = tests::context();
        context.state_dir = folder.path().to_owned();
        // What the runner stores is the outer agent's own.
        context.saved = "outer".into();
        let relaunch = Relaunch::new(&context, "fake");
        assert_eq!(relaunch.resumed().saved, "");
        relaunch.has_started(&fake("4711")).unwrap();
        assert_eq!(relaunch.fresh().saved, "");
        assert_eq!(Relaunch::new(&context, "fake").resumed().saved, "4711");
        drop(folder);
        assert!(relaunch.has_started(&fake("4711")).is_err());
    }
}

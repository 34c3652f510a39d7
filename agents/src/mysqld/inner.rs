//! The process of the server: a unit or a program, run by the agent for these.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::params::{Params, Runner};
use crate::agent::{AgentContext, AgentError, AgentEvent, EventSink, ResourceAgent};
use crate::{exec, systemd};

/// Notes of the inner agent that may wait to be passed on.
const NOTES_MAX: usize = 16;

/// The inner agent, and what became of its process.
pub struct Inner {
    /// Starts, stops, kills, freezes.
    pub agent: Box<dyn ResourceAgent>,
    /// What it said of the end of its process.
    pub end: Arc<End>,
    forwarder: Option<(Receivers, EventSink)>,
    task: Option<JoinHandle<()>>,
}

type Events = (usize, AgentEvent);
type Receivers = (mpsc::Receiver<Events>, mpsc::UnboundedReceiver<Events>);

/// The unexpected end of the process.
#[derive(Default)]
pub struct End {
    reason: Mutex<Option<String>>,
    happened: Notify,
    /// The runner is to be told: the start is over.
    armed: AtomicBool,
}

impl End {
    /// Why the process ended, if it did.
    pub fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// Waits for the end.
    pub async fn happened(&self) -> String {
        loop {
            let woken = self.happened.notified();
            if let Some(reason) = self.reason() {
                return reason;
            }
            woken.await;
        }
    }

    fn set(&self, reason: &str) {
        *lock(&self.reason) = Some(reason.to_owned());
        self.happened.notify_waiters();
    }

    /// A new process begins.
    pub fn forget(&self) {
        self.armed.store(false, Ordering::SeqCst);
        *lock(&self.reason) = None;
    }

    /// From here on an end is a failure that the runner is told of. If it happened before, the reason.
    pub fn arm(&self) -> Result<(), String> {
        self.armed.store(true, Ordering::SeqCst);
        self.reason().map_or(Ok(()), Err)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Inner {
    /// Builds the agent of a unit or a program; `arguments` are added to the program's own.
    ///
    /// # Errors
    /// It refuses its parameters.
    pub fn build(context: &AgentContext, params: &Params, arguments: &[&str]) -> Result<Inner, AgentError> {
        let mut keys = BTreeMap::new();
        let build = match &params.runner {
            Runner::Unit(unit) => {
                keys.insert("unit".to_owned(), unit.clone());
                systemd::build
            }
            Runner::Command(words, user) => {
                let words: Vec<&str> = words
                    .iter()
                    .map(String::as_str)
                    .chain(arguments.iter().copied())
                    .collect();
                keys.insert("command".to_owned(), words.join("\n"));
                if let Some(user) = user {
                    keys.insert("user".to_owned(), user.clone());
                }
                exec::build
            }
        };
        Inner::around(context, keys, build)
    }

    /// Around the agent that `build` makes of these parameters.
    ///
    /// # Errors
    /// It refuses them.
    pub fn around(
        context: &AgentContext,
        params: BTreeMap<String, String>,
        build: fn(AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError>,
    ) -> Result<Inner, AgentError> {
        let (notes, note_receiver) = mpsc::channel(NOTES_MAX);
        let (failures, failure_receiver) = mpsc::unbounded_channel();
        let mut inner = context.clone();
        inner.events = EventSink::new(0, notes, failures);
        inner.params = params;
        Ok(Inner {
            agent: build(inner)?,
            end: Arc::default(),
            forwarder: Some(((note_receiver, failure_receiver), context.events.clone())),
            task: None,
        })
    }

    /// Passes on what the inner agent says. Called before its first action, inside the runtime.
    pub fn listen(&mut self) {
        if let Some((receivers, events)) = self.forwarder.take() {
            self.task = Some(tokio::spawn(forward(receivers, events, Arc::clone(&self.end))));
        }
    }
}

async fn forward((mut notes, mut failures): Receivers, events: EventSink, end: Arc<End>) {
    loop {
        tokio::select! {
            Some((_, event)) = failures.recv() => {
                if let AgentEvent::Failed(reason) = event {
                    end.set(&reason);
                    if end.armed.swap(false, Ordering::SeqCst) {
                        events.failed(reason);
                    }
                }
            }
            Some((_, event)) = notes.recv() => match event {
                AgentEvent::Note { level, kind, text, .. } => events.note(level, kind, text),
                AgentEvent::Detail => events.detail_changed(),
                AgentEvent::Failed(_) | AgentEvent::GiveWay(_) => {}
            },
            else => return,
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

//! One node: an agent with its server, and what the runner would know.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use holdfast_agents::agent::{AgentContext, AgentError, AgentEvent, EventSink, PermitView, ResourceAgent};
use holdfast_agents::clock;
use holdfast_agents::mysqld;
use holdfast_agents::mysqld::client::Client;
use holdfast_agents::roles::{Copies, CopySink, CopyStatus, RolesView};
use holdfast_proto::time::Time;
use tokio::sync::{mpsc, watch};

use crate::server::{Instance, Kind, USER};

/// Far beyond anything that is waited for: reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(90);
/// The lease of the tests.
pub const LEASE: Duration = Duration::from_millis(1000);

pub struct Node {
    pub name: &'static str,
    pub agent: Box<dyn ResourceAgent>,
    pub server: Instance,
    context: AgentContext,
    pub roles: watch::Sender<RolesView>,
    copies: watch::Receiver<Copies>,
    permit: watch::Sender<PermitView>,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
    state: tempfile::TempDir,
}

pub fn deadline(span: Duration) -> Time {
    clock::now() + span
}

impl Node {
    pub fn new(
        name: &'static str,
        kind: &Kind,
        address: IpAddr,
        port: u16,
        options: &[String],
        params: &[(&str, &str)],
    ) -> Node {
        let server = Instance::new(kind, address, port, options);
        let state = tempfile::tempdir().unwrap();
        let mut all = BTreeMap::from([
            ("command".to_owned(), server.command().join("\n")),
            ("user".to_owned(), USER.to_owned()),
            ("socket".to_owned(), server.file("sock").display().to_string()),
            ("datadir".to_owned(), server.file("data").display().to_string()),
            ("port".to_owned(), port.to_string()),
        ]);
        let given = params
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        all.extend(given);
        let (note_sender, notes) = mpsc::channel(256);
        let (failure_sender, failures) = mpsc::unbounded_channel();
        let (permit, permit_view) = watch::channel(PermitView {
            epoch: 0,
            until: Time::ZERO,
        });
        let (roles, roles_view) = watch::channel(RolesView::default());
        let copies = watch::Sender::default();
        let context = AgentContext {
            group: "shop".into(),
            resource: format!("db-{name}"),
            params: all,
            lease: LEASE,
            permit: permit_view,
            events: EventSink::new(0, note_sender, failure_sender),
            saved: String::new(),
            state_dir: state.path().to_owned(),
            roles: roles_view,
            copy: CopySink::new(0, copies.clone()),
            gate: None,
        };
        let agent = mysqld::build(context.clone()).unwrap();
        Node {
            name,
            agent,
            server,
            context,
            roles,
            copies: copies.subscribe(),
            permit,
            notes,
            failures,
            state,
        }
    }

    pub async fn start(&mut self) -> Result<(), AgentError> {
        let until = deadline(PATIENCE);
        tokio::time::timeout(PATIENCE, self.agent.start(until))
            .await
            .expect("the start ends")
    }

    pub async fn stop(&mut self) {
        self.agent.stop(deadline(PATIENCE)).await.unwrap();
    }

    /// The group may be promoted here until further notice.
    pub fn permit(&self, epoch: u64) {
        self.permit.send_replace(PermitView {
            epoch,
            until: Time(u64::MAX),
        });
    }

    /// The permit ended.
    pub fn lapse(&self) {
        self.permit.send_modify(|permit| permit.until = Time::ZERO);
    }

    /// had-agentd restarts: another agent takes the server over.
    pub async fn restart_agent(&mut self) {
        self.context.saved = self.agent.saved();
        self.agent = mysqld::build(self.context.clone()).unwrap();
        assert_eq!(self.agent.probe().await, holdfast_agents::agent::Presence::Active);
        self.agent.adopt().await.unwrap();
    }

    /// Where an operator asks for its data to be fetched anew.
    pub fn seed_request(&self) -> std::path::PathBuf {
        holdfast_proto::mysqld::seed_request(self.state.path(), "shop")
    }

    /// Where it says why not.
    pub fn seed_refusal(&self) -> std::path::PathBuf {
        holdfast_proto::mysqld::seed_refusal(self.state.path(), "shop")
    }

    /// The server as root.
    pub async fn root(&self) -> Client {
        Client::local(&self.server.file("sock"), Duration::from_secs(5))
            .await
            .unwrap()
    }

    /// One value of the server.
    pub async fn value(&self, statement: &str) -> String {
        self.root().await.value(statement).await.unwrap()
    }

    /// For the register.
    pub fn copies(&self) -> watch::Receiver<Copies> {
        self.copies.clone()
    }

    /// What it says of its copy.
    pub fn copy(&self) -> CopyStatus {
        self.copies.borrow().get(&0).cloned().unwrap_or_default()
    }

    /// Waits until what it says of its copy is as it should be.
    pub async fn until_copy(&mut self, what: &str, mut good: impl FnMut(&CopyStatus) -> bool) -> CopyStatus {
        let begun = Instant::now();
        loop {
            let copy = self.copy();
            if good(&copy) {
                return copy;
            }
            assert!(begun.elapsed() < PATIENCE, "{}: {what}: {copy:?}", self.name);
            let _ = tokio::time::timeout(Duration::from_millis(200), self.copies.changed()).await;
        }
    }

    /// Waits until the agent says that its server failed.
    pub async fn failure(&mut self) -> String {
        match tokio::time::timeout(PATIENCE, self.failures.recv()).await {
            Ok(Some((_, AgentEvent::Failed(reason)))) => reason,
            other => panic!("{}: no failure but {other:?}", self.name),
        }
    }

    /// Waits until the agent says that another node should be the primary.
    pub async fn gives_way(&mut self) -> String {
        match tokio::time::timeout(PATIENCE, self.failures.recv()).await {
            Ok(Some((_, AgentEvent::GiveWay(reason)))) => reason,
            other => panic!("{}: it does not give way but {other:?}", self.name),
        }
    }

    pub fn has_failed(&mut self) -> Option<String> {
        match self.failures.try_recv() {
            Ok((_, AgentEvent::Failed(reason))) => Some(reason),
            _ => None,
        }
    }

    /// Notes since the last call, with their kinds.
    pub fn take_notes(&mut self) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        while let Ok((_, event)) = self.notes.try_recv() {
            if let AgentEvent::Note { kind, text, .. } = event {
                taken.push((kind.to_owned(), text));
            }
        }
        taken
    }
}

/// Waits for a condition on anything.
pub async fn until(what: &str, mut good: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !good().await {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! The group's task with an agent that keeps a record of what it is asked, and can be told to fail or to be slow.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_proto::agent::{GroupRoles, GroupSpec, GroupStatus, InSync, PeerNode, ResourceSpec};
use holdfast_proto::time::Time;
use tokio::sync::mpsc;

use super::super::{Group, Handle, Occupied, Order, Surroundings, store};
use crate::agent::{Action, AgentContext, AgentError, PermitView, Presence, ResourceAgent};
use crate::clock;
use crate::fence::Fencer;
use crate::guard::Command;
use crate::roles::Peer;

/// What the scripted agents of one test share.
#[derive(Default)]
struct Stage {
    /// What they were asked, in order: `name action`.
    log: Vec<String>,
    /// Which of these fail.
    failing: Vec<String>,
    /// How long these take; one that is not over by its deadline has failed.
    slow: BTreeMap<String, Duration>,
    contexts: BTreeMap<String, AgentContext>,
    active: BTreeMap<String, bool>,
}

static STAGES: Mutex<BTreeMap<String, Arc<Mutex<Stage>>>> = Mutex::new(BTreeMap::new());

struct Scripted {
    name: String,
    roles: bool,
    stage: Arc<Mutex<Stage>>,
}

/// For [`crate::registry`].
pub(crate) fn scripted(context: AgentContext) -> Box<dyn ResourceAgent> {
    let stage = STAGES
        .lock()
        .unwrap()
        .entry(context.params["stage"].clone())
        .or_default()
        .clone();
    let roles = context.params.contains_key("roles");
    let name = context.resource.clone();
    stage.lock().unwrap().contexts.insert(name.clone(), context);
    Box::new(Scripted { name, roles, stage })
}

impl Scripted {
    fn act(&self, action: &str, active: Option<bool>) -> Action<'_, Result<(), AgentError>> {
        self.act_within(action, active, Time(u64::MAX))
    }

    fn act_within(
        &self,
        action: &str,
        active: Option<bool>,
        deadline: Time,
    ) -> Action<'_, Result<(), AgentError>> {
        let asked = format!("{} {action}", self.name);
        let mut stage = self.stage.lock().unwrap();
        let takes = stage.slow.get(&asked).copied().unwrap_or_default();
        let over_at = clock::now() + takes;
        let fails = stage.failing.contains(&asked) || over_at > deadline;
        stage.log.push(asked.clone());
        if let (Some(active), false) = (active, fails) {
            stage.active.insert(self.name.clone(), active);
        }
        drop(stage);
        Box::pin(async move {
            clock::sleep_until(over_at.min(deadline)).await;
            if fails {
                Err(AgentError(format!("{asked} was to fail")))
            } else {
                Ok(())
            }
        })
    }
}

impl ResourceAgent for Scripted {
    fn start(&mut self, _: Time) -> Action<'_, Result<(), AgentError>> {
        self.act("start", Some(true))
    }
    fn stop(&mut self, _: Time) -> Action<'_, Result<(), AgentError>> {
        self.act("stop", Some(false))
    }
    fn kill(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        self.act_within("kill", Some(false), deadline)
    }
    fn probe(&mut self) -> Action<'_, Presence> {
        let active = self.stage.lock().unwrap().active.get(&self.name).copied();
        Box::pin(async move {
            match active {
                Some(true) => Presence::Active,
                _ => Presence::Inactive,
            }
        })
    }
    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        self.act("adopt", None)
    }
    fn has_roles(&self) -> bool {
        self.roles
    }
    fn promote(&mut self, _: Time) -> Action<'_, Result<(), AgentError>> {
        self.act("promote", None)
    }
    fn demote<'a>(&'a mut self, toward: Option<&'a Peer>, _: Time) -> Action<'a, Result<(), AgentError>> {
        let toward = toward.map_or(String::new(), |peer| format!(" toward {}", peer.name));
        self.act(&format!("demote{toward}"), None)
    }
    fn detail(&self) -> String {
        String::new()
    }
}

/// A group's task with its surroundings.
pub(super) struct Bed {
    pub(super) name: String,
    pub(super) folder: tempfile::TempDir,
    handle: Handle,
    commands: mpsc::UnboundedReceiver<Command>,
    pub(super) newest: GroupStatus,
}

impl Bed {
    pub(super) fn new(name: &str) -> Bed {
        let folder = tempfile::tempdir().unwrap();
        let (handle, commands) = spawn(name, folder.path(), None);
        Bed {
            name: name.into(),
            folder,
            handle,
            commands,
            newest: GroupStatus::default(),
        }
    }

    /// As after a crash of had-agentd.
    pub(super) fn restart(&mut self) {
        let saved = store::load_all(self.folder.path()).unwrap().remove(0).1;
        (self.handle, self.commands) = spawn(&self.name, self.folder.path(), Some(saved));
    }

    fn stage(&self) -> Arc<Mutex<Stage>> {
        STAGES
            .lock()
            .unwrap()
            .entry(self.name.clone())
            .or_default()
            .clone()
    }

    pub(super) fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.stage().lock().unwrap().log)
    }

    pub(super) fn fail(&self, what: &[&str]) {
        self.stage().lock().unwrap().failing = what.iter().map(ToString::to_string).collect();
    }

    pub(super) fn slow(&self, what: &str, takes: Duration) {
        self.stage().lock().unwrap().slow.insert(what.into(), takes);
    }

    pub(super) fn context(&self, resource: &str) -> AgentContext {
        self.stage().lock().unwrap().contexts[resource].clone()
    }

    /// A database with roles between two resources without.
    pub(super) fn spec(&self) -> GroupSpec {
        let resource = |name: &str, roles: bool| {
            let mut params = BTreeMap::from([("stage".to_owned(), self.name.clone())]);
            if roles {
                params.insert("roles".into(), String::new());
            }
            ResourceSpec {
                name: name.into(),
                kind: "scripted".into(),
                params,
                start_timeout_ms: 20_000,
                stop_timeout_ms: 10_000,
                ..ResourceSpec::default()
            }
        };
        GroupSpec {
            name: self.name.clone(),
            resources: vec![
                resource("fs", false),
                resource("db", true),
                resource("vip", false),
            ],
            max_restarts: 1,
            restart_window_ms: 600_000,
            requires: "fencing".into(),
            every_node: false,
        }
    }

    pub(super) fn roles(&self, version: u64, wanted: bool, primary: &str) {
        self.roles_of(version, wanted, primary, self.spec());
    }

    pub(super) fn roles_of(&self, version: u64, wanted: bool, primary: &str, spec: GroupSpec) {
        let node = |name: &str, id| PeerNode {
            name: name.into(),
            id,
            addresses: vec![format!("10.0.0.{id}")],
        };
        let roles = GroupRoles {
            spec: Some(spec),
            wanted,
            own: Some(node("db1", 1)),
            others: vec![node("db2", 2)],
            primary: primary.into(),
            epoch: version,
            in_sync: Some(InSync {
                generation: version,
                nodes: vec!["db1".into()],
            }),
            lease_ms: 1000,
            version,
        };
        assert!(self.handle.tell(Order::Roles(Box::new(roles))));
    }

    pub(super) fn start(&self, epoch: u64) {
        let permit = PermitView {
            epoch,
            until: Time(u64::MAX),
        };
        let order = Order::Start {
            permit,
            spec: self.spec(),
            lease: Duration::from_secs(1),
            storage: Vec::new(),
        };
        assert!(self.handle.tell(order));
    }

    pub(super) fn stop(&self, epoch: u64, toward: Option<&str>) {
        let toward = toward.map(|name| Peer {
            name: name.into(),
            ..Peer::default()
        });
        let reason = "moved".into();
        assert!(self.handle.tell(Order::Stop {
            epoch,
            reason,
            toward
        }));
    }

    /// Waits until what was told fits.
    pub(super) async fn until(&mut self, what: &str, fits: impl Fn(&GroupStatus) -> bool) {
        let told = async {
            loop {
                if let Command::Status(status) = self.commands.recv().await.unwrap() {
                    self.newest = status;
                    if fits(&self.newest) {
                        return;
                    }
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(30), told).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.newest);
    }

    pub(super) async fn until_run(&mut self, run: &str) {
        self.until(run, |status| status.run == run).await;
    }

    pub(super) async fn until_member(&mut self, run: &str) {
        self.until(run, |status| {
            status.member.as_ref().is_some_and(|member| member.run == run)
        })
        .await;
    }
}

fn spawn(
    name: &str,
    folder: &Path,
    saved: Option<Result<store::SavedGroup, String>>,
) -> (Handle, mpsc::UnboundedReceiver<Command>) {
    let (guard, commands) = mpsc::unbounded_channel();
    let around = Surroundings {
        guard,
        state_dir: folder.into(),
        maintenance: false,
        watchdog: None,
        gate: None,
        fencer: Fencer::new(|_| {}),
        occupied: Occupied::default(),
    };
    (Group::spawn(name, around, saved), commands)
}

//! The group's task with an agent that keeps a record of what it is asked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_proto::agent::{GroupRoles, GroupSpec, GroupStatus, InSync, PeerNode, ResourceSpec};
use holdfast_proto::time::Time;
use tokio::sync::mpsc;

use super::{Group, Handle, Occupied, Order, Surroundings, store};
use crate::agent::{Action, AgentContext, AgentError, PermitView, Presence, ResourceAgent};
use crate::fence::Fencer;
use crate::guard::Command;
use crate::permits::saved::SavedPermits;
use crate::roles::{CopyStatus, Peer};

/// What the scripted agents of one test share.
#[derive(Default)]
struct Stage {
    /// What they were asked, in order: `name action`.
    log: Vec<String>,
    /// Which of these fail.
    failing: Vec<String>,
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
        let asked = format!("{} {action}", self.name);
        let mut stage = self.stage.lock().unwrap();
        let fails = stage.failing.contains(&asked);
        stage.log.push(asked.clone());
        if let (Some(active), false) = (active, fails) {
            stage.active.insert(self.name.clone(), active);
        }
        drop(stage);
        Box::pin(async move {
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
    fn kill(&mut self, _: Time) -> Action<'_, Result<(), AgentError>> {
        self.act("kill", Some(false))
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
struct Bed {
    name: String,
    folder: tempfile::TempDir,
    handle: Handle,
    commands: mpsc::UnboundedReceiver<Command>,
    newest: GroupStatus,
}

impl Bed {
    fn new(name: &str) -> Bed {
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
    fn restart(&mut self) {
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

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.stage().lock().unwrap().log)
    }

    fn fail(&self, what: &[&str]) {
        self.stage().lock().unwrap().failing = what.iter().map(ToString::to_string).collect();
    }

    fn context(&self, resource: &str) -> AgentContext {
        self.stage().lock().unwrap().contexts[resource].clone()
    }

    /// A database with roles between two resources without.
    fn spec(&self) -> GroupSpec {
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

    fn roles(&self, version: u64, wanted: bool, primary: &str) {
        self.roles_of(version, wanted, primary, self.spec());
    }

    fn roles_of(&self, version: u64, wanted: bool, primary: &str, spec: GroupSpec) {
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

    fn start(&self, epoch: u64) {
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

    fn stop(&self, epoch: u64, toward: Option<&str>) {
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
    async fn until(&mut self, what: &str, fits: impl Fn(&GroupStatus) -> bool) {
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

    async fn until_run(&mut self, run: &str) {
        self.until(run, |status| status.run == run).await;
    }

    async fn until_member(&mut self, run: &str) {
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

#[tokio::test]
async fn what_has_roles_runs_unpromoted_and_is_promoted_in_its_place_in_the_order() {
    let mut bed = Bed::new("order");
    bed.roles(1, true, "");
    bed.until_member("running").await;
    assert_eq!(bed.newest.run, "stopped");
    assert_eq!(bed.newest.resources[1].run, "unpromoted");
    assert_eq!(bed.log(), ["db start"]);
    bed.start(2);
    bed.until_run("running").await;
    assert_eq!(bed.log(), ["fs start", "db promote", "vip start"]);
    bed.stop(3, Some("db2"));
    bed.until_run("stopped").await;
    assert_eq!(bed.log(), ["vip stop", "db demote toward db2", "fs stop"]);
    assert_eq!(bed.newest.member.as_ref().unwrap().run, "running");
    // And once more, with the same agents.
    bed.start(4);
    bed.until_run("running").await;
    assert_eq!(bed.log(), ["fs start", "db promote", "vip start"]);
}

#[tokio::test]
async fn a_node_where_it_is_not_wanted_any_more_stops_it_after_it_was_demoted() {
    let mut bed = Bed::new("unwanted");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.stop(3, Some("db2"));
    bed.roles(4, false, "db2");
    bed.until_member("stopped").await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db demote toward db2", "fs stop", "db stop"]
    );
    // An older word than that changes nothing.
    bed.roles(3, true, "db2");
    bed.roles(5, false, "db2");
    bed.until_member("stopped").await;
    assert!(bed.log().is_empty());
}

#[tokio::test]
async fn a_demotion_that_fails_ends_in_a_kill_and_a_new_start() {
    let mut bed = Bed::new("stubborn");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.fail(&["db demote"]);
    bed.stop(3, None);
    bed.until_run("stopped").await;
    bed.until_member("running").await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db demote", "db kill", "fs stop", "db start"]
    );
}

#[tokio::test]
async fn what_fails_unpromoted_is_stopped_whole_and_tried_again_for_ever() {
    let mut bed = Bed::new("follower");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    bed.log();
    bed.fail(&["db start"]);
    bed.context("db").events.failed("it crashed");
    bed.until_member("failed").await;
    assert!(bed.newest.member.as_ref().unwrap().detail.contains("it crashed"));
    bed.until("another attempt", |status| {
        status
            .member
            .as_ref()
            .is_some_and(|member| member.detail.contains("tried again in 4 s"))
    })
    .await;
    bed.fail(&[]);
    bed.until_member("running").await;
    assert_eq!(bed.newest.run, "stopped");
    assert!(bed.log().starts_with(&["db stop".into(), "db start".into()]));
}

#[tokio::test]
async fn what_fails_without_a_permit_is_said_before_its_stop_which_may_take_long() {
    let mut bed = Bed::new("hung");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    bed.log();
    bed.context("db").events.failed("no answer");
    bed.until_member("stopping").await;
    assert!(bed.newest.member.as_ref().unwrap().detail.contains("no answer"));
    bed.until_member("failed").await;
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["db stop", "db start"]);
}

#[tokio::test]
async fn a_promoted_resource_that_fails_is_stopped_whole_started_and_promoted_again() {
    let mut bed = Bed::new("crash");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.context("db").events.failed("it crashed");
    bed.until("restarted", |status| {
        status.run == "running" && status.restarts == 1 && !status.detail.is_empty()
    })
    .await;
    assert_eq!(
        bed.log(),
        ["vip stop", "db stop", "db start", "db promote", "vip start"]
    );
    // Once more than is allowed: given up here, and it follows again.
    bed.context("db").events.failed("it crashed again");
    bed.until_run("failed").await;
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["vip stop", "db stop", "fs stop", "db start"]);
}

#[tokio::test]
async fn a_promoted_resource_that_gives_way_is_demoted_and_nothing_is_tried_in_place() {
    let mut bed = Bed::new("way");
    bed.roles(1, true, "db1");
    bed.start(2);
    bed.until_run("running").await;
    bed.log();
    bed.context("db").events.give_way("its disk is full");
    bed.until_run("failed").await;
    assert!(
        bed.newest.detail.contains("its disk is full"),
        "{}",
        bed.newest.detail
    );
    assert_eq!(bed.newest.restarts, 0);
    assert_eq!(bed.log(), ["vip stop", "db demote", "fs stop"]);
    assert_eq!(bed.newest.member.as_ref().unwrap().run, "running");
    bed.start(3);
    bed.until_run("running").await;
    assert_eq!(bed.log(), ["fs start", "db promote", "vip start"]);
}

#[tokio::test]
async fn agents_see_at_once_what_is_committed_and_what_they_see_is_told() {
    let mut bed = Bed::new("view");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    let context = bed.context("db");
    assert_eq!(
        context.roles.borrow().remote_primary().unwrap().addresses[0].to_string(),
        "10.0.0.2"
    );
    bed.roles(2, true, "db1");
    assert_eq!(context.roles.borrow().primary.as_deref(), Some("db1"));
    assert!(!context.roles.borrow().waits_for_others());
    context.copy.tell(CopyStatus {
        position: 7,
        ..CopyStatus::default()
    });
    bed.until("the copy", |status| {
        let copy = status.member.as_ref().and_then(|member| member.copy.as_ref());
        copy.is_some_and(|copy| copy.position == 7)
    })
    .await;
}

#[tokio::test]
async fn after_a_restart_of_the_process_a_follower_is_taken_over_and_made_sure_of() {
    let mut bed = Bed::new("resume");
    bed.roles(1, true, "db2");
    bed.until_member("running").await;
    bed.log();
    bed.restart();
    bed.roles(2, true, "db2");
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["db adopt", "db demote"]);
    // What was promoted is taken over as it is.
    bed.start(3);
    bed.until_run("running").await;
    bed.log();
    // As the guard keeps it.
    let permit = PermitView {
        epoch: 3,
        until: Time(u64::MAX),
    };
    let mut permits = SavedPermits::new(bed.folder.path().into());
    permits.record(&bed.name, permit).unwrap();
    bed.restart();
    bed.until_run("running").await;
    let log = bed.log();
    assert!(
        log.contains(&"db adopt".into()) && !log.contains(&"db demote".into()),
        "{log:?}"
    );
}

#[tokio::test]
async fn a_group_on_every_node_runs_whole_and_without_a_permit() {
    let mut bed = Bed::new("everywhere");
    let spec = GroupSpec {
        every_node: true,
        requires: "nothing".into(),
        ..bed.spec()
    };
    bed.roles_of(1, true, "", spec.clone());
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["fs start", "db start", "vip start"]);
    bed.context("fs").events.failed("it broke");
    bed.until_member("failed").await;
    bed.until_member("running").await;
    assert_eq!(bed.log(), ["fs stop", "fs start"]);
    bed.roles_of(2, false, "", spec);
    bed.until_member("stopped").await;
    assert_eq!(bed.log(), ["vip stop", "db stop", "fs stop"]);
}

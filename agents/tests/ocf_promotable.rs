//! Promotable OCF agents: roles, promotion scores by the stand-ins for Pacemaker's tools, notifications.

mod ocf_stage;

use std::fs;
use std::path::Path;

use holdfast_agents::agent::Presence;
use holdfast_agents::ocf::tools;
use holdfast_agents::roles::{CopyStatus, InSync, Peer, RolesView};
use ocf_stage::{Stage, soon, until};
use tokio::sync::watch;

/// Its role is a file; its score follows a file, set as agents do, while it looks.
const PROMOTABLE: &str = r#"
show() { for name in notify_type notify_operation notify_promote_uname notify_master_uname; do
    eval echo "$name=\$OCF_RESKEY_CRM_meta_$name"; done | tr '\n' ' '; echo; }
case $1 in
start) echo unpromoted > "$dir/role";;
stop) rm -f "$dir/role"; crm_master -l reboot -D;;
promote) echo promoted > "$dir/role";;
demote) [ -e "$dir/stuck" ] || echo unpromoted > "$dir/role";;
notify) show >> "$dir/notices"; [ ! -e "$dir/unwilling" ];;
monitor) [ -e "$dir/role" ] || exit 7
    if [ -e "$dir/score" ]; then "$HA_SBIN_DIR/crm_attribute" -p -v "$(cat "$dir/score")"; else crm_master -D; fi
    [ "$(cat "$dir/role")" = promoted ] && exit 8; exit 0;;
esac
"#;

fn peer(name: &str) -> Peer {
    Peer {
        name: name.into(),
        ..Peer::default()
    }
}

/// A promotable resource on node db1 of two.
fn stage(more: &[(&str, &str)]) -> (Stage, watch::Sender<RolesView>) {
    tools::set_program(Path::new(env!("CARGO_BIN_EXE_had-agentd")).to_owned());
    let mut all = vec![("promotable", "true"), ("monitor_interval_ms", "100")];
    all.extend(more);
    let mut stage = Stage::new(PROMOTABLE, &all);
    let (sender, roles) = watch::channel(RolesView {
        own: peer("db1"),
        others: vec![peer("db2")],
        ..RolesView::default()
    });
    stage.context.roles = roles;
    (stage, sender)
}

/// Waits until what is told of the copy is as `wanted`.
async fn told(stage: &Stage, wanted: impl Fn(&CopyStatus) -> bool) -> CopyStatus {
    let mut copies = stage.context.copy.subscribe();
    let found = copies
        .wait_for(|copies| copies.get(&0).is_some_and(&wanted))
        .await;
    found.unwrap()[&0].clone()
}

#[tokio::test]
async fn the_score_says_whether_it_may_be_promoted_and_whose_is_higher() {
    let (stage, _roles) = stage(&[]);
    let mut agent = stage.agent();
    assert!(agent.has_roles());
    assert_eq!(agent.probe().await, Presence::Inactive);
    agent.start(soon()).await.unwrap();
    let none = told(&stage, |copy| copy.obstacle.contains("no promotion score")).await;
    assert!(!none.readable);
    fs::write(stage.path("score"), "5").unwrap();
    let low = told(&stage, |copy| copy.obstacle.is_empty()).await;
    assert!(low.readable && low.wish.is_none(), "{low:?}");
    fs::write(stage.path("score"), "100").unwrap();
    let high = told(&stage, |copy| copy.position > low.position).await;
    assert_eq!(high.history, low.history);
    fs::write(stage.path("score"), "-INFINITY").unwrap();
    told(&stage, |copy| copy.obstacle.contains("below 0")).await;
    agent.stop(soon()).await.unwrap();
    told(&stage, |copy| copy.obstacle.contains("not started")).await;
}

#[tokio::test]
async fn it_is_promoted_and_demoted_and_finds_what_clones_find() {
    let (mut stage, roles) = stage(&[]);
    let mut agent = stage.agent();
    fs::write(stage.path("score"), "10").unwrap();
    agent.start(soon()).await.unwrap();
    assert_eq!(agent.probe().await, Presence::Active);
    agent.promote(soon()).await.unwrap();
    agent.promote(soon()).await.unwrap();
    assert_eq!(agent.probe().await, Presence::Active);
    let promote = stage.environment("promote");
    for (name, value) in [("clone_max", "2"), ("promoted_max", "1"), ("notify", "false")] {
        assert_eq!(promote[&format!("OCF_RESKEY_CRM_meta_{name}")], value);
    }
    // The primary wishes that any node may follow it: its agent's score decides there.
    agent.promote(soon()).await.unwrap();
    let copy = told(&stage, |copy| copy.wish.is_some()).await;
    let nodes = ["db1", "db2"].map(str::to_owned).into();
    assert_eq!(copy.wish, Some(InSync { generation: 1, nodes }));
    roles.send_modify(|view| view.in_sync = copy.wish.unwrap());
    told(&stage, |copy| copy.wish.is_none() && copy.obstacle.is_empty()).await;
    // A restarted had-agentd knows that it was promoted.
    let mut context = stage.context.clone();
    context.saved = agent.saved();
    drop(agent);
    let mut agent = holdfast_agents::registry::build("ocf:test:try", context).unwrap();
    assert_eq!(agent.probe().await, Presence::Active);
    agent.adopt().await.unwrap();
    assert!(agent.detail().contains(", promoted"));
    agent.demote(None, soon()).await.unwrap();
    agent.demote(None, soon()).await.unwrap();
    assert_eq!(agent.probe().await, Presence::Active);
    // What is promoted by somebody else is a failure, and half there before a start.
    agent.adopt().await.unwrap();
    fs::write(stage.path("role"), "promoted").unwrap();
    assert_eq!(stage.failure().await, "monitor ended with 8 (running promoted)");
    assert!(matches!(agent.probe().await, Presence::Partial(_)));
    agent.stop(soon()).await.unwrap();
    let calls = fs::read_to_string(stage.path("calls")).unwrap();
    assert!(!calls.contains("notify"), "{calls}");
}

#[tokio::test]
async fn a_demotion_is_believed_only_when_a_look_confirms_it() {
    let (stage, _roles) = stage(&[]);
    let mut agent = stage.agent();
    agent.start(soon()).await.unwrap();
    agent.promote(soon()).await.unwrap();
    fs::write(stage.path("stuck"), "").unwrap();
    let error = agent.demote(None, soon()).await.unwrap_err().0;
    assert_eq!(error, "after demote, monitor ended with 8 (running promoted)");
    // A stop ends it either way.
    agent.stop(soon()).await.unwrap();
    assert_eq!(agent.probe().await, Presence::Inactive);
}

#[tokio::test]
async fn an_agent_that_wants_to_know_is_told_of_its_own_and_of_other_nodes_changes() {
    let (mut stage, roles) = stage(&[("notify", "true")]);
    let mut agent = stage.agent();
    agent.start(soon()).await.unwrap();
    roles.send_modify(|view| view.primary = Some("db2".into()));
    let notices = || fs::read_to_string(stage.path("notices")).unwrap_or_default();
    until(|| notices().contains("db2")).await;
    roles.send_modify(|view| view.primary = Some("db1".into()));
    until(|| notices().matches('\n').count() == 3).await;
    agent.promote(soon()).await.unwrap();
    let expected = [
        "notify_type=post notify_operation=start notify_promote_uname= notify_master_uname=",
        "notify_type=post notify_operation=promote notify_promote_uname=db2 notify_master_uname=db2",
        "notify_type=post notify_operation=demote notify_promote_uname= notify_master_uname=db1",
        "notify_type=pre notify_operation=promote notify_promote_uname=db1 notify_master_uname=db1",
        "notify_type=post notify_operation=promote notify_promote_uname=db1 notify_master_uname=db1",
    ];
    let notices = notices();
    let lines: Vec<_> = notices.lines().map(str::trim_end).collect();
    assert_eq!(lines, expected);
    // It must not fail; one that does is told and changes nothing.
    fs::write(stage.path("unwilling"), "").unwrap();
    agent.stop(soon()).await.unwrap();
    assert!(stage.note("ocf-notify").await.contains("notify ended with 1"));
}

#[tokio::test]
async fn what_is_not_promotable_refuses() {
    let stage = Stage::new(PROMOTABLE, &[]);
    let mut agent = stage.agent();
    assert!(!agent.has_roles());
    agent.start(soon()).await.unwrap();
    assert!(
        agent
            .promote(soon())
            .await
            .unwrap_err()
            .0
            .contains("not promotable")
    );
    agent.stop(soon()).await.unwrap();
}

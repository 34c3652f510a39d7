//! Groups on every node, and groups that go after the members of another one.

use super::*;

/// An address that follows another group.
fn address(follows: &str, role: &str) -> String {
    group(
        "vip",
        "lease",
        &format!("follows = \"{follows}\"\nrole = \"{role}\""),
    )
}

fn web() -> String {
    "[[group]]\nname = \"web\"\nrun = \"every-node\"\n[[group.resource]]\nname = \"r\"\ntype = \"systemd\"\nunit = \"nginx\"\n".into()
}

fn boot_all(groups: &str) -> Cluster {
    let mut cluster = Cluster::of(all_vote(&config(2, true, groups)));
    for node in cluster.members() {
        cluster.boot(node);
    }
    cluster.run_for(3_000);
    cluster
}

fn lag(cluster: &mut Cluster, node: NodeId, lag_ms: Option<u64>) {
    cluster.copy_is(node, "db", |copy| copy.lag_ms = lag_ms);
    cluster.run_for(1_000);
}

#[test]
fn a_group_on_every_node_is_assigned_to_none() {
    let mut cluster = boot_all(&(web() + &group("db", "lease", "after = [\"web\"]")));
    for node in [A, B] {
        assert!(cluster.told(node, "web").expect("told").wanted);
    }
    assert_eq!(cluster.owner(A, "web"), None);
    assert_eq!(cluster.runs_on("db").len(), 1, "it came after web, which runs");
    let leader = cluster.lead();
    let on = true;
    cluster.ask_done(leader, OperatorRequest::Standby { node: B, on });
    cluster.run_for(500);
    assert!(!cluster.told(B, "web").expect("told").wanted);
    assert!(cluster.told(A, "web").expect("told").wanted);
}

#[test]
fn an_address_goes_where_a_group_on_every_node_is_well() {
    let mut cluster = boot_all(&(web() + &address("web", "any")));
    assert_eq!(cluster.runs_on("vip"), [A]);
    cluster.member_is(A, "web", |member| {
        member.run = RunState::Failed;
        member.detail = "the probe failed".into();
    });
    cluster.run_until(1_000, "it left", |cluster| cluster.runs_on("vip") == [B]);
    assert!(cluster.state(B).groups["vip"].reason.contains("the probe failed"));
    cluster.member_is(B, "web", |member| member.run = RunState::Failed);
    cluster.run_for(1_000);
    assert_eq!(cluster.runs_on("vip"), [B], "there is no better place");
    assert_eq!(cluster.state(B).groups["vip"].automatic_moves, 0);
}

#[test]
fn a_readers_address_leaves_a_replica_that_lags_and_comes_back_when_it_has_caught_up() {
    let groups = db("prefer = [\"n1\"]") + &address("db", "replica");
    let mut cluster = boot_all(&groups);
    assert_eq!(
        (cluster.runs_on("db"), cluster.runs_on("vip")),
        (vec![A], vec![B])
    );
    lag(&mut cluster, B, Some(60_000));
    assert_eq!(cluster.runs_on("vip"), [B], "at the limit");
    lag(&mut cluster, B, Some(60_001));
    assert_eq!(cluster.runs_on("vip"), [A], "the primary serves meanwhile");
    lag(&mut cluster, B, Some(30_001));
    assert_eq!(cluster.runs_on("vip"), [A], "not half as old yet");
    lag(&mut cluster, B, Some(30_000));
    assert_eq!(cluster.runs_on("vip"), [B]);
    lag(&mut cluster, B, None);
    assert_eq!(cluster.runs_on("vip"), [A], "nobody knows how old it is");
    lag(&mut cluster, B, Some(0));
    assert_eq!(cluster.runs_on("vip"), [B]);
    let leader = cluster.lead();
    assert_eq!(cluster.state(leader).groups["vip"].automatic_moves, 0);
}

#[test]
fn a_readers_address_stays_with_the_copy_that_is_promoted_when_there_is_no_other() {
    let groups = db("prefer = [\"n1\"]") + &address("db", "replica");
    let mut cluster = boot_all(&groups);
    cluster.wishes(A, 2, &[A, B]);
    cluster.run_for(500);
    cluster.loses_power(A);
    cluster.run_until(2_000, "promoted", |cluster| cluster.runs_on("db") == [B]);
    cluster.run_for(1_000);
    assert_eq!(cluster.runs_on("vip"), [B]);
}

#[test]
fn an_address_of_the_primary_goes_with_it() {
    let groups = db("prefer = [\"n1\"]") + &address("db", "primary");
    let mut cluster = boot_all(&groups);
    assert_eq!(
        (cluster.runs_on("db"), cluster.runs_on("vip")),
        (vec![A], vec![A])
    );
    cluster.wishes(A, 2, &[A, B]);
    cluster.run_for(500);
    let to = Some(B);
    let group = "db".into();
    cluster.ask_done(A, OperatorRequest::Move { group, to });
    cluster.run_until(3_000, "both moved", |cluster| {
        cluster.runs_on("db") == [B] && cluster.runs_on("vip") == [B]
    });
}

#[test]
fn what_ran_on_every_node_has_to_end_before_it_is_assigned_to_one() {
    let mut cluster = boot_all(&web());
    let source = cluster.config.source.replace("run = \"every-node\"\n", "");
    let config = holdfast_proto::config::parse(&source, "t").unwrap_or_else(|why| panic!("{why}"));
    cluster.host_mut(B).members_stay = true;
    let leader = cluster.lead();
    let config = Arc::new(config);
    cluster.ask_done(leader, OperatorRequest::ApplyConfig { config });
    cluster.member_is(B, "web", |member| member.run = RunState::Stopping);
    cluster.run_for(1_000);
    assert!(cluster.runs_on("web").is_empty());
    let why = cluster.why("web");
    assert!(why.contains("until n2 has stopped"), "{why}");
    cluster.member_is(B, "web", |member| member.run = RunState::Stopped);
    cluster.run_until(1_000, "it runs", |cluster| cluster.runs_on("web").len() == 1);
}

#[test]
fn a_group_on_every_node_is_shown_as_a_whole_and_by_node() {
    let mut cluster = boot_all(&web());
    let leader = cluster.lead();
    let seen = |cluster: &Cluster| {
        let view = cluster.node(leader).view(cluster.now);
        let group = view.groups.into_iter().next().expect("a group");
        (group.state, group.reason, group.members.len())
    };
    assert_eq!(seen(&cluster), ("running", "it runs on every node".into(), 2));
    cluster.member_is(B, "web", |member| {
        member.run = RunState::Failed;
        member.detail = "exit code 1".into();
    });
    cluster.run_for(300);
    let reason = "on n2 it is failed (exit code 1)".into();
    assert_eq!(seen(&cluster), ("degraded", reason, 2));
}

#[test]
fn roles_and_whole_copies_are_shown() {
    let cluster = Cluster::promoted(3, "");
    let view = cluster.node(B).view(cluster.now);
    let members: Vec<(NodeId, &str, bool)> = view.groups[0]
        .members
        .iter()
        .map(|member| (member.node, member.role, member.in_sync))
        .collect();
    assert_eq!(
        members,
        [(A, "primary", true), (B, "replica", true), (C, "replica", false)]
    );
}

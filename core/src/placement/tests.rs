use std::sync::Arc;

use holdfast_proto::config::parse;
use holdfast_proto::ids::BootId;
use holdfast_proto::state::{Failure, MoveIntent, genesis};
use proptest::prelude::*;

use super::*;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

/// Three nodes; `keys` are added to group `g`, beside which `other` is configured.
fn state(keys: &str) -> ClusterState {
    let mut text = String::from("[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n");
    for node in 1..=3 {
        text +=
            &format!("[[node]]\nname = \"n{node}\"\nlinks = [\"10.0.0.{node}\"]\nkeys = [\"{node:064x}\"]\n");
    }
    for (number, name, keys) in [(1, "other", ""), (2, "g", keys)] {
        text += &format!(
            "[[group]]\nname = \"{name}\"\nrequires = \"lease\"\n{keys}\n[[group.resource]]\nname = \"r\"\ntype = \"vip\"\n\
             address = \"10.1.0.{number}/24\"\n"
        );
    }
    let config = parse(&text, "t.toml").unwrap_or_else(|why| panic!("{why}"));
    genesis(Arc::new(config), A)
}

fn own(state: &mut ClusterState, group: &str, owner: NodeId) {
    let assignment = Assignment::Owned {
        owner,
        boot: Some(BootId(1)),
        epoch: 1,
    };
    state.groups.get_mut(group).expect("configured").assignment = assignment;
}

fn able() -> Observed {
    Observed {
        online: true,
        synced: true,
        agent_ready: true,
        watchdog: None,
        fencing: false,
        running: Vec::new(),
        lost: false,
        members: BTreeMap::new(),
        rested: Default::default(),
    }
}

/// All three nodes are able.
fn all_able() -> Observations {
    [A, B, C].into_iter().map(|node| (node, able())).collect()
}

fn section(state: &ClusterState) -> GroupSection {
    state.config.group("g").expect("configured").clone()
}

fn chosen(state: &ClusterState, seen: &Observations) -> Result<NodeId, String> {
    choose(state, &section(state), seen).map(|(node, _)| node)
}

/// What is said of node 1, which `change` makes less than able.
fn said_of(change: impl FnOnce(&mut ClusterState, &mut Observed)) -> String {
    let mut state = state("");
    let mut seen = all_able();
    change(&mut state, seen.get_mut(&A).expect("seen"));
    let judged = candidates(&state, &section(&state), &seen);
    let last = judged.last().expect("three");
    assert_eq!((last.node, last.eligible), (A, false), "{judged:?}");
    assert_eq!(chosen(&state, &seen), Ok(B));
    last.reason.clone()
}

#[test]
fn each_obstacle_keeps_a_group_off_and_is_named() {
    assert!(said_of(|_, node| node.fencing = true).contains("fenced"));
    assert!(said_of(|_, node| node.online = false).contains("not heard"));
    assert!(said_of(|_, node| node.synced = false).contains("not caught up"));
    assert!(said_of(|_, node| node.agent_ready = false).contains("no agent process"));
    let standby = |state: &mut ClusterState, _: &mut Observed| {
        state.nodes.get_mut(&A).expect("a member").standby = true;
    };
    assert!(said_of(standby).contains("standby"));
    let failed = |state: &mut ClusterState, _: &mut Observed| {
        let failure = Failure {
            count: 1,
            reason: "exit code 1".into(),
        };
        state
            .groups
            .get_mut("g")
            .expect("configured")
            .failures
            .insert(A, failure);
    };
    let reason = said_of(failed);
    assert!(
        reason.contains("exit code 1") && reason.contains("hactl resource cleanup g"),
        "{reason}"
    );
}

#[test]
fn the_first_obstacle_of_the_published_order_is_the_one_named() {
    let reason = said_of(|state, node| {
        *node = Observed::default();
        state.nodes.get_mut(&A).expect("a member").standby = true;
    });
    assert!(reason.contains("not heard"), "{reason}");
    let reason = said_of(|_, node| {
        *node = Observed {
            fencing: true,
            ..Observed::default()
        };
    });
    assert!(reason.contains("fenced"), "{reason}");
}

#[test]
fn a_node_that_was_never_observed_is_not_eligible() {
    let state = state("");
    let mut seen = all_able();
    seen.remove(&A);
    assert_eq!(chosen(&state, &seen), Ok(B));
}

#[test]
fn preference_decides_among_able_nodes_and_load_among_equals() {
    let preferring = state("prefer = [\"n3\", \"n2\"]");
    let mut seen = all_able();
    assert_eq!(chosen(&preferring, &seen), Ok(C));
    seen.get_mut(&C).expect("seen").online = false;
    assert_eq!(chosen(&preferring, &seen), Ok(B));
    let mut even = state("");
    assert_eq!(chosen(&even, &all_able()), Ok(A), "the lower number among equals");
    own(&mut even, "other", A);
    assert_eq!(chosen(&even, &all_able()), Ok(B), "the one that runs less");
}

#[test]
fn what_an_operator_asked_for_goes_before_preference_but_not_before_ability() {
    let mut state = state("prefer = [\"n1\"]");
    let intent = MoveIntent {
        to: C,
        who: "ann".into(),
        accepts_loss: None,
    };
    state.groups.get_mut("g").expect("configured").intent = Some(intent);
    let (node, why) = choose(&state, &section(&state), &all_able()).expect("placed");
    assert_eq!((node, why.as_str()), (C, "an operator asked for it"));
    let mut seen = all_able();
    seen.get_mut(&C).expect("seen").synced = false;
    assert_eq!(chosen(&state, &seen), Ok(A));
}

#[test]
fn a_group_on_its_way_goes_where_it_was_sent() {
    let mut state = state("prefer = [\"n1\"]");
    state.groups.get_mut("g").expect("configured").assignment = Assignment::Releasing {
        owner: A,
        boot: None,
        epoch: 2,
        toward: Some(B),
    };
    assert_eq!(chosen(&state, &all_able()), Ok(B));
}

#[test]
fn groups_that_belong_together_and_apart() {
    let mut together = state("with = [\"other\"]");
    own(&mut together, "other", C);
    let mut seen = all_able();
    seen.get_mut(&C).expect("seen").running.push("other".into());
    assert_eq!(chosen(&together, &seen), Ok(C));
    seen.get_mut(&C).expect("seen").agent_ready = false;
    let why = chosen(&together, &seen).expect_err("nowhere else");
    assert!(why.contains("does not run other, with which it belongs"), "{why}");
    let mut apart = state("apart_from = [\"other\"]\nprefer = [\"n1\"]");
    own(&mut apart, "other", A);
    assert_eq!(chosen(&apart, &all_able()), Ok(B));
}

#[test]
fn a_group_waits_for_what_runs_before_it() {
    let mut state = state("after = [\"other\"]");
    let why = chosen(&state, &all_able()).expect_err("waits");
    assert_eq!(why, "it waits for other to run");
    own(&mut state, "other", B);
    assert!(chosen(&state, &all_able()).is_err(), "assigned is not running");
    let mut seen = all_able();
    seen.get_mut(&B).expect("seen").running.push("other".into());
    assert!(chosen(&state, &seen).is_ok());
}

#[test]
fn when_nobody_can_every_node_says_why() {
    let mut seen = all_able();
    seen.get_mut(&A).expect("seen").online = false;
    seen.get_mut(&B).expect("seen").fencing = true;
    seen.get_mut(&C).expect("seen").agent_ready = false;
    let why = chosen(&state(""), &seen).expect_err("nobody");
    for part in ["n1 is not heard", "n2 is being fenced", "n3 has no agent process"] {
        assert!(why.contains(part), "{why}");
    }
}

fn observed() -> impl Strategy<Value = Observed> {
    let flags = (
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    );
    flags.prop_map(|(online, synced, agent_ready, fencing, runs_other)| Observed {
        online,
        synced,
        agent_ready,
        watchdog: None,
        fencing,
        running: if runs_other {
            vec!["other".into()]
        } else {
            Vec::new()
        },
        lost: !online,
        members: BTreeMap::new(),
        rested: Default::default(),
    })
}

/// A state in which anything may be so, over one of several configurations.
fn anything() -> impl Strategy<Value = ClusterState> {
    let keys = prop::sample::select(vec![
        "",
        "prefer = [\"n2\"]",
        "with = [\"other\"]",
        "apart_from = [\"other\"]",
        "after = [\"other\"]",
    ]);
    let node = || prop::option::of((1u8..4).prop_map(NodeId));
    (keys, node(), node(), node(), node(), 0u8..8).prop_map(
        |(keys, other_on, to, toward, failed_on, standby)| {
            let mut state = state(keys);
            if let Some(owner) = other_on {
                own(&mut state, "other", owner);
            }
            for node in [A, B, C] {
                state.nodes.get_mut(&node).expect("a member").standby = standby & 1 << (node.0 - 1) != 0;
            }
            let entry = state.groups.get_mut("g").expect("configured");
            entry.intent = to.map(|to| MoveIntent {
                to,
                who: "ann".into(),
                accepts_loss: None,
            });
            entry.assignment = Assignment::Releasing {
                owner: A,
                boot: None,
                epoch: 2,
                toward,
            };
            let failure = |node| {
                let reason = "exit code 1".into();
                (node, Failure { count: 1, reason })
            };
            entry.failures = failed_on.map(failure).into_iter().collect();
            state
        },
    )
}

proptest! {
    #[test]
    fn a_group_is_never_placed_on_a_node_that_may_not_run_it(
        state in anything(),
        seen in prop::collection::vec(observed(), 3),
    ) {
        let seen: Observations = [A, B, C].into_iter().zip(seen).collect();
        let Ok((node, why)) = choose(&state, &section(&state), &seen) else {
            return Ok(());
        };
        prop_assert!(!why.is_empty());
        let there = &seen[&node];
        prop_assert!(there.online && there.synced && there.agent_ready && !there.fencing);
        prop_assert!(!state.nodes[&node].standby);
        prop_assert!(!state.groups["g"].failures.contains_key(&node));
        let other = state.groups["other"].assignment.owner();
        let section = section(&state);
        prop_assert!(section.apart_from.is_empty() || other != Some(node));
        prop_assert!(section.with.is_empty() || other == Some(node));
        prop_assert!(section.after.is_empty() || other.is_some_and(|owner| seen[&owner].running.contains(&"other".into())));
    }

    #[test]
    fn placement_is_a_function_of_what_is_known(
        state in anything(),
        seen in prop::collection::vec(observed(), 3),
    ) {
        let seen: Observations = [A, B, C].into_iter().zip(seen).collect();
        let section = section(&state);
        prop_assert_eq!(choose(&state, &section, &seen), choose(&state.clone(), &section, &seen.clone()));
        let judged = candidates(&state, &section, &seen);
        let mut nodes: Vec<NodeId> = judged.iter().map(|candidate| candidate.node).collect();
        nodes.sort();
        prop_assert_eq!(nodes, vec![A, B, C], "every node is judged once");
        prop_assert!(judged.iter().all(|candidate| !candidate.reason.is_empty()));
        let first_unable = judged.iter().position(|candidate| !candidate.eligible).unwrap_or(judged.len());
        prop_assert!(judged[first_unable..].iter().all(|candidate| !candidate.eligible), "the able ones first");
    }
}

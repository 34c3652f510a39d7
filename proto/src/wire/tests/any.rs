//! Any message there can be.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::sample_config;
use crate::ids::{Ballot, BootId, GroupName, NUMBER_MAX, NodeId, VoterSet};
use crate::job::{JobOutcome, JobPhase, JobReport, JobState};
use crate::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use crate::peer::{
    CopyReport, GroupReport, KnownVoters, MemberReport, Message, NodeReport, RunState, Verdict,
};
use crate::state::{
    Assignment, ClusterState, Failure, GroupState, InSync, MoveIntent, NodeState, ProofKind, ProofRecord,
};
fn any_node() -> impl Strategy<Value = NodeId> {
    (0..=NodeId::DATA_MAX).prop_map(NodeId)
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    (0..=NUMBER_MAX, any_node()).prop_map(|(round, node)| Ballot { round, node: node.0 })
}

fn any_boot() -> impl Strategy<Value = BootId> {
    any::<u128>().prop_map(BootId)
}

fn any_voters() -> impl Strategy<Value = VoterSet> {
    (1u32..1 << 17).prop_map(VoterSet)
}

fn any_assignment() -> impl Strategy<Value = Assignment> {
    let boot = || proptest::option::of(any_boot());
    prop_oneof![
        any::<u64>().prop_map(|epoch| Assignment::Stopped { epoch }),
        (any_node(), boot(), any::<u64>()).prop_map(|(owner, boot, epoch)| Assignment::Owned {
            owner,
            boot,
            epoch
        }),
        (any_node(), boot(), any::<u64>(), proptest::option::of(any_node())).prop_map(
            |(owner, boot, epoch, toward)| Assignment::Releasing {
                owner,
                boot,
                epoch,
                toward
            }
        ),
    ]
}

fn any_in_sync() -> impl Strategy<Value = InSync> {
    let node = (1..=NodeId::DATA_MAX).prop_map(NodeId);
    let nodes = proptest::collection::btree_set(node, 0..4);
    (0..=NUMBER_MAX, nodes).prop_map(|(generation, nodes)| InSync { generation, nodes })
}

fn any_member() -> impl Strategy<Value = MemberReport> {
    let copy = (
        any::<u64>(),
        proptest::option::of(any::<u64>()),
        proptest::option::of(any_in_sync()),
        any::<bool>(),
    );
    let texts = (".{0,8}", ".{0,8}", ".{0,8}", ".{0,8}");
    let copy = (copy, texts).prop_map(
        |((position, lag_ms, wish, readable), (obstacle, history, position_text, possible_loss))| {
            CopyReport {
                obstacle,
                position,
                history,
                position_text,
                lag_ms,
                possible_loss,
                wish,
                readable,
            }
        },
    );
    let run = prop::sample::select(vec![RunState::Stopped, RunState::Running, RunState::Failed]);
    (run, proptest::option::of(copy), ".{0,8}").prop_map(|(run, copy, detail)| MemberReport {
        run,
        copy,
        detail,
    })
}

fn any_group() -> impl Strategy<Value = GroupState> {
    let intent = proptest::option::of((any_node(), ".{0,8}").prop_map(|(to, who)| MoveIntent {
        accepts_loss: who.len().is_multiple_of(2).then(|| who.clone()),
        to,
        who,
    }));
    let failure = (any::<u32>(), ".{0,8}").prop_map(|(count, reason)| Failure { count, reason });
    let failures = proptest::collection::btree_map(any_node(), failure, 0..3);
    let fixed = (any_assignment(), any::<bool>(), any::<u32>(), any_in_sync());
    (fixed, intent, failures, ".{0,8}").prop_map(
        |((assignment, disabled, automatic_moves, in_sync), intent, failures, reason)| GroupState {
            assignment,
            disabled,
            intent,
            failures,
            automatic_moves,
            reason,
            in_sync,
        },
    )
}

fn any_proof() -> impl Strategy<Value = ProofRecord> {
    let kind = prop::sample::select(vec![
        ProofKind::Stopped,
        ProofKind::Power,
        ProofKind::Reset,
        ProofKind::Watchdog,
        ProofKind::Storage,
        ProofKind::Operator,
        ProofKind::Lapsed,
    ]);
    (kind, proptest::option::of(any_boot()), ".{0,8}", any::<u64>()).prop_map(
        |(kind, ended_boot, evidence, version)| ProofRecord {
            kind,
            ended_boot,
            evidence,
            version,
        },
    )
}

fn any_job() -> impl Strategy<Value = JobState> {
    let place = proptest::option::of((any_node(), any_boot()));
    let phase = prop::sample::select(JobPhase::ALL.to_vec());
    let numbers = (
        any::<i64>(),
        0..=NUMBER_MAX,
        any::<i64>(),
        any::<u32>(),
        any::<u64>(),
    );
    (numbers, place, phase, ".{0,8}", ".{0,8}").prop_map(
        |((due, run, occurrence, attempt, took_ms), place, phase, who, detail)| JobState {
            due,
            run,
            occurrence,
            attempt,
            who,
            place,
            phase,
            detail,
            took_ms,
        },
    )
}

pub fn any_state() -> impl Strategy<Value = Arc<ClusterState>> {
    let node = (any::<bool>(), proptest::option::of(any_proof()), any::<u32>()).prop_map(
        |(standby, proof, watchdog_ms)| NodeState {
            standby,
            proof,
            watchdog_ms,
        },
    );
    let groups = proptest::collection::btree_map("[a-z]{1,8}", any_group(), 0..4);
    let nodes = proptest::collection::btree_map(any_node(), node, 0..4);
    let numbers = (
        1..=NUMBER_MAX,
        any_voters(),
        any_node(),
        0..=NUMBER_MAX,
        any::<bool>(),
    );
    let jobs = proptest::collection::btree_map("[a-z]{1,8}", any_job(), 0..3);
    (numbers, groups, nodes, jobs, ".{0,20}").prop_map(
        |((version, voters, survivor, next_epoch, maintenance), groups, nodes, jobs, reason)| {
            Arc::new(ClusterState {
                version,
                config: sample_config(),
                voters,
                survivor,
                next_epoch,
                maintenance,
                lease_before_ms: next_epoch as u32,
                register: (next_epoch % 2 == 0).then_some(BootId(u128::from(next_epoch) + 1)),
                groups: groups
                    .into_iter()
                    .map(|(name, group)| (name.as_str().into(), group))
                    .collect(),
                nodes,
                jobs: jobs
                    .into_iter()
                    .map(|(name, job)| (name.as_str().into(), job))
                    .collect(),
                reason,
            })
        },
    )
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Granted),
        any::<u64>().prop_map(|us| Verdict::Bound(Duration::from_micros(us))),
        Just(Verdict::Stale),
        Just(Verdict::Stranger),
        Just(Verdict::Blank),
    ]
}

fn any_known() -> impl Strategy<Value = KnownVoters> {
    (any::<u64>(), 0u32..1 << 17, 0u32..1 << 17).prop_map(|(committed_version, committed, accepted)| {
        KnownVoters {
            committed_version,
            committed: VoterSet(committed),
            accepted: VoterSet(accepted),
        }
    })
}

fn any_report() -> impl Strategy<Value = NodeReport> {
    let run = prop::sample::select(vec![
        RunState::Stopped,
        RunState::Starting,
        RunState::Running,
        RunState::Stopping,
        RunState::Failed,
        RunState::Unknown,
    ]);
    let member = proptest::option::of(any_member().prop_map(Arc::new));
    let group = (any::<u64>(), run, any::<u32>(), ".{0,8}", member).prop_map(
        |(epoch, run, restarts, detail, member)| GroupReport {
            epoch,
            run,
            restarts,
            detail,
            member,
        },
    );
    let groups = proptest::collection::btree_map("[a-z]{1,8}", group, 0..4);
    let outcome = prop::sample::select(JobOutcome::ALL.to_vec());
    let job =
        (0..=NUMBER_MAX, outcome, ".{0,8}", any::<u64>()).prop_map(|(run, outcome, detail, took_ms)| {
            JobReport {
                run,
                outcome,
                detail,
                took_ms,
            }
        });
    let jobs = proptest::collection::btree_map("[a-z]{1,8}", job, 0..3);
    (any::<u64>(), groups, jobs, any::<bool>()).prop_map(|(version, groups, jobs, isolated)| NodeReport {
        version,
        jobs: jobs
            .into_iter()
            .map(|(name, job)| (name.as_str().into(), job))
            .collect(),
        groups: groups
            .into_iter()
            .map(|(name, group)| (name.as_str().into(), group))
            .collect(),
        isolated,
    })
}

fn any_request() -> impl Strategy<Value = OperatorRequest> {
    let group = || "[a-z]{1,8}".prop_map(|name| GroupName::from(name.as_str()));
    prop_oneof![
        (group(), proptest::option::of(any_node()))
            .prop_map(|(group, to)| OperatorRequest::Move { group, to }),
        (group(), any_node()).prop_map(|(group, to)| OperatorRequest::MoveAcceptingLoss { group, to }),
        (any_node(), any::<bool>()).prop_map(|(node, on)| OperatorRequest::Standby { node, on }),
        any::<bool>().prop_map(|on| OperatorRequest::Maintenance { on }),
        (group(), proptest::option::of("[a-z]{1,8}"))
            .prop_map(|(group, resource)| OperatorRequest::Restart { group, resource }),
        proptest::option::of(group()).prop_map(|group| OperatorRequest::Cleanup { group }),
        (group(), any::<bool>()).prop_map(|(group, enabled)| OperatorRequest::Enable { group, enabled }),
        any_node().prop_map(|node| OperatorRequest::Fence { node }),
        any_node().prop_map(|node| OperatorRequest::Drill { node }),
        (any_node(), ".{0,20}").prop_map(|(node, reason)| OperatorRequest::FenceConfirm { node, reason }),
        ("[a-z]{1,8}", any::<i64>()).prop_map(|(job, at)| OperatorRequest::RunJob {
            job: job.as_str().into(),
            at
        }),
        Just(OperatorRequest::QuorumForce),
        Just(OperatorRequest::ApplyConfig {
            config: sample_config()
        }),
    ]
}

pub fn any_message() -> impl Strategy<Value = Message> {
    let outcome = prop_oneof![
        ".{0,8}".prop_map(OperatorOutcome::Done),
        ".{0,8}".prop_map(OperatorOutcome::Refused),
        ".{0,8}".prop_map(OperatorOutcome::NoQuorum)
    ];
    prop_oneof![
        any_ballot().prop_map(|ballot| Message::PreVote { ballot }),
        (any_ballot(), any_verdict(), any_ballot(), any_known()).prop_map(
            |(ballot, verdict, promised, voters)| Message::PreVoteReply {
                ballot,
                verdict,
                promised,
                voters
            }
        ),
        (any_ballot(), proptest::option::of(any_ballot()))
            .prop_map(|(ballot, transfer)| Message::Prepare { ballot, transfer }),
        (any_ballot(), any_ballot(), any_state(), any_known()).prop_map(
            |(ballot, accepted_ballot, accepted, voters)| Message::Promise {
                ballot,
                accepted_ballot,
                accepted,
                voters
            }
        ),
        (any_ballot(), any_ballot(), any_verdict()).prop_map(|(ballot, promised, verdict)| Message::Refuse {
            ballot,
            promised,
            verdict
        }),
        (any_ballot(), any_state()).prop_map(|(ballot, state)| Message::Accept { ballot, state }),
        (any_ballot(), any::<u64>()).prop_map(|(ballot, version)| Message::Accepted { ballot, version }),
        (any_ballot(), any_state()).prop_map(|(ballot, state)| Message::Commit { ballot, state }),
        any_ballot().prop_map(|ballot| Message::Transfer { ballot }),
        any_report().prop_map(Message::Report),
        (any::<u64>(), any_request(), ".{0,8}", ".{0,8}").prop_map(|(request, asked, who, at)| {
            Message::Forward {
                request,
                call: OperatorCall {
                    request: asked,
                    who,
                    at,
                },
            }
        }),
        (any::<u64>(), outcome).prop_map(|(request, outcome)| Message::ForwardReply { request, outcome }),
    ]
}

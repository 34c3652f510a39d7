//! Conversions of the messages between peers.

use std::sync::Arc;
use std::time::Duration;

use super::job::{decode_report, encode_report};
use super::schema::{
    AcceptedWire, BallotOnly, Body, CopyReportWire, ForwardReplyWire, ForwardWire, GroupReportWire,
    KnownVotersWire, MemberReportWire, MessageWire, PreVoteReplyWire, PrepareWire, PromiseWire, RefuseWire,
    ReportWire, StateAtBallot, VerdictWire,
};
use super::state::in_sync;
use super::{
    FIELDS_MAX, LIST_FIELDS_MAX, WireError, ballot, bounded, decode_state, encode_state, invalid, micros,
    required, voters,
};
use crate::operator::OperatorOutcome;
use crate::peer::{
    CopyReport, GroupReport, KnownVoters, MemberReport, Message, NodeReport, RunState, Verdict,
};
use crate::state::ClusterState;

impl From<&Message> for MessageWire {
    fn from(message: &Message) -> Self {
        MessageWire {
            body: Some(message.into()),
        }
    }
}

impl From<&Message> for Body {
    fn from(message: &Message) -> Self {
        match message {
            Message::PreVote { ballot } => Body::PreVote(BallotOnly {
                ballot: Some((*ballot).into()),
            }),
            Message::PreVoteReply {
                ballot,
                verdict,
                promised,
                voters,
            } => Body::PreVoteReply(PreVoteReplyWire {
                ballot: Some((*ballot).into()),
                verdict: Some((*verdict).into()),
                promised: Some((*promised).into()),
                voters: Some((*voters).into()),
            }),
            Message::Prepare { ballot, transfer } => Body::Prepare(PrepareWire {
                ballot: Some((*ballot).into()),
                transfer: transfer.map(Into::into),
            }),
            Message::Promise {
                ballot,
                accepted_ballot,
                accepted,
                voters,
            } => Body::Promise(PromiseWire {
                ballot: Some((*ballot).into()),
                accepted_ballot: Some((*accepted_ballot).into()),
                accepted: Some(encode_state(accepted)),
                voters: Some((*voters).into()),
            }),
            Message::Refuse {
                ballot,
                promised,
                verdict,
            } => Body::Refuse(RefuseWire {
                ballot: Some((*ballot).into()),
                promised: Some((*promised).into()),
                verdict: Some((*verdict).into()),
            }),
            Message::Accept { ballot, state } => Body::Accept(StateAtBallot {
                ballot: Some((*ballot).into()),
                state: Some(encode_state(state)),
            }),
            Message::Accepted { ballot, version } => Body::Accepted(AcceptedWire {
                ballot: Some((*ballot).into()),
                version: *version,
            }),
            Message::Commit { ballot, state } => Body::Commit(StateAtBallot {
                ballot: Some((*ballot).into()),
                state: Some(encode_state(state)),
            }),
            Message::Transfer { ballot } => Body::Transfer(BallotOnly {
                ballot: Some((*ballot).into()),
            }),
            Message::Report(report) => Body::Report(prost::Message::encode_to_vec(&ReportWire::from(report))),
            Message::Forward { request, call } => Body::Forward(ForwardWire {
                request: *request,
                call: Some(call.into()),
            }),
            Message::ForwardReply { request, outcome } => {
                let (code, sentence) = match outcome {
                    OperatorOutcome::Done(sentence) => (1, sentence),
                    OperatorOutcome::Refused(sentence) => (2, sentence),
                    OperatorOutcome::NoQuorum(sentence) => (3, sentence),
                };
                Body::ForwardReply(ForwardReplyWire {
                    request: *request,
                    outcome: code,
                    sentence: sentence.clone(),
                })
            }
        }
    }
}

impl TryFrom<MessageWire> for Message {
    type Error = WireError;
    fn try_from(wire: MessageWire) -> Result<Self, WireError> {
        Ok(match required(wire.body, "message.body")? {
            Body::PreVote(body) => Message::PreVote {
                ballot: ballot(body.ballot, "pre_vote.ballot")?,
            },
            Body::PreVoteReply(body) => Message::PreVoteReply {
                ballot: ballot(body.ballot, "pre_vote_reply.ballot")?,
                verdict: verdict(body.verdict, "pre_vote_reply.verdict")?,
                promised: ballot(body.promised, "pre_vote_reply.promised")?,
                voters: known_voters(body.voters, "pre_vote_reply.voters")?,
            },
            Body::Prepare(body) => Message::Prepare {
                ballot: ballot(body.ballot, "prepare.ballot")?,
                transfer: match body.transfer {
                    None => None,
                    given => Some(ballot(given, "prepare.transfer")?),
                },
            },
            Body::Promise(body) => Message::Promise {
                ballot: ballot(body.ballot, "promise.ballot")?,
                accepted_ballot: ballot(body.accepted_ballot, "promise.accepted_ballot")?,
                accepted: state(body.accepted.as_deref(), "promise.accepted")?,
                voters: known_voters(body.voters, "promise.voters")?,
            },
            Body::Refuse(body) => Message::Refuse {
                ballot: ballot(body.ballot, "refuse.ballot")?,
                promised: ballot(body.promised, "refuse.promised")?,
                verdict: verdict(body.verdict, "refuse.verdict")?,
            },
            Body::Accept(body) => Message::Accept {
                ballot: ballot(body.ballot, "accept.ballot")?,
                state: state(body.state.as_deref(), "accept.state")?,
            },
            Body::Accepted(body) => Message::Accepted {
                ballot: ballot(body.ballot, "accepted.ballot")?,
                version: body.version,
            },
            Body::Commit(body) => Message::Commit {
                ballot: ballot(body.ballot, "commit.ballot")?,
                state: state(body.state.as_deref(), "commit.state")?,
            },
            Body::Transfer(body) => Message::Transfer {
                ballot: ballot(body.ballot, "transfer.ballot")?,
            },
            Body::Report(bytes) => {
                Message::Report(bounded::<ReportWire>(&bytes, LIST_FIELDS_MAX, "report")?.try_into()?)
            }
            Body::Forward(body) => Message::Forward {
                request: body.request,
                call: required(body.call, "forward.call")?.try_into()?,
            },
            Body::ForwardReply(body) => Message::ForwardReply {
                request: body.request,
                outcome: outcome(body.outcome, body.sentence)?,
            },
        })
    }
}

fn state(bytes: Option<&[u8]>, field: &'static str) -> Result<Arc<ClusterState>, WireError> {
    decode_state(required(bytes, field)?).map(Arc::new)
}

fn outcome(code: u32, sentence: String) -> Result<OperatorOutcome, WireError> {
    match code {
        0 => Err(WireError::Missing("forward_reply.outcome")),
        1 => Ok(OperatorOutcome::Done(sentence)),
        2 => Ok(OperatorOutcome::Refused(sentence)),
        3 => Ok(OperatorOutcome::NoQuorum(sentence)),
        other => Err(invalid("forward_reply.outcome", other)),
    }
}

impl From<Verdict> for VerdictWire {
    fn from(verdict: Verdict) -> Self {
        let (code, bound_us) = match verdict {
            Verdict::Granted => (1, 0),
            Verdict::Bound(span) => (2, micros(span)),
            Verdict::Stale => (3, 0),
            Verdict::Stranger => (4, 0),
            Verdict::Blank => (5, 0),
        };
        VerdictWire { code, bound_us }
    }
}

fn verdict(wire: Option<VerdictWire>, field: &'static str) -> Result<Verdict, WireError> {
    let wire = required(wire, field)?;
    Ok(match wire.code {
        0 => return Err(WireError::Missing(field)),
        1 => Verdict::Granted,
        2 => Verdict::Bound(Duration::from_micros(wire.bound_us)),
        3 => Verdict::Stale,
        4 => Verdict::Stranger,
        5 => Verdict::Blank,
        other => return Err(invalid(field, other)),
    })
}

impl From<KnownVoters> for KnownVotersWire {
    fn from(known: KnownVoters) -> Self {
        KnownVotersWire {
            committed_version: known.committed_version,
            committed: known.committed.0,
            accepted: known.accepted.0,
        }
    }
}

fn known_voters(wire: Option<KnownVotersWire>, field: &'static str) -> Result<KnownVoters, WireError> {
    let wire = required(wire, field)?;
    Ok(KnownVoters {
        committed_version: wire.committed_version,
        committed: voters(wire.committed, field)?,
        accepted: voters(wire.accepted, field)?,
    })
}

impl From<&NodeReport> for ReportWire {
    fn from(report: &NodeReport) -> Self {
        let group = |(name, seen): (&crate::ids::GroupName, &GroupReport)| {
            prost::Message::encode_to_vec(&GroupReportWire {
                group: name.to_string(),
                epoch: seen.epoch,
                run: run_code(seen.run),
                restarts: seen.restarts,
                detail: seen.detail.clone(),
                member: seen.member.as_deref().map(Into::into),
            })
        };
        ReportWire {
            version: report.version,
            isolated: report.isolated,
            groups: report.groups.iter().map(group).collect(),
            jobs: report.jobs.iter().map(encode_report).collect(),
        }
    }
}

impl TryFrom<ReportWire> for NodeReport {
    type Error = WireError;
    fn try_from(wire: ReportWire) -> Result<Self, WireError> {
        let mut report = NodeReport {
            version: wire.version,
            isolated: wire.isolated,
            groups: Default::default(),
            jobs: Default::default(),
        };
        for bytes in &wire.groups {
            let group: GroupReportWire = bounded(bytes, FIELDS_MAX, "report.group")?;
            if group.group.is_empty() {
                return Err(WireError::Missing("report.group.group"));
            }
            let seen = GroupReport {
                epoch: group.epoch,
                run: run_of(group.run)?,
                restarts: group.restarts,
                detail: group.detail,
                member: group
                    .member
                    .map(MemberReport::try_from)
                    .transpose()?
                    .map(Arc::new),
            };
            if report.groups.insert(group.group.as_str().into(), seen).is_some() {
                return Err(invalid(
                    "report.groups",
                    format!("{:?} is named twice", group.group),
                ));
            }
        }
        for bytes in &wire.jobs {
            let (name, job) = decode_report(bytes)?;
            if report.jobs.insert(name, job).is_some() {
                return Err(invalid("report.jobs", "a job is named twice"));
            }
        }
        Ok(report)
    }
}

impl From<&MemberReport> for MemberReportWire {
    fn from(member: &MemberReport) -> Self {
        MemberReportWire {
            run: run_code(member.run),
            detail: member.detail.clone(),
            copy: member.copy.as_ref().map(Into::into),
        }
    }
}

impl TryFrom<MemberReportWire> for MemberReport {
    type Error = WireError;
    fn try_from(wire: MemberReportWire) -> Result<Self, WireError> {
        Ok(MemberReport {
            run: run_of(wire.run)?,
            copy: wire.copy.map(CopyReport::try_from).transpose()?,
            detail: wire.detail,
        })
    }
}

impl From<&CopyReport> for CopyReportWire {
    fn from(copy: &CopyReport) -> Self {
        CopyReportWire {
            obstacle: copy.obstacle.clone(),
            position: copy.position,
            history: copy.history.clone(),
            position_text: copy.position_text.clone(),
            lag_ms: copy.lag_ms,
            possible_loss: copy.possible_loss.clone(),
            wish: copy.wish.as_ref().map(Into::into),
            readable: copy.readable,
        }
    }
}

impl TryFrom<CopyReportWire> for CopyReport {
    type Error = WireError;
    fn try_from(wire: CopyReportWire) -> Result<Self, WireError> {
        Ok(CopyReport {
            obstacle: wire.obstacle,
            position: wire.position,
            history: wire.history,
            position_text: wire.position_text,
            lag_ms: wire.lag_ms,
            possible_loss: wire.possible_loss,
            wish: in_sync(wire.wish, "report.group.member.wish")?,
            readable: wire.readable,
        })
    }
}

fn run_code(run: RunState) -> u32 {
    match run {
        RunState::Stopped => 1,
        RunState::Starting => 2,
        RunState::Running => 3,
        RunState::Stopping => 4,
        RunState::Failed => 5,
        RunState::Unknown => 6,
    }
}

fn run_of(code: u32) -> Result<RunState, WireError> {
    Ok(match code {
        0 => return Err(WireError::Missing("report.group.run")),
        1 => RunState::Stopped,
        2 => RunState::Starting,
        3 => RunState::Running,
        4 => RunState::Stopping,
        5 => RunState::Failed,
        6 => RunState::Unknown,
        other => return Err(invalid("report.group.run", other)),
    })
}

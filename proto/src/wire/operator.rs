//! Conversion of operators' requests that are forwarded to the leader.

use super::schema::{CallWire, GroupSwitchWire, MemberWire, NodeSwitchWire, Request, RunJobWire, TargetWire};
use super::state::parse_config;
use super::{WireError, node, required};
use crate::ids::GroupName;
use crate::operator::{OperatorCall, OperatorRequest};

impl From<&OperatorCall> for CallWire {
    fn from(call: &OperatorCall) -> Self {
        CallWire {
            who: call.who.clone(),
            at: call.at.clone(),
            request: Some((&call.request).into()),
            reason: match &call.request {
                OperatorRequest::FenceConfirm { reason, .. } => reason.clone(),
                _ => String::new(),
            },
        }
    }
}

impl From<&OperatorRequest> for Request {
    fn from(request: &OperatorRequest) -> Self {
        match request {
            OperatorRequest::Move { group, to } => Request::Move(TargetWire {
                group: group.to_string(),
                to: to.map(|to| to.0.into()),
            }),
            OperatorRequest::MoveAcceptingLoss { group, to } => Request::MoveAcceptingLoss(TargetWire {
                group: group.to_string(),
                to: Some(to.0.into()),
            }),
            OperatorRequest::Standby { node, on } => Request::Standby(NodeSwitchWire {
                node: Some(node.0.into()),
                on: *on,
            }),
            OperatorRequest::Maintenance { on } => Request::Maintenance(*on),
            OperatorRequest::Restart { group, resource } => Request::Restart(MemberWire {
                group: group.to_string(),
                resource: resource.clone(),
            }),
            OperatorRequest::Cleanup { group } => {
                Request::Cleanup(group.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            OperatorRequest::Enable { group, enabled } => Request::Enable(GroupSwitchWire {
                group: group.to_string(),
                on: *enabled,
            }),
            OperatorRequest::Fence { node } => Request::Fence(node.0.into()),
            OperatorRequest::Drill { node } => Request::Drill(node.0.into()),
            OperatorRequest::FenceConfirm { node, .. } => Request::FenceConfirm(node.0.into()),
            OperatorRequest::QuorumForce => Request::QuorumForce(true),
            OperatorRequest::RunJob { job, at } => Request::RunJob(RunJobWire {
                job: job.to_string(),
                at: *at,
            }),
            OperatorRequest::ApplyConfig { config } => Request::ApplyConfig(config.source.clone()),
        }
    }
}

impl TryFrom<CallWire> for OperatorCall {
    type Error = WireError;
    fn try_from(wire: CallWire) -> Result<Self, WireError> {
        let mut request = required(wire.request, "call.request")?.try_into()?;
        if let OperatorRequest::FenceConfirm { reason, .. } = &mut request {
            *reason = wire.reason;
        }
        Ok(OperatorCall {
            request,
            who: wire.who,
            at: wire.at,
        })
    }
}

impl TryFrom<Request> for OperatorRequest {
    type Error = WireError;
    fn try_from(wire: Request) -> Result<Self, WireError> {
        Ok(match wire {
            Request::Move(target) => OperatorRequest::Move {
                group: group(&target.group, "move.group")?,
                to: match target.to {
                    None => None,
                    given => Some(node(given, "move.to")?),
                },
            },
            Request::MoveAcceptingLoss(target) => OperatorRequest::MoveAcceptingLoss {
                group: group(&target.group, "move.group")?,
                to: node(target.to, "move.to")?,
            },
            Request::Standby(switch) => OperatorRequest::Standby {
                node: node(switch.node, "standby.node")?,
                on: switch.on,
            },
            Request::Maintenance(on) => OperatorRequest::Maintenance { on },
            Request::Restart(member) => OperatorRequest::Restart {
                group: group(&member.group, "restart.group")?,
                resource: member.resource,
            },
            Request::Cleanup(name) => OperatorRequest::Cleanup {
                group: if name.is_empty() { None } else { Some(name.into()) },
            },
            Request::Enable(switch) => OperatorRequest::Enable {
                group: group(&switch.group, "enable.group")?,
                enabled: switch.on,
            },
            Request::Fence(number) => OperatorRequest::Fence {
                node: node(Some(number), "fence.node")?,
            },
            Request::FenceConfirm(number) => OperatorRequest::FenceConfirm {
                node: node(Some(number), "fence_confirm.node")?,
                reason: String::new(),
            },
            Request::Drill(number) => OperatorRequest::Drill {
                node: node(Some(number), "drill.node")?,
            },
            Request::RunJob(asked) => OperatorRequest::RunJob {
                job: group(&asked.job, "run_job.job")?,
                at: asked.at,
            },
            Request::QuorumForce(_) => OperatorRequest::QuorumForce,
            Request::ApplyConfig(text) => OperatorRequest::ApplyConfig {
                config: parse_config(&text)?,
            },
        })
    }
}

fn group(name: &str, field: &'static str) -> Result<GroupName, WireError> {
    if name.is_empty() {
        Err(WireError::Missing(field))
    } else {
        Ok(name.into())
    }
}

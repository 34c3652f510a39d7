//! Requests that change the cluster: translated, handed to the core, waited for within a bound.

use std::time::Duration;

use holdfast_proto::config::Config;
use holdfast_proto::control::control_reply;
use holdfast_proto::control::control_request::Body;
use holdfast_proto::ids::{GroupName, JobName, NodeId};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Client, Control, Refusal, refusal};
use crate::clock;
use crate::shell::api::Ask;

/// Time for the cluster to commit a request.
const PATIENCE: Duration = Duration::from_secs(20);
/// Time for a leader to appear before the core is asked anyway.
const LEADER_PATIENCE: Duration = Duration::from_secs(8);
/// Pause between looks for one.
const LEADER_LOOK: Duration = Duration::from_millis(100);
/// Longest reason that is recorded with a request.
const REASON_BYTES: usize = 200;
/// Silence after which the client is told what is waited for.
const PROGRESS: Duration = Duration::from_secs(1);

/// Hands `request` to the core and waits for the outcome.
pub async fn operate(
    control: &Control,
    client: &mut Client,
    who: &str,
    request: OperatorRequest,
) -> Result<String, Refusal> {
    let forcing = matches!(request, OperatorRequest::QuorumForce);
    let call = OperatorCall {
        request,
        who: who.into(),
        at: clock::wall(clock::now()),
    };
    let patient_until = Instant::now() + LEADER_PATIENCE;
    loop {
        if !forcing {
            await_leader(control, client, patient_until).await?;
        }
        match ask(control, client, &call, forcing).await? {
            OperatorOutcome::Done(sentence) => return Ok(sentence),
            OperatorOutcome::Refused(sentence) => return Err(refusal("refused", sentence)),
            // The leader that was there is going, and did not take the request: so it cannot be carried out twice.
            OperatorOutcome::NoQuorum(_) if !forcing && Instant::now() < patient_until => {
                tokio::time::sleep(LEADER_LOOK).await;
            }
            OperatorOutcome::NoQuorum(sentence) => return Err(refusal("no-quorum", sentence)),
        }
    }
}

/// Asks the core once.
async fn ask(
    control: &Control,
    client: &mut Client,
    call: &OperatorCall,
    forcing: bool,
) -> Result<OperatorOutcome, Refusal> {
    let (reply, mut answer) = oneshot::channel();
    let call = call.clone();
    if control.asks.send(Ask::Operator { call, reply }).await.is_err() {
        return Err(refusal("internal", "had is ending"));
    }
    let mut outcome = tokio::time::timeout(PROGRESS, &mut answer).await;
    if outcome.is_err() {
        let waiting = if forcing {
            "this node to make itself the only voter"
        } else {
            "the cluster to commit it"
        };
        client
            .send(control_reply::Body::Progress(format!("waiting for {waiting}")))
            .await;
        outcome = tokio::time::timeout(PATIENCE - PROGRESS, answer).await;
    }
    match outcome {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(_)) => Err(refusal(
            "internal",
            "had ended before the request was answered; repeat it, that does no harm",
        )),
        Err(_) => Err(timed_out(control).await),
    }
}

/// Waits a while for a leader, so that a request made in the middle of an election or handover is not refused.
/// When none comes, the core's own refusal tells.
async fn await_leader(control: &Control, client: &mut Client, until: Instant) -> Result<(), Refusal> {
    let mut changed = control.changed.clone();
    let mut told = false;
    let wait = async {
        loop {
            changed.borrow_and_update();
            let snapshot = control.snapshot().await?;
            if snapshot.view.leader.is_some() || snapshot.view.state.is_none() {
                return Ok(());
            }
            if !told {
                told = true;
                client
                    .send(control_reply::Body::Progress("waiting for a leader".into()))
                    .await;
            }
            // Not every step of an election counts as a change.
            let _ = tokio::time::timeout(LEADER_LOOK, changed.changed()).await;
        }
    };
    tokio::time::timeout_at(until, wait).await.unwrap_or(Ok(()))
}

/// Says why nothing was committed, as far as this node knows.
async fn timed_out(control: &Control) -> Refusal {
    let seconds = PATIENCE.as_secs();
    match control.snapshot().await {
        Ok(snapshot) if !snapshot.view.has_quorum => refusal(
            "no-quorum",
            format!(
                "not committed within {seconds} s, because there is no quorum: {}. Bring a voter back, or see `hactl quorum \
                 force`",
                snapshot.view.quorum
            ),
        ),
        Ok(_) => refusal(
            "internal",
            format!(
                "no answer within {seconds} s; the request may still take effect, `hactl status` shows it. To repeat it does \
                 no harm"
            ),
        ),
        Err(refused) => refused,
    }
}

/// A request that names nodes and groups, in the core's terms.
pub fn translate(config: &Config, body: Body) -> Result<OperatorRequest, Refusal> {
    Ok(match body {
        Body::Move(request) if request.accept_loss => OperatorRequest::MoveAcceptingLoss {
            group: group(config, &request.group)?,
            to: data_node(config, &request.to)?,
        },
        Body::Move(request) => OperatorRequest::Move {
            group: group(config, &request.group)?,
            to: if request.to.is_empty() {
                None
            } else {
                Some(data_node(config, &request.to)?)
            },
        },
        Body::Standby(request) => OperatorRequest::Standby {
            node: data_node(config, &request.node)?,
            on: request.on,
        },
        Body::Fence(request) => OperatorRequest::Fence {
            node: data_node(config, &request.node)?,
        },
        Body::Drill(request) => OperatorRequest::Drill {
            node: data_node(config, &request.node)?,
        },
        Body::FenceConfirm(request) => OperatorRequest::FenceConfirm {
            node: data_node(config, &request.node)?,
            reason: reason(&request.reason)?,
        },
        Body::JobRun(request) => OperatorRequest::RunJob {
            job: job(config, &request.job)?,
            at: clock::wall_seconds(),
        },
        Body::Resource(request) => {
            let all = request.action == "cleanup" && request.group.is_empty();
            let name = if all {
                None
            } else {
                Some(group(config, &request.group)?)
            };
            resource(config, &request.action, name, request.resource)?
        }
        _ => {
            return Err(refusal(
                "invalid",
                "this version of had does not know the request",
            ));
        }
    })
}

/// The job of that name.
pub(super) fn job(config: &Config, name: &str) -> Result<JobName, Refusal> {
    if let Some(section) = config.job(name) {
        return Ok(section.name.clone());
    }
    let names: Vec<&str> = config.jobs.iter().map(|job| &*job.name).collect();
    let name = name.escape_debug();
    let text = match names.as_slice() {
        [] => format!("there is no job {name}: the configuration has no [[job]]"),
        names => format!("there is no job {name}; there are: {}", names.join(", ")),
    };
    Err(refusal("not-found", text))
}

/// The operator's own words, which go into the journal and every copy of the state.
fn reason(text: &str) -> Result<String, Refusal> {
    if text.len() > REASON_BYTES || text.contains(char::is_control) {
        return Err(refusal(
            "invalid",
            format!("a reason is one line of at most {REASON_BYTES} bytes"),
        ));
    }
    Ok(text.trim().into())
}

fn resource(
    config: &Config,
    action: &str,
    group: Option<GroupName>,
    resource: String,
) -> Result<OperatorRequest, Refusal> {
    match (action, group) {
        ("cleanup", group) => Ok(OperatorRequest::Cleanup { group }),
        ("enable" | "disable", Some(group)) => Ok(OperatorRequest::Enable {
            group,
            enabled: action == "enable",
        }),
        ("restart", Some(group)) if resource.is_empty() => Ok(OperatorRequest::Restart {
            group,
            resource: None,
        }),
        ("restart", Some(group)) => {
            let members = config
                .group(&group)
                .map(|section| section.resources.as_slice())
                .unwrap_or_default();
            if members.iter().any(|member| member.name == resource) {
                return Ok(OperatorRequest::Restart {
                    group,
                    resource: Some(resource),
                });
            }
            let known = members
                .iter()
                .map(|member| member.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            Err(refusal(
                "not-found",
                format!(
                    "group {group} has no resource {}; it has: {known}",
                    resource.escape_debug()
                ),
            ))
        }
        _ => Err(refusal(
            "invalid",
            format!(
                "{} is not an action on a resource; there are restart, cleanup, enable and disable",
                action.escape_debug()
            ),
        )),
    }
}

pub(super) fn data_node(config: &Config, name: &str) -> Result<NodeId, Refusal> {
    match config.node_by_name(name) {
        Some(node) if node.is_witness() => Err(refusal(
            "refused",
            format!("{name} is the witness: it runs no groups and is never fenced"),
        )),
        Some(node) => Ok(node),
        None => {
            let known = config
                .nodes
                .iter()
                .map(|node| node.name.as_str())
                .collect::<Vec<_>>()
                .join(", ");
            Err(refusal(
                "not-found",
                format!("there is no node {}; there are: {known}", name.escape_debug()),
            ))
        }
    }
}

fn group(config: &Config, name: &str) -> Result<GroupName, Refusal> {
    config
        .group(name)
        .map(|section| section.name.clone())
        .ok_or_else(|| no_group(config, name))
}

/// Says which groups there are.
pub fn no_group(config: &Config, name: &str) -> Refusal {
    let known = config
        .groups
        .iter()
        .map(|group| &*group.name)
        .collect::<Vec<_>>()
        .join(", ");
    let known = if known.is_empty() { "none".into() } else { known };
    refusal(
        "not-found",
        format!("there is no group {}; there are: {known}", name.escape_debug()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::config;
    use holdfast_proto::control::{MoveRequest, NodeRequest, ResourceRequest};

    #[test]
    fn names_become_numbers() {
        let body = Body::Move(MoveRequest {
            accept_loss: false,
            group: "mysql".into(),
            to: "db2".into(),
        });
        let wanted = OperatorRequest::Move {
            group: "mysql".into(),
            to: Some(NodeId(2)),
        };
        assert_eq!(translate(&config(), body), Ok(wanted));
        let body = Body::Resource(ResourceRequest {
            action: "cleanup".into(),
            ..Default::default()
        });
        assert_eq!(
            translate(&config(), body),
            Ok(OperatorRequest::Cleanup { group: None })
        );
    }

    /// Found by fuzzing.
    #[test]
    fn what_was_asked_is_repeated_without_controls() {
        let resource = |action: &str, group: &str, resource: &str| {
            Body::Resource(ResourceRequest {
                action: action.into(),
                group: group.into(),
                resource: resource.into(),
            })
        };
        for body in [
            resource("\u{1b}[2J", "mysql", ""),
            resource("restart", "\u{1b}[2J", ""),
            resource("restart", "mysql", "\u{1b}[2J"),
        ] {
            let refused = translate(&config(), body).expect_err("refused").message;
            assert!(!refused.contains('\u{1b}'), "{refused}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_known_ones() {
        let refused = |body| translate(&config(), body).expect_err("refused").message;
        let node = |name: &str| NodeRequest {
            node: name.into(),
            on: true,
            reason: String::new(),
        };
        assert_eq!(
            refused(Body::Standby(node("db3"))),
            "there is no node db3; there are: db1, db2"
        );
        assert!(refused(Body::Fence(node("witness"))).contains("never fenced"));
        let body = Body::Move(MoveRequest {
            accept_loss: false,
            group: "web".into(),
            to: String::new(),
        });
        assert_eq!(refused(body), "there is no group web; there are: mysql");
        let body = Body::Resource(ResourceRequest {
            action: "dance".into(),
            group: "mysql".into(),
            ..Default::default()
        });
        assert!(refused(body).contains("restart, cleanup, enable and disable"));
    }
}

//! One request, one answer.

use holdfast_proto::control::control_request::Body;
use holdfast_proto::control::{ControlRequest, FenceHistoryRequest, JobHistoryRequest, control_reply};
use holdfast_proto::operator::OperatorRequest;

use super::{Client, Control, Refusal, apply, fence_test, force, operate, refusal, watch};
use crate::{clock, jobs, status};

/// Events that explain a group.
const HISTORY: usize = 30;

/// Answers `request` of `who`; the result is the last reply.
pub async fn answer(
    control: &Control,
    client: &mut Client,
    who: &str,
    request: ControlRequest,
) -> Result<String, Refusal> {
    let Some(body) = request.body else {
        return Err(refusal(
            "invalid",
            "the request is empty, or of a kind that this version of had does not know",
        ));
    };
    match body {
        Body::Status(_) => {
            let view = status::status(&control.snapshot().await?);
            client.send(control_reply::Body::Status(view)).await;
            Ok(String::new())
        }
        Body::Watch(_) => watch::status(control, client).await,
        Body::Events(request) => watch::events(control, client, &request).await,
        Body::Why(request) => {
            let snapshot = control.snapshot().await?;
            let history = control.journal().history_of(&request.group, HISTORY);
            let view = status::why(&snapshot, &request.group, history);
            let view = view.ok_or_else(|| operate::no_group(&snapshot.config, &request.group))?;
            client.send(control_reply::Body::Why(view)).await;
            Ok(String::new())
        }
        Body::Timers(_) => {
            let view = status::timers(&control.snapshot().await?);
            client.send(control_reply::Body::Timers(view)).await;
            Ok(String::new())
        }
        Body::FenceHistory(request) => fence_history(control, client, &request).await,
        Body::Jobs(_) => {
            let view = jobs::view(&control.snapshot().await?, clock::wall_seconds());
            client.send(control_reply::Body::Jobs(view)).await;
            Ok(String::new())
        }
        Body::JobHistory(request) => job_history(control, client, &request).await,
        Body::FenceTest(request) => fence_test::fence_test(control, client, &request.node).await,
        Body::ConfigShow(_) => Ok(control.snapshot().await?.config.source.clone()),
        Body::ConfigApply(request) => apply::apply(control, client, who, &request).await,
        Body::QuorumForce(request) => force::force(control, client, who, &request.token).await,
        Body::JoinToken(request) => join_token(control, who, request.witness).await,
        Body::Maintenance(switch) => {
            operate::operate(
                control,
                client,
                who,
                OperatorRequest::Maintenance { on: switch.on },
            )
            .await
        }
        named => {
            let config = control.snapshot().await?.config;
            let request = operate::translate(&config, named)?;
            operate::operate(control, client, who, request).await
        }
    }
}

async fn fence_history(
    control: &Control,
    client: &mut Client,
    request: &FenceHistoryRequest,
) -> Result<String, Refusal> {
    if !request.node.is_empty() {
        operate::data_node(&control.snapshot().await?.config, &request.node)?;
    }
    let count = usize::try_from(request.last).unwrap_or(usize::MAX);
    let entries = control.journal().ledger(&request.node, count);
    for entry in entries {
        if !client.send(control_reply::Body::Event(entry)).await {
            break;
        }
    }
    Ok(String::new())
}

async fn job_history(
    control: &Control,
    client: &mut Client,
    request: &JobHistoryRequest,
) -> Result<String, Refusal> {
    let count = usize::try_from(request.last).unwrap_or(usize::MAX);
    let entries = control.journal().job_history(&request.job, count);
    if entries.is_empty() && !request.job.is_empty() {
        operate::job(&control.snapshot().await?.config, &request.job)?;
    }
    for entry in entries {
        if !client.send(control_reply::Body::Event(entry)).await {
            break;
        }
    }
    Ok(String::new())
}

async fn join_token(control: &Control, who: &str, witness: bool) -> Result<String, Refusal> {
    let snapshot = control.snapshot().await?;
    if snapshot.view.state.is_none() {
        return Err(refusal(
            "refused",
            "this node is not a member of a running cluster yet: make the token on one that is",
        ));
    }
    let token = control
        .joins
        .give(&snapshot.config, snapshot.view.node, witness)
        .map_err(|error| refusal("refused", error.to_string()))?;
    let what = if witness { "the witness" } else { "a node" };
    let record = crate::journal::Record::new(
        "join-token",
        "info",
        format!("{who} made a join token for {what}, valid for an hour"),
    );
    control.journal().record(record);
    Ok(token)
}

//! `hactl config apply`: validate, show the plan, commit.

use std::sync::Arc;

use holdfast_proto::config;
use holdfast_proto::control::{ConfigRequest, control_reply};
use holdfast_proto::operator::OperatorRequest;

use super::{Client, Control, Refusal, operate, refusal};
use crate::plan;

/// Name under which the text is quoted in diagnostics; `hactl` knows the real one.
const FILE: &str = "holdfast.toml";

/// Validates the text, tells the plan and, unless it is a dry run, commits it.
pub async fn apply(
    control: &Control,
    client: &mut Client,
    who: &str,
    request: &ConfigRequest,
) -> Result<String, Refusal> {
    let new = config::parse(&request.text, FILE).map_err(|wrong| refusal("invalid", wrong.render(false)))?;
    let old = control.snapshot().await?.config;
    plan::check(&old, &new).map_err(|wrong| refusal("refused", wrong))?;
    let plan = plan::text(&old, &new);
    if request.dry_run || old.source == new.source {
        return Ok(plan);
    }
    client.send(control_reply::Body::Progress(plan)).await;
    operate::operate(
        control,
        client,
        who,
        OperatorRequest::ApplyConfig {
            config: Arc::new(new),
        },
    )
    .await
}

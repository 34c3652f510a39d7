//! Brings a machine in that showed a valid join token: its section is added to the configuration, and that committed.

use std::sync::Arc;

use holdfast_proto::config;
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use tokio::sync::oneshot;

use super::Control;
use crate::clock;
use crate::join::{JoinRequest, append_member};
use crate::journal::Record;
use crate::plan;
use crate::shell::api::Ask;

/// Admits or refuses; the newcomer gets the committed text or the reason.
pub async fn admit(control: Arc<Control>, request: JoinRequest) {
    let name = request.name().to_owned();
    let answer = commit(&control, &request).await;
    let record = match &answer {
        Ok(_) => Record::new(
            "joined",
            "info",
            format!("{name} joined with a token; its key is {}", request.pin()),
        ),
        Err(refused) => Record::new(
            "join-refused",
            "warn",
            format!("{name} wanted to join and was refused: {refused}"),
        ),
    };
    control.journal().record(record);
    // The newcomer may be gone; it finds the same answer with another token.
    let _ = request.reply.send(answer);
}

async fn commit(control: &Control, request: &JoinRequest) -> Result<String, String> {
    let old = control
        .snapshot()
        .await
        .map_err(|refused| refused.message)?
        .config;
    let text = append_member(&old.source, &request.member)?;
    let new = config::parse(&text, "the configuration with the newcomer").map_err(|wrong| wrong.summary())?;
    plan::check(&old, &new)?;
    let call = OperatorCall {
        request: OperatorRequest::ApplyConfig {
            config: Arc::new(new),
        },
        who: format!("join token, used by {}", request.name()),
        at: clock::wall(clock::now()),
    };
    let (reply, answer) = oneshot::channel();
    control
        .asks
        .send(Ask::Operator { call, reply })
        .await
        .map_err(|_| "had is ending".to_string())?;
    match answer.await {
        Ok(OperatorOutcome::Done(_)) => Ok(text),
        Ok(OperatorOutcome::Refused(sentence) | OperatorOutcome::NoQuorum(sentence)) => Err(sentence),
        Err(_) => Err("had ended before the configuration was committed".into()),
    }
}

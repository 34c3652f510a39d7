//! The member's side of a join.

use std::net::IpAddr;
use std::time::Duration;

use prost::Message as _;
use quinn::Connection;
use tokio::sync::oneshot;

use super::JoinRequest;
use super::member::NewMember;
use super::protocol::{BYTES_MAX, JoinAnswer, JoinCall};
use crate::net::{NetEvent, Shared, proven_pin};

/// Longest call.
const CALL_BYTES_MAX: usize = 4096;
const LINKS_MAX: usize = 8;
/// Time for the newcomer to ask.
const ASK: Duration = Duration::from_secs(5);
/// Time for the cluster to commit the new configuration.
const COMMIT: Duration = Duration::from_secs(30);
/// Time for the newcomer to take the answer.
const FAREWELL: Duration = Duration::from_secs(5);

/// Serves one newcomer.
pub(crate) async fn serve(shared: &Shared, connection: &Connection) {
    let Ok(Ok((mut send, mut receive))) = tokio::time::timeout(ASK, connection.accept_bi()).await else {
        return;
    };
    let Ok(Ok(bytes)) = tokio::time::timeout(ASK, receive.read_to_end(CALL_BYTES_MAX)).await else {
        return;
    };
    let answer = match decide(shared, connection, &bytes).await {
        Ok(config) => JoinAnswer {
            config,
            refused: String::new(),
        },
        Err(refused) => {
            let remote = connection.remote_address().ip();
            shared.refused(0, None, format!("a join from {remote} was refused: {refused}"));
            JoinAnswer {
                config: String::new(),
                refused,
            }
        }
    };
    let bytes = answer.encode_to_vec();
    debug_assert!(bytes.len() <= BYTES_MAX);
    if send.write_all(&bytes).await.is_ok() && send.finish().is_ok() {
        drop(tokio::time::timeout(FAREWELL, connection.closed()).await);
    }
}

async fn decide(shared: &Shared, connection: &Connection, bytes: &[u8]) -> Result<String, String> {
    let call = JoinCall::decode(bytes).map_err(|_| "the call does not decode".to_string())?;
    let redeemed = shared.joins.redeem(&call.secret, call.witness).ok_or(
        "the token is not valid: it was used, it is older than an hour, this node's had was restarted since, or it was \
         made for the other role (witness or data node). Make a new one with 'hactl cluster token'",
    )?;
    let outcome = admit(shared, connection, &call).await;
    if outcome.is_err() {
        shared.joins.restore(redeemed);
    }
    outcome
}

async fn admit(shared: &Shared, connection: &Connection, call: &JoinCall) -> Result<String, String> {
    let pin = proven_pin(connection).ok_or("it showed no key")?;
    let member = NewMember {
        name: call.name.clone(),
        links: links(connection, call)?,
        pin,
        witness: call.witness,
    };
    member.check()?;
    let (reply, answer) = oneshot::channel();
    shared
        .emit_waiting(NetEvent::Join(JoinRequest { member, reply }))
        .await;
    match tokio::time::timeout(COMMIT, answer).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => Err("this node's had is being stopped: try again".into()),
        Err(_) => Err(
            "the cluster did not commit the new configuration in time: see 'hactl status' on a member".into(),
        ),
    }
}

fn links(connection: &Connection, call: &JoinCall) -> Result<Vec<IpAddr>, String> {
    if call.links.is_empty() {
        return Ok(vec![connection.remote_address().ip().to_canonical()]);
    }
    if call.links.len() > LINKS_MAX {
        return Err(format!("{} links are more than {LINKS_MAX}", call.links.len()));
    }
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| format!("'{}' is not an IP address", text.escape_debug()))
    };
    call.links.iter().map(parse).collect()
}

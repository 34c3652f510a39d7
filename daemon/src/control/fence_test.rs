//! `hactl fence test`: the fence devices of a node, tried without changing anything.

use std::time::Duration;

use holdfast_proto::control::control_reply;
use tokio::sync::oneshot;

use super::{Client, Control, Refusal, operate, refusal};
use crate::shell::api::Ask;
use crate::status::fences;

/// Silence after which the client is told what is waited for.
const PROGRESS: Duration = Duration::from_secs(1);
/// Time beyond a device's own for its answer to get here.
const MARGIN: Duration = Duration::from_secs(2);

/// Tests the devices of `name` from this node.
pub async fn fence_test(control: &Control, client: &mut Client, name: &str) -> Result<String, Refusal> {
    let snapshot = control.snapshot().await?;
    let node = operate::data_node(&snapshot.config, name)?;
    let devices = snapshot.config.fences_of(node);
    let Some(slowest_ms) = devices.iter().map(|device| device.timeout_ms).max() else {
        return Err(refusal(
            "refused",
            format!(
                "{name} has no fence device: there is no [[fence]] with node = \"{name}\" in the configuration"
            ),
        ));
    };
    if !snapshot.agent.attached {
        return Err(refusal(
            "refused",
            "had-agentd, which runs fence devices, is not attached: systemctl restart had-agentd",
        ));
    }
    let (reply, mut answer) = oneshot::channel();
    let gone = || refusal("internal", "had is ending");
    let ask = Ask::FenceTest { node, reply };
    control.asks.send(ask).await.map_err(|_| gone())?;
    let mut tests = tokio::time::timeout(PROGRESS, &mut answer).await;
    if tests.is_err() {
        let waiting = format!(
            "waiting for the fence device of {name}, at most {} s",
            slowest_ms.div_ceil(1000)
        );
        client.send(control_reply::Body::Progress(waiting)).await;
        tests = tokio::time::timeout(Duration::from_millis(slowest_ms.into()) + MARGIN, answer).await;
    }
    let tests = match tests {
        Ok(tests) => tests.map_err(|_| gone())?,
        Err(_) => {
            return Err(refusal(
                "internal",
                format!("had-agentd did not end the test of {name}'s device in time"),
            ));
        }
    };
    let view = fences::tested(&control.snapshot().await?, node, &tests);
    client.send(control_reply::Body::FenceTest(view)).await;
    Ok(String::new())
}

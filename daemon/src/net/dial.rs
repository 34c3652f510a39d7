//! Keeps one connection to one peer on one link, for ever.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ids::NodeId;
use holdfast_proto::wire::Purpose;

use super::refusal::{CODE_PROTOCOL, CODE_REFUSED, Ended, explain};
use super::routing::Shared;
use super::tls::server_name;
use super::{hello, lane};

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// Pause after a refusal, which only an operator or a new configuration ends.
const PAUSE_REFUSED: Duration = Duration::from_secs(1);

/// Dials `peer` whenever it is not connected.
pub async fn keep(shared: Arc<Shared>, peer: NodeId, link: usize, purpose: Purpose) {
    let mut pause = PAUSE_MIN;
    loop {
        match attempt(&shared, peer, link, purpose).await {
            // It was connected, so it may well be back at once.
            Ok(Ended::Lost(_)) => pause = PAUSE_MIN,
            Ok(Ended::Refused(sentence)) | Err(Ended::Refused(sentence)) => {
                shared.refused(link, Some(peer), sentence.clone());
                shared.unreachable(peer, link, sentence);
                tokio::time::sleep(PAUSE_REFUSED).await;
                continue;
            }
            Err(Ended::Lost(why)) => {
                shared.unreachable(peer, link, why);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// One connection: `Err` if it never came to be, else how it ended.
async fn attempt(shared: &Arc<Shared>, peer: NodeId, link: usize, purpose: Purpose) -> Result<Ended, Ended> {
    let name = shared.name(peer);
    let Some((endpoint, address)) = shared.route_to(peer, link) else {
        return Err(Ended::Lost(format!("link {link} to {name} has no socket")));
    };
    let connecting = endpoint
        .connect_with(shared.client(purpose), address, &server_name(peer))
        .map_err(|error| Ended::Lost(format!("cannot dial {name} at {address}: {error}")))?;
    let patience = shared.patience();
    let silent = || Ended::Lost(format!("{name} does not answer at {address}"));
    let connection = match tokio::time::timeout(patience, connecting).await {
        Err(_) => return Err(silent()),
        Ok(connected) => connected.map_err(|error| explain(&error, &name))?,
    };
    let introduced = hello::introduce(shared, &connection, peer, link, purpose);
    let greeted = match tokio::time::timeout(patience, introduced).await {
        Err(_) => {
            connection.close(CODE_PROTOCOL, b"the hello took too long");
            return Err(silent());
        }
        Ok(greeted) => greeted?,
    };
    match shared.install(&greeted, &connection) {
        Ok(outbox) => Ok(lane::run(shared, &connection, &greeted, outbox).await),
        Err((_, sentence)) => {
            connection.close(CODE_REFUSED, sentence.as_bytes());
            Err(Ended::Lost(sentence))
        }
    }
}

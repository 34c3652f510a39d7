//! Takes connections in, at a bounded cost.

use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::HandshakeData;
use quinn::{Endpoint, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::{CODE_PROTOCOL, Ended, explain};
use super::routing::Shared;
use super::{hello, lane};
use crate::join;

/// Handshakes under way at once on one endpoint. Beyond, diallers are left to try again.
const HANDSHAKES_MAX: usize = 64;
/// Time for a handshake and a hello.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// Accepts on the endpoint of own link `index` until it is closed.
pub async fn run(shared: Arc<Shared>, endpoint: Endpoint, index: usize) {
    let slots = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Some(incoming) = endpoint.accept().await {
        let remote = incoming.remote_address().ip();
        if shared.directory.member_at(remote).is_none() && !shared.joins.any_open() {
            shared.refused(
                index,
                None,
                format!("{remote} is not the address of a member and was turned away"),
            );
            incoming.refuse();
            continue;
        }
        match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => shared.spawn(admit(Arc::clone(&shared), incoming, index, slot)),
            Err(_) => incoming.ignore(),
        }
    }
}

async fn admit(shared: Arc<Shared>, incoming: Incoming, index: usize, slot: OwnedSemaphorePermit) {
    let remote = incoming.remote_address();
    let name = shared.name_at(remote.ip());
    let handshake = async {
        let connecting = incoming.accept().map_err(|error| explain(&error, &name))?;
        connecting.await.map_err(|error| explain(&error, &name))
    };
    let connection = match tokio::time::timeout(HANDSHAKE, handshake).await {
        Err(_) => return,
        Ok(Err(ended)) => return tell(&shared, index, remote.ip(), ended),
        Ok(Ok(connection)) => connection,
    };
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .and_then(|data| data.protocol);
    if alpn.as_deref() == Some(join::ALPN) {
        return join::serve(&shared, &connection).await;
    }
    let received = hello::receive(&shared, &connection, index, |greeted| {
        shared.install(greeted, &connection)
    });
    match tokio::time::timeout(HANDSHAKE, received).await {
        Err(_) => connection.close(CODE_PROTOCOL, b"the hello took too long"),
        Ok(Err(ended)) => tell(&shared, index, remote.ip(), ended),
        Ok(Ok((greeted, outbox))) => {
            // A connection that is up must not use up what new diallers need.
            drop(slot);
            lane::run(&shared, &connection, &greeted, outbox).await;
        }
    }
}

fn tell(shared: &Shared, index: usize, remote: std::net::IpAddr, ended: Ended) {
    if let Ended::Refused(sentence) = ended {
        shared.refused(index, shared.directory.member_at(remote), sentence);
    }
}

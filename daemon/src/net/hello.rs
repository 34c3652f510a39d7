//! The application hello: with TLS 1.3 the dialler believes itself connected before the other side has agreed, so
//! nothing counts as up before this exchange.

use std::time::Duration;

use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::Sender;
use holdfast_proto::wire::{Hello, HelloReply, Purpose, Refusal, WIRE_VERSION, common_version};
use quinn::Connection;

use super::refusal::{CODE_PROTOCOL, CODE_REFUSED, Ended, clean, explain};
use super::routing::Shared;
use super::tls::proven_pin;

/// Longest hello or answer.
const HELLO_BYTES_MAX: usize = 4096;
/// How long a refused dialler has to read the reason.
const FAREWELL: Duration = Duration::from_millis(300);

/// This `had`'s version, for people.
pub const DAEMON_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The other side, as the hello established it.
pub struct Greeted {
    pub from: Sender,
    pub version: String,
    pub link: usize,
    pub purpose: Purpose,
}

/// Introduces this node to `peer` and waits for the answer.
pub async fn introduce(
    shared: &Shared,
    connection: &Connection,
    peer: NodeId,
    link: usize,
    purpose: Purpose,
) -> Result<Greeted, Ended> {
    let name = shared.name(peer);
    let hello = Hello {
        cluster: shared.directory.config().cluster.id,
        from: shared.myself(),
        to: peer,
        daemon_version: DAEMON_VERSION.into(),
        wire_version: WIRE_VERSION,
        link: link as u8,
        purpose,
    };
    let bytes = match ask(connection, &hello.encode()).await {
        Ok(bytes) => bytes,
        // The connection's own end says more than the stream's: it carries the refusal.
        Err(what) => match connection.close_reason() {
            Some(error) => return Err(explain(&error, &name)),
            None => return Err(Ended::Lost(format!("{name} did not answer the hello: {what}"))),
        },
    };
    let refuse = |sentence: String| {
        connection.close(CODE_REFUSED, sentence.as_bytes());
        Err(Ended::Refused(sentence))
    };
    match HelloReply::decode(&bytes) {
        Err(error) => refuse(format!(
            "the answer of {name} to the hello does not decode: {error}"
        )),
        Ok(HelloReply::Refused { sentence, .. }) => {
            connection.close(CODE_PROTOCOL, b"refused");
            Err(Ended::Refused(format!(
                "{name} refused: {}",
                clean(sentence.as_bytes())
            )))
        }
        Ok(HelloReply::Accepted { from, .. }) if from.node != peer => refuse(format!(
            "{name} was dialled, {} answered: look at the addresses of both",
            shared.name(from.node)
        )),
        Ok(HelloReply::Accepted {
            from,
            daemon_version,
            wire_version,
        }) => match common_version(WIRE_VERSION, wire_version) {
            Err(why) => refuse(format!("{name} {why}")),
            Ok(_) => Ok(Greeted {
                from,
                version: daemon_version,
                link,
                purpose,
            }),
        },
    }
}

async fn ask(connection: &Connection, hello: &[u8]) -> Result<Vec<u8>, String> {
    let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
    send.write_all(hello).await.map_err(|error| error.to_string())?;
    send.finish().map_err(|error| error.to_string())?;
    receive
        .read_to_end(HELLO_BYTES_MAX)
        .await
        .map_err(|error| error.to_string())
}

/// Reads the hello of whoever dialled on endpoint `endpoint`, and answers it. `install` has the last word before the
/// answer goes out.
pub async fn receive<T>(
    shared: &Shared,
    connection: &Connection,
    endpoint: usize,
    install: impl FnOnce(&Greeted) -> Result<T, (Refusal, String)>,
) -> Result<(Greeted, T), Ended> {
    let remote = connection.remote_address();
    let lost = |what: String| match connection.close_reason() {
        Some(error) => explain(&error, &shared.name_at(remote.ip())),
        None => Ended::Lost(format!("{remote} sent no hello: {what}")),
    };
    let (mut send, mut receive) = connection
        .accept_bi()
        .await
        .map_err(|error| lost(error.to_string()))?;
    let bytes = receive
        .read_to_end(HELLO_BYTES_MAX)
        .await
        .map_err(|error| lost(error.to_string()))?;
    let checked = match Hello::decode(&bytes) {
        Err(error) => Err((
            Refusal::WrongVersion,
            format!("the hello of {remote} does not decode: {error}"),
        )),
        Ok(hello) => check(shared, connection, endpoint, &hello).and_then(|greeted| {
            let installed = install(&greeted)?;
            Ok((greeted, installed))
        }),
    };
    let reply = match &checked {
        Ok(_) => HelloReply::Accepted {
            from: shared.myself(),
            daemon_version: DAEMON_VERSION.into(),
            wire_version: WIRE_VERSION,
        },
        Err((refusal, sentence)) => HelloReply::Refused {
            refusal: *refusal,
            sentence: sentence.clone(),
        },
    };
    let sent = send.write_all(&reply.encode()).await;
    drop(send.finish());
    match checked {
        Ok(_) if sent.is_err() => Err(lost("it went away".into())),
        Ok(done) => Ok(done),
        Err((_, sentence)) => {
            drop(tokio::time::timeout(FAREWELL, connection.closed()).await);
            connection.close(CODE_REFUSED, sentence.as_bytes());
            Err(Ended::Refused(sentence))
        }
    }
}

fn check(
    shared: &Shared,
    connection: &Connection,
    endpoint: usize,
    hello: &Hello,
) -> Result<Greeted, (Refusal, String)> {
    let config = shared.directory.config();
    let remote = connection.remote_address().ip();
    let who = config.name_of(hello.from.node);
    let me = config.name_of(shared.me.node);
    if hello.cluster != config.cluster.id {
        let sentence = format!(
            "{who} at {remote} belongs to cluster {}, {me} to cluster {} ({}): one of the two has the configuration of \
             another cluster",
            hello.cluster, config.cluster.id, config.cluster.name
        );
        return Err((Refusal::WrongCluster, sentence));
    }
    if let Err(why) = common_version(WIRE_VERSION, hello.wire_version) {
        return Err((Refusal::WrongVersion, format!("{who} {why}")));
    }
    if hello.to != shared.me.node {
        let meant = config.name_of(hello.to);
        let sentence =
            format!("{who} meant to reach {meant}, this is {me}: look at the addresses in the configuration");
        return Err((Refusal::WrongNode, sentence));
    }
    if hello.from.node == shared.me.node || !config.members().any(|member| member == hello.from.node) {
        let sentence = format!("{who} at {remote} is not a member in the configuration of {me}");
        return Err((Refusal::UnknownNode, sentence));
    }
    let pinned = shared.directory.pins(hello.from.node);
    match proven_pin(connection) {
        Some(pin) if pinned.contains(&pin) => {}
        Some(pin) => {
            let sentence = format!(
                "{who} at {remote} has the key {pin}, which the configuration of {me} does not pin for it: put that pin \
                 under 'keys' if it is the right one"
            );
            return Err((Refusal::WrongKey, sentence));
        }
        None => return Err((Refusal::WrongKey, format!("{who} at {remote} showed no key"))),
    }
    let link = usize::from(hello.link);
    if !shared.has_link(hello.from.node, link, endpoint) {
        let sentence =
            format!("{who} at {remote} came on link {link}, which the configuration of {me} does not have");
        return Err((Refusal::WrongNode, sentence));
    }
    let version = hello.daemon_version.clone();
    Ok(Greeted {
        from: hello.from,
        version,
        link,
        purpose: hello.purpose,
    })
}

//! A connection that is up: heartbeats in, or messages both ways.

use std::sync::Arc;
use std::time::Instant;

use holdfast_proto::wire::{self, Purpose};
use holdfast_proto::{MESSAGE_BYTES_MAX, frame};
use quinn::Connection;
use tokio::sync::mpsc;

use super::budget::{BEATS_PER_SECOND, Budget, MESSAGES_PER_SECOND};
use super::hello::Greeted;
use super::refusal::{CODE_PROTOCOL, Ended, explain};
use super::routing::Shared;

/// Heartbeats read before others get their turn.
const BEATS_PER_TURN: u32 = 32;
/// Length and sequence number before each message.
const PREFIX_BYTES: usize = 4 + 8;

/// A message as it travels: length of what follows the prefix (4), sequence number (8), both little-endian, the message.
pub fn pack(seq: u64, message: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(PREFIX_BYTES + message.len());
    packed.extend((message.len() as u32).to_le_bytes());
    packed.extend(seq.to_le_bytes());
    packed.extend(message);
    packed
}

/// Serves the connection until it ends, and tells how it did.
pub async fn run(
    shared: &Arc<Shared>,
    connection: &Connection,
    greeted: &Greeted,
    mut outbox: mpsc::Receiver<Vec<u8>>,
) -> Ended {
    let mut unsent = None;
    let what = match greeted.purpose {
        Purpose::Beats => read_beats(shared, connection, greeted).await,
        Purpose::Messages => tokio::select! {
            what = write_messages(connection, &mut outbox, &mut unsent) => what,
            what = read_messages(shared, connection, greeted) => what,
        },
    };
    // Asked before we close it ourselves, which would be the answer.
    let reason = connection.close_reason();
    connection.close(CODE_PROTOCOL, what.as_bytes());
    let restarted = matches!(reason, Some(quinn::ConnectionError::Reset));
    let ended = match reason {
        Some(error) => explain(&error, &shared.name(greeted.from.node)),
        None => Ended::Lost(what),
    };
    let (Ended::Lost(why) | Ended::TurnedAway(why) | Ended::Refused(why)) = &ended;
    if restarted {
        shared.forget_run(greeted.from);
    }
    shared.remove(greeted, connection, why);
    // What was not handed to this connection goes over another link; what was may be lost, as the core expects.
    outbox.close();
    while let Some(packed) = unsent.take().or_else(|| outbox.try_recv().ok()) {
        shared.route(greeted.from.node, packed);
    }
    ended
}

async fn read_beats(shared: &Shared, connection: &Connection, greeted: &Greeted) -> String {
    let mut budget = Budget::new(BEATS_PER_SECOND, Instant::now());
    let mut turn = 0;
    loop {
        let bytes = match connection.read_datagram().await {
            Ok(bytes) => bytes,
            Err(_) => return String::new(),
        };
        match frame::decode(&bytes) {
            Ok(frame) => shared.take_beat(greeted, &frame),
            Err(error) => {
                let name = shared.name(greeted.from.node);
                return format!("{name} sent a datagram that is no heartbeat: {error}");
            }
        }
        let pause = budget.spend(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        turn += 1;
        if turn % BEATS_PER_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn write_messages(
    connection: &Connection,
    outbox: &mut mpsc::Receiver<Vec<u8>>,
    unsent: &mut Option<Vec<u8>>,
) -> String {
    let Ok(mut stream) = connection.open_uni().await else {
        return String::new();
    };
    while let Some(packed) = outbox.recv().await {
        let packed = unsent.insert(packed);
        if stream.write_all(packed).await.is_err() {
            return String::new();
        }
        *unsent = None;
    }
    "the link left the configuration".into()
}

async fn read_messages(shared: &Shared, connection: &Connection, greeted: &Greeted) -> String {
    let Ok(mut stream) = connection.accept_uni().await else {
        return String::new();
    };
    let name = shared.name(greeted.from.node);
    let mut budget = Budget::new(MESSAGES_PER_SECOND, Instant::now());
    loop {
        let mut prefix = [0u8; PREFIX_BYTES];
        if stream.read_exact(&mut prefix).await.is_err() {
            return ended_early(connection, &name).await;
        }
        let [a, b, c, d, seq @ ..] = prefix;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > MESSAGE_BYTES_MAX {
            return format!(
                "{name} announced a message of {length} bytes, beyond the limit of {MESSAGE_BYTES_MAX}"
            );
        }
        let mut bytes = vec![0u8; length];
        if stream.read_exact(&mut bytes).await.is_err() {
            return ended_early(connection, &name).await;
        }
        match wire::decode(&bytes) {
            Ok(message) => {
                shared
                    .take_message(greeted, u64::from_le_bytes(seq), message)
                    .await
            }
            Err(error) => return format!("{name} sent a message that does not decode: {error}"),
        }
        let pause = budget.spend(Instant::now());
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// The stream ended: with its connection, or because the peer misbehaves.
async fn ended_early(connection: &Connection, name: &str) -> String {
    let brief = std::time::Duration::from_millis(100);
    match tokio::time::timeout(brief, connection.closed()).await {
        Ok(_) => String::new(),
        Err(_) => format!("{name} ended its stream of messages"),
    }
}

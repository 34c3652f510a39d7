//! RESP: what a Redis answers, and what a client of Sentinel sends. AMQP: what a broker answers.

use holdfast_agents::fuzzing::{rabbitmq, redis};

use crate::memory::bounded;
use crate::text::head;

/// Memory for each byte of input: an element of an array may be three bytes long.
const FACTOR: usize = 64;

/// The first byte chooses which of them.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([which], rest) = head(data);
    bounded(rest.len(), FACTOR, || match which % 3 {
        0 => redis::answer(rest),
        1 => redis::client(rest),
        _ => rabbitmq::frame(rest),
    });
}

//! What an Erlang node says: terms, messages of a connection, epmd's answer and the handshake.

use holdfast_agents::fuzzing::rabbitmq as erlang;

use crate::memory::bounded;
use crate::text::{head, one_line};

/// Memory for each byte: an element of a list may be one byte long, lists grow by doubling, and a term is read three times.
const FACTOR: usize = 512;

/// The first byte chooses which of them, the second says in which pieces they arrive.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([which, piece], rest) = head(data);
    match which % 3 {
        0 => {
            let found = bounded(rest.len(), FACTOR, || erlang::decoded(rest));
            assert!(found.is_none_or(|(_, length)| (1..=rest.len()).contains(&length)));
        }
        1 => {
            let whole = bounded(rest.len(), 16, || erlang::messages(rest, rest.len()));
            let pieces = bounded(rest.len(), 16, || erlang::messages(rest, piece.into()));
            assert_eq!(whole, pieces, "the cut of the stream changes its messages");
            let reference = [90, 0, 1, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 9];
            for message in whole.0 {
                let found = bounded(message.len(), FACTOR, || erlang::answer(&message, &reference));
                if let Some(term) = found {
                    assert!(erlang::decoded(&erlang::encoded(&term)).is_some());
                }
            }
        }
        _ => one_line(&bounded(rest.len(), 16, || erlang::handshake(rest))),
    }
}

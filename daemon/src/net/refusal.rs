//! Refusals in words, for both sides' journals, and not more often than a person wants to read them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quinn::{ConnectionError, VarInt};

/// Close code of a planned end.
pub const CODE_GOODBYE: VarInt = VarInt::from_u32(0);
/// Close code of a refusal; the reason is the sentence.
pub const CODE_REFUSED: VarInt = VarInt::from_u32(1);
/// Close code for a connection that a newer one replaces.
pub const CODE_REPLACED: VarInt = VarInt::from_u32(2);
/// Close code for a peer that does not keep to the protocol.
pub const CODE_PROTOCOL: VarInt = VarInt::from_u32(3);

const REPEAT_AFTER: Duration = Duration::from_secs(60);
/// Different sentences remembered. Strangers can make up many; beyond, none is told until one is forgotten.
const SENTENCES_MAX: usize = 64;
/// Longest text taken from a peer.
const WORDS_MAX: usize = 400;

/// Lets each sentence pass once a minute.
#[derive(Debug, Default)]
pub struct Repeats {
    told: BTreeMap<String, Instant>,
}

impl Repeats {
    /// True if `sentence` was not told within the last minute.
    pub fn tell(&mut self, sentence: &str, now: Instant) -> bool {
        self.told
            .retain(|_, at| now.saturating_duration_since(*at) < REPEAT_AFTER);
        if self.told.contains_key(sentence) || self.told.len() >= SENTENCES_MAX {
            return false;
        }
        self.told.insert(sentence.to_owned(), now);
        true
    }
}

/// How a connection, or the attempt at one, ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Refused: the sentence belongs in the journal.
    Refused(String),
    /// The transport took no connection: the peer is ending and back in a moment, or does not know this address.
    TurnedAway(String),
    /// Otherwise.
    Lost(String),
}

impl Ended {
    /// The words of either.
    pub fn into_words(self) -> String {
        match self {
            Ended::Refused(words) | Ended::TurnedAway(words) | Ended::Lost(words) => words,
        }
    }
}

/// Text from the other side, fit for a terminal.
pub fn clean(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(WORDS_MAX)]);
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

/// What `error` means, about the peer called `peer`.
pub fn explain(error: &ConnectionError, peer: &str) -> Ended {
    match error {
        ConnectionError::ApplicationClosed(close) if close.error_code == CODE_GOODBYE => {
            Ended::Lost(format!("{peer} said goodbye: {}", clean(&close.reason)))
        }
        ConnectionError::ApplicationClosed(close) if close.error_code == CODE_REPLACED => Ended::Lost(
            format!("{peer} replaced the connection: {}", clean(&close.reason)),
        ),
        ConnectionError::ApplicationClosed(close) => {
            Ended::Refused(format!("{peer} refused: {}", clean(&close.reason)))
        }
        ConnectionError::ConnectionClosed(close) => by_transport(close, peer),
        ConnectionError::TransportError(error) => ours(error, peer),
        ConnectionError::VersionMismatch => Ended::Refused(format!(
            "{peer} speaks another version of QUIC: is it running Holdfast?"
        )),
        ConnectionError::Reset => Ended::Lost(format!("{peer} has restarted")),
        ConnectionError::TimedOut => Ended::Lost(format!("{peer} does not answer")),
        ConnectionError::LocallyClosed => Ended::Lost("closed here".into()),
        ConnectionError::CidsExhausted => Ended::Lost("no connection id is left".into()),
    }
}

/// TLS alert in a transport error code, if it is one.
fn alert(code: u64) -> Option<u64> {
    (0x100..0x200).contains(&code).then(|| code - 0x100)
}

/// QUIC's own code for a connection that is not taken.
const CONNECTION_REFUSED: u64 = 2;
const NO_APPLICATION_PROTOCOL: u64 = 120;
const CERTIFICATE_ALERTS: std::ops::RangeInclusive<u64> = 42..=49;
const CERTIFICATE_REQUIRED: u64 = 116;
const UNSUPPORTED_CERTIFICATE_TYPE: u64 = 43;

/// The other side's transport ended it.
fn by_transport(close: &quinn::ConnectionClose, peer: &str) -> Ended {
    let words = clean(&close.reason);
    match alert(close.error_code.into()) {
        Some(NO_APPLICATION_PROTOCOL) => Ended::Refused(format!(
            "{peer} speaks no version of the peer protocol that this node speaks: upgrade the older one of the two"
        )),
        Some(UNSUPPORTED_CERTIFICATE_TYPE) => Ended::Refused(format!(
            "{peer} does not take raw public keys: is it running Holdfast?"
        )),
        Some(code) if CERTIFICATE_ALERTS.contains(&code) || code == CERTIFICATE_REQUIRED => Ended::Refused(
            format!("{peer} refused this node's key: {}", without_prefix(&words)),
        ),
        Some(code) => Ended::Refused(format!("{peer} ended the handshake (TLS alert {code}): {words}")),
        None if u64::from(close.error_code) == CONNECTION_REFUSED => Ended::TurnedAway(format!(
            "{peer} refused the connection: this node's address is not one of a member in its configuration, or it was \
             just ending"
        )),
        None => Ended::Lost(format!("{peer} ended the connection: {words}")),
    }
}

/// Our own transport ended it.
fn ours(error: &quinn_proto::TransportError, peer: &str) -> Ended {
    match alert(error.code.into()) {
        Some(NO_APPLICATION_PROTOCOL) => Ended::Refused(format!(
            "{peer} speaks no version of the peer protocol that this node speaks: upgrade the older one of the two"
        )),
        Some(code) if CERTIFICATE_ALERTS.contains(&code) || code == CERTIFICATE_REQUIRED => {
            Ended::Refused(format!(
                "the key of {peer} is refused: {}",
                without_prefix(&clean(error.reason.as_bytes()))
            ))
        }
        Some(code) => Ended::Refused(format!(
            "the handshake with {peer} failed (TLS alert {code}): {}",
            clean(error.reason.as_bytes())
        )),
        None => Ended::Lost(format!(
            "the connection to {peer} failed: {}",
            clean(error.to_string().as_bytes())
        )),
    }
}

/// Our sentence inside the TLS library's wording, which begins and ends with its own.
fn without_prefix(words: &str) -> &str {
    let start = words.find(MARK).map_or(0, |at| at + MARK.len());
    let rest = &words[start..];
    rest.find(END).map_or(rest, |end| &rest[..end])
}

/// Opens a sentence that travels inside an error of the TLS library.
pub const MARK: &str = "<<";
/// Closes it.
pub const END: &str = ">>";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_told_once_a_minute_and_their_number_is_bounded() {
        let start = Instant::now();
        let mut repeats = Repeats::default();
        assert!(repeats.tell("a", start));
        assert!(!repeats.tell("a", start + Duration::from_secs(59)));
        assert!(repeats.tell("a", start + Duration::from_secs(61)));
        let told = (0..1000)
            .filter(|n| repeats.tell(&n.to_string(), start + Duration::from_secs(61)))
            .count();
        assert_eq!(told, SENTENCES_MAX - 1);
    }

    #[test]
    fn words_of_a_peer_are_cleaned() {
        assert_eq!(clean(b"a\x1b[31mb\n"), "a [31mb ");
        assert_eq!(clean(&[b'x'; 5000]).len(), WORDS_MAX);
        assert_eq!(
            without_prefix("invalid peer certificate: <<no such key>>)"),
            "no such key"
        );
    }
}

//! Tokens: their text, and the member's memory of those it gave out.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_proto::config::{Config, KeyPin};
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock;
use crate::net::own_addresses;

/// How long a token is valid.
pub const VALID_FOR: Duration = Duration::from_secs(3600);
/// Tokens that can be open at once.
const OPEN_MAX: usize = 16;
/// Addresses in a token.
const ADDRESSES_MAX: usize = 8;
const PREFIX: &str = "holdfast1";
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const SECRET_BYTES: usize = 32;

/// A token, as the newcomer reads it. Its `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Made for a witness.
    pub witness: bool,
    /// Which member made it.
    pub server: NodeId,
    /// Pin of its key.
    pub pin: KeyPin,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
    /// The secret.
    pub(super) secret: [u8; SECRET_BYTES],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Token");
        shown
            .field("witness", &self.witness)
            .field("server", &self.server)
            .field("pin", &self.pin);
        shown.field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Why there is no token, or why a text is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not the text of a token.
    #[error("this is not a join token ({0}): copy all of the line that 'hactl cluster token' printed")]
    Text(&'static str),
    /// Too many are open.
    #[error("{OPEN_MAX} join tokens are open already: use one, or wait until they run out after an hour")]
    TooMany,
    /// The configuration does not say where this node is or what its key is.
    #[error("a token cannot be made: the configuration has no {0} for this node")]
    Lacking(&'static str),
    /// The kernel gave no random bytes.
    #[error("a token cannot be made: the kernel gave no random bytes")]
    Random,
}

impl Token {
    /// The text that the operator carries.
    #[must_use]
    pub fn text(&self) -> String {
        let mut bytes = vec![u8::from(self.witness), self.server.0];
        bytes.extend(self.pin.0);
        bytes.extend(self.secret);
        bytes.push(self.addresses.len() as u8);
        for address in &self.addresses {
            match address.ip() {
                IpAddr::V4(ip) => {
                    bytes.push(4);
                    bytes.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    bytes.push(6);
                    bytes.extend(ip.octets());
                }
            }
            bytes.extend(address.port().to_be_bytes());
        }
        let crc = crc32fast::hash(&bytes);
        bytes.extend(crc.to_be_bytes());
        format!("{PREFIX}-{}", base32(&bytes))
    }

    /// The token in `text`.
    ///
    /// # Errors
    /// When it is none, or was not copied whole.
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let body = text
            .trim()
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.strip_prefix('-'));
        let bytes = from_base32(body.ok_or(TokenError::Text("it does not begin with holdfast1-"))?)?;
        let (bytes, crc) = bytes
            .split_last_chunk::<4>()
            .ok_or(TokenError::Text("it is too short"))?;
        if crc32fast::hash(bytes).to_be_bytes() != *crc {
            return Err(TokenError::Text("a part of it is missing or mistyped"));
        }
        read(bytes).ok_or(TokenError::Text("its content is not understood"))
    }
}

fn read(mut bytes: &[u8]) -> Option<Token> {
    let [role, server] = *take::<2>(&mut bytes)?;
    let (pin, secret) = (
        KeyPin(*take::<32>(&mut bytes)?),
        *take::<SECRET_BYTES>(&mut bytes)?,
    );
    let [count] = *take::<1>(&mut bytes)?;
    let mut addresses = Vec::new();
    for _ in 0..count {
        let ip = match *take::<1>(&mut bytes)? {
            [4] => IpAddr::from(*take::<4>(&mut bytes)?),
            [6] => IpAddr::from(*take::<16>(&mut bytes)?),
            _ => return None,
        };
        addresses.push(SocketAddr::new(ip, u16::from_be_bytes(*take::<2>(&mut bytes)?)));
    }
    let valid = bytes.is_empty() && role <= 1 && server <= NodeId::DATA_MAX && !addresses.is_empty();
    valid.then_some(Token {
        witness: role == 1,
        server: NodeId(server),
        pin,
        addresses,
        secret,
    })
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(head)
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    let (mut pending, mut bits) = (0u32, 0);
    for byte in bytes {
        pending = pending << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(pending >> bits & 31) as usize]));
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(pending << (5 - bits) & 31) as usize]));
    }
    text
}

fn from_base32(text: &str) -> Result<Vec<u8>, TokenError> {
    if text.len() > 1024 {
        return Err(TokenError::Text("it is too long"));
    }
    let mut bytes = Vec::new();
    let (mut pending, mut bits) = (0u32, 0);
    for letter in text.bytes() {
        let digit = ALPHABET
            .iter()
            .position(|known| *known == letter.to_ascii_lowercase());
        let digit = digit.ok_or(TokenError::Text("it holds a character that no token has"))?;
        pending = pending << 5 | digit as u32;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((pending >> bits) as u8);
            pending &= (1 << bits) - 1;
        }
    }
    Ok(bytes)
}

/// A token that was given out. Only a hash of its secret is kept.
#[derive(Clone)]
struct Open {
    hash: [u8; 32],
    witness: bool,
    until: Time,
}

/// The tokens that this node gave out. In memory only: a restart ends them.
#[derive(Default)]
pub struct JoinTokens {
    open: Mutex<Vec<Open>>,
}

impl std::fmt::Debug for JoinTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "JoinTokens({} open)", self.valid().len())
    }
}

impl JoinTokens {
    /// Makes a token for one join within an hour, and returns its text.
    ///
    /// # Errors
    /// When too many are open, or the configuration has no address or key for `me`.
    pub fn give(&self, config: &Config, me: NodeId, witness: bool) -> Result<String, TokenError> {
        let mut addresses = own_addresses(config, me);
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return Err(TokenError::Lacking("address"));
        }
        let keys = if me.is_witness() {
            config.witness.as_ref().map(|witness| &witness.keys)
        } else {
            config.node(me).map(|node| &node.keys)
        };
        let pin = *keys
            .and_then(|keys| keys.first())
            .ok_or(TokenError::Lacking("key pin"))?;
        let mut secret = [0u8; SECRET_BYTES];
        SystemRandom::new()
            .fill(&mut secret)
            .map_err(|_| TokenError::Random)?;
        let mut open = self.valid();
        if open.len() >= OPEN_MAX {
            return Err(TokenError::TooMany);
        }
        open.push(Open {
            hash: hash(&secret),
            witness,
            until: clock::now() + VALID_FOR,
        });
        Ok(Token {
            witness,
            server: me,
            pin,
            addresses,
            secret,
        }
        .text())
    }

    /// True while a newcomer may come.
    #[must_use]
    pub fn any_open(&self) -> bool {
        !self.valid().is_empty()
    }

    /// Takes the token with `secret` out, if it is valid for this role. The hash puts it back if the join fails.
    pub(super) fn redeem(&self, secret: &[u8], witness: bool) -> Option<Redeemed> {
        let given = hash(secret);
        let mut open = self.valid();
        let at = open
            .iter()
            .position(|token| same(&token.hash, &given) && token.witness == witness)?;
        Some(Redeemed(open.remove(at)))
    }

    /// Makes a token valid again whose join did not come to be.
    pub(super) fn restore(&self, redeemed: Redeemed) {
        self.valid().push(redeemed.0);
    }

    fn valid(&self) -> MutexGuard<'_, Vec<Open>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        open.retain(|token| token.until > now);
        open
    }
}

/// A token that was shown, and is nobody else's until it is restored.
pub(super) struct Redeemed(Open);

fn hash(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0u8; 32];
    hash.copy_from_slice(ring::digest::digest(&ring::digest::SHA256, secret).as_ref());
    hash
}

/// Compares in a time that does not depend on where the first difference is.
fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    let difference = one
        .iter()
        .zip(other)
        .fold(0, |sum, (left, right)| sum | (left ^ right));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_an_hour_for_its_role_and_once() {
        let mut config = crate::status::fixture::config();
        config.nodes[0].keys = vec![KeyPin([1; 32])];
        let tokens = JoinTokens::default();
        let give = || {
            let text = tokens.give(&config, NodeId(1), false).expect("given");
            Token::parse(&text).expect("token").secret
        };
        let secret = give();
        assert!(tokens.redeem(&secret, true).is_none(), "not for a witness");
        assert!(tokens.redeem(&secret, false).is_some());
        assert!(tokens.redeem(&secret, false).is_none(), "once");

        let secret = give();
        let left = clock::now().until(tokens.valid()[0].until);
        assert!(
            left <= VALID_FOR && left > VALID_FOR - Duration::from_secs(60),
            "{left:?}"
        );
        tokens.valid()[0].until = clock::now();
        assert!(tokens.redeem(&secret, false).is_none(), "outdated");
        assert!(!tokens.any_open());
    }
}

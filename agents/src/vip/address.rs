//! Addresses as the operator writes them, and where they belong.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::agent::AgentError;

/// One virtual address with the length of its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vip {
    /// The address.
    pub ip: IpAddr,
    /// Prefix length in bits.
    pub prefix: u8,
}

impl Vip {
    /// True when `other` is in the subnet that `self` spans.
    #[must_use]
    pub fn subnet_contains(&self, other: IpAddr) -> bool {
        let shift = |bits: u32| bits.saturating_sub(u32::from(self.prefix));
        match (self.ip, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u32::from(own) ^ u32::from(other))
                    .checked_shr(shift(32))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (u128::from(own) ^ u128::from(other))
                    .checked_shr(shift(128))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Vip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.prefix)
    }
}

impl FromStr for Vip {
    type Err = AgentError;

    fn from_str(text: &str) -> Result<Self, AgentError> {
        let wrong = |why: &str| {
            AgentError(format!(
                "address {text:?} {why}; write ADDRESS/PREFIX, for example 10.0.0.100/24 or fd00::100/64"
            ))
        };
        let (ip, prefix) = text
            .split_once('/')
            .ok_or_else(|| wrong("has no prefix length"))?;
        let ip: IpAddr = ip
            .trim()
            .parse()
            .map_err(|_| wrong("is not an IPv4 or IPv6 address"))?;
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = prefix
            .trim()
            .parse()
            .map_err(|_| wrong("has a prefix length that is not a number"))?;
        if prefix == 0 || prefix > bits {
            return Err(wrong(&format!("has a prefix length outside 1 to {bits}")));
        }
        let limited = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        if ip.is_unspecified() || ip.is_multicast() || ip.is_loopback() || limited {
            return Err(wrong(
                "cannot be a virtual address (unspecified, loopback, multicast or broadcast)",
            ));
        }
        Ok(Vip { ip, prefix })
    }
}

/// Most addresses in one resource: what one batch and one announcement pass handle in milliseconds.
pub const ADDRESSES_MAX: usize = 1024;

/// Parses the `address` parameter: one address a line, or separated by blanks or commas.
///
/// # Errors
/// The first address that is wrong or named twice; none at all; more than [`ADDRESSES_MAX`].
pub fn parse_list(text: &str) -> Result<Vec<Vip>, AgentError> {
    let mut vips: Vec<Vip> = Vec::new();
    for word in text
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|word| !word.is_empty())
    {
        let vip: Vip = word.parse()?;
        if vips.iter().any(|known| known.ip == vip.ip) {
            return Err(AgentError(format!(
                "address {} is listed twice; remove one",
                vip.ip
            )));
        }
        vips.push(vip);
        if vips.len() > ADDRESSES_MAX {
            return Err(AgentError(format!(
                "more than {ADDRESSES_MAX} addresses in one vip resource; split it into several"
            )));
        }
    }
    if vips.is_empty() {
        return Err(AgentError::new(
            "parameter \"address\" holds no address; write ADDRESS/PREFIX",
        ));
    }
    Ok(vips)
}

/// `10.0.0.100/24`, or `10.0.0.100/24 and 99 more`.
#[must_use]
pub fn summary(vips: &[Vip]) -> String {
    match vips {
        [] => "no address".to_owned(),
        [one] => one.to_string(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_lists() {
        let vips = parse_list("10.0.0.100/24\n fd00::1/64,10.0.0.101/32\n").unwrap();
        assert_eq!(vips.len(), 3);
        assert_eq!(vips[1].to_string(), "fd00::1/64");
        assert_eq!(summary(&vips), "10.0.0.100/24 and 2 more");
    }

    #[test]
    fn refuses_in_words() {
        for (text, word) in [
            ("", "no address"),
            ("10.0.0.1", "no prefix length"),
            ("10.0.0.1/33", "1 to 32"),
            ("10.0.0.1/0", "1 to 32"),
            ("fd00::1/129", "1 to 128"),
            ("10.0.0.256/24", "not an IPv4"),
            ("10.0.0.1/x", "not a number"),
            ("127.0.0.1/8", "cannot be"),
            ("ff02::1/64", "cannot be"),
            ("10.0.0.1/24 10.0.0.1/24", "twice"),
        ] {
            let error = parse_list(text).unwrap_err().0;
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn subnets() {
        let vip: Vip = "10.0.0.1/24".parse().unwrap();
        assert!(vip.subnet_contains("10.0.0.255".parse().unwrap()));
        assert!(!vip.subnet_contains("10.0.1.1".parse().unwrap()));
        assert!(!vip.subnet_contains("fd00::1".parse().unwrap()));
        let host: Vip = "10.0.0.1/32".parse().unwrap();
        assert!(!host.subnet_contains("10.0.0.2".parse().unwrap()));
        let six: Vip = "fd00::1/64".parse().unwrap();
        assert!(six.subnet_contains("fd00::ffff".parse().unwrap()));
        assert!(!six.subnet_contains("fd01::1".parse().unwrap()));
    }
}

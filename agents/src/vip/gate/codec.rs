//! nf_tables over netlink: messages of a batch as bytes, and what is read of the answers.
//!
//! Numbers are big endian in every attribute, unlike those of route netlink. What is built here prints as this
//! (`nft list table inet holdfast`), and once more in family `arp` with `arp saddr ip` and `arp daddr ip`:
//!
//! ```text
//! set vips4 { type ipv4_addr }
//! set live4 { type ipv4_addr; flags timeout }
//! chain in  { type filter hook prerouting priority raw;  ip daddr @vips4 ip daddr != @live4 drop }
//! chain out { type filter hook postrouting priority 300; ip saddr @vips4 ip saddr != @live4 drop }
//! ```

use std::net::IpAddr;

use super::super::codec::{attributes, message, put_attribute};

/// Name of the tables.
pub const TABLE: &str = "holdfast";
/// `nft list tables` and `nft list ruleset` show it.
const COMMENT: &str = "kept by had-agentd: silences virtual IPs without a live permit";
/// Elements in one message: an attribute holds at most 64 KiB.
const ELEMENTS_MAX: usize = 500;

pub(super) const NFTA_LIST_ELEM: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_USERDATA: u16 = 6;
pub(super) const NFTA_CHAIN_TABLE: u16 = 1;
pub(super) const NFTA_RULE_TABLE: u16 = 1;
const NFTA_SET_TABLE: u16 = 1;
const NFTA_SET_NAME: u16 = 2;
const NFTA_SET_FLAGS: u16 = 3;
const NFTA_SET_KEY_TYPE: u16 = 4;
const NFTA_SET_KEY_LEN: u16 = 5;
const NFTA_SET_ID: u16 = 10;
const NFTA_SET_USERDATA: u16 = 13;
const NFTA_SET_ELEM_LIST_TABLE: u16 = 1;
const NFTA_SET_ELEM_LIST_SET: u16 = 2;
const NFTA_SET_ELEM_LIST_ELEMENTS: u16 = 3;
const NFTA_SET_ELEM_KEY: u16 = 1;
const NFTA_SET_ELEM_TIMEOUT: u16 = 4;
pub(super) const NFTA_DATA_VALUE: u16 = 1;
const NFTA_GEN_ID: u16 = 1;

const NFT_SET_TIMEOUT: u32 = 0x10;
/// What `nft` knows the types of keys by.
const TYPE_IPV4_ADDR: u32 = 7;
const TYPE_IPV6_ADDR: u32 = 8;
/// For `nft` as well: the keys are big endian.
const KEY_IS_BIG_ENDIAN: [u8; 6] = [0, 4, 2, 0, 0, 0];

/// Family of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4 and IPv6.
    Inet,
    /// ARP.
    Arp,
}

impl Family {
    /// Its number.
    pub fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Arp => 3,
        }
    }
}

/// A set of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// Where its table is.
    pub family: Family,
    /// Which addresses it holds.
    pub is_ipv6: bool,
    /// The addresses with a live permit, each with a timeout; the others are all that need one.
    pub is_live: bool,
}

impl Set {
    /// The sets of `family`: those of all addresses, and those of live ones.
    pub fn of(family: Family) -> impl Iterator<Item = Set> {
        let versions = if family == Family::Inet {
            &[false, true][..]
        } else {
            &[false]
        };
        let both = move |is_ipv6: &bool| {
            let is_ipv6 = *is_ipv6;
            [false, true].map(move |is_live| Set {
                family,
                is_ipv6,
                is_live,
            })
        };
        versions.iter().flat_map(both)
    }

    /// True when an address of this kind belongs in it.
    pub fn takes(self, ip: IpAddr) -> bool {
        ip.is_ipv6() == self.is_ipv6
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match (self.is_live, self.is_ipv6) {
            (false, false) => "vips4",
            (false, true) => "vips6",
            (true, false) => "live4",
            (true, true) => "live6",
        }
    }

    /// Length of an address.
    pub fn key_bytes(self) -> u32 {
        if self.is_ipv6 { 16 } else { 4 }
    }
}

pub(super) fn put_u32(out: &mut Vec<u8>, kind: u16, value: u32) {
    put_attribute(out, kind, &value.to_be_bytes());
}

pub(super) fn put_text(out: &mut Vec<u8>, kind: u16, text: &str) {
    put_attribute(out, kind, &[text.as_bytes(), &[0]].concat());
}

pub(super) fn put_nest(out: &mut Vec<u8>, kind: u16, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    put_attribute(out, kind | libc::NLA_F_NESTED as u16, &inner);
}

/// Type of an nf_tables message.
pub fn kind(what: libc::c_int) -> u16 {
    ((libc::NFNL_SUBSYS_NFTABLES << 8) | what) as u16
}

pub(super) fn request(what: libc::c_int, flags: i32, family: u8, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    message(kind(what), libc::NLM_F_REQUEST | flags, 0, |out| {
        out.extend([family, 0, 0, 0]);
        body(out);
    })
}

/// The message that begins a batch. With `generation`, the kernel refuses the batch (ERESTART) if anybody changed
/// anything since that one.
pub fn begin(generation: Option<u32>) -> Vec<u8> {
    frame(libc::NFNL_MSG_BATCH_BEGIN, |out| {
        if let Some(generation) = generation {
            put_u32(out, libc::NFNL_BATCH_GENID as u16, generation);
        }
    })
}

/// The message that ends a batch.
pub fn end() -> Vec<u8> {
    frame(libc::NFNL_MSG_BATCH_END, |_| {})
}

fn frame(what: libc::c_int, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    message(what as u16, libc::NLM_F_REQUEST, 0, |out| {
        out.extend([0, 0]);
        out.extend((libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes());
        body(out);
    })
}

/// Makes the table if it is not there.
pub fn new_table(family: Family) -> Vec<u8> {
    request(
        libc::NFT_MSG_NEWTABLE,
        libc::NLM_F_CREATE,
        family.number(),
        |out| {
            put_text(out, NFTA_TABLE_NAME, TABLE);
            put_u32(out, NFTA_TABLE_FLAGS, 0);
            let mut comment = vec![0, COMMENT.len() as u8 + 1];
            comment.extend(COMMENT.bytes().chain([0]));
            put_attribute(out, NFTA_TABLE_USERDATA, &comment);
        },
    )
}

/// Removes the table with all that is in it.
pub fn delete_table(family: Family) -> Vec<u8> {
    request(libc::NFT_MSG_DELTABLE, 0, family.number(), |out| {
        put_text(out, NFTA_TABLE_NAME, TABLE);
    })
}

/// Makes a set; `id` names it within its batch.
pub fn new_set(id: u32, set: Set) -> Vec<u8> {
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(libc::NFT_MSG_NEWSET, create, set.family.number(), |out| {
        put_text(out, NFTA_SET_TABLE, TABLE);
        put_text(out, NFTA_SET_NAME, set.name());
        let flags = if set.is_live { NFT_SET_TIMEOUT } else { 0 };
        put_u32(out, NFTA_SET_FLAGS, flags);
        let key_type = if set.is_ipv6 {
            TYPE_IPV6_ADDR
        } else {
            TYPE_IPV4_ADDR
        };
        put_u32(out, NFTA_SET_KEY_TYPE, key_type);
        put_u32(out, NFTA_SET_KEY_LEN, set.key_bytes());
        put_u32(out, NFTA_SET_ID, id);
        put_attribute(out, NFTA_SET_USERDATA, &KEY_IS_BIG_ENDIAN);
    })
}

/// Empties a set.
pub fn flush(set: Set) -> Vec<u8> {
    request(libc::NFT_MSG_DELSETELEM, 0, set.family.number(), |out| {
        put_text(out, NFTA_SET_ELEM_LIST_TABLE, TABLE);
        put_text(out, NFTA_SET_ELEM_LIST_SET, set.name());
    })
}

/// Removes elements. One that is not there, or has run out, fails the batch.
pub fn remove(set: Set, ips: &[IpAddr]) -> Vec<Vec<u8>> {
    let all: Vec<_> = ips.iter().map(|ip| (*ip, None)).collect();
    elements(libc::NFT_MSG_DELSETELEM, 0, set, &all)
}

/// Adds elements, each with its timeout in milliseconds or for ever.
pub fn add(set: Set, elements_with_ms: &[(IpAddr, Option<u64>)]) -> Vec<Vec<u8>> {
    elements(
        libc::NFT_MSG_NEWSETELEM,
        libc::NLM_F_CREATE,
        set,
        elements_with_ms,
    )
}

fn elements(what: libc::c_int, flags: i32, set: Set, all: &[(IpAddr, Option<u64>)]) -> Vec<Vec<u8>> {
    let mine: Vec<_> = all.iter().filter(|(ip, _)| set.takes(*ip)).collect();
    let one = |part: &[&(IpAddr, Option<u64>)]| {
        request(what, flags, set.family.number(), |out| {
            put_text(out, NFTA_SET_ELEM_LIST_TABLE, TABLE);
            put_text(out, NFTA_SET_ELEM_LIST_SET, set.name());
            put_nest(out, NFTA_SET_ELEM_LIST_ELEMENTS, |out| {
                for (ip, timeout_ms) in part {
                    put_nest(out, NFTA_LIST_ELEM, |out| element(out, *ip, *timeout_ms));
                }
            });
        })
    };
    mine.chunks(ELEMENTS_MAX).map(one).collect()
}

fn element(out: &mut Vec<u8>, ip: IpAddr, timeout_ms: Option<u64>) {
    put_nest(out, NFTA_SET_ELEM_KEY, |out| match ip {
        IpAddr::V4(ip) => put_attribute(out, NFTA_DATA_VALUE, &ip.octets()),
        IpAddr::V6(ip) => put_attribute(out, NFTA_DATA_VALUE, &ip.octets()),
    });
    if let Some(timeout_ms) = timeout_ms {
        put_attribute(out, NFTA_SET_ELEM_TIMEOUT, &timeout_ms.to_be_bytes());
    }
}

/// Asks for the number of the present generation of all tables.
pub fn get_generation() -> Vec<u8> {
    request(libc::NFT_MSG_GETGEN, 0, 0, |_| {})
}

/// Asks for all chains of a family, or all rules of our table in it.
pub fn dump(what: libc::c_int, family: Family) -> Vec<u8> {
    request(what, libc::NLM_F_DUMP, family.number(), |out| {
        // Of chains the kernel ignores it, and tells those of other tables too.
        put_text(out, NFTA_RULE_TABLE, TABLE);
    })
}

/// The number in the answer to [`get_generation`].
pub fn generation(payload: &[u8]) -> Option<u32> {
    let mut all = attributes(payload.get(4..)?);
    let (_, value) = all.find(|(kind, _)| *kind == NFTA_GEN_ID)?;
    Some(u32::from_be_bytes(value.try_into().ok()?))
}

/// True when a chain or rule of a dump belongs to our table: its name is the first attribute of both.
pub fn is_ours(payload: &[u8]) -> bool {
    let rest = payload.get(4..).unwrap_or_default();
    attributes(rest).any(|(kind, value)| {
        kind == NFTA_CHAIN_TABLE && value.strip_suffix(&[0]).unwrap_or(value) == TABLE.as_bytes()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vip::codec::messages;

    /// A message of `family` with these attributes, written in hexadecimal digits.
    fn by_hand(what: u16, flags: u16, family: u8, attributes: &str) -> Vec<u8> {
        let digits: Vec<u8> = attributes.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        let body: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect();
        message(0x0a00 | what, i32::from(flags), 0, |out| {
            out.extend([family, 0, 0, 0]);
            out.extend(body);
        })
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_renewal_removes_and_adds_with_a_timeout_in_milliseconds() {
        let live = Set {
            family: Family::Inet,
            is_ipv6: false,
            is_live: true,
        };
        let (v4, v6): (IpAddr, IpAddr) = ("10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap());
        let head = "0d000100 686f6c64 66617374 00000000  0a000200 6c697665 34000000";
        let key = "0c000180 08000100 0a000009";
        let removed = format!("{head} 14000380 10000180 {key}");
        assert_eq!(remove(live, &[v4, v6]), [by_hand(14, 1, 1, &removed)]);
        let added = format!("{head} 20000380 1c000180 {key} 0c000400 00000000 0000012c");
        let all = [(v4, Some(300)), (v6, Some(300))];
        assert_eq!(add(live, &all), [by_hand(12, 0x401, 1, &added)]);
        let endless = format!("{head} 14000380 10000180 {key}");
        assert_eq!(add(live, &[(v4, None)]), [by_hand(12, 0x401, 1, &endless)]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_batch_names_its_generation() {
        let begin = begin(Some(0x0102));
        // Length, type, flags, sequence, port; family, version, subsystem; attribute.
        let expected = [
            28, 0, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 8, 0, 1, 0, 0, 0, 1, 2,
        ];
        assert_eq!(begin, expected);
        assert_eq!(end().len(), 20);
    }

    #[test]
    fn many_elements_are_spread_over_messages() {
        let set = Set {
            family: Family::Inet,
            is_ipv6: true,
            is_live: true,
        };
        let all: Vec<_> = (0..1201u128)
            .map(|n| (IpAddr::from(n.to_be_bytes()), Some(900)))
            .collect();
        let parts = add(set, &all);
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.len() < 60_000));
        assert!(add(set, &[]).is_empty());
        assert_eq!(Set::of(Family::Inet).count() + Set::of(Family::Arp).count(), 6);
    }

    #[test]
    fn answers_are_read_and_garbage_is_survived() {
        let answer = by_hand(15, 0, 0, "08000100 00000102 08000200 00000033");
        let payload = messages(&answer).next().unwrap().payload;
        assert_eq!(generation(payload), Some(0x0102));
        for end in 0..payload.len() {
            let cut = &payload[..end];
            assert!(generation(cut).is_none() || end >= 12);
            assert!(!is_ours(cut));
        }
        let chain = by_hand(3, 0, 1, "0d000100 686f6c64 66617374 00000000");
        assert!(is_ours(messages(&chain).next().unwrap().payload));
        let other = by_hand(3, 0, 1, "0e000100 686f6c64 66617374 32000000");
        assert!(!is_ours(messages(&other).next().unwrap().payload));
    }
}

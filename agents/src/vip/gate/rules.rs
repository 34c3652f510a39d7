//! Chains and rules: what drops the packets of an address that has no live permit.

use super::super::codec::put_attribute;
use super::codec::{
    Family, NFTA_CHAIN_TABLE, NFTA_DATA_VALUE, NFTA_LIST_ELEM, NFTA_RULE_TABLE, Set, TABLE, new_set,
    put_nest, put_text, put_u32, request,
};

const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_META_DREG: u16 = 1;
const NFTA_META_KEY: u16 = 2;
const NFTA_CMP_SREG: u16 = 1;
const NFTA_CMP_OP: u16 = 2;
const NFTA_CMP_DATA: u16 = 3;
const NFTA_PAYLOAD_DREG: u16 = 1;
const NFTA_PAYLOAD_BASE: u16 = 2;
const NFTA_PAYLOAD_OFFSET: u16 = 3;
const NFTA_PAYLOAD_LEN: u16 = 4;
const NFTA_LOOKUP_SET: u16 = 1;
const NFTA_LOOKUP_SREG: u16 = 2;
const NFTA_LOOKUP_FLAGS: u16 = 5;
const NFTA_IMMEDIATE_DREG: u16 = 1;
const NFTA_IMMEDIATE_DATA: u16 = 2;
const NFT_LOOKUP_F_INV: u32 = 1;
const NFT_META_NFPROTO: u32 = 15;
const NFT_CMP_EQ: u32 = 0;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// Before conntrack and address translation.
const PRIORITY_FIRST: i32 = -300;
/// After them.
const PRIORITY_LAST: i32 = 300;

/// A chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    In,
    Out,
}

impl Chain {
    fn name(self) -> &'static str {
        match self {
            Chain::In => "in",
            Chain::Out => "out",
        }
    }

    /// Number of its hook, and its priority there. For IP the outermost hooks, so that address translation (a port
    /// of a container published on the address) is no way around.
    fn hook(self, family: Family) -> (u32, i32) {
        match (family, self) {
            (Family::Inet, Chain::In) => (libc::NF_INET_PRE_ROUTING as u32, PRIORITY_FIRST),
            (Family::Inet, Chain::Out) => (libc::NF_INET_POST_ROUTING as u32, PRIORITY_LAST),
            (Family::Arp, Chain::In) => (libc::NF_ARP_IN as u32, PRIORITY_FIRST),
            (Family::Arp, Chain::Out) => (libc::NF_ARP_OUT as u32, PRIORITY_LAST),
        }
    }

    /// Where the address stands in the packet, counted from its network header: our address is the destination of
    /// what comes in, and the source of what goes out.
    fn offset(self, set: Set) -> u32 {
        match (set.family, set.is_ipv6, self) {
            (Family::Inet, false, Chain::In) => 16,
            (Family::Inet, false, Chain::Out) => 12,
            (Family::Inet, true, Chain::In) => 24,
            (Family::Inet, true, Chain::Out) => 8,
            // Of Ethernet's ARP: the address that is asked for, and that of the sender.
            (Family::Arp, _, Chain::In) => 24,
            (Family::Arp, _, Chain::Out) => 14,
        }
    }
}

/// What makes sets, chains and rules in a table that is empty.
pub fn structure(family: Family) -> Vec<Vec<u8>> {
    let mut all: Vec<_> = (1..)
        .zip(Set::of(family))
        .map(|(id, set)| new_set(id, set))
        .collect();
    for chain in [Chain::In, Chain::Out] {
        all.push(new_chain(family, chain));
        let lists = Set::of(family).filter(|set| !set.is_live);
        all.extend(lists.map(|vips| new_rule(chain, vips)));
    }
    all
}

fn new_chain(family: Family, chain: Chain) -> Vec<u8> {
    let create = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    request(libc::NFT_MSG_NEWCHAIN, create, family.number(), |out| {
        put_text(out, NFTA_CHAIN_TABLE, TABLE);
        put_text(out, NFTA_CHAIN_NAME, chain.name());
        put_nest(out, NFTA_CHAIN_HOOK, |out| {
            let (hook, priority) = chain.hook(family);
            put_u32(out, NFTA_HOOK_HOOKNUM, hook);
            put_attribute(out, NFTA_HOOK_PRIORITY, &priority.to_be_bytes());
        });
        put_u32(out, NFTA_CHAIN_POLICY, NF_ACCEPT);
        put_text(out, NFTA_CHAIN_TYPE, "filter");
    })
}

/// Drops the packet if our address in it is one of `vips` and not live.
fn new_rule(chain: Chain, vips: Set) -> Vec<u8> {
    let create = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    request(libc::NFT_MSG_NEWRULE, create, vips.family.number(), |out| {
        put_text(out, NFTA_RULE_TABLE, TABLE);
        put_text(out, NFTA_RULE_CHAIN, chain.name());
        put_nest(out, NFTA_RULE_EXPRESSIONS, |out| {
            if vips.family == Family::Inet {
                demand_version(out, vips.is_ipv6);
            }
            expression(out, "payload", |out| {
                put_u32(out, NFTA_PAYLOAD_DREG, NFT_REG_1);
                put_u32(out, NFTA_PAYLOAD_BASE, NFT_PAYLOAD_NETWORK_HEADER);
                put_u32(out, NFTA_PAYLOAD_OFFSET, chain.offset(vips));
                put_u32(out, NFTA_PAYLOAD_LEN, vips.key_bytes());
            });
            lookup(out, vips, 0);
            let live = Set {
                is_live: true,
                ..vips
            };
            lookup(out, live, NFT_LOOKUP_F_INV);
            expression(out, "immediate", |out| {
                put_u32(out, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
                put_nest(out, NFTA_IMMEDIATE_DATA, |out| {
                    put_nest(out, NFTA_DATA_VERDICT, |out| {
                        put_u32(out, NFTA_VERDICT_CODE, NF_DROP);
                    });
                });
            });
        });
    })
}

fn expression(out: &mut Vec<u8>, name: &str, data: impl FnOnce(&mut Vec<u8>)) {
    put_nest(out, NFTA_LIST_ELEM, |out| {
        put_text(out, NFTA_EXPR_NAME, name);
        put_nest(out, NFTA_EXPR_DATA, data);
    });
}

fn demand_version(out: &mut Vec<u8>, is_ipv6: bool) {
    expression(out, "meta", |out| {
        put_u32(out, NFTA_META_DREG, NFT_REG_1);
        put_u32(out, NFTA_META_KEY, NFT_META_NFPROTO);
    });
    expression(out, "cmp", |out| {
        put_u32(out, NFTA_CMP_SREG, NFT_REG_1);
        put_u32(out, NFTA_CMP_OP, NFT_CMP_EQ);
        let version = if is_ipv6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
        put_nest(out, NFTA_CMP_DATA, |out| {
            put_attribute(out, NFTA_DATA_VALUE, &[version])
        });
    });
}

fn lookup(out: &mut Vec<u8>, set: Set, flags: u32) {
    expression(out, "lookup", |out| {
        put_text(out, NFTA_LOOKUP_SET, set.name());
        put_u32(out, NFTA_LOOKUP_SREG, NFT_REG_1);
        put_u32(out, NFTA_LOOKUP_FLAGS, flags);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expressions of a rule, from behind its attributes of table and chain.
    fn expressions(rule: &[u8], chain: &str) -> String {
        let names = 20 + 16 + 4 + (chain.len() + 1).next_multiple_of(4);
        rule[names..].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_rule_for_arp_byte_by_byte() {
        let vips = Set {
            family: Family::Arp,
            is_ipv6: false,
            is_live: false,
        };
        // The expressions that `nft --debug=mnl` prints for: arp saddr ip @vips4 arp saddr ip != @live4 drop
        let load = "34000180 0c000100 7061796c6f616400 24000280 \
                    08000100 00000001 08000200 00000001 08000300 0000000e 08000400 00000004";
        let lookup = |set: &str, flags: &str| {
            format!(
                "30000180 0b000100 6c6f6f6b75700000 20000280 \
                 0a000100 {set}0000 08000200 00000001 08000500 {flags}"
            )
        };
        let drop = "30000180 0e000100 696d6d6564696174 65000000 1c000280 08000100 00000000 \
                    10000280 0c000280 08000100 00000000";
        let (vips4, live4) = (
            lookup("766970733400", "00000000"),
            lookup("6c6976653400", "00000001"),
        );
        let expected: String = [load, &vips4, &live4, drop].join("").split_whitespace().collect();
        let rule = new_rule(Chain::Out, vips);
        let found = expressions(&rule, "out");
        assert_eq!(&found[8..], expected, "{found}");
    }
}

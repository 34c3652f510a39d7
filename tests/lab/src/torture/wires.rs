//! What the switches do to packets between members: nftables rules, replaced all at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;

use super::act::{Links, Member, NAMES, Way, Wrong};
use crate::net::{MANAGEMENT, Net, port};

/// The rules in force, each with the number of its fault.
#[derive(Clone, Debug)]
pub struct Wires {
    net: Net,
    rules: Arc<Mutex<BTreeMap<u32, String>>>,
}

impl Wires {
    /// Of that network.
    #[must_use]
    pub fn new(net: &Net) -> Wires {
        Wires {
            net: net.clone(),
            rules: Arc::default(),
        }
    }

    /// Makes the links between two members do wrong, for the fault `id`.
    pub fn spoil(
        &self,
        id: u32,
        one: Member,
        other: Member,
        way: Way,
        links: Links,
        wrong: Wrong,
    ) -> Result<()> {
        let chance = match wrong {
            Wrong::Cut => String::new(),
            Wrong::Lossy(percent) => format!("numgen random mod 100 < {percent} "),
        };
        let both = [(one, other), (other, one)];
        let ways = if way == Way::Both { &both[..] } else { &both[..1] };
        let mut rules = String::new();
        for lan in (0..MANAGEMENT).filter(|lan| links == Links::Both || links == Links::One(*lan)) {
            for (from, to) in ways {
                let (from, to) = (port(NAMES[*from], lan), port(NAMES[*to], lan));
                // A box in a cable is the bridge's port instead.
                rules.push_str(&format!(
                    "add rule bridge lab cut iifname {{ {from}, r{from} }} oifname {{ {to}, r{to} }} {chance}drop; "
                ));
            }
        }
        self.change(|all| {
            all.insert(id, rules);
        })
    }

    /// Ends the fault `id`.
    pub fn mend(&self, id: u32) -> Result<()> {
        self.change(|all| {
            all.remove(&id);
        })
    }

    fn change(&self, edit: impl FnOnce(&mut BTreeMap<u32, String>)) -> Result<()> {
        let mut rules = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        edit(&mut rules);
        let text: String = rules.values().map(String::as_str).collect();
        self.net.nft(&format!("flush chain bridge lab cut; {text}"))
    }
}

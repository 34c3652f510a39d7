//! Cluster states: a formed cluster, and changes to it that decode, however senseless they are.

use std::sync::{Arc, LazyLock};

use arbitrary::{Result, Unstructured};
use holdfast_proto::config::Config;
use holdfast_proto::ids::{BootId, NUMBER_MAX, NodeId, VoterSet};
use holdfast_proto::state::{Assignment, ClusterState, Failure, MoveIntent, ProofKind, ProofRecord, genesis};

use super::Inputs;
use crate::samples::parsed;

/// Names of groups; the last is in no configuration.
pub const GROUPS: [&str; 3] = ["g0", "g1", "gone"];

/// Pairs and a trio, with and without a witness, devices and groups.
static CONFIGS: LazyLock<Vec<Arc<Config>>> = LazyLock::new(|| {
    let shapes = [
        (2, false, 2),
        (2, true, 2),
        (3, true, 1),
        (3, false, 2),
        (1, false, 1),
        (2, true, 0),
    ];
    shapes
        .iter()
        .map(|(nodes, witness, groups)| Arc::new(parsed(&text(*nodes, *witness, *groups))))
        .collect()
});

fn text(nodes: u8, witness: bool, groups: usize) -> String {
    let mut text = "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\nwitness_grace = \"3s\"\n".to_string();
    for node in 1..=nodes {
        text +=
            &format!("[[node]]\nname = \"n{node}\"\nlinks = [\"10.0.0.{node}\"]\nkeys = [\"{node:064x}\"]\n");
        text += &format!(
            "[[fence]]\nnode = \"n{node}\"\nagent = \"exec\"\nparams = {{ program = \"/bin/power\" }}\n"
        );
    }
    if witness {
        text += &format!("[witness]\naddress = \"10.0.0.99\"\nkeys = [\"{:064x}\"]\n", 99);
    }
    for (index, name) in GROUPS.iter().take(groups).enumerate() {
        let requires = ["fencing", "lease"][index % 2];
        text += &format!(
            "[[group]]\nname = \"{name}\"\nrequires = \"{requires}\"\n[[group.resource]]\nname = \"r\"\ntype = \"vip\"\n\
             address = \"10.1.0.{}/24\"\n",
            index + 1
        );
    }
    text
}

pub fn config(source: &mut Unstructured<'_>) -> Result<Arc<Config>> {
    Ok(Arc::clone(source.choose(&CONFIGS)?))
}

/// Every member votes, nothing was placed yet.
pub fn formed(config: &Arc<Config>) -> ClusterState {
    let mut state = genesis(Arc::clone(config), NodeId(1));
    state.voters = config.members().collect();
    state.version = 5;
    state
}

/// Changes one thing in `state`, within what decodes.
pub fn change(state: &mut ClusterState, source: &mut Unstructured<'_>) -> Result<()> {
    match source.int_in_range(0..=11u8)? {
        0 | 1 => state.version = (state.version + 1).min(NUMBER_MAX),
        2 => state.version = Inputs::count(source)?.clamp(1, NUMBER_MAX),
        3 => state.voters = VoterSet(source.int_in_range(1..=15)?),
        4 => state.voters = VoterSet(source.int_in_range(1..=0x1ffff)?),
        5 => state.survivor = Inputs::node(source)?,
        6 => state.next_epoch = Inputs::count(source)?.min(NUMBER_MAX),
        7 => state.maintenance = !state.maintenance,
        8 => state.config = config(source)?,
        9 => {
            let node = Inputs::node(source)?;
            let proof = proof(source)?;
            let entry = state.nodes.entry(node).or_default();
            entry.standby = source.arbitrary()?;
            entry.proof = proof;
        }
        _ => group(state, source)?,
    }
    Ok(())
}

fn proof(source: &mut Unstructured<'_>) -> Result<Option<ProofRecord>> {
    let kinds = [
        ProofKind::Power,
        ProofKind::Watchdog,
        ProofKind::Operator,
        ProofKind::Lapsed,
        ProofKind::Storage,
    ];
    if source.arbitrary()? {
        return Ok(None);
    }
    Ok(Some(ProofRecord {
        kind: *source.choose(&kinds)?,
        ended_boot: boot(source)?,
        evidence: "seen".into(),
        version: Inputs::count(source)?,
    }))
}

fn boot(source: &mut Unstructured<'_>) -> Result<Option<BootId>> {
    Ok(*source.choose(&[None, Some(BootId(7)), Some(BootId(100)), Some(BootId(200))])?)
}

fn group(state: &mut ClusterState, source: &mut Unstructured<'_>) -> Result<()> {
    let name = *source.choose(&GROUPS)?;
    if source.ratio(1, 8)? {
        state.groups.remove(name);
        return Ok(());
    }
    let (owner, epoch) = (Inputs::node(source)?, Inputs::count(source)?);
    let assignment = match source.int_in_range(0..=3u8)? {
        0 => Assignment::Stopped { epoch },
        1 => Assignment::Releasing {
            owner,
            boot: boot(source)?,
            epoch,
            toward: if source.arbitrary()? {
                Some(Inputs::node(source)?)
            } else {
                None
            },
        },
        _ => Assignment::Owned {
            owner,
            boot: boot(source)?,
            epoch,
        },
    };
    let example = genesis(Arc::clone(&CONFIGS[0]), NodeId(1));
    let fresh = || example.groups.values().next().cloned();
    let Some(mut group) = state.groups.get(name).cloned().or_else(fresh) else {
        return Ok(());
    };
    group.assignment = assignment;
    group.disabled = source.ratio(1, 4)?;
    group.intent = if source.ratio(1, 4)? {
        Some(MoveIntent {
            accepts_loss: None,
            to: Inputs::node(source)?,
            who: "fuzz".into(),
        })
    } else {
        None
    };
    if source.ratio(1, 4)? {
        let count = if source.ratio(1, 4)? { u32::MAX } else { 3 };
        group.failures.insert(
            Inputs::node(source)?,
            Failure {
                count,
                reason: "failed".into(),
            },
        );
    }
    group.automatic_moves = if source.ratio(1, 8)? { u32::MAX } else { 1 };
    state.groups.insert(name.into(), group);
    Ok(())
}

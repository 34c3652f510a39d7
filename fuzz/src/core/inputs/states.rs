//! Cluster states: a formed cluster, and changes to it that decode, however senseless they are.

use std::sync::{Arc, LazyLock};

use arbitrary::{Result, Unstructured};
use holdfast_proto::config::Config;
use holdfast_proto::ids::{BootId, NUMBER_MAX, NodeId, VoterSet};
use holdfast_proto::job::{JobPhase, JobState};
use holdfast_proto::state::{
    Assignment, ClusterState, Failure, InSync, MoveIntent, ProofKind, ProofRecord, genesis,
};

use super::Inputs;
use super::copies::JOBS;
use crate::samples::parsed;

/// What a play is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// Groups that run on one node or on none.
    Plain,
    /// Groups with copies of their data too, groups that follow these, and jobs.
    Copies,
}

/// Names of groups; the third is in no configuration, those after it are in those with copies.
const GROUPS: [&str; 5] = ["g0", "g1", "gone", "db", "reader"];
/// Configurations without copies; as many with copies follow.
const PLAIN: usize = 6;

impl World {
    /// Names of groups, also of one that is in no configuration.
    pub fn groups(self) -> &'static [&'static str] {
        match self {
            World::Plain => &GROUPS[..3],
            World::Copies => &GROUPS,
        }
    }

    /// Some configuration of this world.
    pub fn config(self, source: &mut Unstructured<'_>) -> Result<Arc<Config>> {
        let known = match self {
            World::Plain => &CONFIGS[..PLAIN],
            World::Copies => &CONFIGS[..],
        };
        Ok(Arc::clone(source.choose(known)?))
    }

    /// A world, and a configuration of its own.
    pub fn any(source: &mut Unstructured<'_>) -> Result<(World, Arc<Config>)> {
        let index = source.choose_index(CONFIGS.len())?;
        let world = if index < PLAIN {
            World::Plain
        } else {
            World::Copies
        };
        Ok((world, Arc::clone(&CONFIGS[index])))
    }
}

/// Pairs and a trio, with and without a witness, devices and groups; and the same with copies and jobs.
static CONFIGS: LazyLock<Vec<Arc<Config>>> = LazyLock::new(|| {
    let shapes = [
        (2, false, 2),
        (2, true, 2),
        (3, true, 1),
        (3, false, 2),
        (1, false, 1),
        (2, true, 0),
    ];
    let plain = shapes
        .iter()
        .map(|(nodes, witness, groups)| text(*nodes, *witness, *groups));
    let with_copies = shapes.iter().enumerate().map(|(index, (nodes, witness, _))| {
        text(*nodes, *witness, 1) + &copies(["refuse", "promote"][index % 2])
    });
    let texts = plain.chain(with_copies);
    texts.map(|text| Arc::new(parsed(&text))).collect()
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

/// A group with copies, one that follows its replica, and jobs on both.
fn copies(on_possible_loss: &str) -> String {
    let job = |name: &str, keys: &str| {
        format!("[[job]]\nname = \"{name}\"\ncalendar = \"@hourly\"\ncommand = [\"/bin/job\"]\n{keys}\n")
    };
    format!(
        "[[group]]\nname = \"db\"\non_possible_loss = \"{on_possible_loss}\"\n[[group.resource]]\nname = \"r\"\n\
         type = \"drbd\"\nresource = \"r0\"\n[[group]]\nname = \"reader\"\nfollows = \"db\"\nrole = \"replica\"\n\
         max_lag = \"2s\"\n[[group.resource]]\nname = \"v\"\ntype = \"vip\"\naddress = \"10.1.0.9/24\"\n"
    ) + &job(
        JOBS[0],
        "group = \"db\"\non = \"replica\"\nfallback = \"primary\"\non_interrupt = \"rerun\"",
    ) + &job(JOBS[1], "group = \"g0\"")
        + &job(JOBS[2], "group = \"db\"\non = \"any\"\non_move = \"finish\"")
}

/// Every member votes, nothing was placed yet.
pub fn formed(config: &Arc<Config>) -> ClusterState {
    let mut state = genesis(Arc::clone(config), NodeId(1));
    state.voters = config.members().collect();
    state.version = 5;
    state
}

/// Changes one thing in `state`, within what decodes.
pub fn change(state: &mut ClusterState, world: World, source: &mut Unstructured<'_>) -> Result<()> {
    let most = match world {
        World::Plain => 11,
        World::Copies => 15,
    };
    match source.int_in_range(0..=most)? {
        0 | 1 => state.version = (state.version + 1).min(NUMBER_MAX),
        2 => state.version = Inputs::count(source)?.clamp(1, NUMBER_MAX),
        3 => state.voters = VoterSet(source.int_in_range(1..=15)?),
        4 => state.voters = VoterSet(source.int_in_range(1..=0x1ffff)?),
        5 => state.survivor = Inputs::node(source)?,
        6 => state.next_epoch = Inputs::count(source)?.min(NUMBER_MAX),
        7 => state.maintenance = !state.maintenance,
        8 => state.config = world.config(source)?,
        9 => {
            let node = Inputs::node(source)?;
            let proof = proof(source)?;
            let entry = state.nodes.entry(node).or_default();
            entry.standby = source.arbitrary()?;
            entry.proof = proof;
        }
        12 | 13 => whole(state, source)?,
        14 | 15 => job(state, source)?,
        _ => group(state, world, source)?,
    }
    Ok(())
}

/// Other whole copies of a group.
fn whole(state: &mut ClusterState, source: &mut Unstructured<'_>) -> Result<()> {
    let name = *source.choose(&["db", "g0"])?;
    let Some(entry) = state.groups.get_mut(name) else {
        return Ok(());
    };
    entry.in_sync = match source.int_in_range(0..=7u8)? {
        0 => InSync::default(),
        _ => InSync {
            generation: Inputs::count(source)?.clamp(1, NUMBER_MAX),
            nodes: super::copies::nodes(source)?,
        },
    };
    Ok(())
}

/// Another latest run of a job.
fn job(state: &mut ClusterState, source: &mut Unstructured<'_>) -> Result<()> {
    let name = *source.choose(&JOBS)?;
    let place = match boot(source)? {
        Some(boot) => Some((Inputs::node(source)?, boot)),
        None => None,
    };
    let known = JobState {
        due: super::copies::instant(source)?,
        run: Inputs::count(source)?.min(NUMBER_MAX),
        occurrence: super::copies::instant(source)?,
        attempt: source.int_in_range(0..=4)?,
        who: if source.ratio(1, 4)? {
            "fuzz".into()
        } else {
            String::new()
        },
        place,
        phase: *source.choose(&JobPhase::ALL)?,
        detail: "it was made up".into(),
        took_ms: 0,
    };
    state.jobs.insert(name.into(), known);
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

fn group(state: &mut ClusterState, world: World, source: &mut Unstructured<'_>) -> Result<()> {
    let name = *source.choose(world.groups())?;
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
            accepts_loss: if world == World::Copies && source.arbitrary()? {
                Some("now".into())
            } else {
                None
            },
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

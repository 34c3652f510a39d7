//! Names, configurations and states that tests start from.

use holdfast_proto::config::parse;
use holdfast_proto::ids::Epoch;
use holdfast_proto::state::genesis;

use super::*;
use crate::event::GroupObservation;

pub(super) const A: NodeId = NodeId(1);
pub(super) const B: NodeId = NodeId(2);
pub(super) const C: NodeId = NodeId(3);
pub(super) const W: NodeId = NodeId::WITNESS;

/// The detection time of every test's cluster.
pub(super) const LEASE: Duration = Duration::from_secs(1);

/// A cluster of `nodes` data nodes with one power device each, a witness if wanted, and `groups` as TOML.
pub(super) fn config(nodes: u8, witness: bool, groups: &str) -> Arc<Config> {
    config_with(nodes, witness, "", groups)
}

/// The same with more keys in `[cluster]`.
pub(super) fn config_with(nodes: u8, witness: bool, cluster: &str, groups: &str) -> Arc<Config> {
    let mut text = format!(
        "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\ndetection = \"1s\"\nfence_delay = \"3s\"\n\
         witness_grace = \"3s\"\nstartup_grace = \"8s\"\n{cluster}\n"
    );
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
    text += groups;
    match parse(&text, "test.toml") {
        Ok(config) => Arc::new(config),
        Err(why) => panic!("the test's configuration is not valid:\n{why}\n{text}"),
    }
}

/// A group of one address, as TOML; `more` are keys of the group.
pub(super) fn group(name: &str, requires: &str, more: &str) -> String {
    let number = name.bytes().map(u32::from).sum::<u32>() % 250;
    format!(
        "[[group]]\nname = \"{name}\"\nrequires = \"{requires}\"\n{more}\n[[group.resource]]\nname = \"r\"\n\
         type = \"vip\"\naddress = \"10.1.0.{number}/24\"\n"
    )
}

/// The state of a cluster in which every member of `config` votes and no group was placed yet.
pub(super) fn all_vote(config: &Arc<Config>) -> ClusterState {
    let mut state = genesis(Arc::clone(config), A);
    state.voters = config.members().collect();
    state
}

pub(super) fn voters(nodes: &[NodeId]) -> VoterSet {
    nodes.iter().copied().collect()
}

/// What an agent process says about a group.
pub(super) fn observation(group: &str, epoch: Epoch, run: RunState) -> GroupObservation {
    GroupObservation {
        member: None,
        group: group.into(),
        epoch,
        run,
        restarts: 0,
        detail: if run == RunState::Failed {
            "exit code 1".into()
        } else {
            String::new()
        },
    }
}

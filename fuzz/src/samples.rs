//! Examples that checks compare with and that corpora begin from.

use std::sync::{Arc, LazyLock};

use holdfast_core::durable::Durable;
use holdfast_core::effect::Permit;
use holdfast_daemon::agentd_link::translate;
use holdfast_proto::agent::GroupSpec;
use holdfast_proto::config::{self, Config};
use holdfast_proto::ids::{Ballot, BootId, NodeId};
use holdfast_proto::state::{Assignment, ClusterState, Failure, MoveIntent, ProofKind, ProofRecord, genesis};
use holdfast_proto::time::Time;

/// A pair with a witness, devices of two levels, two groups.
pub const CONFIG: &str = include_str!("sample.toml");

/// [`CONFIG`], parsed.
#[must_use]
pub fn config() -> &'static Arc<Config> {
    static PARSED: LazyLock<Arc<Config>> = LazyLock::new(|| Arc::new(parsed(CONFIG)));
    &PARSED
}

/// `text`, which must be right.
///
/// # Panics
/// When it is not.
#[must_use]
pub fn parsed(text: &str) -> Config {
    config::parse(text, "sample").unwrap_or_else(|found| panic!("{found}\n{text}"))
}

/// Every group of `config` as the agent process gets it.
#[must_use]
pub fn specs(config: &Config) -> Vec<GroupSpec> {
    let spec = |name: &holdfast_proto::ids::GroupName| {
        let permit = Permit {
            group: name.clone(),
            epoch: 1,
            until: Time(1),
        };
        translate::start(&permit, config, NodeId(1))?.spec
    };
    config
        .groups
        .iter()
        .filter_map(|group| spec(&group.name))
        .collect()
}

/// A state in which something of everything has happened.
#[must_use]
pub fn state() -> ClusterState {
    let mut state = genesis(Arc::clone(config()), NodeId(1));
    state.version = 42;
    state.voters = config().members().collect();
    state.next_epoch = 9;
    state.reason = "node 2 was fenced".into();
    let boot = Some(BootId(0x1234_5678_9abc_def0));
    for (index, group) in state.groups.values_mut().enumerate() {
        group.assignment = if index == 0 {
            Assignment::Owned {
                owner: NodeId(1),
                boot,
                epoch: 7,
            }
        } else {
            Assignment::Releasing {
                owner: NodeId(2),
                boot,
                epoch: 8,
                toward: Some(NodeId(1)),
            }
        };
        group.intent = Some(MoveIntent {
            accepts_loss: None,
            to: NodeId(2),
            who: "root".into(),
        });
        let failure = Failure {
            count: 2,
            reason: "exit 1".into(),
        };
        group.failures.insert(NodeId(2), failure);
    }
    let node = state.nodes.entry(NodeId(2)).or_default();
    node.standby = true;
    node.proof = Some(ProofRecord {
        kind: ProofKind::Power,
        ended_boot: boot,
        evidence: "off was read back".into(),
        version: 41,
    });
    state
}

/// The record of an acceptor that holds [`state`].
#[must_use]
pub fn durable() -> Durable {
    let accepted = Arc::new(state());
    let mut committed = state();
    committed.version = 41;
    Durable {
        promised: Ballot { round: 5, node: 1 },
        accepted_ballot: Ballot { round: 4, node: 2 },
        accepted,
        committed: Arc::new(committed),
    }
}

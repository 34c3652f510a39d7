//! Conversion of the cluster state. Its configuration travels as the operator's text and is parsed here.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use super::job::{decode_job, encode_job};
use super::schema::{FailureWire, GroupWire, InSyncWire, IntentWire, NodeWire, ProofWire, StateWire};
use super::{FIELDS_MAX, WireError, boot_of, bounded, counted, invalid, node, voters};
use crate::config::{self, Config};
use crate::ids::{NodeId, VoterSet};
use crate::state::{
    Assignment, ClusterState, Failure, GroupState, InSync, MoveIntent, NodeState, ProofKind, ProofRecord,
};

/// Configurations that are remembered: the one in force, and the one that follows it.
const REMEMBERED: usize = 2;

thread_local! {
    /// The latest configurations that this thread parsed and that are still in use: every state carries its
    /// configuration, nearly always the same, and parsing thousands of groups takes longer than all else about them.
    static PARSED: RefCell<VecDeque<Weak<Config>>> = const { RefCell::new(VecDeque::new()) };
}

/// Parses a configuration that came over the wire.
pub fn parse_config(text: &str) -> Result<Arc<Config>, WireError> {
    let known = PARSED.with_borrow(|parsed| {
        let mut used = parsed.iter().filter_map(Weak::upgrade);
        used.find(|config| config.source == text)
    });
    if let Some(config) = known {
        return Ok(config);
    }
    match config::parse(text, "cluster state") {
        Ok(config) => {
            let config = Arc::new(config);
            PARSED.with_borrow_mut(|parsed| {
                parsed.truncate(REMEMBERED - 1);
                parsed.push_front(Arc::downgrade(&config));
            });
            Ok(config)
        }
        Err(diagnostics) => Err(WireError::Config(diagnostics.summary())),
    }
}

impl From<&ClusterState> for StateWire {
    fn from(state: &ClusterState) -> Self {
        let group = |(name, group): (&crate::ids::GroupName, &GroupState)| {
            prost::Message::encode_to_vec(&group_wire(name, group))
        };
        let node = |(node, state): (&NodeId, &NodeState)| {
            prost::Message::encode_to_vec(&NodeWire {
                node: Some(node.0.into()),
                standby: state.standby,
                proof: state.proof.as_ref().map(Into::into),
                watchdog_ms: state.watchdog_ms,
            })
        };
        StateWire {
            version: state.version,
            config: state.config.source.clone(),
            voters: state.voters.0,
            survivor: Some(state.survivor.0.into()),
            next_epoch: state.next_epoch,
            maintenance: state.maintenance,
            lease_before_ms: state.lease_before_ms,
            register: state.register.map(Into::into),
            groups: state.groups.iter().map(group).collect(),
            nodes: state.nodes.iter().map(node).collect(),
            jobs: state.jobs.iter().map(encode_job).collect(),
            reason: state.reason.clone(),
        }
    }
}

fn group_wire(name: &str, group: &GroupState) -> GroupWire {
    let (assignment, toward) = match &group.assignment {
        Assignment::Stopped { .. } => (1, None),
        Assignment::Owned { .. } => (2, None),
        Assignment::Releasing { toward, .. } => (3, *toward),
    };
    let failure = |(node, failure): (&NodeId, &Failure)| FailureWire {
        node: Some(node.0.into()),
        count: failure.count,
        reason: failure.reason.clone(),
    };
    GroupWire {
        name: name.to_string(),
        assignment,
        epoch: group.assignment.epoch(),
        owner: group.assignment.owner().map(|owner| owner.0.into()),
        boot: group.assignment.boot().map(Into::into),
        toward: toward.map(|toward| toward.0.into()),
        disabled: group.disabled,
        intent: group.intent.as_ref().map(|intent| IntentWire {
            to: Some(intent.to.0.into()),
            who: intent.who.clone(),
            accepts_loss: intent.accepts_loss.clone(),
        }),
        failures: group.failures.iter().map(failure).collect(),
        reason: group.reason.clone(),
        automatic_moves: group.automatic_moves,
        in_sync: (group.in_sync != InSync::default()).then(|| (&group.in_sync).into()),
    }
}

impl From<&InSync> for InSyncWire {
    fn from(set: &InSync) -> Self {
        InSyncWire {
            generation: set.generation,
            nodes: set.nodes.iter().copied().collect::<VoterSet>().0,
        }
    }
}

/// A set of nodes; the witness has no copy of anything.
pub fn in_sync(wire: Option<InSyncWire>, field: &'static str) -> Result<Option<InSync>, WireError> {
    let Some(wire) = wire else { return Ok(None) };
    let nodes = voters(wire.nodes, field)?;
    if nodes.contains(NodeId::WITNESS) {
        return Err(invalid(field, format_args!("{:#x}", wire.nodes)));
    }
    Ok(Some(InSync {
        generation: counted(wire.generation, field)?,
        nodes: nodes.iter().collect(),
    }))
}

impl TryFrom<StateWire> for ClusterState {
    type Error = WireError;
    fn try_from(wire: StateWire) -> Result<Self, WireError> {
        if wire.version == 0 {
            return Err(WireError::Missing("state.version"));
        }
        let voters = voters(wire.voters, "state.voters")?;
        if voters == VoterSet::EMPTY {
            return Err(WireError::Missing("state.voters"));
        }
        let mut state = ClusterState {
            version: counted(wire.version, "state.version")?,
            config: parse_config(&wire.config)?,
            voters,
            survivor: node(wire.survivor, "state.survivor")?,
            next_epoch: counted(wire.next_epoch, "state.next_epoch")?,
            maintenance: wire.maintenance,
            lease_before_ms: wire.lease_before_ms,
            register: wire.register.map(boot_of),
            groups: Default::default(),
            nodes: Default::default(),
            jobs: Default::default(),
            reason: wire.reason,
        };
        for bytes in &wire.groups {
            let group: GroupWire = bounded(bytes, FIELDS_MAX, "state.group")?;
            let name: crate::ids::GroupName = group.name.as_str().into();
            if name.is_empty() {
                return Err(WireError::Missing("state.group.name"));
            }
            if state.groups.insert(name, group.try_into()?).is_some() {
                return Err(invalid("state.groups", "a group is named twice"));
            }
        }
        for bytes in &wire.nodes {
            let wire: NodeWire = bounded(bytes, FIELDS_MAX, "state.node")?;
            let number = node(wire.node, "state.node.node")?;
            let proof = wire.proof.map(ProofRecord::try_from).transpose()?;
            if state
                .nodes
                .insert(
                    number,
                    NodeState {
                        standby: wire.standby,
                        proof,
                        watchdog_ms: wire.watchdog_ms,
                    },
                )
                .is_some()
            {
                return Err(invalid("state.nodes", format_args!("{number} is named twice")));
            }
        }
        for bytes in &wire.jobs {
            let (name, job) = decode_job(bytes)?;
            if state.jobs.insert(name, job).is_some() {
                return Err(invalid("state.jobs", "a job is named twice"));
            }
        }
        Ok(state)
    }
}

impl TryFrom<GroupWire> for GroupState {
    type Error = WireError;
    fn try_from(wire: GroupWire) -> Result<Self, WireError> {
        let assignment = assignment(&wire)?;
        let intent = match wire.intent {
            None => None,
            Some(intent) => Some(MoveIntent {
                to: node(intent.to, "state.group.intent.to")?,
                who: intent.who,
                accepts_loss: intent.accepts_loss,
            }),
        };
        let mut group = GroupState {
            assignment,
            disabled: wire.disabled,
            intent,
            failures: Default::default(),
            automatic_moves: wire.automatic_moves,
            reason: wire.reason,
            in_sync: in_sync(wire.in_sync, "state.group.in_sync")?.unwrap_or_default(),
        };
        for failure in wire.failures {
            let number = node(failure.node, "state.group.failure.node")?;
            let record = Failure {
                count: failure.count,
                reason: failure.reason,
            };
            if group.failures.insert(number, record).is_some() {
                return Err(invalid(
                    "state.group.failures",
                    format_args!("{number} is named twice"),
                ));
            }
        }
        Ok(group)
    }
}

fn assignment(wire: &GroupWire) -> Result<Assignment, WireError> {
    let epoch = wire.epoch;
    let boot = wire.boot.map(boot_of);
    let owner = || node(wire.owner, "state.group.owner");
    match wire.assignment {
        0 => Err(WireError::Missing("state.group.assignment")),
        1 => Ok(Assignment::Stopped { epoch }),
        2 => Ok(Assignment::Owned {
            owner: owner()?,
            boot,
            epoch,
        }),
        3 => {
            let toward = match wire.toward {
                None => None,
                given => Some(node(given, "state.group.toward")?),
            };
            Ok(Assignment::Releasing {
                owner: owner()?,
                boot,
                epoch,
                toward,
            })
        }
        other => Err(invalid("state.group.assignment", other)),
    }
}

impl From<&ProofRecord> for ProofWire {
    fn from(proof: &ProofRecord) -> Self {
        let kind = match proof.kind {
            ProofKind::Stopped => 1,
            ProofKind::Power => 2,
            ProofKind::Reset => 3,
            ProofKind::Watchdog => 4,
            ProofKind::Storage => 5,
            ProofKind::Operator => 6,
            ProofKind::Lapsed => 7,
        };
        ProofWire {
            kind,
            ended_boot: proof.ended_boot.map(Into::into),
            evidence: proof.evidence.clone(),
            version: proof.version,
        }
    }
}

impl TryFrom<ProofWire> for ProofRecord {
    type Error = WireError;
    fn try_from(wire: ProofWire) -> Result<Self, WireError> {
        let kind = match wire.kind {
            0 => return Err(WireError::Missing("state.node.proof.kind")),
            1 => ProofKind::Stopped,
            2 => ProofKind::Power,
            3 => ProofKind::Reset,
            4 => ProofKind::Watchdog,
            5 => ProofKind::Storage,
            6 => ProofKind::Operator,
            7 => ProofKind::Lapsed,
            other => return Err(invalid("state.node.proof.kind", other)),
        };
        Ok(ProofRecord {
            kind,
            ended_boot: wire.ended_boot.map(boot_of),
            evidence: wire.evidence,
            version: wire.version,
        })
    }
}

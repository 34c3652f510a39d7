//! A cluster picture for tests: db1 (this node), db2 and a witness, one group.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::view::{GroupView, PeerView, View};
use holdfast_proto::config::{ClusterSection, Config, GroupSection, NodeSection, Requires, WitnessSection};
use holdfast_proto::ids::{Ballot, BootId, ClusterId, NodeId, VoterSet};
use holdfast_proto::state::{Assignment, ClusterState, GroupState, NodeState};
use holdfast_proto::time::Time;

use crate::rt::Scheduling;
use crate::shell::api::{AgentPicture, Snapshot};

/// The configuration.
#[must_use]
pub fn config() -> Config {
    let node = |id: u8, name: &str| NodeSection {
        id: NodeId(id),
        name: name.into(),
        links: vec![std::net::IpAddr::from([127, 0, 0, id])],
        keys: Vec::new(),
    };
    Config {
        source: "[cluster]\nname = \"shop\"\n".into(),
        cluster: ClusterSection {
            name: "shop".into(),
            id: ClusterId(7),
            detection_ms: 1000,
            port: 7946,
            fence_delay_ms: 5000,
            witness_grace_ms: 10_000,
            startup_grace_ms: 60_000,
            ping: Vec::new(),
            flap_budget: 3,
            flap_window_ms: 600_000,
        },
        nodes: vec![node(1, "db1"), node(2, "db2")],
        witness: Some(WitnessSection {
            name: "witness".into(),
            address: std::net::IpAddr::from([127, 0, 0, 3]),
            port: 7946,
            keys: Vec::new(),
        }),
        fences: Vec::new(),
        groups: vec![GroupSection {
            name: "mysql".into(),
            prefer: vec![NodeId(1)],
            requires: Requires::Fencing,
            with: Vec::new(),
            apart_from: Vec::new(),
            after: Vec::new(),
            max_restarts: 3,
            restart_window_ms: 600_000,
            resources: Vec::new(),
        }],
    }
}

/// A healthy cluster.
#[must_use]
pub fn healthy() -> Snapshot {
    let config = Arc::new(config());
    let boot = BootId(1 << 96);
    let group = GroupState {
        assignment: Assignment::Owned {
            owner: NodeId(1),
            boot: Some(boot),
            epoch: 4,
        },
        disabled: false,
        intent: None,
        failures: BTreeMap::new(),
        automatic_moves: 0,
        reason: "preferred node".into(),
    };
    let state = ClusterState {
        version: 12,
        config: Arc::clone(&config),
        voters: VoterSet(0b111),
        survivor: NodeId(1),
        next_epoch: 5,
        maintenance: false,
        groups: BTreeMap::from([("mysql".into(), group)]),
        nodes: BTreeMap::from([
            (NodeId(1), NodeState::default()),
            (NodeId(2), NodeState::default()),
        ]),
        reason: "started".into(),
    };
    let peer = |node: u8| PeerView {
        node: NodeId(node),
        state: "online",
        detail: String::new(),
        boot: Some(BootId(2 << 96)),
        synced: true,
        watchdog: None,
    };
    let view = View {
        node: NodeId(1),
        state: Some(Arc::new(state)),
        ballot: Ballot { round: 3, node: 1 },
        leader: Some(NodeId(1)),
        quorum: "3 of 3 voters answer".into(),
        has_quorum: true,
        synced: true,
        peers: vec![peer(2), peer(0)],
        groups: vec![GroupView {
            name: "mysql".into(),
            state: "running",
            node: Some(NodeId(1)),
            epoch: 4,
            reason: "preferred node".into(),
            local: None,
            permit_until: None,
            last_outage: None,
            candidates: vec![
                (NodeId(1), true, String::new()),
                (NodeId(2), false, "in standby".into()),
            ],
        }],
        next: None,
        warnings: Vec::new(),
    };
    Snapshot {
        now: Time(1_000_000),
        view,
        config,
        links: Vec::new(),
        agent: AgentPicture {
            wanted: true,
            attached: true,
            ..AgentPicture::default()
        },
        scheduling: Scheduling {
            sentence: "SCHED_FIFO 10, memory locked".into(),
            full: true,
        },
        boot,
        disk_trouble: String::new(),
    }
}

//! A cluster picture for tests: db1 (this node), db2 and a witness, one group.

use std::collections::BTreeMap;
use std::sync::Arc;

use holdfast_core::view::{GroupView, PeerView, View};
use holdfast_proto::config::{self, Config};
use holdfast_proto::ids::{Ballot, BootId, NodeId, VoterSet};
use holdfast_proto::state::{Assignment, ClusterState, GroupState, NodeState};
use holdfast_proto::time::Time;

use crate::rt::Scheduling;
use crate::shell::api::{AgentPicture, Snapshot};

/// The configuration.
#[must_use]
pub fn config() -> Config {
    let pin = |digit: &str| digit.repeat(64);
    let text = format!(
        "[cluster]\nname = \"shop\"\nid = \"0000000000000007\"\n\
         [[node]]\nname = \"db1\"\nlinks = [\"127.0.0.1\"]\nkeys = [\"{}\"]\n\
         [[node]]\nname = \"db2\"\nlinks = [\"127.0.0.2\"]\nkeys = [\"{}\"]\n\
         [witness]\naddress = \"127.0.0.3\"\nkeys = [\"{}\"]\n\
         [[group]]\nname = \"mysql\"\nprefer = [\"db1\"]\nrequires = \"fencing\"\n\
         [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"\n",
        pin("1"),
        pin("2"),
        pin("3"),
    );
    config::parse(&text, "fixture.toml").unwrap_or_else(|wrong| panic!("{}", wrong.render(false)))
}

/// The same with a fence device for each node.
#[must_use]
pub fn with_fences() -> Config {
    let device = |node: &str| {
        format!("[[fence]]\nnode = \"{node}\"\nagent = \"exec\"\nparams = {{ program = \"/sbin/{node}\" }}\n")
    };
    let text = config().source + &device("db1") + &device("db2");
    config::parse(&text, "fixture.toml").unwrap_or_else(|wrong| panic!("{}", wrong.render(false)))
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
        in_sync: Default::default(),
    };
    let state = ClusterState {
        version: 12,
        config: Arc::clone(&config),
        voters: VoterSet(0b111),
        survivor: NodeId(1),
        next_epoch: 5,
        maintenance: false,
        lease_before_ms: 0,
        register: None,
        groups: BTreeMap::from([("mysql".into(), group)]),
        jobs: BTreeMap::new(),
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
        fenced_lately: 0,
        stays_out_until: None,
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
            members: Vec::new(),
            candidates: vec![
                (NodeId(1), true, String::new()),
                (NodeId(2), false, "in standby".into()),
            ],
        }],
        next: None,
        waiting_jobs: BTreeMap::new(),
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
        fence_tests: Vec::new(),
        scheduling: Scheduling {
            sentence: "SCHED_FIFO 10, memory locked".into(),
            full: true,
        },
        boot,
        disk_trouble: String::new(),
        register: None,
    }
}

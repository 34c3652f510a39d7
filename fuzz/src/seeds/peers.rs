//! What peers and disks say.

use std::sync::Arc;
use std::time::Duration;

use holdfast_daemon::fuzzing::{JoinCall, generation};
use holdfast_proto::frame::{self, Frame};
use holdfast_proto::ids::{Ballot, BootId, ClusterId, Incarnation, NodeId};
use holdfast_proto::operator::{OperatorCall, OperatorOutcome, OperatorRequest};
use holdfast_proto::peer::{
    Beat, GroupReport, Heartbeat, HeartbeatAck, KnownVoters, Message, NodeReport, RunState, Sender, Verdict,
};
use holdfast_proto::stream::frame_bytes;
use holdfast_proto::time::Time;
use holdfast_proto::wire::{self, Hello, HelloReply, Purpose, Refusal};
use prost::Message as _;

use super::{Seeds, after};
use crate::samples;

const FROM: Sender = Sender {
    node: NodeId(1),
    boot: BootId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
    incarnation: Incarnation(3),
};
const BALLOT: Ballot = Ballot { round: 4, node: 1 };

pub fn frames() -> Seeds {
    let heartbeat = Heartbeat {
        seq: 1,
        sent_at: Time(1_000_000),
        lateness: Duration::from_micros(50),
        ballot: BALLOT,
        leading: true,
        committed: 7,
        synced: true,
        blank: false,
        survivor: NodeId(1),
        watchdog: Some(Duration::from_secs(5)),
        agent_ready: true,
    };
    let ack = HeartbeatAck {
        seq: 1,
        sent_at: Time(1_000_000),
        ballot: BALLOT,
        backs: true,
        lease_left: Duration::from_millis(900),
        granted: 7,
        withheld: [3, 0, 0, 0],
        withhold_all: false,
        committed: 7,
        blank: false,
    };
    let quiet = Heartbeat {
        leading: false,
        watchdog: None,
        ..heartbeat
    };
    let beats = [Beat::Heartbeat(heartbeat), Beat::Heartbeat(quiet), Beat::Ack(ack)];
    let frame = |beat| Frame {
        cluster: ClusterId(0xaa),
        to: NodeId(2),
        from: FROM,
        beat,
    };
    beats
        .into_iter()
        .map(|beat| frame::encode(&frame(beat)))
        .collect()
}

pub fn hellos() -> Seeds {
    let hello = Hello {
        cluster: ClusterId(0xaa),
        from: FROM,
        to: NodeId(2),
        daemon_version: "0.1.0".into(),
        wire_version: 1,
        link: 1,
        purpose: Purpose::Messages,
    };
    let accepted = HelloReply::Accepted {
        from: FROM,
        daemon_version: "0.1.0".into(),
        wire_version: 1,
    };
    let refused = HelloReply::Refused {
        refusal: Refusal::WrongKey,
        sentence: "another key".into(),
    };
    vec![hello.encode(), accepted.encode(), refused.encode()]
}

pub fn messages() -> Seeds {
    let state = Arc::new(samples::state());
    let voters = KnownVoters {
        committed_version: 41,
        committed: state.voters,
        accepted: state.voters,
    };
    let mut report = NodeReport {
        version: 42,
        ..NodeReport::default()
    };
    let seen = GroupReport {
        member: None,
        epoch: 7,
        run: RunState::Running,
        restarts: 1,
        detail: "unit failed".into(),
    };
    report.groups.insert("web".into(), seen);
    let mut all = vec![
        Message::PreVote { ballot: BALLOT },
        Message::PreVoteReply {
            ballot: BALLOT,
            verdict: Verdict::Bound(Duration::from_millis(300)),
            promised: BALLOT,
            voters,
        },
        Message::Prepare {
            ballot: BALLOT,
            transfer: Some(BALLOT),
        },
        Message::Promise {
            ballot: BALLOT,
            accepted_ballot: BALLOT,
            accepted: Arc::clone(&state),
            voters,
        },
        Message::Refuse {
            ballot: BALLOT,
            promised: BALLOT,
            verdict: Verdict::Stale,
        },
        Message::Accept {
            ballot: BALLOT,
            state: Arc::clone(&state),
        },
        Message::Accepted {
            ballot: BALLOT,
            version: 42,
        },
        Message::Commit {
            ballot: BALLOT,
            state,
        },
        Message::Transfer { ballot: BALLOT },
        Message::Report(report),
        Message::ForwardReply {
            request: 1,
            outcome: OperatorOutcome::Done("moved".into()),
        },
    ];
    let requests = [
        OperatorRequest::Move {
            group: "web".into(),
            to: Some(NodeId(2)),
        },
        OperatorRequest::Standby {
            node: NodeId(1),
            on: true,
        },
        OperatorRequest::Maintenance { on: true },
        OperatorRequest::Restart {
            group: "web".into(),
            resource: Some("nginx".into()),
        },
        OperatorRequest::Cleanup { group: None },
        OperatorRequest::Enable {
            group: "web".into(),
            enabled: false,
        },
        OperatorRequest::Fence { node: NodeId(2) },
        OperatorRequest::FenceConfirm {
            node: NodeId(2),
            reason: String::new(),
        },
        OperatorRequest::QuorumForce,
        OperatorRequest::ApplyConfig {
            config: Arc::clone(samples::config()),
        },
    ];
    all.extend(requests.map(|request| Message::Forward {
        request: 1,
        call: OperatorCall {
            request,
            who: "root".into(),
            at: "2026-01-01T00:00:00Z".into(),
        },
    }));
    let mut seeds: Seeds = all.iter().map(wire::encode).collect();
    seeds.push(wire::encode_state(&samples::state()));
    seeds
}

pub fn streams() -> Seeds {
    let mut stream = frame_bytes(&wire::encode(&Message::PreVote { ballot: BALLOT }));
    stream.extend(frame_bytes(b""));
    stream.extend(frame_bytes(&[7; 300]));
    vec![
        after(&[3], &stream),
        after(&[255], &stream[..stream.len() - 1]),
        after(&[1], &u32::MAX.to_be_bytes()),
    ]
}

pub fn stores() -> Seeds {
    let record = samples::durable();
    let (old, new) = (generation(6, &record), generation(7, &record));
    // The split is a share of 255: both files have nearly the same length, and the check cuts in the middle.
    vec![
        after(&[1, 255, 0], &old),
        after(&[2, 0, 0], &new),
        after(&[3, 127, 3], &[old.clone(), new.clone()].concat()),
        after(&[3, 128, 2], &[&old[..old.len() / 2], &new].concat()),
    ]
}

pub fn joins() -> Seeds {
    let mut content = vec![0, 1];
    content.extend([0x11; 32]);
    content.extend([0x22; 32]);
    content.extend([2, 4, 10, 0, 0, 1, 0x1f, 0x0a, 6]);
    content.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1f, 0x0a]);
    let mut whole = content.clone();
    whole.extend(crc32fast::hash(&content).to_be_bytes());
    let call = JoinCall {
        secret: vec![0x22; 32],
        name: "db3".into(),
        links: vec!["10.0.0.3".into()],
        witness: false,
    };
    vec![
        content,
        format!("holdfast1-{}\n", crate::join::base32(&whole)).into_bytes(),
        call.encode_to_vec(),
        b"abcd-efgh-2345".to_vec(),
    ]
}

/// A key that was made for this purpose alone.
pub fn keys() -> Seeds {
    let mut pkcs8 = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
    ];
    pkcs8.extend([0x42; 32]);
    let mut spki = vec![
        0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
    ];
    spki.extend([0x17; 32]);
    vec![pkcs8, spki, vec![0; 64], vec![1; 8]]
}

/// Sequences of events: no encoding exists, so a few patterns of bytes.
pub fn plays() -> Seeds {
    let mut seeds: Seeds = vec![vec![0; 200], vec![0x55; 300], (0..=255).collect()];
    for factor in [37u32, 101, 197] {
        seeds.push(
            (0..800u32)
                .map(|at| (at * factor >> 3) as u8 ^ (at * at) as u8)
                .collect(),
        );
    }
    seeds
}

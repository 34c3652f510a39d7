mod any;

use std::sync::Arc;

use any::{any_message, any_state};
use proptest::prelude::*;

use super::schema::{Body, GroupWire, MessageWire, StateWire};
use super::*;
use crate::config::{self, Config};
use crate::ids::{ClusterId, Incarnation};
use crate::peer::Sender;
use crate::state::{Assignment, genesis};

const CONFIG: &str = r#"
[cluster]
name = "pair"
id = "00000000000000ff"
[[node]]
name = "db1"
links = ["10.0.0.1"]
[[node]]
name = "db2"
links = ["10.0.0.2"]
[witness]
address = "10.0.0.3"
[[group]]
name = "web"
[[group.resource]]
name = "vip"
type = "vip"
address = "10.0.0.100/24"
"#;

fn sample_config() -> Arc<Config> {
    Arc::new(config::parse(CONFIG, "test").unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_message_survives_the_wire(message in any_message()) {
        prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
    }

    #[test]
    fn every_state_survives_the_disk(state in any_state()) {
        prop_assert_eq!(decode_state(&encode_state(&state)).unwrap(), (*state).clone());
    }

    #[test]
    fn damaged_messages_never_panic(
        message in any_message(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        keep in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode(&message);
        bytes.truncate(keep.index(bytes.len() + 1));
        for (at, byte) in flips {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        drop(decode(&bytes));
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        drop(decode(&bytes));
        drop(decode_state(&bytes));
        drop(Hello::decode(&bytes));
        drop(HelloReply::decode(&bytes));
    }
}

fn wire_bytes(body: Option<Body>) -> Vec<u8> {
    prost::Message::encode_to_vec(&MessageWire { body })
}

fn refusal(bytes: &[u8]) -> String {
    decode(bytes).unwrap_err().to_string()
}

/// The wire form of a good state, to be spoilt.
fn state_wire() -> StateWire {
    StateWire::from(&genesis(sample_config(), NodeId(1)))
}

fn state_refusal(spoil: impl FnOnce(&mut StateWire)) -> String {
    let mut wire = state_wire();
    spoil(&mut wire);
    decode_state(&prost::Message::encode_to_vec(&wire))
        .unwrap_err()
        .to_string()
}

#[test]
fn genesis_has_one_voter_and_nothing_running() {
    let state = genesis(sample_config(), NodeId(1));
    assert_eq!((state.version, state.next_epoch), (1, 1));
    assert_eq!(state.voters, VoterSet::EMPTY.with(NodeId(1)));
    assert_eq!(state.groups["web"].assignment, Assignment::Stopped { epoch: 0 });
    assert_eq!(
        state.nodes.keys().copied().collect::<Vec<_>>(),
        [NodeId(1), NodeId(2)]
    );
    assert_eq!(decode_state(&encode_state(&state)).unwrap(), state);
}

#[test]
fn missing_and_impossible_fields_are_named() {
    let ballot = Some(schema::BallotWire {
        round: 1,
        node: Some(1),
    });
    assert_eq!(refusal(&[]), "message.body is missing");
    let prepare = |ballot| {
        wire_bytes(Some(Body::Prepare(schema::PrepareWire {
            ballot,
            transfer: None,
        })))
    };
    assert_eq!(refusal(&prepare(None)), "prepare.ballot is missing");
    let nobody = Some(schema::BallotWire { round: 1, node: None });
    assert_eq!(refusal(&prepare(nobody)), "prepare.ballot is missing");
    let stranger = Some(schema::BallotWire {
        round: 1,
        node: Some(17),
    });
    assert_eq!(refusal(&prepare(stranger)), "prepare.ballot is invalid: 17");
    let refuse = |code| {
        let verdict = Some(schema::VerdictWire { code, bound_us: 0 });
        wire_bytes(Some(Body::Refuse(schema::RefuseWire {
            ballot,
            promised: ballot,
            verdict,
        })))
    };
    assert_eq!(refusal(&refuse(0)), "refuse.verdict is missing");
    assert_eq!(refusal(&refuse(9)), "refuse.verdict is invalid: 9");
    let accept = wire_bytes(Some(Body::Accept(schema::StateAtBallot { ballot, state: None })));
    assert_eq!(refusal(&accept), "accept.state is missing");
}

#[test]
fn impossible_states_are_refused() {
    assert_eq!(
        state_refusal(|state| state.version = 0),
        "state.version is missing"
    );
    assert_eq!(state_refusal(|state| state.voters = 0), "state.voters is missing");
    assert_eq!(
        state_refusal(|state| state.voters = 1 << 17),
        "state.voters is invalid: 0x20000"
    );
    assert_eq!(
        state_refusal(|state| state.survivor = None),
        "state.survivor is missing"
    );
    assert_eq!(
        state_refusal(|state| state.groups.push(state.groups[0].clone())),
        "state.groups is invalid: a group is named twice"
    );
    assert_eq!(
        state_refusal(|state| state.config = "[cluster]\nname = 3\n".into()),
        "the configuration inside is refused: cluster state:1:1: [cluster] needs the key `id` (and 2 more)"
    );
    let ownerless = GroupWire {
        name: "web".into(),
        assignment: 2,
        ..GroupWire::default()
    };
    assert_eq!(
        state_refusal(|state| state.groups = vec![prost::Message::encode_to_vec(&ownerless)]),
        "state.group.owner is missing"
    );
}

#[test]
fn a_short_message_cannot_claim_millions_of_entries() {
    let wire = StateWire {
        groups: vec![Vec::new(); 1_000_000],
        ..state_wire()
    };
    let bytes = prost::Message::encode_to_vec(&wire);
    let error = decode_state(&bytes).unwrap_err().to_string();
    assert_eq!(error, "state has more than 10464 fields");
    let long = vec![0u8; MESSAGE_BYTES_MAX + 1];
    assert_eq!(
        refusal(&long),
        "a message of 4194305 bytes is longer than the limit of 4194304"
    );
}

fn hello() -> Hello {
    Hello {
        cluster: ClusterId(0xff),
        from: Sender {
            node: NodeId(1),
            boot: BootId(7 << 64 | 9),
            incarnation: Incarnation(4),
        },
        to: NodeId::WITNESS,
        daemon_version: "0.1.0".into(),
        wire_version: WIRE_VERSION,
        link: 1,
        purpose: Purpose::Beats,
    }
}

#[test]
fn hellos_and_their_answers_survive_the_wire() {
    for purpose in [Purpose::Beats, Purpose::Messages] {
        let hello = Hello { purpose, ..hello() };
        assert_eq!(Hello::decode(&hello.encode()).unwrap(), hello);
    }
    let accepted = HelloReply::Accepted {
        from: hello().from,
        daemon_version: "0.2.0".into(),
        wire_version: WIRE_VERSION,
    };
    assert_eq!(HelloReply::decode(&accepted.encode()).unwrap(), accepted);
    for refusal in [
        Refusal::WrongCluster,
        Refusal::WrongNode,
        Refusal::UnknownNode,
        Refusal::WrongKey,
        Refusal::WrongVersion,
        Refusal::Busy,
    ] {
        let refused = HelloReply::Refused {
            refusal,
            sentence: "not today".into(),
        };
        assert_eq!(HelloReply::decode(&refused.encode()).unwrap(), refused);
    }
}

#[test]
fn hellos_of_strangers_cannot_write_to_a_terminal() {
    let sly = Hello {
        daemon_version: "1\x1b[2J".into(),
        ..hello()
    };
    let error = Hello::decode(&sly.encode()).unwrap_err().to_string();
    assert_eq!(
        error,
        "hello.daemon_version is invalid: it holds control characters"
    );
    let long = Hello {
        daemon_version: "x".repeat(2000),
        ..hello()
    };
    assert!(Hello::decode(&long.encode()).is_err());
    assert_eq!(
        Hello::decode(&[]).unwrap_err().to_string(),
        "hello.purpose is missing"
    );
}

/// Found by fuzzing: the next ballot above the last number of all was no ballot above it.
#[test]
fn numbers_that_cannot_be_counted_on_from_are_refused() {
    let ballot = |round| Message::PreVote {
        ballot: Ballot { round, node: 1 },
    };
    assert!(decode(&encode(&ballot(NUMBER_MAX))).is_ok());
    let error = decode(&encode(&ballot(NUMBER_MAX + 1))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pre_vote.ballot is invalid: 4611686018427387905"
    );
    for spoil in [
        |state: &mut ClusterState| state.version = u64::MAX,
        |state: &mut ClusterState| state.next_epoch = u64::MAX,
    ] {
        let mut state = crate::state::genesis(sample_config(), NodeId(1));
        assert!(decode_state(&encode_state(&state)).is_ok());
        spoil(&mut state);
        assert!(decode_state(&encode_state(&state)).is_err());
    }
}

/// The bytes that other versions of Holdfast send and expect.
#[test]
fn golden_bytes_fix_the_format() {
    let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let ballot = Ballot { round: 3, node: 1 };
    assert_eq!(hex(encode(&Message::PreVote { ballot })), "0a060a0408031001");
    assert_eq!(
        hex(encode(&Message::Accepted { ballot, version: 300 })),
        "3a090a0408031001".to_owned() + "10ac02"
    );
    assert_eq!(
        hex(hello().encode()),
        "09ff000000000000001001180022120907000000000000001109000000000000002804320".to_owned()
            + "5302e312e30380140014801"
    );
}

use proptest::prelude::*;

use super::*;

fn heartbeat() -> Frame {
    Frame {
        cluster: ClusterId(0x0102_0304_0506_0708),
        to: NodeId(2),
        from: Sender {
            node: NodeId(1),
            boot: BootId(0xaa),
            incarnation: Incarnation(3),
        },
        beat: Beat::Heartbeat(Heartbeat {
            seq: 7,
            sent_at: Time(1_000_000),
            lateness: Duration::from_micros(12),
            ballot: Ballot { round: 5, node: 1 },
            leading: true,
            committed: 9,
            synced: true,
            blank: false,
            survivor: NodeId(1),
            watchdog: Some(Duration::from_secs(10)),
            agent_ready: true,
        }),
    }
}

fn ack() -> Frame {
    Frame {
        beat: Beat::Ack(HeartbeatAck {
            seq: 7,
            sent_at: Time(1_000_000),
            ballot: Ballot { round: 5, node: 1 },
            backs: true,
            lease_left: Duration::from_millis(250),
            granted: 9,
            withheld: [11, 0, 0, 0],
            withhold_all: false,
            committed: 9,
            blank: true,
        }),
        ..heartbeat()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Recomputes the checksum, so that what lies behind it is reached.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let covered = bytes.len() - CRC_BYTES;
    let crc = crc32fast::hash(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The expected bytes were packed by another program from the layout in the module's comment.
#[test]
fn golden_bytes_fix_the_format() {
    assert_eq!(
        hex(&encode(&heartbeat())),
        concat!(
            "0101",
            "0807060504030201",
            "02",
            "01",
            "aa000000000000000000000000000000",
            "0300000000000000",
            "0700000000000000",
            "40420f0000000000",
            "0c00000000000000",
            "0500000000000000",
            "01",
            "0900000000000000",
            "01",
            "8096980000000000",
            "1b",
            "9a9ac84b",
        )
    );
    assert_eq!(
        hex(&encode(&ack())),
        concat!(
            "0102",
            "0807060504030201",
            "02",
            "01",
            "aa000000000000000000000000000000",
            "0300000000000000",
            "0700000000000000",
            "40420f0000000000",
            "0500000000000000",
            "01",
            "90d0030000000000",
            "0900000000000000",
            "0b00000000000000000000000000000000000000000000000000000000000000",
            "0900000000000000",
            "05",
            "982c69fc",
        )
    );
    assert_eq!((HEARTBEAT_BYTES, ACK_BYTES), (91, 122));
}

#[test]
fn what_is_no_frame_is_refused_with_its_reason() {
    let good = encode(&heartbeat());
    assert_eq!(decode(&[]), Err(FrameError::Length(0)));
    assert_eq!(
        decode(&good[..good.len() - 1]),
        Err(FrameError::Length(good.len() - 1))
    );
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(decode(&longer), Err(FrameError::Length(good.len() + 1)));
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    assert_eq!(decode(&changed(0, 2)), Err(FrameError::Version(2)));
    assert_eq!(decode(&changed(1, 9)), Err(FrameError::Kind(9)));
    assert_eq!(decode(&changed(1, KIND_ACK)), Err(FrameError::Length(good.len())));
    assert_eq!(decode(&changed(40, 0xff)), Err(FrameError::Checksum));
    assert_eq!(decode(&resealed(changed(10, 17))), Err(FrameError::Field("to")));
    assert_eq!(
        decode(&resealed(changed(11, 255))),
        Err(FrameError::Field("from"))
    );
    let flags = good.len() - CRC_BYTES - 1;
    assert_eq!(
        decode(&resealed(changed(flags, 0x20))),
        Err(FrameError::Field("flags"))
    );
    assert_eq!(
        decode(&resealed(changed(flags, 0))),
        Err(FrameError::Field("watchdog"))
    );
}

#[test]
fn a_ballot_that_cannot_be_counted_on_from_is_refused() {
    let mut frame = heartbeat();
    if let Beat::Heartbeat(beat) = &mut frame.beat {
        beat.ballot.round = NUMBER_MAX + 1;
    }
    assert_eq!(decode(&encode(&frame)), Err(FrameError::Field("ballot")));
}

fn any_node() -> impl Strategy<Value = NodeId> {
    (0..=NodeId::DATA_MAX).prop_map(NodeId)
}

fn any_ballot() -> impl Strategy<Value = Ballot> {
    (0..=NUMBER_MAX, any_node()).prop_map(|(round, node)| Ballot { round, node: node.0 })
}

fn any_span() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_micros)
}

fn any_heartbeat() -> impl Strategy<Value = Beat> {
    let numbers = (
        any::<u64>(),
        any::<u64>(),
        any_span(),
        any_ballot(),
        any::<u64>(),
        any_node(),
    );
    let rest = (any::<[bool; 4]>(), proptest::option::of(any_span()));
    (numbers, rest).prop_map(
        |((seq, sent_at, lateness, ballot, committed, survivor), (flags, watchdog))| {
            Beat::Heartbeat(Heartbeat {
                seq,
                sent_at: Time(sent_at),
                lateness,
                ballot,
                leading: flags[0],
                committed,
                synced: flags[1],
                blank: flags[2],
                survivor,
                watchdog,
                agent_ready: flags[3],
            })
        },
    )
}

fn any_ack() -> impl Strategy<Value = Beat> {
    let numbers = (
        any::<u64>(),
        any::<u64>(),
        any_ballot(),
        any_span(),
        any::<u64>(),
        any::<u64>(),
    );
    (numbers, any::<[u64; WITHHELD_MAX]>(), any::<[bool; 3]>()).prop_map(
        |((seq, sent_at, ballot, lease_left, granted, committed), withheld, flags)| {
            Beat::Ack(HeartbeatAck {
                seq,
                sent_at: Time(sent_at),
                ballot,
                backs: flags[0],
                lease_left,
                granted,
                withheld,
                withhold_all: flags[1],
                committed,
                blank: flags[2],
            })
        },
    )
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let from = (any_node(), any::<u128>(), any::<u64>()).prop_map(|(node, boot, incarnation)| Sender {
        node,
        boot: BootId(boot),
        incarnation: Incarnation(incarnation),
    });
    (
        any::<u64>(),
        any_node(),
        from,
        prop_oneof![any_heartbeat(), any_ack()],
    )
        .prop_map(|(cluster, to, from, beat)| Frame {
            cluster: ClusterId(cluster),
            to,
            from,
            beat,
        })
}

proptest! {
    #[test]
    fn every_frame_survives_the_wire(frame in any_frame()) {
        prop_assert_eq!(decode(&encode(&frame)), Ok(frame));
    }

    #[test]
    fn any_single_flipped_bit_is_noticed(frame in any_frame(), at in any::<prop::sample::Index>()) {
        let mut bytes = encode(&frame);
        let bit = at.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn garbage_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn garbage_behind_a_right_checksum_never_panics(
        kind in 1u8..=2,
        mut bytes in proptest::collection::vec(any::<u8>(), FRAME_BYTES_MAX),
    ) {
        bytes.truncate(if kind == KIND_HEARTBEAT { HEARTBEAT_BYTES } else { ACK_BYTES });
        bytes[..2].copy_from_slice(&[FRAME_VERSION, kind]);
        let bytes = resealed(bytes);
        if let Ok(frame) = decode(&bytes) {
            prop_assert_eq!(encode(&frame), bytes);
        }
    }
}

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

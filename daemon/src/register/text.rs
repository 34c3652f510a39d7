//! The head of the register as it stands in etcd: one line of text, which an operator can read with `etcdctl get`. Two heads
//! are the same exactly if their lines are, because etcd compares lines.

use holdfast_core::witness::record::{Head, Writer};
use holdfast_proto::ids::{Ballot, BootId, Incarnation, NUMBER_MAX, NodeId};

const BEGINS: &str = "holdfast-witness/1";

pub(super) fn write(head: &Head) -> String {
    format!(
        "{BEGINS} register={:032x} write={} by={} promised={} backing={} backed={} body={} body_by={}",
        head.register.0,
        head.write,
        writer(head.by),
        head.promised,
        head.backing,
        head.backed,
        head.body,
        writer(head.body_by)
    )
}

fn writer(by: Writer) -> String {
    format!("{}/{}/{}", by.node.0, by.run.0, by.attempt)
}

/// Reads what [`write`] wrote, and nothing else.
pub(super) fn read(line: &str) -> Option<Head> {
    let mut words = line.split(' ');
    if words.next() != Some(BEGINS) {
        return None;
    }
    let mut value = |key: &str| words.next()?.strip_prefix(key)?.strip_prefix('=');
    let register = u128::from_str_radix(value("register")?, 16).ok()?;
    let write = number(value("write")?)?;
    let head = Head {
        register: BootId(register),
        write,
        by: written_by(value("by")?)?,
        promised: ballot(value("promised")?)?,
        backing: ballot(value("backing")?)?,
        backed: number(value("backed")?)?,
        body: number(value("body")?)?,
        body_by: written_by(value("body_by")?)?,
    };
    (self::write(&head) == line).then_some(head)
}

fn written_by(text: &str) -> Option<Writer> {
    let mut parts = text.split('/');
    Some(Writer {
        node: NodeId(node(parts.next()?)?),
        run: Incarnation(parts.next()?.parse().ok()?),
        attempt: parts.next()?.parse().ok()?,
    })
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok().filter(|number| *number <= NUMBER_MAX)
}

fn node(text: &str) -> Option<u8> {
    text.parse().ok().filter(|node| *node <= NodeId::DATA_MAX)
}

fn ballot(text: &str) -> Option<Ballot> {
    let (round, opened_by) = text.split_once('.')?;
    Some(Ballot {
        round: number(round)?,
        node: node(opened_by)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written_and_nothing_else_is() {
        let head = Head {
            register: BootId(0xab),
            write: 12,
            by: Writer {
                node: NodeId(2),
                run: Incarnation(7),
                attempt: 3,
            },
            body_by: Writer {
                node: NodeId(1),
                run: Incarnation(6),
                attempt: 44,
            },
            promised: Ballot { round: 4, node: 2 },
            backing: Ballot::ZERO,
            backed: 0,
            body: 9,
        };
        let line = write(&head);
        assert_eq!(
            line,
            "holdfast-witness/1 register=000000000000000000000000000000ab write=12 by=2/7/3 promised=4.2 backing=0.0 \
             backed=0 body=9 body_by=1/6/44"
        );
        assert_eq!(read(&line), Some(head));
        for wrong in [
            line.replace("/1", "/2"),
            line.replace("write=12", "write=012"),
            line.replace("write=12", "write=+12"),
            line.replace("4.2", "4.200"),
            format!("{line} "),
            format!("{line} more=1"),
            line.replace("write=12", "write=99999999999999999999"),
            String::new(),
        ] {
            assert_eq!(read(&wrong), None, "{wrong}");
        }
    }
}

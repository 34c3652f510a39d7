//! Did two processes ever have the same data? Told by the order of the records alone, without any clock.

use std::collections::BTreeMap;

use crate::torture::ledger::{Ledger, Mark, Record, Writer};

/// Two writers leave traces by the thousand; so many are told.
const TOLD: usize = 20;

/// Everything in the ledger of `group` that one writer at a time could not have left there.
#[must_use]
pub fn overlaps(group: &str, ledger: &Ledger) -> Vec<String> {
    let mut found = Vec::new();
    for place in &ledger.damaged {
        found.push(format!("{group}: record {place} of the ledger is damaged"));
    }
    let mut reading = Reading::default();
    for record in &ledger.records {
        if let Some(what) = reading.next(record) {
            found.push(format!("{group}: {what}"));
        }
    }
    let more = found.len().saturating_sub(TOLD);
    if more > 0 {
        found.truncate(TOLD);
        found.push(format!("{group}: and {more} more like these"));
    }
    found
}

/// What is known after some records.
#[derive(Debug, Default)]
struct Reading {
    /// Who has the ledger.
    present: Option<Writer>,
    /// Number of the last record.
    sequence: Option<u64>,
    /// Who had the ledger before, by the order in which they began, and who put an end to it.
    superseded: Vec<Writer>,
    /// Who began under an epoch.
    epochs: BTreeMap<u64, Writer>,
}

impl Reading {
    /// Reads on; what is wrong with the record, if anything is.
    fn next(&mut self, record: &Record) -> Option<String> {
        let wrong = match record.mark {
            Mark::Begin => self.begin(record),
            Mark::Alive | Mark::End => self.go_on(record),
        };
        let expected = self.sequence.map_or(0, |last| last + 1);
        let out_of_order = record.sequence != expected;
        self.sequence = Some(record.sequence.max(expected));
        wrong.or_else(|| {
            out_of_order.then(|| {
                format!(
                    "record {} of {} stands where {expected} should be: two wrote at once",
                    record.sequence,
                    name(&record.writer)
                )
            })
        })
    }

    fn begin(&mut self, record: &Record) -> Option<String> {
        let writer = &record.writer;
        let before = self.present.replace(writer.clone());
        let others: Vec<String> = before.iter().map(name).collect();
        self.superseded.extend(before);
        let epoch = self.check_epoch(writer);
        if record.contended {
            return Some(format!(
                "{} opened it while another process had it open (the last one was {})",
                name(writer),
                others.join(" ")
            ));
        }
        epoch
    }

    /// Epochs only grow, and one belongs to one boot of one node. Without had-agentd there is none.
    fn check_epoch(&mut self, writer: &Writer) -> Option<String> {
        if writer.epoch == 0 {
            return None;
        }
        let newest = self
            .epochs
            .last_key_value()
            .map(|(epoch, by)| (*epoch, by.clone()));
        let known = self.epochs.entry(writer.epoch).or_insert_with(|| writer.clone());
        if (&known.node, known.boot) != (&writer.node, writer.boot) {
            return Some(format!(
                "{} began under the epoch of {}",
                name(writer),
                name(known)
            ));
        }
        newest
            .filter(|(epoch, _)| *epoch > writer.epoch)
            .map(|(_, by)| format!("{} began after {}, of a later epoch", name(writer), name(&by)))
    }

    fn go_on(&mut self, record: &Record) -> Option<String> {
        let writer = &record.writer;
        let present = self.present.as_ref();
        let wrong = match present {
            Some(present) if present == writer => None,
            Some(present) if self.superseded.contains(writer) => Some(format!(
                "{} still wrote after {} began",
                name(writer),
                name(present)
            )),
            _ => Some(format!("{} wrote without having begun", name(writer))),
        };
        if record.mark == Mark::End && wrong.is_none() {
            // Nobody writes until the next one begins.
            self.superseded.extend(self.present.take());
        }
        wrong
    }
}

/// A writer in words.
fn name(writer: &Writer) -> String {
    format!(
        "{} (boot {:08x}, pid {}, epoch {})",
        writer.node,
        writer.boot >> 32,
        writer.pid,
        writer.epoch
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(node: &str, epoch: u64) -> Writer {
        Writer {
            node: node.into(),
            boot: node.bytes().map(u64::from).sum(),
            pid: 7,
            epoch,
        }
    }

    /// A ledger from its records, numbered as one writer at a time does.
    fn ledger(records: &[(Mark, &Writer)]) -> Ledger {
        let records = records.iter().zip(0..).map(|((mark, writer), sequence)| Record {
            mark: *mark,
            contended: false,
            writer: (*writer).clone(),
            sequence,
            at_ns: sequence,
        });
        Ledger {
            records: records.collect(),
            damaged: Vec::new(),
        }
    }

    #[test]
    fn one_after_the_other_is_well() {
        let (a, b, c) = (writer("n1", 1), writer("n2", 4), writer("n1", 6));
        let good = ledger(&[
            (Mark::Begin, &a),
            (Mark::Alive, &a),
            (Mark::Begin, &b),
            (Mark::End, &b),
            (Mark::Begin, &c),
            (Mark::Alive, &c),
        ]);
        assert_eq!(overlaps("ledger", &good), Vec::<String>::new());
    }

    #[test]
    fn a_restart_under_the_same_epoch_is_well() {
        let first = writer("n1", 3);
        let second = Writer {
            pid: 8,
            ..first.clone()
        };
        let good = ledger(&[
            (Mark::Begin, &first),
            (Mark::Begin, &second),
            (Mark::Alive, &second),
        ]);
        assert!(overlaps("ledger", &good).is_empty());
    }

    #[test]
    fn a_write_of_the_old_owner_after_the_new_one_began_is_seen() {
        let (a, b) = (writer("n1", 1), writer("n2", 4));
        let bad = ledger(&[
            (Mark::Begin, &a),
            (Mark::Begin, &b),
            (Mark::Alive, &a),
            (Mark::Alive, &b),
        ]);
        let found = overlaps("ledger", &bad);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(
            found[0].contains("n1") && found[0].contains("still wrote"),
            "{found:?}"
        );
    }

    #[test]
    fn a_write_after_the_end_is_seen() {
        let a = writer("n1", 1);
        let bad = ledger(&[(Mark::Begin, &a), (Mark::End, &a), (Mark::Alive, &a)]);
        assert_eq!(overlaps("ledger", &bad).len(), 1);
    }

    #[test]
    fn two_that_count_on_from_the_same_record_are_seen() {
        let (a, b) = (writer("n1", 1), writer("n2", 4));
        let mut bad = ledger(&[(Mark::Begin, &a), (Mark::Alive, &a), (Mark::Begin, &b)]);
        bad.records[2].sequence = 1;
        assert!(overlaps("ledger", &bad)[0].contains("two wrote at once"));
        // A record that is missing is no better.
        bad.records[2].sequence = 5;
        assert_eq!(overlaps("ledger", &bad).len(), 1);
    }

    #[test]
    fn an_opening_while_another_has_it_open_is_seen_though_nobody_wrote() {
        let (a, b) = (writer("n1", 0), writer("n2", 0));
        let mut bad = ledger(&[(Mark::Begin, &a), (Mark::Begin, &b)]);
        assert!(overlaps("redis", &bad).is_empty());
        bad.records[1].contended = true;
        assert!(overlaps("redis", &bad)[0].contains("another process had it open"));
    }

    #[test]
    fn epochs_that_go_back_or_are_used_twice_are_seen() {
        let (a, b) = (writer("n1", 5), writer("n2", 4));
        let back = ledger(&[(Mark::Begin, &a), (Mark::Begin, &b)]);
        assert!(overlaps("ledger", &back)[0].contains("later epoch"));
        let twice = ledger(&[(Mark::Begin, &a), (Mark::Begin, &writer("n2", 5))]);
        assert!(overlaps("ledger", &twice)[0].contains("under the epoch of"));
    }

    #[test]
    fn damage_is_not_passed_over() {
        let mut bad = ledger(&[]);
        bad.damaged.push(3);
        assert_eq!(overlaps("ledger", &bad).len(), 1);
    }
}

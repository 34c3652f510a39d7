//! Reads a `[witness]` that is kept on shared disks.

use super::diagnostic::Problem;
use super::etcd::{RegisterDraft, draft};
use super::reader::Table;
use super::{RegisterPlace, SbdSection};

/// Name shown for such a witness unless set.
const NAME: &str = "disks";
/// A majority of two is both: one disk that fails would take the witness along.
const COUNTS: [usize; 2] = [1, 3];

pub(super) fn read_register(table: &Table) -> Option<RegisterDraft> {
    table.only(&["name", "disks"]);
    let disks = table.text_or_texts("disks");
    if table.is_empty_list("disks") {
        table.missing(
            "disks",
            "one or three disks of [sbd], such as disks = [\"/dev/disk/by-id/scsi-...\"]",
        );
    } else if !COUNTS.contains(&disks.len()) {
        let message = format!(
            "the witness is kept on one disk or on three, not on {}",
            disks.len()
        );
        let hint = "a majority of three can spare one; a majority of two can spare none";
        let span = table.span_of("disks").unwrap_or(table.span.clone());
        table.problems.add(Problem::new(span, message).hint(hint));
    }
    for (index, disk) in disks.iter().enumerate() {
        if let Some(first) = disks[..index].iter().find(|other| other.value == disk.value) {
            let problem = Problem::new(disk.span.clone(), "the same disk twice: it has one vote")
                .related(first.span.clone(), "it is here as well");
            table.problems.add(problem);
        }
    }
    let disks = disks.into_iter().map(|disk| disk.value.to_string()).collect();
    Some(draft(table, NAME, RegisterPlace::Disks(disks)))
}

/// They have to be disks of `[sbd]`: those are opened on every node, and their I/O has a bound.
pub(super) fn check(root: &Table, register: Option<&RegisterDraft>, sbd: Option<&SbdSection>) {
    let Some(RegisterPlace::Disks(disks)) = register.map(|register| &register.section.place) else {
        return;
    };
    let span = || root.span_of("witness").unwrap_or(0..0);
    let Some(sbd) = sbd else {
        let problem = Problem::new(span(), "a witness on shared disks needs the table [sbd]");
        let hint = "write [sbd] with devices = [\"/dev/disk/by-id/...\"]";
        return root.problems.add(problem.hint(hint));
    };
    for disk in disks.iter().filter(|disk| !sbd.devices.contains(disk)) {
        let message = format!("the witness's disk \"{}\" is none of [sbd]", disk.escape_debug());
        let hint = "add it to `devices` of [sbd], by the same path";
        root.problems.add(Problem::new(span(), message).hint(hint));
    }
}

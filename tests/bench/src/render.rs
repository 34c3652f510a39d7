//! Figures as Markdown tables.

use std::fmt::Write;

use crate::order::{Fault, NodeCost};
use crate::report::{Outages, Report};

/// Where tables begin and end in a document.
const BEGIN: &str = "<!-- figures: begin -->";
const END: &str = "<!-- figures: end -->";

/// All tables.
#[must_use]
pub fn tables(report: &Report) -> String {
    let mut text = machine(report);
    // Writing to a String cannot fail; what was not measured has no table.
    if !report.outages.is_empty() {
        text += &outages(&report.outages);
    }
    if !report.idle.is_empty() {
        text += &idle(report);
    }
    if !report.jitter.is_empty() {
        text += &jitter(report);
    }
    text += &decisions(report);
    if let Some(run) = &report.simulator {
        let _ = write!(
            text,
            "\n### Simulator\n\n{} seeds, {:.1} virtual hours in {:.1} s: **{:.1} virtual hours per second**, {} violations.\n",
            run.seeds,
            run.virtual_hours,
            run.wall_s,
            run.virtual_hours / run.wall_s,
            run.violations
        );
    }
    text
}

/// `document` with `tables` between its marks.
#[must_use]
pub fn put_into(document: &str, tables: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{tables}\n{END}{after}"))
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let mut text = format!(
        "### The run\n\n{} to {} UTC, on {} CPUs ({}), {} MB, kernel {}, {}; load averages at the beginning {}.\n\
         Peers: {}.\n",
        machine.begun,
        machine.ended,
        machine.cpus,
        machine.processor,
        machine.memory_mb,
        machine.kernel,
        machine.system,
        machine.load_before,
        machine.versions.join(", ")
    );
    if !report.note.is_empty() {
        let _ = write!(text, "\n**{}**\n", report.note);
    }
    text
}

fn outages(all: &[Outages]) -> String {
    let mut text = String::from(
        "\n### Outage seen by the client, ms: median (smallest to largest)\n\n\
         | contender | gives up after, ms | crash | cut | switchover | runs | two active, ms |\n|---|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in all.chunk_by(|left, right| left.contender == right.contender) {
        let first = &row[0];
        let cell = |fault: Fault| {
            let found = row.iter().find(|outages| outages.fault == fault);
            found.map_or("–".into(), spread)
        };
        let runs = row
            .iter()
            .map(|outages| outages.outage_ms.runs)
            .max()
            .unwrap_or(0);
        let dual_ms = row
            .iter()
            .map(|outages| outages.dual_active_ms)
            .fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {runs} | {dual_ms:.0} |",
            first.contender,
            first.detection_ms,
            cell(Fault::Crash),
            cell(Fault::Cut),
            cell(Fault::Switchover)
        );
    }
    text
}

fn spread(outages: &Outages) -> String {
    let spread = &outages.outage_ms;
    let mut cell = format!(
        "**{:.0}** ({:.0} to {:.0})",
        spread.median, spread.min, spread.max
    );
    if outages.recovered < spread.runs {
        let _ = write!(
            cell,
            ", {} of {} not served again",
            spread.runs - outages.recovered,
            spread.runs
        );
    }
    cell
}

fn idle(report: &Report) -> String {
    let mut text = String::from(
        "\n### Idle, each node\n\n\
         | contender | node | CPU, s per minute | memory, MB | packets per s | kB per s |\n|---|---|---:|---:|---:|---:|\n",
    );
    for cost in &report.idle {
        let mut nodes: Vec<&NodeCost> = cost.idle.nodes.iter().collect();
        nodes.sort_by(|left, right| left.part.cmp(&right.part));
        for node in nodes {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.1} | {:.0} | {:.1} |",
                cost.contender,
                node.part,
                node.cpu_s_per_min,
                node.memory_mb,
                node.packets_per_s,
                node.bytes_per_s / 1000.0
            );
        }
    }
    text
}

fn jitter(report: &Report) -> String {
    let mut text = String::from(
        "\n### Silence of the active node between two packets, ms\n\n\
         | contender | CPU hogs | p50 | p99 | longest | gives up after | takeovers | fencings |\n|---|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for row in &report.jitter {
        let silence = &row.silence;
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | **{:.1}** | {} | {} | {} |",
            row.contender,
            row.hogs,
            silence.p50_ms,
            silence.p99_ms,
            silence.max_ms,
            row.detection_ms,
            silence.takeovers,
            silence.fencings
        );
    }
    text
}

fn decisions(report: &Report) -> String {
    let mut text = String::new();
    if !report.decisions.is_empty() {
        text += "\n### Decisions\n\n| groups | task | Holdfast decides, ms | Pacemaker's scheduler, ms | times as fast |\n\
                 |---:|---|---:|---:|---:|\n";
        for decision in &report.decisions {
            let peer = report
                .scheduler
                .iter()
                .find(|peer| peer.resources == decision.groups && peer.task == decision.task);
            let ours_ms = decision.decide_ms.median;
            let (theirs, factor) = peer.map_or(("–".into(), "–".into()), |peer| {
                (
                    format!("{:.1}", peer.schedule_ms.median),
                    format!("{:.0}", peer.schedule_ms.median / ours_ms),
                )
            });
            let _ = writeln!(
                text,
                "| {} | {} | {ours_ms:.3} | {theirs} | {factor} |",
                decision.groups,
                decision.task.words()
            );
        }
        text += &sizes(report);
    }
    text
}

/// What the same decisions cost until they are carried out, and how large they are.
fn sizes(report: &Report) -> String {
    let mut text = String::from(
        "\n| groups | task | all of the core, all members, ms | decisions per second | state on the wire, kB | record on disk, kB |\n\
         |---:|---|---:|---:|---:|---:|\n",
    );
    for decision in &report.decisions {
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.0} | {:.1} | {:.1} |",
            decision.groups,
            decision.task.words(),
            decision.carry_out_ms.median,
            1000.0 / decision.decide_ms.median,
            decision.wire_bytes as f64 / 1000.0,
            decision.disk_bytes as f64 / 1000.0
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_replace_what_is_between_the_marks() {
        let document = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = put_into(&document, "new").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\nnew\n{END}\nafter\n"));
        assert!(put_into("no marks", "new").is_none());
    }
}

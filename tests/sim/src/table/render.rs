//! The table as it stands in the documentation.

use super::{Cell, Configuration, failure};
use crate::world::Played;

/// What became of the group, in words without figures: what all dice have to agree on, or the kinds side by side.
fn words(cell: &Cell) -> String {
    let mut seen: Vec<String> = cell.played.iter().map(outcome).collect();
    seen.sort();
    seen.dedup();
    seen.join(" or ")
}

/// True when `text` holds the table of `cells`, whatever its figures are: these may differ with every change of the code.
#[must_use]
pub fn is_in(cells: &[Cell], text: &str) -> bool {
    let bare = |text: &str| {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with('|'));
        lines.map(without_figures).collect::<Vec<_>>()
    };
    let (wanted, found) = (bare(&markdown(cells)), bare(text));
    found.windows(wanted.len()).any(|part| part == wanted)
}

fn without_figures(line: &str) -> String {
    line.chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

/// All cells as a table in Markdown.
#[must_use]
pub fn markdown(cells: &[Cell]) -> String {
    let mut out = String::from("| failure |");
    for configuration in Configuration::ALL {
        out += &format!(" {} |", configuration.title());
    }
    out += &format!("\n|---|{}\n", "---|".repeat(Configuration::ALL.len()));
    for failure in failure::ALL {
        out += &format!("| {} (`{}`) |", failure.title, failure.name);
        for configuration in Configuration::ALL {
            let here =
                |cell: &&Cell| cell.failure.name == failure.name && cell.configuration == configuration;
            let cell = cells.iter().find(here);
            out += &format!(" {} |", cell.map_or_else(|| "–".to_string(), text));
        }
        out.push('\n');
    }
    out
}

fn text(cell: &Cell) -> String {
    let mut outages: Vec<u64> = cell.played.iter().map(|played| played.outage_us / 1000).collect();
    outages.sort_unstable();
    let (least, most) = (outages[0], outages[outages.len() - 1]);
    let words = words(cell);
    let waits = cell.played.iter().any(|played| played.after.is_none());
    if most == 0 || waits {
        return words;
    }
    let median = outages[outages.len() / 2];
    format!("{words}; {median} ms ({least}–{most})")
}

fn outcome(played: &Played) -> String {
    let proof = played.proof.map(|proof| proof.as_str());
    match played.after {
        None if played.said.is_empty() => "down, nobody is left to ask".into(),
        None => format!("waits: `{}`", command(&played.said)),
        // Without a record the node itself confirmed the stop.
        Some(node) if node != played.before => format!("taken over, {}", proof.unwrap_or("stopped")),
        Some(_) if played.outage_us == 0 => proof.map_or_else(
            || "runs on".into(),
            |proof| format!("runs on, the other fenced: {proof}"),
        ),
        Some(_) => format!("runs again, {}", proof.unwrap_or("stopped")),
    }
}

/// The command that the nodes name.
fn command(said: &[String]) -> String {
    let mut rest = said
        .iter()
        .filter_map(|said| said.split_once("hactl ").map(|(_, rest)| rest));
    let words = rest.next().unwrap_or_default().split([' ', ';', ',', '.']);
    let words: Vec<&str> = match words.clone().next() {
        Some("fence") => words.take(3).collect(),
        _ => words.take(2).collect(),
    };
    format!("hactl {}", words.join(" "))
}

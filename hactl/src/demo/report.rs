//! What the demo prints.

use std::io::{IsTerminal, Write};

use super::FaultChoice;
use super::client::Ask;
use super::clock::ms;
use super::run::{Figures, Run};
use super::story::Moment;

/// Kinds of event by which a node says that it noticed.
pub const DETECTED: [&str; 8] = [
    "peer-lost",
    "agent-lost",
    "permit-lapsed",
    "fence-started",
    "elected",
    "group-stopping",
    "group-failed",
    "group-unknown",
];
/// Kinds of event that are a release proof.
pub const PROVED: [&str; 2] = ["fence-proved", "group-stopped"];
/// The truth monitor's kinds that together make the service whole.
pub const STARTED: [&str; 2] = ["vip-there", "service-there"];
/// Kinds of event that tell the network about the address.
pub const ANNOUNCED: [&str; 2] = ["vip-announced", "vip-restored"];

/// Kinds of event that say nothing new in a story; the logs have them (`--keep-logs`).
const DETAILS: [&str; 13] = [
    "link-up",
    "link-down",
    "had-started",
    "started",
    "assigned",
    "following",
    "peer-heard",
    "peer-back",
    "state-received",
    "agent-attached",
    "agentd-attached",
    "group-starting",
    "move-answered",
];

/// Standard output for people, or standard error when standard output is for JSON.
pub struct Screen {
    json: bool,
    colour: bool,
}

impl Screen {
    /// A screen; with `json`, standard output is kept for the figures.
    pub fn new(json: bool) -> Screen {
        let terminal = if json {
            std::io::stderr().is_terminal()
        } else {
            std::io::stdout().is_terminal()
        };
        Screen {
            json,
            colour: terminal && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// Prints a line.
    pub fn say(&self, line: &str) {
        // A reader that went away ends nothing: the figures are still measured.
        let _ = if self.json {
            writeln!(std::io::stderr(), "{line}")
        } else {
            writeln!(std::io::stdout(), "{line}")
        };
    }

    fn bold(&self, text: &str) -> String {
        if self.colour {
            format!("\x1b[1m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    /// Announces a run.
    pub fn title(&self, fault: FaultChoice, number: u32, of: u32, active: &str) {
        let count = if of > 1 {
            format!(" ({number} of {of})")
        } else {
            String::new()
        };
        self.say(&format!(
            "\n{}",
            self.bold(&format!("{}{count}: {}", fault.name(), fault.words(active)))
        ));
    }

    /// Prints a moment as it happens, unless it is a detail.
    pub fn live(&self, moment: &Moment, struck_us: u64) {
        if DETAILS.contains(&moment.kind.as_str()) {
            return;
        }
        self.say(&format!("  {}", line(moment, struck_us)));
    }

    /// Prints the figures: JSON, or a table when there is more than one run.
    pub fn figures(&self, all: &[Figures], array: bool) -> anyhow::Result<()> {
        if self.json {
            let text = match all {
                [one] if !array => serde_json::to_string_pretty(one)?,
                _ => serde_json::to_string_pretty(all)?,
            };
            println!("{text}");
        } else if all.iter().map(|figures| figures.runs.len()).sum::<usize>() > 1 {
            self.say(&format!(
                "\n{}",
                self.bold("fault         runs  recovered  outage ms: median      worst  two active ms")
            ));
            all.iter().for_each(|figures| self.say(&row(figures)));
        }
        Ok(())
    }
}

fn row(figures: &Figures) -> String {
    let runs = &figures.runs;
    let recovered = runs.iter().filter(|run| run.recovered).count();
    let worst = runs.iter().map(|run| run.outage_ms).fold(0.0, f64::max);
    let dual = runs.iter().map(|run| run.dual_active_ms).fold(0.0, f64::max);
    format!(
        "{:<12} {:>5} {recovered:>10} {:>18.1} {worst:>10.1} {dual:>14.1}",
        figures.fault,
        runs.len(),
        figures.median_outage_ms
    )
}

fn line(moment: &Moment, struck_us: u64) -> String {
    let at = ms(moment.at_us.saturating_sub(struck_us));
    format!(
        "{at:>9.1} ms  {:<8} {:<16} {}",
        moment.source, moment.kind, moment.text
    )
}

/// Prints the timeline of a run and how it ended.
pub fn outcome(screen: &Screen, run: &Run, moments: &[Moment], struck_us: u64, first: Option<&Ask>) {
    screen.say("  timeline, milliseconds after the fault:");
    let phases = &run.phases;
    let steps = [
        ("fault", Some(0.0)),
        ("detected", phases.detected_ms),
        ("proved", phases.proved_ms),
        ("started", phases.started_ms),
        ("announced", phases.announced_ms),
        ("first answer", phases.answered_ms),
    ];
    for (step, at) in steps {
        if let Some(at) = at {
            let said = moments
                .iter()
                .find(|moment| ms(moment.at_us.saturating_sub(struck_us)) == at);
            let text = said.map_or(String::new(), |moment| {
                format!("{}: {}", moment.source, moment.text)
            });
            let text = first
                .filter(|_| step == "first answer")
                .map_or(text, answer_words);
            screen.say(&format!("  {at:>9.1}  {step:<13} {text}"));
        }
    }
    let dual = if run.dual_active_ms == 0.0 {
        "never active on two nodes".to_string()
    } else {
        format!("ACTIVE ON TWO NODES for {:.1} ms", run.dual_active_ms)
    };
    let end = match (run.recovered, &run.answers_from) {
        (true, Some(node)) => format!("the service answers from {node}"),
        _ => "the service did NOT come back".to_string(),
    };
    screen.say(&format!(
        "  outage {:.1} ms, {dual}; {}",
        run.outage_ms,
        screen.bold(&end)
    ));
}

fn answer_words(ask: &Ask) -> String {
    let text = ask.text.trim();
    match text.split_whitespace().next() {
        Some(word) if !text.starts_with('*') => format!("client: \"{text}\" from {word}"),
        _ => "client: answered".to_string(),
    }
}

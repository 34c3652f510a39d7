//! What the demo prints: lines that fit a phone, unless every event is wanted.

use std::io::{self, IsTerminal, Write};

use super::clock::{ms, now_us};
use super::figures::{Figures, Run, Steps};
use super::story::{Moment, Story};
use super::{DemoArgs, FaultChoice};
use crate::ui::{Paint, Tone};

/// Kinds of event that tell the story of a takeover; `--verbose` shows the others too.
const ESSENTIAL: [&str; 15] = [
    "fault",
    "peer-lost",
    "agent-lost",
    "permit-lapsed",
    "fence-started",
    "fence-proved",
    "fence-failed",
    "releasing",
    "group-stopped",
    "group-ordered",
    "group-running",
    "group-failed",
    "resource-failed",
    "vip-announced",
    "vip-restored",
];
/// Longest text of an event, so that a line has 69 columns.
const GIST_WIDTH: usize = 44;
/// Events of different nodes arrive in any order; they are held for this long and printed in order of time.
const HOLD_US: u64 = 60_000;

/// Standard output for people, or standard error when standard output is for JSON.
pub struct Screen {
    json: bool,
    verbose: bool,
    /// One line for each run instead of its story.
    brief: bool,
    paint: Paint,
}

impl Screen {
    /// The screen that `args` ask for; with `--json`, standard output is kept for the figures.
    pub fn new(args: &DemoArgs) -> Screen {
        let terminal = if args.json {
            io::stderr().is_terminal()
        } else {
            io::stdout().is_terminal()
        };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let many = args.runs > 1 || args.fault == Some(FaultChoice::All);
        Screen {
            json: args.json,
            verbose: args.verbose,
            brief: many && !args.verbose,
            paint: Paint::new(terminal && !plain),
        }
    }

    /// Prints a line.
    pub fn say(&self, line: &str) {
        self.write(&format!("{line}\n"));
    }

    fn write(&self, text: &str) {
        // A reader that went away ends nothing: the figures are still measured.
        let _ = if self.json {
            io::stderr().write_all(text.as_bytes())
        } else {
            io::stdout().write_all(text.as_bytes())
        };
    }

    /// Announces a run.
    pub fn title(&self, fault: FaultChoice, number: u32, of: u32, active: &str) {
        let words = fault.words(active);
        if self.brief {
            if number == 1 {
                self.say(&self.paint.tone(Tone::Strong, &format!("\n{}", fault.name())));
            }
            return;
        }
        let count = if of > 1 {
            format!(" ({number} of {of})")
        } else {
            String::new()
        };
        let title = format!("\n{}{count}: {words}", fault.name());
        self.say(&self.paint.tone(Tone::Strong, &title));
    }

    /// Shows moments as they happen, from number `from` of the story on.
    pub fn live(&self, from: usize) -> Live<'_> {
        Live {
            screen: self,
            next: from,
            held: Vec::new(),
        }
    }

    /// One event, unless it is a detail.
    pub fn event(&self, moment: &Moment, struck_us: u64) {
        if self.verbose {
            let at = ms(moment.at_us.saturating_sub(struck_us));
            let Moment {
                source, kind, text, ..
            } = moment;
            self.say(&format!("{at:>9.1} ms  {source:<7}  {kind:<15}  {text}"));
        } else if !self.brief && ESSENTIAL.contains(&moment.kind.as_str()) {
            self.say(&step_line(&moment.source, moment, struck_us));
        }
    }

    /// Prints the timeline of a run and how it ended.
    pub fn outcome(&self, run: &Run, steps: &Steps, struck_us: u64) {
        if !self.brief {
            self.say("  In short, after the fault:");
            for (step, moment) in steps.taken() {
                self.say(&step_line(step, moment, struck_us));
            }
        }
        let from = run.answers_from.as_deref().unwrap_or("no node");
        let end = if run.recovered {
            self.paint
                .tone(Tone::Good, &format!("The service answers from {from}."))
        } else {
            self.paint
                .tone(Tone::Bad, "The cluster did NOT become whole again.")
        };
        let dual = if run.dual_active_ms == 0.0 {
            match run.silent_ms {
                Some(ms) => format!("never on two nodes: silent {ms:.1} ms before"),
                None => "never on two nodes".to_string(),
            }
        } else {
            let text = format!("ON TWO NODES for {:.1} ms", run.dual_active_ms);
            self.paint.tone(Tone::Bad, &text)
        };
        self.say(&format!("  {end} Outage {:.1} ms, {dual}.", run.outage_ms));
    }

    /// Prints the figures: JSON, or a table when there is more than one run.
    pub fn figures(&self, all: &[Figures], array: bool) -> anyhow::Result<()> {
        if self.json {
            let text = match all {
                [one] if !array => serde_json::to_string_pretty(one)?,
                _ => serde_json::to_string_pretty(all)?,
            };
            writeln!(io::stdout(), "{text}")?;
        } else if all.iter().map(|figures| figures.runs.len()).sum::<usize>() > 1 {
            let head = "\nfault         runs  recovered  outage: median  worst  two active";
            self.say(&self.paint.tone(Tone::Strong, head));
            all.iter().for_each(|figures| self.say(&row(figures)));
            self.say("Outage and time active on two nodes are in milliseconds.");
        }
        Ok(())
    }
}

/// Moments that wait to be printed in order of time.
pub struct Live<'a> {
    screen: &'a Screen,
    next: usize,
    held: Vec<Moment>,
}

impl Live<'_> {
    /// Takes what is new in `story` and prints what was held long enough.
    pub fn show(&mut self, story: &Story, struck_us: u64) {
        let news = story.from(self.next);
        self.next += news.len();
        // A daemon that was started again repeats what it told before.
        self.held.extend(
            news.into_iter()
                .filter(|moment| moment.at_us + 1_000 >= struck_us),
        );
        self.held.sort_by_key(|moment| moment.at_us);
        let due = now_us().saturating_sub(HOLD_US);
        let ripe = self.held.partition_point(|moment| moment.at_us <= due);
        for moment in self.held.drain(..ripe) {
            self.screen.event(&moment, struck_us);
        }
    }
}

fn step_line(label: &str, moment: &Moment, struck_us: u64) -> String {
    let at = ms(moment.at_us.saturating_sub(struck_us));
    format!("{at:>7.1} ms  {label:<13}{}", gist(&moment.text, GIST_WIDTH))
        .trim_end()
        .to_string()
}

/// The beginning of `text` that fits `width` columns and ends where a phrase ends.
fn gist(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_string();
    }
    let end = text.char_indices().nth(width).map_or(text.len(), |(at, _)| at);
    // One more character may belong to the mark that follows the phrase.
    let head = &text[..end];
    let phrase = [": ", "; ", " ("]
        .iter()
        .filter_map(|mark| head.rfind(mark))
        .max();
    match phrase.or_else(|| head.rfind(' ')) {
        Some(at) if phrase.is_some() => head[..at].to_string(),
        Some(at) => format!("{} ...", &head[..at]),
        None => head.to_string(),
    }
}

fn row(figures: &Figures) -> String {
    let runs = &figures.runs;
    let recovered = runs.iter().filter(|run| run.recovered).count();
    let worst = runs.iter().map(|run| run.outage_ms).fold(0.0, f64::max);
    let dual = runs.iter().map(|run| run.dual_active_ms).fold(0.0, f64::max);
    format!(
        "{:<12} {:>5} {recovered:>10} {:>15.1} {worst:>6.1} {dual:>11.1}",
        figures.fault,
        runs.len(),
        figures.median_outage_ms
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gist_ends_where_a_phrase_ends() {
        assert_eq!(
            gist("n1 was not heard for 300 ms", 43),
            "n1 was not heard for 300 ms"
        );
        let proof = "n1 is fenced: /run/n1/fence off ended well in 2.7ms; status read said off";
        assert_eq!(gist(proof, 43), "n1 is fenced");
        let vip = "vip: 10.77.1.100/24 on eth0 announced (duplicate check 5.2 ms, added in 0.1 ms)";
        assert_eq!(gist(vip, 43), "vip: 10.77.1.100/24 on eth0 announced");
        assert_eq!(gist("one two three four five", 12), "one two ...");
        assert_eq!(gist(&"\u{e9}".repeat(9), 4), "\u{e9}".repeat(4));
    }
}

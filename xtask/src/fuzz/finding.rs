//! What a run of libFuzzer found, read from what it prints.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

/// What a run of one target found.
#[derive(Debug)]
pub struct Finding {
    /// The target.
    pub target: String,
    seconds: u64,
    executions: u64,
    /// Edges of the program that some input took, and all of them.
    edges: (u64, u64),
    /// Inputs that cover something that no other does.
    inputs: u64,
    /// What went wrong, and how to see it again.
    pub crash: Option<String>,
}

impl Finding {
    /// The target could not be run.
    pub fn failed(target: &str, why: String) -> Finding {
        Finding {
            target: target.into(),
            seconds: 0,
            executions: 0,
            edges: (0, 0),
            inputs: 0,
            crash: Some(why),
        }
    }

    /// Reads what libFuzzer said in `text`, which is kept in `log`.
    pub fn read(target: &str, seconds: u64, success: bool, text: &str, log: &Path) -> Finding {
        let progress = text
            .lines()
            .rev()
            .find(|line| line.contains(" cov: "))
            .unwrap_or_default();
        Finding {
            target: target.into(),
            seconds,
            executions: number_after(text, "stat::number_of_executed_units:"),
            edges: (
                number_after(progress, " cov:"),
                number_after(text, "Loaded 1 modules"),
            ),
            inputs: number_after(progress, " corp:"),
            crash: (!success).then(|| crash(text, log)),
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "target": self.target,
            "seconds": self.seconds,
            "executions": self.executions,
            "edges": self.edges.0,
            "edges_all": self.edges.1,
            "inputs": self.inputs,
            "crash": self.crash,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            target,
            seconds,
            executions,
            edges: (taken, all),
            inputs,
            crash,
        } = self;
        write!(
            f,
            "{target:<9} {executions:>9} executions in {seconds} s, {taken} of {all} edges, {inputs} inputs"
        )?;
        match crash {
            None => Ok(()),
            Some(crash) => write!(f, "\n{target}: CRASH\n{crash}"),
        }
    }
}

/// The first number after `label`; 0 if there is none.
fn number_after(text: &str, label: &str) -> u64 {
    let Some((_, rest)) = text.split_once(label) else {
        return 0;
    };
    let digits = rest.trim_start_matches(|letter: char| !letter.is_ascii_digit());
    let end = digits
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

/// The words of the panic, or of libFuzzer, and where the input is.
fn crash(text: &str, log: &Path) -> String {
    let said = text
        .lines()
        .skip_while(|line| !line.contains(" panicked at ") && !line.contains("ERROR: libFuzzer"))
        .take_while(|line| !line.starts_with("stack backtrace") && !line.starts_with("    #"))
        .take(8);
    let input = text.lines().filter(|line| line.starts_with("artifact_prefix="));
    let mut lines: Vec<&str> = said.chain(input).collect();
    let log = format!("all of it is in {}", log.display());
    lines.push(&log);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "INFO: Loaded 1 modules   (4242 inline 8-bit counters): 4242\n\
        #2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 26Mb\n\
        #503968\tDONE   cov: 186 ft: 246 corp: 58/9075b lim: 2048 exec/s: 55996 rss: 27Mb\n\
        stat::number_of_executed_units: 503968\n";

    #[test]
    fn a_run_is_read_from_its_last_line_of_progress() {
        let finding = Finding::read("frame", 8, true, SAID, Path::new("f.log"));
        assert_eq!(
            finding.to_string(),
            "frame        503968 executions in 8 s, 186 of 4242 edges, 58 inputs"
        );
        assert_eq!(finding.json()["crash"], Value::Null);
    }

    #[test]
    fn a_crash_is_told_with_its_words_and_its_input() {
        let text = format!(
            "{SAID}thread '<unnamed>' (1) panicked at src/ids.rs:144:20:\nattempt to add with overflow\nstack \
             backtrace:\n   0: main\nartifact_prefix='x-'; Test unit written to x-crash-1\n"
        );
        let crash = Finding::read("core", 8, false, &text, Path::new("c.log"))
            .crash
            .unwrap();
        assert_eq!(
            crash,
            "thread '<unnamed>' (1) panicked at src/ids.rs:144:20:\nattempt to add with overflow\n\
             artifact_prefix='x-'; Test unit written to x-crash-1\nall of it is in c.log"
        );
    }
}

//! Progress: one line that is rewritten on a terminal, plain lines elsewhere.

use std::io::{self, Write};
use std::time::Instant;

use super::text;
use super::{Paint, Tone};

/// Shows what is waited for.
#[derive(Debug)]
pub struct Progress {
    terminal: bool,
    paint: Paint,
    since: Instant,
    shown: String,
}

impl Progress {
    /// On standard error; rewritten in place if that is a terminal.
    #[must_use]
    pub fn new(terminal: bool, paint: Paint) -> Progress {
        Progress {
            terminal,
            paint,
            since: Instant::now(),
            shown: String::new(),
        }
    }

    /// Shows `what`. Plain output prints it only when it changed.
    pub fn show(&mut self, what: &str) {
        if what.trim().is_empty() {
            return;
        }
        let what = text::clean(what);
        if what.contains('\n') {
            return self.keep(&what);
        }
        let mut err = io::stderr().lock();
        // Failing to show progress must not fail the command.
        let _ = if self.terminal {
            let room = text::terminal_columns().saturating_sub(12);
            let short: String = what.chars().take(room).collect();
            let clock = format!("{:5.1} s", self.since.elapsed().as_secs_f64());
            write!(err, "\r\x1b[K{} {short}", self.paint.tone(Tone::Faint, &clock)).and_then(|()| err.flush())
        } else if what == self.shown {
            Ok(())
        } else {
            writeln!(err, "{what}")
        };
        self.shown = what;
    }

    /// Prints several lines that stay, such as a plan.
    fn keep(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
    }

    /// Removes the line from the terminal.
    pub fn clear(&mut self) {
        if self.terminal && !self.shown.is_empty() {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[K").and_then(|()| err.flush());
        }
        self.shown.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

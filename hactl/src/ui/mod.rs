//! What the operator sees: lines on standard output, progress and errors on standard error.

pub mod paint;
pub mod progress;
pub mod text;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

pub use paint::{Paint, Tone};
pub use progress::Progress;

/// How to talk to whoever started us.
#[derive(Clone, Debug)]
pub struct Ui {
    json: bool,
    out: Paint,
    err: Paint,
    out_terminal: bool,
    err_terminal: bool,
}

impl Ui {
    /// From the environment: terminals, `NO_COLOR`, `TERM`.
    #[must_use]
    pub fn from_env(json: bool) -> Ui {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let out_terminal = io::stdout().is_terminal();
        let err_terminal = io::stderr().is_terminal();
        Ui {
            json,
            out: Paint::new(out_terminal && !plain && !json),
            err: Paint::new(err_terminal && !plain),
            out_terminal,
            err_terminal,
        }
    }

    /// True when output is JSON.
    #[must_use]
    pub fn json(&self) -> bool {
        self.json
    }

    /// Colours for standard output.
    #[must_use]
    pub fn paint(&self) -> Paint {
        self.out
    }

    /// Colours for standard error.
    #[must_use]
    pub fn err_paint(&self) -> Paint {
        self.err
    }

    /// True when standard output is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.out_terminal
    }

    /// Width to wrap at: the terminal's, or no limit when the output is read by a program.
    #[must_use]
    pub fn columns(&self) -> usize {
        if self.out_terminal {
            text::terminal_columns()
        } else {
            usize::MAX
        }
    }

    /// One line on standard output.
    ///
    /// # Errors
    /// When it cannot be written; a closed pipe ends the program quietly.
    pub fn line(&self, line: impl Display) -> io::Result<()> {
        writeln!(io::stdout().lock(), "{line}")
    }

    /// Lines on standard output, in one write.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn lines(&self, lines: &[String]) -> io::Result<()> {
        let mut all = lines.join("\n");
        if !lines.is_empty() {
            all.push('\n');
        }
        let mut out = io::stdout().lock();
        out.write_all(all.as_bytes())?;
        out.flush()
    }

    /// Bytes as they are, for redrawing on a terminal.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn raw(&self, bytes: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(bytes.as_bytes())?;
        out.flush()
    }

    /// One JSON document, readable.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn document(&self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
        self.line(text)
    }

    /// One JSON document on one line, for streams.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn json_line(&self, value: &impl Serialize) -> io::Result<()> {
        let text = serde_json::to_string(value).map_err(io::Error::other)?;
        let mut out = io::stdout().lock();
        writeln!(out, "{text}")?;
        out.flush()
    }

    /// A remark on standard error that is not part of the output.
    pub fn note(&self, text: impl Display) {
        // Standard error may be closed; there is nobody to tell then.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A warning on standard error.
    pub fn warn(&self, text: impl Display) {
        self.note(format_args!("{} {text}", self.err.tone(Tone::Warn, "warning:")));
    }

    /// An error with what to do about it, on standard error.
    pub fn complain(&self, message: &str, hints: &[String]) {
        self.note(format_args!("{} {message}", self.err.tone(Tone::Bad, "error:")));
        for hint in hints {
            self.note(format_args!("  {} {hint}", self.err.tone(Tone::Faint, "->")));
        }
    }

    /// Progress of something that takes a while.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::new(self.err_terminal, self.err)
    }
}

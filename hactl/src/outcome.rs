//! How a command ends: exit codes, errors in words, and their JSON.

use std::fmt;
use std::io;
use std::process::ExitCode;

use holdfast_proto::control::ErrorView;
use serde::Serialize;

use crate::ui::Ui;

/// Exit codes, the same for every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Tried and failed.
    Failed = 1,
    /// Wrong arguments, or a name that does not exist.
    Usage = 2,
    /// The cluster refused, and nothing was changed.
    Refused = 3,
    /// No quorum: nothing can be decided now.
    NoQuorum = 4,
    /// `had` could not be reached.
    Unreachable = 5,
    /// The configuration is invalid.
    InvalidConfig = 6,
    /// Still not done when the time was over.
    Timeout = 7,
}

/// The table for `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0  done
  1  failed
  2  wrong arguments, or a name that does not exist
  3  refused: nothing was changed, the message says why
  4  no quorum: nothing can be decided now
  5  had cannot be reached
  6  invalid configuration
  7  not done within --timeout (the cluster goes on by itself)";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl Exit {
    /// The exit code for an error of `had`.
    #[must_use]
    pub fn of_error(view: &ErrorView) -> Exit {
        match view.code.as_str() {
            "refused" | "denied" => Exit::Refused,
            "no-quorum" => Exit::NoQuorum,
            "not-found" => Exit::Usage,
            "invalid" => Exit::InvalidConfig,
            _ => Exit::Failed,
        }
    }

    /// A stable word for scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Exit::Ok => "ok",
            Exit::Failed => "failed",
            Exit::Usage => "usage",
            Exit::Refused => "refused",
            Exit::NoQuorum => "no-quorum",
            Exit::Unreachable => "unreachable",
            Exit::InvalidConfig => "invalid",
            Exit::Timeout => "timeout",
        }
    }
}

/// An error for the operator: what happened, to what, what to do.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Exit code.
    pub exit: Exit,
    /// Stable word, from `had` where it was `had` that failed.
    pub code: String,
    /// What happened.
    pub message: String,
    /// What to do, one suggestion a line.
    pub hints: Vec<String>,
    /// The command already printed it, or its JSON document: only the exit code is left to be told.
    pub printed: bool,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure {
            exit,
            code: exit.word().into(),
            message: message.into(),
            hints: Vec::new(),
            printed: false,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hints.push(hint.into());
        self
    }

    /// An exit code after the command has printed everything itself.
    #[must_use]
    pub fn already_printed(exit: Exit) -> Failure {
        Failure {
            printed: true,
            ..Failure::new(exit, exit.word())
        }
    }
}

impl From<ErrorView> for Failure {
    fn from(view: ErrorView) -> Failure {
        let exit = Exit::of_error(&view);
        Failure {
            exit,
            code: view.code,
            message: view.message,
            hints: Vec::new(),
            printed: false,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The JSON document of a failed command.
#[derive(Serialize)]
struct FailureJson<'a> {
    ok: bool,
    error: ErrorView,
    hints: &'a [String],
    exit: u8,
}

/// Tells the operator about `error` and returns the exit code.
pub fn report(error: &anyhow::Error, ui: &Ui) -> Exit {
    if closed_pipe(error) {
        return Exit::Ok;
    }
    let failure = error
        .downcast_ref::<Failure>()
        .cloned()
        .unwrap_or_else(|| Failure::new(Exit::Failed, format!("{error:#}")));
    if failure.printed {
        return failure.exit;
    }
    if ui.json() {
        let view = ErrorView {
            code: failure.code.clone(),
            message: failure.message.clone(),
        };
        let document = FailureJson {
            ok: false,
            error: view,
            hints: &failure.hints,
            exit: failure.exit as u8,
        };
        // Standard output may be gone; the exit code still tells.
        let _ = ui.document(&document);
        return failure.exit;
    }
    ui.complain(&failure.message, &failure.hints);
    failure.exit
}

/// True when the reader of our output went away (`hactl events | head`): nobody is left to tell.
fn closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    })
}

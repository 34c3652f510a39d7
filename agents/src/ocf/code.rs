//! Exit codes of OCF agents, and what each means here.

use std::fmt;

use crate::agent::Presence;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub i32);

impl Code {
    /// The action succeeded; for `monitor`: it runs (unpromoted).
    pub const SUCCESS: Code = Code(0);
    /// `monitor`: cleanly not running.
    pub const NOT_RUNNING: Code = Code(7);
    /// `monitor`: it runs promoted.
    pub const PROMOTED: Code = Code(8);
    /// `monitor`: it runs, but not well.
    pub const DEGRADED: Code = Code(190);
    /// `monitor`: it runs promoted, but not well.
    pub const DEGRADED_PROMOTED: Code = Code(191);

    /// True when `monitor` found it in the role it should have, well or not so well.
    #[must_use]
    pub fn is_active(self, promoted: bool) -> bool {
        let good = if promoted {
            [Code::PROMOTED, Code::DEGRADED_PROMOTED]
        } else {
            [Code::SUCCESS, Code::DEGRADED]
        };
        good.contains(&self)
    }

    /// True when it runs but asks to be looked after.
    #[must_use]
    pub fn is_degraded(self) -> bool {
        matches!(self, Code::DEGRADED | Code::DEGRADED_PROMOTED)
    }

    /// True when the agent refused to do anything on this node: arguments, programs or configuration are not as it needs
    /// them.
    #[must_use]
    pub fn is_refusal(self) -> bool {
        matches!(self.0, 2 | 5 | 6)
    }

    /// What a `monitor` with interval 0 found, where the resource should be in the role `promoted` if it is there.
    #[must_use]
    pub fn presence(self, promoted: bool, reason: &str) -> Presence {
        match self {
            code if code.is_active(promoted) => Presence::Active,
            // Refused before it looked: with these parameters nothing can have been started here. The start that follows
            // says why.
            code if code == Code::NOT_RUNNING || code.is_refusal() => Presence::Inactive,
            code if code.is_active(!promoted) => Presence::Partial(format!("it is there: {code}")),
            Code(9) => Presence::Partial(describe("monitor", self, reason)),
            _ => Presence::Unknown(describe("monitor", self, reason)),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            0 => "success",
            1 => "generic error",
            2 => "invalid arguments",
            3 => "action not implemented",
            4 => "insufficient privileges",
            5 => "not installed: a program it needs is missing",
            6 => "not configured",
            7 => "not running",
            8 => "running promoted",
            9 => "promoted, but failed",
            190 => "running, but degraded",
            191 => "running promoted, but degraded",
            _ => "a code that OCF does not know",
        };
        write!(f, "{} ({meaning})", self.0)
    }
}

/// One sentence about an action that ended with `code`.
#[must_use]
pub fn describe(action: &str, code: Code, reason: &str) -> String {
    if reason.is_empty() {
        format!("{action} ended with {code}")
    } else {
        format!("{action} ended with {code}: {reason}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_says_what_is_there() {
        let kind = |code: i32, promoted: bool| match Code(code).presence(promoted, "") {
            Presence::Active => 'a',
            Presence::Inactive => 'i',
            Presence::Partial(_) => 'p',
            Presence::Unknown(_) => 'u',
        };
        let codes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 190, 191, 200];
        let found: String = codes.iter().map(|code| kind(*code, false)).collect();
        assert_eq!(found, "auiuuiiippapu");
        let found: String = codes.iter().map(|code| kind(*code, true)).collect();
        assert_eq!(found, "puiuuiiiappau");
    }
}

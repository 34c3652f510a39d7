//! What DRBD's handlers and `hactl drbd` say to the agent of a resource: one line each way, over a socket in had-agentd's
//! state folder. And, in [`options`], what a managed resource must be configured as.

pub mod options;

use std::path::{Path, PathBuf};

/// had-agentd's state folder, unless it is told another.
pub const STATE_DIR_DEFAULT: &str = "/run/holdfast-agentd";
/// Longest line.
pub const LINE_BYTES_MAX: usize = 4096;

/// Exit codes of a fence-peer handler, as DRBD takes them.
pub mod exit {
    /// The peer is out of date now, and knows it or cannot be promoted: go on without it.
    pub const OUTDATED: u8 = 4;
    /// The peer is the primary: this side is outdated.
    pub const PEER_IS_PRIMARY: u8 = 6;
    /// Any code that DRBD does not know: I/O stays frozen, a promotion is refused. Never 5 ("unreachable") instead: DRBD takes
    /// that for dead and goes on.
    pub const REFUSED: u8 = 1;
}

/// Where the agent of `resource` listens.
#[must_use]
pub fn socket(state_dir: &Path, resource: &str) -> PathBuf {
    state_dir.join(format!("drbd.{resource}.sock"))
}

/// True for what may be the name of a resource: it becomes part of a path and of command lines.
#[must_use]
pub fn is_resource_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    begins && name.len() <= 64 && name.chars().all(plain)
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// DRBD lost `peer` and asks whether it may go on without it. Empty where it did not say whom.
    FencePeer {
        /// Host name of the peer.
        peer: String,
    },
    /// The peer is whole again.
    UnfencePeer,
    /// Give up what this node has of the data, and take the other side's.
    Discard {
        /// The node whose data is given up: it must be the one that is asked.
        node: String,
        /// Who wants that.
        who: String,
        /// Even if the cluster agreed that this copy has everything.
        accept_loss: bool,
    },
}

/// The answer: what a handler exits with, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Exit code; for a discard 0 for done.
    pub code: u8,
    /// One sentence; for a discard the record of what was given up.
    pub text: String,
}

impl Request {
    /// One line, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        match self {
            Request::FencePeer { peer } => format!("fence-peer {peer}"),
            Request::UnfencePeer => "unfence-peer".to_owned(),
            Request::Discard {
                node,
                who,
                accept_loss,
            } => {
                let word = if *accept_loss {
                    "discard-accepted"
                } else {
                    "discard"
                };
                format!("{word} {node} {who}")
            }
        }
    }

    /// Reads a line. None for what is no request.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Request> {
        let line = line.trim();
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "fence-peer" => Some(Request::FencePeer {
                peer: rest.trim().to_owned(),
            }),
            "unfence-peer" => Some(Request::UnfencePeer),
            "discard" | "discard-accepted" => {
                let (node, who) = rest.split_once(' ')?;
                Some(Request::Discard {
                    node: node.to_owned(),
                    who: who.trim().to_owned(),
                    accept_loss: word == "discard-accepted",
                })
            }
            _ => None,
        }
    }
}

impl Answer {
    /// With `code`, because of `text`.
    #[must_use]
    pub fn new(code: u8, text: impl Into<String>) -> Answer {
        Answer {
            code,
            text: text.into(),
        }
    }

    /// One line, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let text: String = self
            .text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        format!("{} {text}", self.code)
    }

    /// Reads a line. None for what is no answer.
    #[must_use]
    pub fn from_line(line: &str) -> Option<Answer> {
        let (code, text) = line.trim_end().split_once(' ')?;
        Some(Answer::new(code.parse().ok()?, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were() {
        let requests = [
            Request::FencePeer { peer: "n2".into() },
            Request::FencePeer { peer: String::new() },
            Request::UnfencePeer,
            Request::Discard {
                node: "n1".into(),
                who: "root on n1".into(),
                accept_loss: true,
            },
        ];
        for request in requests {
            assert_eq!(Request::from_line(&request.to_line()), Some(request));
        }
        let answer = Answer::new(exit::OUTDATED, "n2 left the set");
        assert_eq!(Answer::from_line(&answer.to_line()), Some(answer));
        for line in ["", "fence", "discard n1", "300 x"] {
            assert!(
                Request::from_line(line).is_none() && Answer::from_line(line).is_none(),
                "{line}"
            );
        }
    }

    #[test]
    fn names_that_would_leave_the_folder_are_none() {
        for name in ["../x", "", "-f", "a b", "a/b", ".r0"] {
            assert!(!is_resource_name(name), "{name}");
        }
        assert!(is_resource_name("r0") && is_resource_name("shop.db_1"));
    }
}

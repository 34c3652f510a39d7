//! A trace that an operator can read: one line per event, a column per member.

use holdfast_proto::ids::NodeId;

/// Collected lines.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    lines: Vec<(u64, Option<NodeId>, String)>,
    enabled: bool,
}

/// Width of a member's column.
const COLUMN: usize = 58;

impl Trace {
    /// Collects only when `enabled`.
    #[must_use]
    pub fn new(enabled: bool) -> Trace {
        Trace {
            lines: Vec::new(),
            enabled,
        }
    }

    /// True when lines are collected, so that callers need not format in vain.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Adds a line at a member, or about the world.
    pub fn add(&mut self, at_us: u64, node: Option<NodeId>, text: impl FnOnce() -> String) {
        if self.enabled {
            self.lines.push((at_us, node, text()));
        }
    }

    /// The whole trace, two columns and the witness.
    #[must_use]
    pub fn render(&self, members: &[NodeId]) -> String {
        let mut out = String::new();
        let heads: Vec<String> = members
            .iter()
            .map(|node| format!("{:<COLUMN$}", node.to_string()))
            .collect();
        out.push_str(&format!("{:>11}  {}\n", "seconds", heads.join("| ")));
        for (at, node, text) in &self.lines {
            let stamp = format!("{:>4}.{:06}", at / 1_000_000, at % 1_000_000);
            let Some(column) = node.and_then(|node| members.iter().position(|member| *member == node)) else {
                out.push_str(&format!("{stamp}  ** {text}\n"));
                continue;
            };
            let cells: Vec<String> = (0..members.len())
                .map(|index| {
                    let cell = if index == column { text.as_str() } else { "" };
                    format!("{cell:<COLUMN$}")
                })
                .collect();
            out.push_str(format!("{stamp}  {}", cells.join("| ")).trim_end());
            out.push('\n');
        }
        out
    }
}

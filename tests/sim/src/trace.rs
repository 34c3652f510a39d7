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
/// Width of the time in front of the columns.
const STAMP: usize = 11;

impl Trace {
    /// Collects only when `enabled`.
    #[must_use]
    pub fn new(enabled: bool) -> Trace {
        Trace {
            lines: Vec::new(),
            enabled,
        }
    }

    /// Adds a line at a member, or about the world. Nothing is formatted when nothing is collected.
    pub fn add(&mut self, at_us: u64, node: Option<NodeId>, text: impl FnOnce() -> String) {
        if self.enabled {
            self.lines.push((at_us, node, text()));
        }
    }

    /// The whole trace, a column for each of `members` under its name.
    #[must_use]
    pub fn render(&self, members: &[(NodeId, String)]) -> String {
        if self.lines.is_empty() {
            return String::new();
        }
        let names: Vec<&str> = members.iter().map(|(_, name)| name.as_str()).collect();
        let mut out = row("seconds", &names);
        for (at_us, node, text) in &self.lines {
            let stamp = format!("{:>4}.{:06}", at_us / 1_000_000, at_us % 1_000_000);
            let column = members.iter().position(|(member, _)| Some(*member) == *node);
            let Some(column) = column else {
                out.push_str(&format!("{stamp:>STAMP$}  ** {text}\n"));
                continue;
            };
            for (number, part) in wrap(text).into_iter().enumerate() {
                let mut cells = vec![""; members.len()];
                cells[column] = part.as_str();
                out.push_str(&row(if number == 0 { &stamp } else { "" }, &cells));
            }
        }
        out
    }
}

fn row(stamp: &str, cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| format!("{cell:<COLUMN$}")).collect();
    let line = format!("{stamp:>STAMP$}  {}", cells.join(" | "));
    format!("{}\n", line.trim_end())
}

/// Breaks a sentence between words so that it stays in its column.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.chars().count() > COLUMN {
            lines.push(format!("  {word}"));
        } else if let Some(line) = lines.last_mut() {
            if used > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<(NodeId, String)> {
        vec![
            (NodeId(1), "n1".into()),
            (NodeId(2), "n2".into()),
            (NodeId::WITNESS, "witness".into()),
        ]
    }

    #[test]
    fn each_member_has_its_column_and_long_sentences_stay_in_it() {
        let mut trace = Trace::new(true);
        let long =
            "agent process attached; 0 groups were running and go on untouched, and more words follow here";
        trace.add(1_500_000, Some(NodeId(2)), || long.into());
        trace.add(2_000_000, None, || "everything is healed".into());
        trace.add(2_000_001, Some(NodeId::WITNESS), || "follows n1".into());
        let text = trace.render(&members());
        let lines: Vec<&str> = text.lines().collect();
        let start_of = |column: usize| STAMP + 2 + column * (COLUMN + 3);
        assert_eq!(lines[0].find("n2"), Some(start_of(1)));
        assert_eq!(lines[0].find("witness"), Some(start_of(2)));
        assert_eq!(lines[1].find("agent process"), Some(start_of(1)));
        assert!(
            lines[2].trim_start().starts_with('|'),
            "the rest is under it: {}",
            lines[2]
        );
        assert_eq!(lines[3], "   2.000000  ** everything is healed");
        assert_eq!(lines[4].find("follows n1"), Some(start_of(2)));
        assert!(lines.iter().all(|line| line.trim_end() == *line));
    }

    #[test]
    fn nothing_is_formatted_when_nothing_is_collected() {
        let mut trace = Trace::new(false);
        trace.add(1, None, || panic!("formatted in vain"));
        assert_eq!(trace.render(&members()), "");
    }
}

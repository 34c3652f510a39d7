//! What an agent prints: bounded, its exit reason and its last line.

/// Before the reason of a failure, on a line of its own.
pub const REASON_PREFIX: &str = "ocf-exit-reason:";
/// Longest line kept.
const LINE_BYTES: usize = 1024;

/// What was read so far.
#[derive(Default)]
pub struct Said {
    open: Vec<u8>,
    last: String,
    reason: String,
}

impl Said {
    /// More of it.
    pub fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.close();
            } else if self.open.len() < LINE_BYTES {
                self.open.push(*byte);
            }
        }
    }

    fn close(&mut self) {
        let line = std::mem::take(&mut self.open);
        let line = String::from_utf8_lossy(&line).replace(char::is_control, " ");
        let line = line.trim();
        if let Some(reason) = line.strip_prefix(REASON_PREFIX) {
            reason.trim().clone_into(&mut self.reason);
        } else if !line.is_empty() {
            line.clone_into(&mut self.last);
        }
    }

    /// The last reason it gave, or else its last line.
    pub fn reason(mut self) -> String {
        self.close();
        if self.reason.is_empty() {
            self.last
        } else {
            self.reason
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(pieces: &[&str]) -> String {
        let mut said = Said::default();
        pieces.iter().for_each(|piece| said.push(piece.as_bytes()));
        said.reason()
    }

    #[test]
    fn the_last_exit_reason_counts_before_the_last_line() {
        assert_eq!(
            reason(&["a\nocf-exit-", "reason:one\nocf-exit-reason: two\nb\n\n"]),
            "two"
        );
        assert_eq!(reason(&["a\nb \n\n"]), "b");
        assert_eq!(reason(&["a\nopen"]), "open");
        assert_eq!(reason(&[]), "");
        assert_eq!(reason(&["ocf-exit-reason:a\u{1b}[2J\rb"]), "a [2J b");
        assert_eq!(reason(&["x".repeat(1 << 20).as_str()]).len(), LINE_BYTES);
    }
}

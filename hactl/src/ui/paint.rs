//! Colour, where it helps and where it is wanted.

/// Paints text, or leaves it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

/// What a colour says. Every tone has a word beside it: nothing is told by colour alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be.
    Warn,
    /// Broken.
    Bad,
    /// A heading.
    Strong,
    /// Of lesser interest.
    Faint,
    /// Nothing special.
    Plain,
}

impl Paint {
    /// With colour if `on`.
    #[must_use]
    pub fn new(on: bool) -> Paint {
        Paint { on }
    }

    /// True when it paints.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.on
    }

    /// `text` in `tone`.
    #[must_use]
    pub fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "1;31",
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Plain => "",
        };
        if self.on && !code.is_empty() && !text.is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }
}

/// The tone of a node's, group's, resource's or link's state.
#[must_use]
pub fn tone_of_state(state: &str) -> Tone {
    match state {
        "online" | "running" | "up" | "ok" => Tone::Good,
        "lost" | "fenced" | "failed" | "down" | "unknown" => Tone::Bad,
        "stopped" => Tone::Plain,
        _ => Tone::Warn,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paints_only_when_on() {
        assert_eq!(Paint::new(false).tone(Tone::Bad, "down"), "down");
        assert_eq!(Paint::new(true).tone(Tone::Bad, "down"), "\x1b[1;31mdown\x1b[0m");
        assert_eq!(Paint::new(true).tone(Tone::Plain, "x"), "x");
    }
}

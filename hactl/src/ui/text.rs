//! Wrapping and columns of plain text.

use std::os::fd::AsRawFd;

/// Widest the output gets, however wide the terminal is: longer lines are hard to read.
const COLUMNS_MAX: usize = 100;
/// Narrowest that wrapping is worth.
const COLUMNS_MIN: usize = 32;
/// Assumed when the terminal does not say.
const COLUMNS_DEFAULT: usize = 80;

/// Columns of the terminal on standard output.
#[must_use]
pub fn terminal_columns() -> usize {
    terminal_size()
        .map_or(COLUMNS_DEFAULT, |(columns, _)| columns)
        .clamp(COLUMNS_MIN, COLUMNS_MAX)
}

/// Columns and rows of the terminal on standard output, if it says.
#[must_use]
pub fn terminal_size() -> Option<(usize, usize)> {
    crate::ui::text::sys::window_size(std::io::stdout().as_raw_fd())
}

/// The one place with unsafe code.
mod sys {
    nix::ioctl_read_bad!(get_window_size, libc::TIOCGWINSZ, libc::winsize);

    /// Columns and rows of the terminal behind `fd`.
    pub fn window_size(fd: i32) -> Option<(usize, usize)> {
        let mut size = libc::winsize {
            ws_row: 0,
            ws_col: 0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: `size` is a winsize, which is what TIOCGWINSZ fills; a wrong fd is reported as an error.
        let answer = unsafe { get_window_size(fd, &raw mut size) };
        (answer.is_ok() && size.ws_col > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
    }
}

/// `text` in lines of at most `columns` characters, each after `indent` spaces. A word longer than a line
/// stays whole.
#[must_use]
pub fn wrap(text: &str, indent: usize, columns: usize) -> Vec<String> {
    let room = columns.saturating_sub(indent).max(8);
    let margin = " ".repeat(indent);
    let mut lines = Vec::new();
    for paragraph in clean(text).lines() {
        let mut line = String::new();
        let mut used = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if used > 0 && used + 1 + length > room {
                lines.push(format!("{margin}{line}"));
                line.clear();
                used = 0;
            }
            if used > 0 {
                line.push(' ');
                used += 1;
            }
            line.push_str(word);
            used += length;
        }
        lines.push(format!("{margin}{line}").trim_end().to_string());
    }
    lines
}

/// `text` in one line without controls, filled up with spaces to `columns` characters.
#[must_use]
pub fn pad(text: &str, columns: usize) -> String {
    let text = one_line(text);
    let missing = columns.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// The longest of `texts` in characters, at least `least`.
pub fn widest<'a>(texts: impl IntoIterator<Item = &'a str>, least: usize) -> usize {
    texts
        .into_iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
        .max(least)
}

/// A span of milliseconds for people.
#[must_use]
pub fn span_ms(ms: u64) -> String {
    match ms {
        0..=9_999 => format!("{ms} ms"),
        10_000..=119_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

/// Text from elsewhere without control characters, so that a name or an agent's output cannot move the cursor.
#[must_use]
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// The same in one line, for what stands beside other things.
#[must_use]
pub fn one_line(text: &str) -> String {
    clean(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_between_words() {
        assert_eq!(wrap("one two three four", 2, 12), ["  one two", "  three four"]);
        assert_eq!(
            wrap("averyveryverylongword x", 0, 10),
            ["averyveryverylongword", "x"]
        );
        assert_eq!(wrap("", 4, 20), Vec::<String>::new());
        assert_eq!(wrap("no limit at all", 1, usize::MAX), [" no limit at all"]);
    }

    #[test]
    fn spans_read_well() {
        assert_eq!(span_ms(38), "38 ms");
        assert_eq!(span_ms(12_340), "12.3 s");
        assert_eq!(span_ms(125_000), "2 min 5 s");
    }

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(clean("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\n");
        assert_eq!(one_line("db\n2\t"), "db 2\u{fffd}");
    }
}

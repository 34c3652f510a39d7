//! What people read: in one piece, and harmless on a terminal.

/// Checks that `text` cannot move the cursor or fake a line: no control characters.
///
/// # Panics
/// When there is one.
pub fn one_line(text: &str) {
    let bad = text.chars().find(|letter| letter.is_control());
    assert_eq!(bad, None, "a control character in {text:?}");
}

/// The same for text of several lines.
///
/// # Panics
/// When there is a control character other than a line feed.
pub fn lines(text: &str) {
    text.split('\n').for_each(one_line);
}

/// Splits fuzz input into a few numbers and the rest.
#[must_use]
pub fn head<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    match data.split_first_chunk::<N>() {
        Some((head, rest)) => (*head, rest),
        None => ([0; N], data),
    }
}

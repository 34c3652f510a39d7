//! Masks plaintext secrets in a configuration before any line of it is shown.
//!
//! Works on the text, not on the parsed file: a file that does not parse is shown as well.

/// Words in a key that mark its value as a secret.
const SECRET_WORDS: [&str; 4] = ["password", "passwd", "secret", "token"];
/// Ends of a key that mark its value as the place of a secret.
const PLACE_ENDS: [&str; 2] = ["_file", "_script"];

/// True for a key whose value is a secret in plain text.
pub(super) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !PLACE_ENDS.iter().any(|end| key.ends_with(end)) && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `source` fit to be shown: the values of secret keys replaced by asterisks, and the control characters that the renderer
/// lets through (U+0080 to U+009F, which some terminals obey) by dots, every byte in its place.
pub(super) fn redacted(source: &str) -> String {
    let mut bytes = source.as_bytes().to_vec();
    for (equals, _) in source.match_indices('=') {
        if is_secret_key(key_before(&source[..equals])) {
            let masked = value_after(source, equals + 1);
            bytes[masked]
                .iter_mut()
                .filter(|byte| !matches!(byte, b'\n' | b'\r'))
                .for_each(|byte| *byte = b'*');
        }
    }
    let text = String::from_utf8(bytes).unwrap_or_default();
    text.replace(|letter| ('\u{80}'..='\u{9f}').contains(&letter), "\u{b7}")
}

/// The key that ends `text`, without quotes.
fn key_before(text: &str) -> &str {
    let text = text.trim_end_matches([' ', '\t', '"', '\'']);
    let start = text
        .rfind(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
        .map_or(0, |at| at + text[at..].chars().next().map_or(1, char::len_utf8));
    &text[start..]
}

/// The bytes of the value that starts at or after `from`: up to its closing quotes, or the end of a bare word.
fn value_after(source: &str, from: usize) -> std::ops::Range<usize> {
    let rest = &source[from..];
    let start = from + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
    let rest = &source[start..];
    if let Some((quotes, inner)) = quoted(rest) {
        let closing = closing_quotes(inner, quotes);
        return start + quotes.len()..start + quotes.len() + closing;
    }
    if rest.starts_with(['[', '{']) {
        return start + 1..start + closing_bracket(rest);
    }
    let end = rest.find([',', '}', '\n', '#']).unwrap_or(rest.len());
    start..start + end
}

/// The quotes that `text` begins with, and what follows them.
fn quoted(text: &str) -> Option<(&'static str, &str)> {
    ["\"\"\"", "'''", "\"", "'"]
        .into_iter()
        .find_map(|quotes| Some((quotes, text.strip_prefix(quotes)?)))
}

/// Where the bracket that `text` begins with is closed; the end of the text when it never is. Brackets in quotes and
/// comments do not count.
fn closing_bracket(text: &str) -> usize {
    let (mut at, mut depth) = (0, 0);
    while let Some(letter) = text[at..].chars().next() {
        let rest = &text[at..];
        if let Some((quotes, inner)) = quoted(rest) {
            let closing = quotes.len() + closing_quotes(inner, quotes);
            at += closing;
            at += rest[closing..].strip_prefix(quotes).map_or(0, |_| quotes.len());
            continue;
        }
        match letter {
            '[' | '{' => depth += 1,
            ']' | '}' if depth == 1 => return at,
            ']' | '}' => depth -= 1,
            '#' => {
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            _ => {}
        }
        at += letter.len_utf8();
    }
    text.len()
}

/// Where `quotes` close `inner`; the end of its line, or of the text for triple quotes, when they never do.
fn closing_quotes(inner: &str, quotes: &str) -> usize {
    let mut at = 0;
    while let Some(found) = inner[at..].find(quotes) {
        let end = at + found;
        let backslashes = inner[..end]
            .bytes()
            .rev()
            .take_while(|byte| *byte == b'\\')
            .count();
        if quotes.starts_with('\'') || backslashes % 2 == 0 {
            return if quotes.len() == 1 {
                end.min(inner.find('\n').unwrap_or(end))
            } else {
                end
            };
        }
        at = end + quotes.len();
    }
    if quotes.len() == 1 {
        inner.find('\n').unwrap_or(inner.len())
    } else {
        inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_secret_keys_are_masked_and_nothing_else() {
        let source = "params = { ip = \"10.0.9.1\", passwd = \"hünter2\", password_file = \"/etc/x\" }\n\
                      Password='a\\'\n\"snmp_priv_passwd\" = \"un\\\"closed\ntoken = bare # why\n";
        assert_eq!(
            redacted(source),
            "params = { ip = \"10.0.9.1\", passwd = \"********\", password_file = \"/etc/x\" }\n\
             Password='**'\n\"snmp_priv_passwd\" = \"**********\ntoken = *****# why\n"
        );
    }

    #[test]
    fn what_a_terminal_would_obey_is_dotted_out() {
        assert_eq!(redacted("x = \"a\u{9b}31mb\u{85}\""), "x = \"a\u{b7}31mb\u{b7}\"");
    }

    /// Found by fuzzing: of a list, only the first item was masked.
    #[test]
    fn a_list_of_secrets_is_masked_to_its_end() {
        assert_eq!(
            redacted("token = [\"a\", # ]\n \"b]\", [1]]\nx = [2]"),
            "token = [********\n**********]\nx = [2]"
        );
        assert_eq!(redacted("secret = { a = \"b\"\n"), "secret = {********\n");
    }

    #[test]
    fn a_secret_over_several_lines_keeps_its_lines() {
        assert_eq!(
            redacted("secret = \"\"\"a\nb\"\"\"\nx = 1"),
            "secret = \"\"\"*\n*\"\"\"\nx = 1"
        );
    }
}

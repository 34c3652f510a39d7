//! A scanner for the tags that matter in the descriptions that agents print of themselves.
//!
//! Not an XML library: real agents print unescaped text in places, and a description that is not well formed must not make
//! them useless.

/// A tag's name (with `/` in front for an end tag) and its attributes' text.
pub fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.get(rest.find('<')? + 1..)?;
            if let Some(comment) = rest.strip_prefix("!--") {
                rest = comment.get(comment.find("-->")? + 3..)?;
                continue;
            }
            if let Some(text) = rest.strip_prefix("![CDATA[") {
                rest = text.get(text.find("]]>")? + 3..)?;
                continue;
            }
            if !rest.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '?' | '!')) {
                // Not a tag: text that should have been escaped.
                continue;
            }
            let end = tag_end(rest)?;
            let (inner, after) = (rest.get(..end)?, rest.get(end + 1..)?);
            rest = after;
            let split = inner.find(|c: char| c.is_whitespace()).unwrap_or(inner.len());
            return Some((
                inner[..split].trim_end_matches(|c| c == '/' && split > 1),
                &inner[split..],
            ));
        }
    })
}

/// Where a tag ends: `>` inside quotes does not count.
fn tag_end(text: &str) -> Option<usize> {
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return Some(at),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            _ => {}
        }
    }
    None
}

/// The value of the attribute `wanted` in a tag's attributes. Control characters in it are blanks, as XML has it for line feeds.
#[must_use]
pub fn attribute(text: &str, wanted: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let equals = rest.find('=')?;
        let name = rest[..equals].trim();
        let value = rest[equals + 1..].trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let value = &value[1..];
        let end = value.find(quote)?;
        if name == wanted {
            return Some(unescape(&value[..end]));
        }
        rest = &value[end + 1..];
    }
}

fn unescape(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'");
    let text = text.replace("&amp;", "&");
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_should_have_been_escaped_hides_no_tag() {
        let text =
            "<a>less < it's more <![CDATA[<ghost/>]]><!-- <ghost/> --><b x='1>2' y=\"&lt;&amp;\"/></a>";
        let found: Vec<_> = tags(text).collect();
        let names: Vec<_> = found.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a", "b", "/a"]);
        assert_eq!(attribute(found[1].1, "x").as_deref(), Some("1>2"));
        assert_eq!(attribute(found[1].1, "y").as_deref(), Some("<&"));
        assert_eq!(attribute(found[1].1, "z"), None);
    }

    /// Found by fuzzing: an agent's name and its options were repeated with their controls.
    #[test]
    fn values_are_on_one_line() {
        assert_eq!(attribute(" a='x\n\u{1b}[y'", "a").as_deref(), Some("x  [y"));
    }
}

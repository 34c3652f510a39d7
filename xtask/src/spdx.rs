//! Licence expressions: enough of SPDX to tell whether a set of licences allows one.

/// Whether `expression` can be satisfied with licences for which `allowed` holds.
pub fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    // Old manifests write "MIT/Apache-2.0" for OR.
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let result = any_of(&mut words, allowed)?;
    match words.next() {
        None => Ok(result),
        Some(word) => Err(format!("unexpected '{word}' in '{expression}'")),
    }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut result = all_of(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        result |= all_of(words, allowed)?;
    }
    Ok(result)
}

fn all_of(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    let mut result = term(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        result &= term(words, allowed)?;
    }
    Ok(result)
}

fn term(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    match words.next() {
        Some("(") => {
            let result = any_of(words, allowed)?;
            words
                .next_if_eq(&")")
                .map(|_| result)
                .ok_or_else(|| "a bracket is not closed".to_string())
        }
        Some(word @ (")" | "OR" | "AND" | "WITH")) => Err(format!("unexpected '{word}'")),
        Some(licence) if words.next_if_eq(&"WITH").is_some() => {
            let exception = words
                .next()
                .ok_or_else(|| format!("'{licence} WITH' names no exception"))?;
            Ok(allowed(&format!("{licence} WITH {exception}")))
        }
        Some(licence) => Ok(allowed(licence)),
        None => Err("a licence is missing".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_and_unicode(expression: &str) -> Result<bool, String> {
        satisfied(expression, &|licence| ["MIT", "Unicode-3.0"].contains(&licence))
    }

    #[test]
    fn operators_bind_as_in_spdx() {
        assert_eq!(mit_and_unicode("GPL-3.0 OR MIT"), Ok(true));
        assert_eq!(mit_and_unicode("GPL-3.0 AND MIT"), Ok(false));
        assert_eq!(mit_and_unicode("(MIT OR Apache-2.0) AND Unicode-3.0"), Ok(true));
        assert_eq!(mit_and_unicode("MIT OR Apache-2.0 AND GPL-3.0"), Ok(true));
        assert_eq!(mit_and_unicode("MIT/Apache-2.0"), Ok(true));
        assert_eq!(mit_and_unicode("MIT WITH Something"), Ok(false));
    }

    #[test]
    fn nonsense_is_told() {
        assert!(mit_and_unicode("(MIT").is_err());
        assert!(mit_and_unicode("MIT MIT").is_err());
        assert!(mit_and_unicode("").is_err());
    }
}

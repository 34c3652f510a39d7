//! Patterns of file names: `*`, `?` and `[...]`.

/// Whether `name` fits `pattern`. Takes time in proportion to the product of both lengths at most.
#[must_use]
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the latest `*` does not fit.
    let mut again: Option<(usize, usize)> = None;
    while n < name.len() {
        if pattern.get(p) == Some(&'*') {
            again = Some((p + 1, n));
            p += 1;
        } else if let Some(length) = fits_one(&pattern[p.min(pattern.len())..], name[n]) {
            (p, n) = (p + length, n + 1);
        } else if let Some((after, at)) = again {
            (p, n) = (after, at + 1);
            again = Some((after, at + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// How much of the pattern's beginning stands for `c`; None if it does not fit.
fn fits_one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.first()? {
        '?' => Some(1),
        '[' => {
            let end = pattern.iter().skip(2).position(|c| *c == ']')? + 2;
            let inner = &pattern[1..end];
            let (negated, inner) = match inner.first() {
                Some('!' | '^') => (true, &inner[1..]),
                _ => (false, inner),
            };
            (is_in(inner, c) != negated).then_some(end + 1)
        }
        other => (*other == c).then_some(1),
    }
}

fn is_in(set: &[char], c: char) -> bool {
    let mut rest = set;
    while let Some(first) = rest.first() {
        if let [low, '-', high, after @ ..] = rest {
            if (*low..=*high).contains(&c) {
                return true;
            }
            rest = after;
        } else {
            if *first == c {
                return true;
            }
            rest = &rest[1..];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_fit_as_in_a_shell() {
        for (pattern, name, fits) in [
            ("*", "", true),
            ("*.conf", "a.conf", true),
            ("*.conf", "a.confx", false),
            ("a?c", "abc", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyy", false),
            ("[0-9]x", "7x", true),
            ("[!0-9]x", "7x", false),
            ("[ab", "a", false),
            ("", "", true),
            ("", "a", false),
            ("nginx.service", "nginx.service", true),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}

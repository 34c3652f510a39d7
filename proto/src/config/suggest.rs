//! The nearest valid word to one that is not.

/// The candidate that `word` was most likely meant to be, if any is near enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let allowed = (length / 3).clamp(1, 3);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| {
            (
                distance(&word.to_lowercase(), &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// The candidate nearest to `word` as a hint, or all of them when none is near and they are few.
pub(super) fn hint<'a>(word: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> String {
    /// Beyond this a list helps nobody.
    const LISTED_MAX: usize = 24;
    if let Some(near) = nearest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let listed: Vec<&str> = candidates.take(LISTED_MAX + 1).collect();
    match listed.len() {
        0 => String::new(),
        1..=LISTED_MAX => format!("valid here: {}", listed.join(", ")),
        _ => String::new(),
    }
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before: Vec<usize> = vec![0; right.len() + 1];
    let mut previous: Vec<usize> = (0..=right.len()).collect();
    for (row, from) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, to) in right.iter().enumerate() {
            let replace = previous[column] + usize::from(from != to);
            let mut best = replace.min(previous[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0 && column > 0 && *from == right[column - 1] && left[row - 1] == *to;
            if swapped {
                best = best.min(before[column - 1] + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_a_far_one_is_not_offered() {
        let keys = ["name", "links", "keys", "id", "interface"];
        assert_eq!(nearest("link", keys), Some("links"));
        assert_eq!(nearest("nmae", keys), Some("name"));
        assert_eq!(nearest("Interfaces", keys), Some("interface"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(
            hint("colour", keys.into_iter()),
            "valid here: name, links, keys, id, interface"
        );
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("ab", "ba"), 1);
    }
}

//! Large and damaged files.

use std::fmt::Write;

use proptest::prelude::*;

use super::*;

fn many_groups(count: usize) -> String {
    let mut text = BASE.to_string();
    for index in 0..count {
        let keys = if index == 0 {
            String::new()
        } else {
            format!("after = [\"g{}\"]", index - 1)
        };
        let unit = format!("name = \"svc\"\ntype = \"systemd\"\nunit = \"app@{index}\"");
        write!(text, "{}", group(&format!("g{index}"), &keys, &unit)).unwrap();
    }
    text
}

#[test]
fn the_largest_cluster_parses_and_a_larger_one_is_refused() {
    assert_eq!(
        parse(&many_groups(GROUPS_MAX), "f").unwrap().groups.len(),
        GROUPS_MAX
    );
    let found = error(&many_groups(GROUPS_MAX + 1));
    assert!(
        found.ends_with("5001 groups: a cluster has at most 5000"),
        "{found}"
    );
}

#[test]
fn a_file_full_of_errors_is_cut_short() {
    let text = many_groups(3000).replace("after = [\"g", "after = [\"h");
    let found = parse(&text, "f").unwrap_err();
    assert_eq!(
        (found.entries().len(), found.left_out()),
        (DIAGNOSTICS_MAX, 2999 - DIAGNOSTICS_MAX)
    );
    assert!(
        found
            .to_string()
            .ends_with("2999 errors, the first 50 are shown; nothing was changed")
    );
}

#[test]
fn more_nodes_than_there_are_numbers_are_refused() {
    let mut text = BASE.to_string();
    for index in 3..=17 {
        write!(
            text,
            "\n[[node]]\nname = \"n{index}\"\nlinks = [\"10.0.1.{index}\"]\n"
        )
        .unwrap();
    }
    assert!(error(&text).ends_with("17 data nodes: a cluster has at most 16"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn damaged_files_never_panic(
        edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut text: Vec<char> = docs_example().chars().collect();
        for (at, to) in edits {
            let at = at.index(text.len());
            text[at] = to;
        }
        text.truncate(cut.index(text.len() * 2));
        let text: String = text.into_iter().collect();
        if let Err(found) = parse(&text, "f") {
            prop_assert!(!found.entries().is_empty());
            prop_assert!(!found.render(true).is_empty());
        }
    }

    #[test]
    fn lines_in_any_order_never_panic(
        order in Just(docs_example().lines().collect::<Vec<_>>()).prop_shuffle(),
    ) {
        if let Err(found) = parse(&order.join("\r\n"), "f") {
            prop_assert!(!found.to_string().is_empty());
        }
    }
}

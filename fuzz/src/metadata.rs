//! What fence agents say about themselves (XML), and the parameters that are checked against it.

use std::collections::BTreeMap;

use holdfast_agents::fence::metadata::{self, Metadata};
use holdfast_agents::fence::params;

use crate::memory::bounded;
use crate::text::one_line;

/// Most parameters, actions, and options of one parameter that are kept.
const ITEMS_MAX: usize = 1000;

/// Reads the bytes as an agent's description, as far as they are text; the part after the first NUL is a list of
/// parameters, `key=value` a line.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (description, given) = text.split_once('\0').unwrap_or((&text, ""));
    let found = match bounded(description.len(), 128, || metadata::parse(description)) {
        Ok(found) => {
            bounds(&found);
            Some(found)
        }
        Err(why) => {
            one_line(&why);
            None
        }
    };
    let mut given: BTreeMap<String, String> = given
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    // Files are for the tests of `params`: a fuzzer must not open what it thinks up.
    given.retain(|key, _| !key.ends_with("_file"));
    prepared(&given, found.as_ref());
}

fn bounds(found: &Metadata) {
    assert!(!found.actions.is_empty() && found.actions.len() <= ITEMS_MAX);
    assert!(found.parameters.len() <= ITEMS_MAX);
    for parameter in &found.parameters {
        assert!(!parameter.name.is_empty() && parameter.options.len() <= ITEMS_MAX);
        assert_eq!(
            found.parameter(&parameter.name).map(|it| &it.name),
            Some(&parameter.name)
        );
    }
}

fn prepared(given: &BTreeMap<String, String>, description: Option<&Metadata>) {
    match params::prepare(given, description) {
        Ok(prepared) => {
            prepared.problems.iter().for_each(|problem| one_line(problem));
            let input = prepared.input("off", "db1");
            // The action is ours: no parameter may add a line of its own, or another action.
            let actions = input.as_ref().lines().filter(|line| line.starts_with("action="));
            assert_eq!(actions.count(), 1, "{:?}", input.as_ref());
            let expected = 2 + given
                .keys()
                .filter(|key| description.is_some() || *key != params::EXEC_KEY)
                .count();
            assert_eq!(input.as_ref().lines().count(), expected, "{:?}", input.as_ref());
        }
        Err(error) => one_line(&error.0),
    }
}

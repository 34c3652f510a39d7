//! OCF agents: what they say of themselves (XML) and what they print, and how they call Pacemaker's tools.

use std::collections::BTreeMap;

use holdfast_agents::fuzzing::ocf as host;
use holdfast_proto::ocf::{self, Metadata};

use crate::memory::bounded;
use crate::text::{head, one_line};

/// Most parameters, actions, and options of one parameter that are kept.
const ITEMS_MAX: usize = 1000;
/// A value that is not to be shown.
const SECRET: &str = "Zq7Secret7qZ";

/// The first byte chooses. A description is followed by a NUL and parameters, `key=value` a line; the words of a call are
/// lines.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([which], rest) = head(data);
    match which % 3 {
        0 => described(&String::from_utf8_lossy(rest)),
        1 => {
            let words: Vec<String> = String::from_utf8_lossy(rest).lines().map(str::to_owned).collect();
            let code = host::tool(which / 3, &words);
            // Those of Pacemaker's tools: done, misused, cannot write, not here, no such thing.
            assert!([0, 64, 73, 102, 105].contains(&code), "{code}");
        }
        _ => {
            let pieces = rest.chunks(usize::from(which / 3).max(1));
            one_line(&bounded(rest.len(), 8, || host::reason(pieces)));
            let scores = bounded(rest.len(), 64, || host::scores(rest));
            assert!(
                scores
                    .iter()
                    .all(|score| (-1_000_000..=1_000_000).contains(score))
            );
        }
    }
}

fn described(text: &str) {
    let (description, given) = text.split_once('\0').unwrap_or((text, ""));
    match bounded(description.len(), 128, || ocf::parse(description)) {
        Ok(agent) => {
            bounds(&agent);
            host::watched(&agent);
            held_against(&agent, given);
        }
        Err(why) => one_line(&why),
    }
}

fn bounds(agent: &Metadata) {
    assert!(!agent.operations.is_empty() && agent.operations.len() <= ITEMS_MAX);
    assert!(agent.parameters.len() <= ITEMS_MAX);
    for parameter in &agent.parameters {
        // It becomes part of the name of a variable in the agent's environment.
        assert_eq!(ocf::param_name_fault(&parameter.name), None);
        assert!(parameter.options.len() <= ITEMS_MAX);
        assert!(parameter.private || !ocf::is_private(&parameter.name));
    }
    for operation in &agent.operations {
        assert!(agent.has(&operation.name) && operation.interval_ms != Some(0));
    }
}

fn held_against(agent: &Metadata, given: &str) {
    let params: BTreeMap<String, String> = given
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let found = agent.check(&params);
    let is_private = |name: &String| agent.parameter(name).is_some_and(|found| found.private);
    let is_secret = |(name, value): (&String, &String)| is_private(name) && value == SECRET;
    let elsewhere = |(name, value): (&String, &String)| {
        name.contains(SECRET) || (value.contains(SECRET) && !is_secret((name, value)))
    };
    let hides = params.iter().any(is_secret) && !params.iter().any(elsewhere);
    for text in found.errors.iter().chain(&found.warnings) {
        one_line(text);
        let says_it_itself = agent.parameters.iter().any(|parameter| {
            let mut options = parameter.options.iter();
            options.any(|option| option.contains(SECRET)) || parameter.name.contains(SECRET)
        });
        let shown = text.contains(SECRET) && !agent.name.contains(SECRET) && !says_it_itself;
        assert!(!(hides && shown), "a secret is shown: {text}");
    }
}

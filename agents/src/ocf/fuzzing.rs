//! What the fuzz targets reach.

use std::collections::BTreeMap;

use super::monitor::looks;
use super::said::Said;
use super::settings::Settings;
use super::tools::{NAMES, Tool};
use super::{Metadata, attributes};

/// The reason in what an agent printed in `pieces`.
#[must_use]
pub fn reason<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let mut said = Said::default();
    pieces.for_each(|piece| said.push(piece));
    said.reason()
}

/// How often an agent is looked at that says this of itself: never without a pause between two.
pub fn watched(agent: &Metadata) {
    let level = BTreeMap::from([("check_level".to_owned(), "10".to_owned())]);
    let settings = Settings::read("ocf:heartbeat:x", &level).expect("good settings");
    for promoted in [false, true] {
        let looks = looks(&settings, Some(agent), promoted);
        assert!(looks.len() == 2 && looks.iter().all(|look| !look.interval.is_zero()));
    }
}

/// The exit code of one of the stand-ins for Pacemaker's tools. There is no file that it could write to.
#[must_use]
pub fn tool(which: u8, words: &[String]) -> i32 {
    let tool = Tool {
        name: NAMES[usize::from(which) % NAMES.len()],
        node: "db1".into(),
        instance: "g.r:0".into(),
        attributes: "/nonexistent/g.attributes".into(),
    };
    let outcome = tool.run(words);
    assert!(outcome.code == 0 || outcome.printed.is_empty());
    outcome.code
}

/// Attributes as they are kept: those that hold a score.
#[must_use]
pub fn scores(bytes: &[u8]) -> Vec<i64> {
    let all = attributes::load(&mut &bytes[..]).unwrap_or_default();
    all.values().filter_map(|text| attributes::score(text)).collect()
}

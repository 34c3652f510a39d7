//! Why a group is where it is.

use holdfast_core::view::GroupView as CoreGroup;
use holdfast_proto::control::{EventView, WhyView};

use crate::shell::api::Snapshot;

/// The answer to `hactl why`; `None` when there is no such group.
#[must_use]
pub fn why(snapshot: &Snapshot, group: &str, history: Vec<EventView>) -> Option<WhyView> {
    let core = snapshot.view.groups.iter().find(|core| &*core.name == group)?;
    let candidate = |(node, able, reason): &(_, bool, String)| {
        let name = snapshot.config.name_of(*node);
        match (able, reason.as_str()) {
            (true, "") => format!("{name}: could run it"),
            (true, reason) => format!("{name}: could run it, {reason}"),
            (false, reason) => format!("{name}: no, {reason}"),
        }
    };
    Some(WhyView {
        group: group.into(),
        sentence: sentence(snapshot, core),
        candidates: core.candidates.iter().map(candidate).collect(),
        history,
    })
}

fn sentence(snapshot: &Snapshot, core: &CoreGroup) -> String {
    let name = &core.name;
    let place = match (core.state, core.node) {
        ("running", Some(node)) => format!("{name} runs on {}", snapshot.config.name_of(node)),
        (state, Some(node)) => format!("{name} is {state}, assigned to {}", snapshot.config.name_of(node)),
        (state, None) => format!("{name} is {state}"),
    };
    if core.reason.is_empty() {
        place
    } else {
        format!("{place}: {}", core.reason)
    }
}

//! What `had-agentd` and `had` keep for their successors besides votes: groups, permits, events.

use std::collections::BTreeMap;

use holdfast_agents::fuzzing;
use holdfast_agents::group::store::SavedGroup;
use holdfast_daemon::fuzzing as had;

use crate::memory::bounded;
use crate::sameness::settled_prost;

/// Reads the bytes as each of their files.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    if let Some(group) = bounded(data.len(), 256, || settled_prost::<SavedGroup>(data)) {
        // Of another boot, or of none: it may not be taken for running.
        assert!(!group.may_run() || group.spec.is_some());
        resumed(&group);
    }
    if let Some((epoch, until_us)) = fuzzing::saved_permit(data) {
        assert_eq!(data[..24], fuzzing::permit_record(epoch, until_us));
    }
    of_services(data);
    let (entries, next) = bounded(data.len(), 64, || had::read_journal(data));
    // The ids of a damaged file are in any order; the last one counts.
    assert!(
        entries
            .back()
            .is_none_or(|last| last.id < next || last.id == u64::MAX)
    );
}

/// What agents of services and jobs leave for those after them.
fn of_services(data: &[u8]) {
    bounded(data.len(), 256, || fuzzing::jobs::files(data));
    bounded(data.len(), 256, || fuzzing::redis::memo(data));
    if let Ok(text) = std::str::from_utf8(data)
        && let Some((newest, with_others)) = fuzzing::mysqld::wished(text)
    {
        let written = format!("{newest} {with_others}\n");
        assert_eq!(fuzzing::mysqld::wished(&written), Some((newest, with_others)));
    }
}

/// Agents are built again from what they saved.
fn resumed(group: &SavedGroup) {
    let params = BTreeMap::from([("command".to_string(), "/bin/true".to_string())]);
    for saved in &group.agents {
        let built = fuzzing::accepts("exec", &params, saved);
        assert!(
            built.is_ok(),
            "what an agent saved keeps it from being built: {built:?}"
        );
    }
}

//! What the fuzz targets reach.

use super::events::{Said, State};

/// Follows what `drbdsetup events2` says of `r0`, and looks at every state that it leads to.
pub fn follow(text: &str) {
    let mut state = State::default();
    for line in text.lines() {
        let before = state.clone();
        match state.take("r0", line) {
            Said::State => {}
            Said::Called(helper) => assert!(!helper.is_empty() && state == before),
            Said::Nothing => assert_eq!(state, before),
        }
        judged(&state);
    }
    assert_eq!(state, State::read("r0", text));
    let mut counted = state.clone();
    counted.take_counters(&state);
    assert_eq!(counted, state);
}

/// A copy counts as whole only where every word for it was said.
fn judged(state: &State) {
    if state.is_up_to_date() {
        assert_eq!(state.worst_disk(), "UpToDate");
    }
    for connection in state.connections.values() {
        let _ = (connection.out_of_sync_kib(), connection.activity());
        if connection.is_whole() {
            assert!(connection.state == "Connected" && connection.activity().is_none());
            assert!(!connection.volumes.is_empty() && !state.stands_alone());
        }
    }
}

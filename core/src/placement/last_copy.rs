//! The last whole copy: when no other one can be promoted, a failure does not bar it for long.
//!
//! A failure keeps a group off a node so that another one gets a chance. Where a copy of the data decides, there may be no other:
//! the rest is not in the committed set, lost, in standby, or failed as well. Then waiting for the whole window helps nobody. The
//! copy is tried again soon, and later after each failure. Nothing else is weaker: it is in the set (rule 12), the group is free
//! only by a release proof, and the budget of automatic moves counts these tries too.

use std::time::Duration;

use holdfast_proto::config::GroupSection;
use holdfast_proto::ids::NodeId;
use holdfast_proto::state::ClusterState;

use super::{Observations, obstacle_beside_failure};

/// How long after its first failure the last whole copy is tried again. A service that was killed, or ran out of memory or of
/// connections, is itself again within seconds, and a try costs a start and a stop; so it is long beside a start, and short
/// beside what an operator needs to come.
const FIRST_WAIT: Duration = Duration::from_secs(30);

/// How long the last whole copy is left alone after it failed `count` times: twice as long each time, and never longer than
/// `window`, in which failures count.
#[must_use]
pub fn last_copy_wait(count: u32, window: Duration) -> Duration {
    let doublings = count.saturating_sub(1).min(16);
    window.min(FIRST_WAIT.saturating_mul(1 << doublings))
}

/// Where no node is able, takes failures out of `obstacles` that are long enough ago, of nodes whose copy is whole and that have
/// no other obstacle; of the others it says when they are tried again. True when one may be tried now.
pub(super) fn try_again(
    state: &ClusterState,
    group: &GroupSection,
    seen: &Observations,
    obstacles: &mut [(NodeId, Option<String>)],
) -> bool {
    let Some(entry) = state.groups.get(&group.name).filter(|_| group.is_promotable()) else {
        return false;
    };
    if obstacles.iter().any(|(_, obstacle)| obstacle.is_none()) {
        return false;
    }
    let window = Duration::from_millis(state.config.cluster.flap_window_ms.into());
    let mut now = false;
    for (node, obstacle) in obstacles {
        let Some(failure) = entry
            .failures
            .get(node)
            .filter(|_| entry.in_sync.nodes.contains(node))
        else {
            continue;
        };
        if obstacle_beside_failure(state, group, *node, seen).is_some() {
            continue;
        }
        if seen
            .get(node)
            .is_some_and(|observed| observed.rested.contains(&group.name))
        {
            *obstacle = None;
            now = true;
            continue;
        }
        *obstacle = Some(format!(
            "failed it ({}); no other whole copy can be promoted, so it is tried again after {} s; hactl resource cleanup {} tries \
             it now",
            failure.reason,
            last_copy_wait(failure.count, window).as_secs(),
            group.name
        ));
    }
    now
}

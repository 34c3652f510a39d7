//! Promotion: what is looked at before it, and the order of its steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use holdfast_proto::time::Time;

use super::client::Fault;
use super::copy::{self, Durable};
use super::info::Info;
use super::instance::Instance;
use super::state::{Duty, State};
use super::waiting::Waiting;
use crate::agent::{AgentContext, AgentError};
use crate::clock;
use crate::roles::RolesView;

/// Bound on asking another node before a promotion of a copy that is not known to be whole.
const ASK: Duration = Duration::from_millis(500);

/// Makes it take writes.
///
/// What allows it: the runner checked the permit and the epoch, and the cluster committed this assignment because this
/// copy was told to be whole. What it cannot know is that the process was restarted since it was told: that is looked at here.
pub async fn promote(state: &State, context: &AgentContext) -> Result<(), AgentError> {
    let view = context.roles.borrow().clone();
    let mut local = state.local.lock().await;
    let info = local
        .info()
        .await
        .map_err(|fault| wrong("cannot be asked", &fault))?;
    if state.facts().duty == Duty::Promoted && info.is_master && state.facts().is_whole() {
        return Ok(());
    }
    if info.loading {
        return Err(AgentError::new(
            "redis still reads its data; it is promoted when it has all",
        ));
    }
    if info.append_failed && view.waits_for_others() {
        return Err(AgentError::new(
            "redis cannot write its append only file, so it would take no writes: make room on its disk",
        ));
    }
    state.facts().info = info.clone();
    if !state.facts().is_whole() {
        check_restarted(state, context, &view, &info).await?;
    }
    // What it demands comes first: from the moment it is a master no write is taken that the others of the committed set
    // might miss.
    let waiting = waiting(state, &view);
    let mut others: BTreeSet<&String> = view.in_sync.nodes.iter().collect();
    others.extend(&waiting.pending().nodes);
    others.remove(&view.own.name);
    let demand = match state.params.waits {
        true => u32::try_from(others.len()).unwrap_or(super::held::REPLICAS),
        false => 0,
    };
    let steps = async {
        local
            .set("min-replicas-max-lag", &state.params.max_lag_s.to_string())
            .await?;
        if info.is_master {
            // The other side handed over: it is a master that takes nothing, up to this very command.
            return local.demand(demand).await;
        }
        local.refuse_writes().await?;
        local.lead().await?;
        local.demand(demand).await
    };
    steps.await.map_err(|fault| wrong("cannot be promoted", &fault))?;
    let now = local
        .info()
        .await
        .map_err(|fault| wrong("cannot be asked after its promotion", &fault))?;
    if !now.is_master {
        return Err(AgentError::new(
            "redis was told to be no replica of anybody, and still is one",
        ));
    }
    {
        let mut facts = state.facts();
        facts.duty = Duty::Promoted;
        facts.waiting = waiting;
        facts.whole.clone_from(&now.run_id);
        facts.info = now;
        facts.link_lost = None;
    }
    state.nudge.notify_one();
    warn_of_persistence(&mut local, context, &info).await;
    Ok(())
}

/// The others have been gone since the connection with the primary broke, so that their time runs from then on.
fn waiting(state: &State, view: &RolesView) -> Waiting {
    let facts = state.facts();
    let gone: BTreeMap<String, Time> = match facts.link_lost {
        Some(lost) => view.others.iter().map(|peer| (peer.name.clone(), lost)).collect(),
        None => BTreeMap::new(),
    };
    Waiting::new(facts.waiting.pending().clone(), gone)
}

/// A process that was restarted since its copy was whole is promoted only if the cluster could know: an empty one would wipe the
/// replicas that follow it.
async fn check_restarted(
    state: &State,
    context: &AgentContext,
    view: &RolesView,
    info: &Info,
) -> Result<(), AgentError> {
    if view.in_sync.generation == 0 && view.in_sync.nodes.is_empty() {
        return Ok(()); // Nobody was ever promoted: there is nothing to lose.
    }
    let looks = view
        .others
        .iter()
        .flat_map(|peer| peer.addresses.iter().map(move |at| (peer, *at)));
    let looks = looks.map(|(peer, at)| async move { (peer, state.remote(at, ASK).info().await) });
    for (peer, answer) in futures_util::future::join_all(looks).await {
        if let Ok(theirs) = answer
            && theirs.keys > 0
            && info.keys == 0
        {
            return Err(AgentError(format!(
                "redis here was restarted and came up empty, and {} has {} keys: promoted, it would wipe them; move the group \
                 there",
                peer.name, theirs.keys
            )));
        }
    }
    let facts = state.facts();
    let alone = view.in_sync.nodes.len() == 1 && view.in_sync.nodes.contains(&view.own.name);
    if facts.durable == Durable::All || (alone && info.keys > 0) || copy::is_first(view) {
        return Ok(());
    }
    // A restart in place goes on under the epoch of before: it was assigned without that knowledge.
    let anew = facts
        .loss_told
        .as_ref()
        .is_some_and(|told| told.epoch < view.epoch);
    if anew && facts.is_loss_known(clock::now(), context.lease) {
        return Ok(());
    }
    Err(AgentError::new(
        "redis here was restarted since it held all that was acknowledged, and the cluster did not know that when it decided; it \
         decides anew",
    ))
}

/// A primary without anything on disk is empty after a restart of its node.
async fn warn_of_persistence(local: &mut Instance, context: &AgentContext, info: &Info) {
    let (save, fsync) = (local.get("save").await, local.get("appendfsync").await);
    if let (Ok(save), Ok(fsync)) = (save, fsync)
        && Durable::read(info.appends, &fsync, &save) == Durable::Nothing
    {
        let text = "the primary keeps nothing on disk (appendonly no, save \"\"): if both nodes lose power all data is gone; \
                    set appendonly yes";
        context.events.note("warn", "redis-not-durable", text);
    }
}

pub(super) fn wrong(what: &str, fault: &Fault) -> AgentError {
    AgentError(format!("redis {what}: {fault}"))
}

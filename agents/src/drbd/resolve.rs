//! Giving up one side of a split brain: only by an operator's word, only on the side that is given up, and with a record.

use holdfast_proto::drbd::{Answer, exit};

use super::copy;
use super::shared::Shared;
use crate::clock;
use std::time::Duration;

/// Time for each command.
const COMMAND: Duration = Duration::from_secs(20);

/// Gives up what this node wrote while it was apart, and connects. The answer holds the record.
pub async fn discard(shared: &Shared, node: &str, who: &str, accept_loss: bool) -> Answer {
    let refuse = |text: String| Answer::new(exit::REFUSED, text);
    let (state, view) = (shared.state(), shared.view());
    let (resource, own) = (&shared.drbd.resource, &view.own.name);
    if node != own {
        return refuse(format!("this is {own}: give up the data of {node} there"));
    }
    if state.is_primary() || view.primary.as_ref() == Some(own) {
        return refuse(format!(
            "{resource} is promoted here: hactl move the group to the other node first, or give that one's data up"
        ));
    }
    let connected = state
        .connections
        .values()
        .any(|connection| connection.state == "Connected");
    if connected {
        return refuse(format!("{resource} is connected: there is nothing to resolve"));
    }
    if view.in_sync.nodes.contains(own) && !accept_loss {
        return refuse(format!(
            "the cluster has agreed that the copy on {own} has everything that was acknowledged: giving it up may lose \
             acknowledged writes; --accept-loss if that is meant"
        ));
    }
    let generations = match shared.drbd.generations().await {
        Ok(generations) => generations,
        Err(refusal) => return refuse(refusal.text),
    };
    let counted = shared.drbd.look().await.unwrap_or(state);
    let kib: u64 = counted
        .connections
        .values()
        .map(super::events::Connection::out_of_sync_kib)
        .sum();
    let deadline = clock::now() + COMMAND;
    let at_work = shared.at_work();
    // Standing alone already, or still trying: both are fine.
    let _ = shared.drbd.adm(&["disconnect", "--force"], deadline).await;
    let connecting = shared.drbd.adm(&["connect", "--discard-my-data"], deadline).await;
    drop(at_work);
    if let Err(refusal) = connecting {
        return refuse(refusal.text);
    }
    let record = format!(
        "{resource} on {own}: given up by {who}: at least {} that were written here since the other side was last connected; \
         generations {generations}; the cluster had agreed on {} (generation {})",
        copy::size(kib),
        view.in_sync.nodes.iter().cloned().collect::<Vec<_>>().join(", "),
        view.in_sync.generation
    );
    shared.events.note("warn", "drbd-discarded", record.clone());
    Answer::new(0, record)
}

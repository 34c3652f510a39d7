//! Demotion: every write that was taken is handed on, and none is taken any more.

use std::net::IpAddr;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::client::Fault;
use super::instance::Instance;
use super::promote::wrong;
use super::state::{Believed, Duty, State};
use crate::agent::AgentError;
use crate::clock;
use crate::roles::Peer;

/// Pause between looks while a replica catches up.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Longest wait for a replica; at most a quarter of the time there is.
const HAND_OVER: Duration = Duration::from_secs(5);

/// Ends its taking writes. `toward` is about to be promoted: it gets everything first, as far as it follows.
pub async fn demote(state: &State, toward: Option<&Peer>, deadline: Time) -> Result<(), AgentError> {
    let mut local = state.local.lock().await;
    let info = local
        .info()
        .await
        .map_err(|fault| wrong("cannot be asked", &fault))?;
    if !info.is_master {
        local
            .refuse_writes()
            .await
            .map_err(|fault| wrong("does not take its settings", &fault))?;
        state.facts().duty = Duty::Unpromoted;
        return Ok(());
    }
    if state.facts().duty == Duty::Unpromoted && local.demands().await == Ok(super::held::REPLICAS) {
        return Ok(()); // The other side handed over to it, and it was never promoted.
    }
    let port = state.params.port;
    let mut online: Vec<(IpAddr, u16)> = Vec::new();
    for replica in info
        .replicas
        .iter()
        .filter(|replica| replica.online && replica.port == port)
    {
        online.extend(replica.address.map(|address| (address, port)));
    }
    if let Some(peer) = toward {
        online.retain(|(address, _)| peer.addresses.contains(address));
    }
    let handed_over = match online.first().filter(|_| toward.is_some()) {
        Some(target) => hand_over(state, &mut local, *target, deadline).await.is_ok(),
        None => false,
    };
    if !handed_over {
        let ended = give_up(state, &mut local, &online, deadline).await;
        ended.map_err(|fault| wrong("does not stop taking writes", &fault))?;
    }
    // From here on it takes no write. Clients that stay connected would get errors until they look for the primary, and who asks
    // here is not to be sent back.
    state.believed.send_replace(Believed::default());
    local
        .end_clients()
        .await
        .map_err(|fault| wrong("does not end its clients", &fault))?;
    let mut facts = state.facts();
    facts.duty = Duty::Unpromoted;
    facts.link_lost = None;
    drop(facts);
    state.nudge.notify_one();
    Ok(())
}

/// By `FAILOVER`, while writes wait. The replica demands more replicas than can exist, so it takes no write before it is
/// promoted there.
async fn hand_over(
    state: &State,
    local: &mut Instance,
    (address, port): (IpAddr, u16),
    deadline: Time,
) -> Result<(), Fault> {
    let limit = (clock::now().until(deadline) / 4).min(HAND_OVER);
    let end = clock::now() + limit;
    local.pause_writes(2 * limit).await?;
    let mut replica = state.remote(address, limit);
    let goal = local.info().await?.offset;
    while replica.info().await?.offset < goal {
        if clock::now() >= end {
            return Err(Fault::Silent(limit));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    // Read where it is, and not from what it confirms once a second. Nothing is added while writes wait; should this be
    // broken off at any point, they are refused.
    local.refuse_writes().await?;
    if local.info().await?.offset != goal {
        return Err(Fault::Unexpected("CLIENT PAUSE"));
    }
    local.hand_over(address, port).await?;
    loop {
        let info = local.info().await?;
        let over = info.failover_state == "no-failover";
        if over && !info.is_master {
            return local.go_on().await;
        }
        if over || clock::now() >= end + limit {
            // The replica did not take it.
            let _ = local.keep().await;
            return Err(Fault::Silent(limit));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// By hand: writes wait until the replicas have all, then it is held.
async fn give_up(
    state: &State,
    local: &mut Instance,
    replicas: &[(IpAddr, u16)],
    deadline: Time,
) -> Result<(), Fault> {
    let half = clock::now().until(deadline) / 2;
    local.pause_writes(clock::now().until(deadline)).await?;
    let goal = local.info().await?.offset;
    let caught_up = replicas.iter().map(|(address, _)| async move {
        let mut replica = state.remote(*address, half.min(HAND_OVER));
        while replica
            .info()
            .await
            .is_ok_and(|info| !info.is_master && info.offset < goal)
        {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    });
    // One that does not answer does not follow either.
    let _ = tokio::time::timeout(half, futures_util::future::join_all(caught_up)).await;
    local.refuse_writes().await?;
    local.hold().await?;
    local.go_on().await
}

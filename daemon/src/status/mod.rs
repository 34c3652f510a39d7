//! The status view: what an operator reads at three in the morning.

pub mod fences;
mod members;
mod summary;
mod timers;
mod why;

pub use timers::timers;
pub use why::why;

use holdfast_core::view::{GroupView as CoreGroup, PeerView};
use holdfast_proto::control::{GroupView, LinkView, NodeView, ResourceView, StatusView};
use holdfast_proto::ids::NodeId;
use holdfast_proto::state::ClusterState;

use crate::shell::api::Snapshot;

/// The whole status.
#[must_use]
pub fn status(snapshot: &Snapshot) -> StatusView {
    let Snapshot { view, config, .. } = snapshot;
    let state = view.state.as_deref();
    let nodes: Vec<NodeView> = config.members().map(|member| node(snapshot, member)).collect();
    let groups: Vec<GroupView> = view.groups.iter().map(|core| group(snapshot, core)).collect();
    let warnings = warnings(snapshot);
    let (health, summary) = summary::summarise(snapshot, &nodes, &groups, &warnings);
    StatusView {
        cluster: config.cluster.name.clone(),
        node: config.name_of(view.node),
        summary,
        health: health.into(),
        leader: view
            .leader
            .map(|leader| config.name_of(leader))
            .unwrap_or_default(),
        quorum: view.quorum.clone(),
        voters: state
            .map(|state| state.voters.iter().map(|voter| config.name_of(voter)).collect())
            .unwrap_or_default(),
        survivor: survivor(snapshot, state),
        version: state.map_or(0, |state| state.version),
        ballot: view.ballot.to_string(),
        maintenance: state.is_some_and(|state| state.maintenance),
        lease_ms: config.cluster.detection_ms,
        nodes,
        groups,
        warnings,
        scheduling: snapshot.scheduling.sentence.clone(),
        daemon_version: env!("CARGO_PKG_VERSION").into(),
        next: view.next.map_or_else(String::new, |(at, reason)| {
            format!("{reason} in {} ms", snapshot.now.until(at).as_millis())
        }),
    }
}

/// Only a pair has one that matters.
fn survivor(snapshot: &Snapshot, state: Option<&ClusterState>) -> String {
    match state {
        Some(state) if state.voters.is_data_pair() => snapshot.config.name_of(state.survivor),
        _ => String::new(),
    }
}

fn node(snapshot: &Snapshot, member: NodeId) -> NodeView {
    let Snapshot { view, config, .. } = snapshot;
    let state = view.state.as_deref();
    let peer = view.peers.iter().find(|peer| peer.node == member);
    let own = member == view.node;
    let standby = state
        .and_then(|state| state.nodes.get(&member))
        .is_some_and(|node| node.standby);
    let (word, detail) = if own {
        own_state(snapshot, standby)
    } else {
        peer_state(peer, standby)
    };
    let watchdog = if own {
        snapshot.agent.watchdog_ms
    } else {
        peer.and_then(|peer| peer.watchdog)
            .map_or(0, |span| u32::try_from(span.as_millis()).unwrap_or(u32::MAX))
    };
    let stays_out = peer.and_then(|peer| peer.stays_out_until);
    let boot = if own {
        Some(snapshot.boot)
    } else {
        peer.and_then(|peer| peer.boot)
    };
    NodeView {
        name: config.name_of(member),
        role: if member.is_witness() { "witness" } else { "data" }.into(),
        state: word.into(),
        detail,
        leader: view.leader == Some(member),
        voter: state.is_some_and(|state| state.voters.contains(member)),
        synced: synced(snapshot, member),
        links: links(snapshot, member),
        boot: boot.map(|boot| boot.to_string()).unwrap_or_default(),
        watchdog_ms: watchdog,
        watchdog: if own {
            snapshot.agent.watchdog.clone()
        } else {
            String::new()
        },
        fenced_lately: peer.map_or(0, |peer| peer.fenced_lately),
        votes_again_in_s: stays_out.map(|until| {
            let ms = snapshot.now.until(until).as_millis();
            u32::try_from(ms.div_ceil(1000)).unwrap_or(u32::MAX)
        }),
        fences: fences::lines(snapshot, member),
        fence_devices: fences::devices(snapshot, member),
    }
}

/// A witness sends no heartbeats that could say so; it is given a vote only once it has caught up.
fn synced(snapshot: &Snapshot, member: NodeId) -> bool {
    let view = &snapshot.view;
    if member == view.node {
        return view.synced;
    }
    let votes = view
        .state
        .as_ref()
        .is_some_and(|state| state.voters.contains(member));
    let peer = view.peers.iter().find(|peer| peer.node == member);
    peer.is_some_and(|peer| peer.synced || member.is_witness() && votes && peer.state == "online")
}

fn own_state(snapshot: &Snapshot, standby: bool) -> (&'static str, String) {
    let agent = &snapshot.agent;
    let detail = if agent.wanted && !agent.attached {
        let reason = if agent.reason.is_empty() {
            "not connected yet"
        } else {
            &agent.reason
        };
        format!("runs nothing new: had-agentd is not attached ({reason})")
    } else {
        String::new()
    };
    match (&snapshot.view.state, standby) {
        (None, _) => ("joining", "has no cluster state yet".into()),
        (Some(_), true) => ("standby", detail),
        (Some(_), false) => ("online", detail),
    }
}

fn peer_state(peer: Option<&PeerView>, standby: bool) -> (&'static str, String) {
    match peer {
        None => ("never seen", String::new()),
        Some(peer) if standby && peer.state == "online" => ("standby", peer.detail.clone()),
        Some(peer) => (peer.state, peer.detail.clone()),
    }
}

fn links(snapshot: &Snapshot, member: NodeId) -> Vec<LinkView> {
    if let Some(register) = snapshot.register.as_ref().filter(|_| member.is_witness()) {
        // One member of etcd is asked at a time, how many there are is etcd's affair; shared disks are one way together.
        return vec![LinkView {
            address: register.endpoint.clone(),
            state: if register.trouble.is_empty() { "up" } else { "down" }.into(),
            rtt_us: register.took_us,
            lost_percent: 0,
        }];
    }
    let of_member = snapshot.links.iter().filter(|link| link.peer == member);
    of_member
        .map(|link| LinkView {
            address: link.address.clone(),
            state: if link.up { "up" } else { "down" }.into(),
            rtt_us: link.rtt_us,
            lost_percent: link.lost_percent,
        })
        .collect()
}

fn group(snapshot: &Snapshot, core: &CoreGroup) -> GroupView {
    let Snapshot { view, config, .. } = snapshot;
    let state = view
        .state
        .as_deref()
        .and_then(|state| state.groups.get(&core.name));
    let section = config.group(&core.name);
    let failure = |(node, failure): (&NodeId, &holdfast_proto::state::Failure)| {
        format!(
            "{}: failed {} (latest: {})",
            config.name_of(*node),
            times(failure.count),
            failure.reason
        )
    };
    GroupView {
        name: core.name.to_string(),
        state: core.state.into(),
        node: core.node.map(|node| config.name_of(node)).unwrap_or_default(),
        reason: core.reason.clone(),
        epoch: core.epoch,
        resources: resources(snapshot, core),
        failures: state
            .map(|state| state.failures.iter().map(failure).collect())
            .unwrap_or_default(),
        disabled: state.is_some_and(|state| state.disabled),
        requires: section.map_or("", |section| section.requires.word()).into(),
        last_outage_ms: core.last_outage.map_or(0, |span| span.as_millis() as u64),
        permit_ms: core
            .permit_until
            .map_or(0, |until| snapshot.now.until(until).as_millis() as u64),
        members: core
            .members
            .iter()
            .map(|shown| members::member(config, shown))
            .collect(),
    }
}

/// As the agent process here reports them. Of a group that runs elsewhere only the state of the whole is known.
fn resources(snapshot: &Snapshot, core: &CoreGroup) -> Vec<ResourceView> {
    if let Some(status) = snapshot.agent.groups.get(&*core.name)
        && core.node == Some(snapshot.view.node)
    {
        let seen = |seen: &holdfast_proto::agent::ResourceStatus| ResourceView {
            name: seen.name.clone(),
            kind: seen.kind.clone(),
            state: seen.run.clone(),
            detail: seen.detail.clone(),
        };
        return status.resources.iter().map(seen).collect();
    }
    let Some(section) = snapshot.config.group(&core.name) else {
        return Vec::new();
    };
    let named = section.resources.iter().map(|resource| ResourceView {
        name: resource.name.clone(),
        kind: resource.kind.clone(),
        state: core.state.into(),
        detail: String::new(),
    });
    named.collect()
}

fn warnings(snapshot: &Snapshot) -> Vec<String> {
    let mut warnings = snapshot.view.warnings.clone();
    if !snapshot.disk_trouble.is_empty() {
        warnings.push(snapshot.disk_trouble.clone());
    }
    if let Some(register) = snapshot
        .register
        .as_ref()
        .filter(|register| !register.trouble.is_empty())
    {
        let name = snapshot.config.name_of(NodeId::WITNESS);
        warnings.push(format!(
            "the witness {name} does not answer this node: {}",
            register.trouble
        ));
    }
    warnings.extend(fences::warnings(snapshot));
    let down = snapshot.links.iter().filter(|link| !link.up);
    for link in down {
        let others = snapshot
            .links
            .iter()
            .any(|other| other.peer == link.peer && other.up);
        if others {
            let peer = snapshot.config.name_of(link.peer);
            warnings.push(format!(
                "link {} to {peer} ({}) is down; another carries on, without a spare",
                link.link + 1,
                link.address
            ));
        }
    }
    if !snapshot.scheduling.full {
        warnings.push(format!(
            "the deciding thread runs with {}",
            snapshot.scheduling.sentence
        ));
    }
    if snapshot.agent.wanted && !snapshot.agent.attached {
        let reason = match snapshot.agent.reason.as_str() {
            "" => String::new(),
            reason => format!(" ({reason})"),
        };
        warnings.push(format!(
            "had-agentd is not attached{reason}: `systemctl restart had-agentd` if that lasts"
        ));
    }
    warnings
}

fn times(count: u32) -> String {
    if count == 1 {
        "once".into()
    } else {
        format!("{count} times")
    }
}

#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod tests;

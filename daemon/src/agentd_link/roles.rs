//! Groups with members, between the core's types and the agent API: roles and what is seen of copies.

use std::sync::Arc;

use holdfast_core::effect::GroupRoles;
use holdfast_proto::agent;
use holdfast_proto::config::{Config, NodeSection};
use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{CopyReport, MemberReport};
use holdfast_proto::state::InSync;

use super::translate::{run_state, spec};

/// Longest text that is taken over from an agent; a set of transactions may be long, and every member is told it.
const TEXT_CHARS_MAX: usize = 1000;

/// What is committed about a group with members, for the agent process on `own`.
#[must_use]
pub fn roles(roles: &GroupRoles, own: NodeId) -> agent::GroupRoles {
    let config = &roles.config;
    let (here, others): (Vec<&NodeSection>, Vec<_>) =
        config.nodes.iter().partition(|section| section.id == own);
    // A group that left the configuration has nothing to run any more but a name.
    let spec = config.group(&roles.group).map_or_else(
        || agent::GroupSpec {
            name: roles.group.to_string(),
            ..agent::GroupSpec::default()
        },
        spec,
    );
    agent::GroupRoles {
        spec: Some(spec),
        wanted: roles.wanted,
        own: here.first().map(|section| peer(section)),
        others: others.into_iter().map(peer).collect(),
        primary: roles.primary.map(|node| config.name_of(node)).unwrap_or_default(),
        epoch: roles.epoch,
        in_sync: Some(in_sync_names(&roles.in_sync, config)),
        lease_ms: config.cluster.detection_ms,
        version: roles.version,
    }
}

/// The data node `node`, if the configuration has it.
#[must_use]
pub fn peer_of(config: &Config, node: NodeId) -> Option<agent::PeerNode> {
    config.node(node).map(peer)
}

fn peer(section: &NodeSection) -> agent::PeerNode {
    agent::PeerNode {
        name: section.name.clone(),
        id: section.id.0.into(),
        addresses: section.links.iter().map(ToString::to_string).collect(),
    }
}

fn in_sync_names(set: &InSync, config: &Config) -> agent::InSync {
    agent::InSync {
        generation: set.generation,
        nodes: set.nodes.iter().map(|node| config.name_of(*node)).collect(),
    }
}

/// What the agent process says of the part of a group that needs no permit.
#[must_use]
pub fn member(status: &agent::MemberStatus, config: &Config) -> Arc<MemberReport> {
    Arc::new(MemberReport {
        run: run_state(&status.run),
        copy: status.copy.as_ref().map(|copy| copy_report(copy, config)),
        detail: bounded(&status.detail),
    })
}

fn copy_report(copy: &agent::CopyStatus, config: &Config) -> CopyReport {
    CopyReport {
        obstacle: bounded(&copy.obstacle),
        position: copy.position,
        history: bounded(&copy.history),
        position_text: bounded(&copy.position_text),
        lag_ms: copy.lag_ms,
        possible_loss: bounded(&copy.possible_loss),
        wish: copy.wish.as_ref().and_then(|wish| wished(wish, config)),
        readable: copy.readable,
    }
}

/// The set in numbers; none if it names somebody who is no data node, because then it is not known what was meant.
fn wished(wish: &agent::InSync, config: &Config) -> Option<InSync> {
    let number = |name: &String| {
        config
            .node_by_name(name)
            .filter(|node| config.node(*node).is_some())
    };
    Some(InSync {
        generation: wish.generation,
        nodes: wish.nodes.iter().map(number).collect::<Option<_>>()?,
    })
}

fn bounded(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(TEXT_CHARS_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::config;

    fn wish(nodes: &[&str]) -> Option<InSync> {
        let wish = agent::InSync {
            generation: 7,
            nodes: nodes.iter().map(ToString::to_string).collect(),
        };
        wished(&wish, &config())
    }

    #[test]
    fn a_wish_counts_only_with_names_of_data_nodes() {
        let both = wish(&["db1", "db2"]).expect("known");
        assert_eq!(
            (both.generation, both.nodes.into_iter().collect::<Vec<_>>()),
            (7, vec![NodeId(1), NodeId(2)])
        );
        assert_eq!(wish(&["db1", "db3"]), None);
        assert_eq!(wish(&["db1", "witness"]), None);
    }

    #[test]
    fn what_an_agent_says_is_bounded_and_without_controls() {
        let said = agent::MemberStatus {
            run: "dancing".into(),
            copy: Some(agent::CopyStatus {
                position_text: "x".repeat(5000),
                obstacle: "a\u{1b}[2Jb".into(),
                ..agent::CopyStatus::default()
            }),
            detail: "line\nbreak".into(),
        };
        let seen = member(&said, &config());
        let copy = seen.copy.as_ref().expect("a copy");
        assert_eq!(copy.position_text.len(), TEXT_CHARS_MAX);
        assert_eq!(
            (copy.obstacle.as_str(), seen.detail.as_str()),
            ("a [2Jb", "line break")
        );
        assert_eq!(seen.run, holdfast_proto::peer::RunState::Unknown);
    }

    #[test]
    fn a_group_that_left_is_told_by_its_name() {
        let config = Arc::new(config());
        let left = GroupRoles {
            group: "gone".into(),
            config: Arc::clone(&config),
            wanted: false,
            primary: None,
            epoch: 3,
            in_sync: InSync::default(),
            version: 9,
        };
        let told = roles(&left, NodeId(2));
        assert_eq!(told.spec.as_ref().map(|spec| spec.name.as_str()), Some("gone"));
        assert_eq!(
            told.own.as_ref().map(|own| (own.name.as_str(), own.id)),
            Some(("db2", 2))
        );
        assert_eq!(told.others[0].addresses, ["127.0.0.1"]);
        assert_eq!(
            (told.lease_ms, told.version, told.primary.as_str()),
            (1000, 9, "")
        );
    }
}

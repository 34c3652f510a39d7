//! Promotable resources: what the agent is told of roles, and what its promotion score says to the cluster.
//!
//! The score is the agent's own word that its copy may be promoted; as under Pacemaker, whether something acknowledged is
//! missing there is up to the agent. So every node counts as having a whole copy, and an agent without a score keeps its
//! node from being promoted.

use std::path::PathBuf;

use tokio::sync::watch;

use super::attributes::{self, score, score_name};
use crate::roles::{CopySink, CopyStatus, InSync, RolesView};

/// In which scale positions of copies count.
const HISTORY: &str = "promotion score";

/// Tells the cluster what the agent's score says.
#[derive(Clone)]
pub struct Scores {
    pub roles: watch::Receiver<RolesView>,
    pub sink: CopySink,
    pub attributes: PathBuf,
    pub instance: String,
}

impl Scores {
    /// Looks at the score of what is `active` here, and tells. The last generation that was wished for is kept in `wished`.
    pub fn tell(&self, active: bool, promoted: bool, wished: &mut InSync) {
        let kept = attributes::read(&self.attributes);
        let text = kept.map(|all| all.get(&score_name(&self.instance)).cloned());
        let status = judge(text.map_err(|error| error.to_string()), active);
        let wish = promoted.then(|| self.wish(wished)).flatten();
        self.sink.tell(CopyStatus { wish, ..status });
    }

    /// All nodes, unless that is committed.
    fn wish(&self, wished: &mut InSync) -> Option<InSync> {
        let view = self.roles.borrow();
        let others = view.others.iter().map(|peer| peer.name.clone());
        let nodes = others.chain([view.own.name.clone()]).collect();
        if view.in_sync.nodes == nodes {
            return None;
        }
        if wished.nodes != nodes || wished.generation <= view.in_sync.generation {
            // Above the committed one, and above every earlier wish.
            let generation = view.in_sync.generation.max(wished.generation) + 1;
            *wished = InSync { generation, nodes };
        }
        Some(wished.clone())
    }
}

/// What a score says. `text` is the attribute, if there is one.
fn judge(text: Result<Option<String>, String>, active: bool) -> CopyStatus {
    let obstacle = |why: String| CopyStatus {
        obstacle: why,
        ..CopyStatus::default()
    };
    if !active {
        return obstacle("it is not started here".to_owned());
    }
    let text = match text {
        Ok(Some(text)) => text,
        Ok(None) => return obstacle("the agent has set no promotion score here (crm_master)".to_owned()),
        Err(error) => return obstacle(format!("its promotion score cannot be read: {error}")),
    };
    let of_agent = match score(&text) {
        Some(number) if number >= 0 => number.cast_unsigned(),
        Some(_) => return obstacle(format!("the agent's promotion score is {text}, which is below 0")),
        None => return obstacle(format!("the agent's promotion score {text:?} is no number")),
    };
    CopyStatus {
        // 0 would mean that it is not known.
        position: of_agent + 1,
        history: HISTORY.to_owned(),
        position_text: format!("promotion score {text}"),
        readable: true,
        ..CopyStatus::default()
    }
}

/// Variables (without `OCF_RESKEY_CRM_meta_`) that agents with roles find in every action.
pub fn clone_variables(nodes: usize, notify: bool) -> Vec<(String, String)> {
    let all = [
        ("clone", "0".to_owned()),
        ("clone_max", nodes.to_string()),
        ("clone_node_max", "1".to_owned()),
        ("promoted_max", "1".to_owned()),
        ("promoted_node_max", "1".to_owned()),
        ("master_max", "1".to_owned()),
        ("master_node_max", "1".to_owned()),
        ("globally_unique", "false".to_owned()),
        ("promotable", "true".to_owned()),
        ("notify", notify.to_string()),
    ];
    all.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What is about to happen, or has happened, to one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// `pre` or `post`.
    pub when: &'a str,
    /// `start`, `stop`, `promote` or `demote`.
    pub operation: &'a str,
    /// The node of that instance.
    pub node: &'a str,
    /// True when an instance is active here.
    pub active: bool,
}

/// Variables of a notification, likewise. Of other nodes only the primary is known.
pub fn notice_variables(notice: Notice<'_>, instance: &str, view: &RolesView) -> Vec<(String, String)> {
    let primary = view.primary.as_deref().unwrap_or_default();
    let unpromoted = if notice.active && primary != view.own.name {
        view.own.name.as_str()
    } else {
        ""
    };
    let mut all = vec![
        ("notify_type".to_owned(), notice.when.to_owned()),
        ("notify_operation".to_owned(), notice.operation.to_owned()),
    ];
    let mut list = |name: &str, node: &str| {
        let resource = if node.is_empty() { "" } else { instance };
        all.push((format!("notify_{name}_resource"), resource.to_owned()));
        all.push((format!("notify_{name}_uname"), node.to_owned()));
    };
    for operation in ["start", "stop", "promote", "demote"] {
        list(
            operation,
            if operation == notice.operation {
                notice.node
            } else {
                ""
            },
        );
    }
    for name in ["promoted", "master"] {
        list(name, primary);
    }
    for name in ["unpromoted", "slave"] {
        list(name, unpromoted);
    }
    list("active", if notice.active { &view.own.name } else { "" });
    list("inactive", if notice.active { "" } else { &view.own.name });
    list("available", &view.own.name);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Peer;

    #[test]
    fn a_score_of_zero_or_more_lets_it_be_promoted_and_a_higher_one_wins() {
        let of = |text: &str| judge(Ok(Some(text.to_owned())), true);
        assert!(of("0").obstacle.is_empty() && of("0").position > 0);
        assert!(of("INFINITY").position > of("100").position);
        assert_eq!(of("5").history, of("7").history);
        for text in ["-1", "-INFINITY", "x"] {
            assert!(!of(text).obstacle.is_empty(), "{text}");
        }
        assert!(judge(Ok(None), true).obstacle.contains("no promotion score"));
        assert!(
            judge(Ok(Some("5".into())), false)
                .obstacle
                .contains("not started")
        );
    }

    #[test]
    fn all_nodes_are_wished_for_under_growing_generations_until_that_is_committed() {
        let peer = |name: &str| Peer {
            name: name.into(),
            ..Peer::default()
        };
        let (sender, roles) = watch::channel(RolesView {
            own: peer("a"),
            others: vec![peer("b")],
            ..RolesView::default()
        });
        let scores = Scores {
            roles,
            sink: CopySink::default(),
            attributes: "/nonexistent".into(),
            instance: "g.r".into(),
        };
        let mut wished = InSync::default();
        let first = scores.wish(&mut wished).unwrap();
        assert_eq!((first.generation, first.nodes.len()), (1, 2));
        assert_eq!(scores.wish(&mut wished).as_ref(), Some(&first));
        sender.send_modify(|view| view.in_sync.generation = 4);
        assert_eq!(scores.wish(&mut wished).unwrap().generation, 5);
        sender.send_modify(|view| view.in_sync = first);
        assert_eq!(scores.wish(&mut wished), None);
    }
}

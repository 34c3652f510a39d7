//! `hactl quorum force`: first what this node knows and what could be lost, then a one-time token, then the deed.

use holdfast_proto::ids::NodeId;
use holdfast_proto::operator::OperatorRequest;
use holdfast_proto::state::ClusterState;

use super::{Client, Control, Refusal, operate, refusal};
use crate::clock;
use crate::journal::Record;
use crate::shell::api::Snapshot;
use crate::tokens::{self, VALID};

/// Without `token`: describes and hands one out. With it: makes this node the only voter.
pub async fn force(
    control: &Control,
    client: &mut Client,
    who: &str,
    token: &str,
) -> Result<String, Refusal> {
    let snapshot = control.snapshot().await?;
    let state = refuse_where_senseless(&snapshot)?;
    let situation = situation(&snapshot, state);
    if token.trim().is_empty() {
        let token = tokens::random().map_err(|wrong| refusal("internal", wrong))?;
        let text = describe(&snapshot, state, &token);
        lock(control).give(token, situation, clock::now());
        control.journal().record(Record::new(
            "quorum-force-asked",
            "warn",
            format!("{who} asked what a forced quorum would mean"),
        ));
        return Ok(text);
    }
    let redeemed = lock(control).redeem(token, &situation, clock::now());
    redeemed.map_err(|wrong| refusal("refused", wrong))?;
    operate::operate(control, client, who, OperatorRequest::QuorumForce).await
}

fn lock(control: &Control) -> std::sync::MutexGuard<'_, tokens::ForceTokens> {
    control
        .force
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn refuse_where_senseless(snapshot: &Snapshot) -> Result<&ClusterState, Refusal> {
    if snapshot.view.has_quorum {
        return Err(refusal(
            "refused",
            format!(
                "there is a quorum, nothing needs forcing: {}",
                snapshot.view.quorum
            ),
        ));
    }
    if snapshot.view.node.is_witness() {
        return Err(refusal(
            "refused",
            "this is the witness, which runs no groups: force the quorum on a data node",
        ));
    }
    snapshot.view.state.as_deref().ok_or_else(|| {
        refusal(
            "refused",
            "this node has no cluster state that it could go on from: force the quorum on one that has",
        )
    })
}

/// What must not have changed between the look and the deed.
fn situation(snapshot: &Snapshot, state: &ClusterState) -> String {
    let peers: Vec<_> = snapshot
        .view
        .peers
        .iter()
        .map(|peer| (peer.node, peer.state, peer.boot))
        .collect();
    format!(
        "{} {:?} {:?} {:?}",
        state.version, state.voters, snapshot.view.leader, peers
    )
}

fn describe(snapshot: &Snapshot, state: &ClusterState, token: &str) -> String {
    let config = &snapshot.config;
    let me = snapshot.view.node;
    let name = config.name_of(me);
    let mut text = format!(
        "{name} knows the cluster's state up to version {} ({}).\nThere is no quorum: {}.\n",
        state.version, state.reason, snapshot.view.quorum
    );
    let others: Vec<NodeId> = state.voters.iter().filter(|voter| *voter != me).collect();
    for voter in &others {
        let peer = snapshot.view.peers.iter().find(|peer| peer.node == *voter);
        let (word, detail) = peer.map_or(("never seen", ""), |peer| (peer.state, peer.detail.as_str()));
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(", {detail}")
        };
        text += &format!("  {}: {word}{detail}\n", config.name_of(*voter));
    }
    let names = others
        .iter()
        .map(|voter| config.name_of(*voter))
        .collect::<Vec<_>>()
        .join(" and ");
    text += &format!(
        "Forcing makes {name} the only voter. Whatever {names} committed after version {} without {name} is lost.\n\
         If another node shows a higher version here, force there instead.\n",
        state.version
    );
    text += &groups(snapshot, state);
    text += &format!(
        "If {names} may still be running and only cannot be reached, switch them off first.\n\
         To go on, within {} minutes: hactl quorum force {token}",
        VALID.as_secs() / 60
    );
    text
}

fn groups(snapshot: &Snapshot, state: &ClusterState) -> String {
    let (config, me) = (&snapshot.config, snapshot.view.node);
    let mut text = String::new();
    for (name, group) in &state.groups {
        let line = match group.assignment.owner() {
            _ if group.disabled => "stays stopped, as the operator asked".to_string(),
            None => "runs nowhere and would start here".into(),
            Some(owner) if owner == me => "is assigned to this node and would go on or start here".into(),
            Some(owner) => {
                let owner = config.name_of(owner);
                format!(
                    "was assigned to {owner}: starts here at once, because forcing counts as your word that {owner} is off"
                )
            }
        };
        text += &format!("  group {name} {line}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::fixture::healthy;

    #[test]
    fn a_quorum_is_not_forced_where_there_is_one() {
        assert!(
            refuse_where_senseless(&healthy())
                .is_err_and(|error| error.message.contains("nothing needs forcing"))
        );
    }

    #[test]
    fn the_description_names_version_peers_groups_and_token() {
        let mut snapshot = healthy();
        snapshot.view.has_quorum = false;
        snapshot.view.quorum = "1 of 3 voters answers".into();
        snapshot.view.peers[0].state = "lost";
        snapshot.view.peers[0].detail = "silent for 70 s".into();
        let state = refuse_where_senseless(&snapshot).expect("senseful");
        let text = describe(&snapshot, state, "abcd-efgh");
        for wanted in [
            "version 12",
            "db2: lost, silent for 70 s",
            "group mysql is assigned to this node",
            "force abcd-efgh",
        ] {
            assert!(text.contains(wanted), "{wanted} in {text}");
        }
        let before = situation(&snapshot, state);
        let mut later = snapshot.clone();
        later.view.peers[0].state = "online";
        assert_ne!(
            before,
            situation(&later, later.view.state.as_deref().expect("state"))
        );
    }
}

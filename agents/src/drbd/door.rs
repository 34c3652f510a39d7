//! Where DRBD's handlers and `hactl drbd` come to: a socket in had-agentd's state folder.
//!
//! fence-peer: the kernel has frozen the writes of a primary that lost its peer, or refuses to promote without it. The answer
//! decides whether anything may be acknowledged that the peer does not have, so it rests on one thing only: that the cluster
//! has committed a set of whole copies without the peer, under a generation that no earlier wish can follow. Then nobody will
//! be promoted on the peer before it is whole again.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use holdfast_proto::drbd::{Answer, LINE_BYTES_MAX, Request, exit};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::copy;
use super::resolve;
use super::shared::Shared;
use crate::agent::AgentError;
use crate::roles::RolesView;

/// Callers that are served at a time. DRBD calls one handler of a resource after the other.
const CALLERS_MAX: usize = 16;

/// The socket; its file goes with it.
pub struct Door {
    path: PathBuf,
    listener: UnixListener,
}

impl Door {
    /// Opens it.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn open(path: &Path) -> Result<Door, AgentError> {
        let wrong = |error: std::io::Error| {
            AgentError(format!(
                "the socket for DRBD's handlers, {}, cannot be made: {error}",
                path.display()
            ))
        };
        // One that was left by a had-agentd that was killed.
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).map_err(wrong)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(wrong)?;
        Ok(Door {
            path: path.to_path_buf(),
            listener,
        })
    }

    /// Serves until dropped.
    pub async fn serve(self, shared: Arc<Shared>) {
        let mut callers = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if callers.len() < CALLERS_MAX => match accepted {
                    Ok((stream, _)) => drop(callers.spawn(answer(stream, Arc::clone(&shared)))),
                    // Out of descriptors: those that are served give theirs back.
                    Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
                },
                Some(_) = callers.join_next() => {}
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, shared: Arc<Shared>) {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(LINE_BYTES_MAX as u64));
    let mut line = String::new();
    if reader.read_line(&mut line).await.is_err() {
        return;
    }
    let answered = match Request::from_line(&line) {
        Some(Request::FencePeer { peer }) => {
            let mut gone = String::new();
            tokio::select! {
                answer = fence_peer(&shared, &peer) => answer,
                // The handler was killed: nobody waits for the answer any more.
                _ = reader.read_line(&mut gone) => return,
            }
        }
        Some(Request::UnfencePeer) => {
            shared.poke.notify_one();
            Answer::new(0, "the cluster is told when the copy is whole")
        }
        Some(Request::Discard {
            node,
            who,
            accept_loss,
        }) => resolve::discard(&shared, &node, &who, accept_loss).await,
        None => Answer::new(exit::REFUSED, "that is no request"),
    };
    // A caller that was killed meanwhile does not read it.
    let _ = writer
        .write_all(format!("{}\n", answered.to_line()).as_bytes())
        .await;
}

/// Counts a handler that waits; also when it is dropped.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.inner().handlers += 1;
        Waiting(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.inner().handlers -= 1;
    }
}

/// Whether DRBD may go on without `peer`. Waits for as long as that is undecided: until then writes stay frozen, and a node
/// that is not to go on ends by its permit.
async fn fence_peer(shared: &Shared, peer: &str) -> Answer {
    let _waiting = Waiting::begin(shared);
    let mut roles = shared.roles.clone();
    let mut states = shared.states.subscribe();
    let mut told = false;
    loop {
        let view = roles.borrow_and_update().clone();
        let Some(node) = node_called(peer, &view) else {
            return Answer::new(exit::REFUSED, format!("{peer:?} is no node of the cluster"));
        };
        if view.primary.as_ref() == Some(&node) {
            return Answer::new(
                exit::PEER_IS_PRIMARY,
                format!("the cluster has committed {node} as the primary"),
            );
        }
        if !shared.inner().promoted {
            return Answer::new(exit::REFUSED, "the cluster has not promoted this node");
        }
        if !std::mem::replace(&mut told, true) {
            // DRBD's own events may say so only later: from here on the node is not asked for as whole.
            shared.inner().given_up.insert(node.clone());
            shared.poke.notify_one();
            let resource = &shared.drbd.resource;
            let text = format!("{resource}: {node} was lost; asking the cluster to go on without its copy");
            shared.events.note("info", "drbd-fence-peer", text);
        }
        // Asks for what is needed, so that a wish of before counts as such.
        let _ = shared.wish();
        if shared.inner().wishes.is_out(&view.in_sync, &node) {
            let text = format!(
                "the cluster goes on without {node} (generation {})",
                view.in_sync.generation
            );
            shared.events.note(
                "info",
                "drbd-fenced-peer",
                format!("{}: {text}", shared.drbd.resource),
            );
            return Answer::new(exit::OUTDATED, text);
        }
        tokio::select! {
            changed = roles.changed() => if changed.is_err() {
                return Answer::new(exit::REFUSED, "the group ended");
            },
            changed = states.changed() => if changed.is_err() {
                return Answer::new(exit::REFUSED, "the agent ended");
            },
            () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {}
        }
    }
}

/// The cluster's name of the host that DRBD calls `peer`. In a pair it is the other node, whatever its host is called.
fn node_called(peer: &str, view: &RolesView) -> Option<String> {
    let known = copy::node_of(peer, view).map(str::to_owned);
    known.or_else(|| match &view.others[..] {
        [only] => Some(only.name.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::super::commands::Drbd;
    use super::super::events::tests::replay;
    use super::*;
    use crate::agent::tests::context;
    use crate::roles::{InSync, Peer};

    /// A primary `n1`, as recorded at the moment in which its writes are frozen, in a cluster that counts on both copies.
    fn frozen() -> (Arc<Shared>, watch::Sender<RolesView>) {
        let peer = |name: &str| Peer {
            name: name.into(),
            ..Peer::default()
        };
        let view = RolesView {
            own: peer("n1"),
            others: vec![peer("n2")],
            primary: Some("n1".into()),
            epoch: 4,
            in_sync: InSync {
                generation: 7,
                nodes: ["n1", "n2"].map(str::to_owned).into(),
            },
        };
        let roles = watch::Sender::new(view);
        let drbd = Drbd {
            resource: "r0".into(),
        };
        let shared = Shared::new(drbd, context().events, roles.subscribe());
        let (states, _) = replay(include_str!("recorded/fencing-84.txt"));
        let frozen = states
            .into_iter()
            .find(|state| state.suspended == "fencing")
            .unwrap();
        // DRBD's line about the lost connection comes only after this one.
        assert!(frozen.connections["peer"].is_whole());
        shared.states.send_replace(frozen);
        shared.inner().promoted = true;
        (Arc::new(shared), roles)
    }

    #[tokio::test]
    async fn a_primary_goes_on_when_the_smaller_set_is_committed_and_not_before() {
        let (shared, roles) = frozen();
        let asking = Arc::clone(&shared);
        let answer = tokio::spawn(async move { fence_peer(&asking, "n2").await });
        // Runs the handler up to where it waits.
        while shared.inner().handlers == 0 || shared.inner().given_up.is_empty() {
            tokio::task::yield_now().await;
        }
        let wish = shared.wish().unwrap();
        assert_eq!((wish.generation, wish.nodes.len()), (8, 1), "{wish:?}");
        // Something else changes: that decides nothing.
        roles.send_modify(|view| view.epoch = 4);
        tokio::task::yield_now().await;
        assert!(!answer.is_finished());
        roles.send_modify(|view| view.in_sync = wish);
        assert_eq!(answer.await.unwrap().code, exit::OUTDATED);
        assert_eq!(shared.inner().handlers, 0);
    }

    #[tokio::test]
    async fn an_older_wish_for_the_peer_is_outvoted_first() {
        let (shared, roles) = frozen();
        // The peer had just become whole: that wish is under way and not committed yet.
        roles.send_modify(|view| view.in_sync.nodes = ["n1".to_owned()].into());
        assert_eq!(shared.wish().unwrap().generation, 8);
        let asking = Arc::clone(&shared);
        let answer = tokio::spawn(async move { fence_peer(&asking, "n2").await });
        while shared.inner().given_up.is_empty() {
            tokio::task::yield_now().await;
        }
        let wish = shared.wish().unwrap();
        assert_eq!((wish.generation, wish.nodes.len()), (9, 1), "{wish:?}");
        assert!(
            !answer.is_finished(),
            "generation 8 with n2 could still be committed"
        );
        roles.send_modify(|view| view.in_sync = wish);
        assert_eq!(answer.await.unwrap().code, exit::OUTDATED);
    }

    #[tokio::test]
    async fn after_a_takeover_by_proof_the_answer_is_there_at_once() {
        let (shared, roles) = frozen();
        roles.send_modify(|view| {
            view.in_sync = InSync {
                generation: 8,
                nodes: ["n1".to_owned()].into(),
            };
        });
        let (states, _) = replay(include_str!("recorded/takeover-84.txt"));
        let apart = states
            .into_iter()
            .rfind(|state| !state.connections["peer"].is_whole())
            .unwrap();
        shared.states.send_replace(apart);
        assert_eq!(fence_peer(&shared, "n2").await.code, exit::OUTDATED);
    }

    #[tokio::test]
    async fn who_is_not_promoted_gets_no_leave_to_go_on() {
        let (shared, roles) = frozen();
        shared.inner().promoted = false;
        assert_eq!(fence_peer(&shared, "n2").await.code, exit::REFUSED);
        roles.send_modify(|view| view.primary = Some("n2".into()));
        assert_eq!(fence_peer(&shared, "n2").await.code, exit::PEER_IS_PRIMARY);
        roles.send_modify(|view| view.others.clear());
        assert_eq!(fence_peer(&shared, "n3").await.code, exit::REFUSED);
    }
}

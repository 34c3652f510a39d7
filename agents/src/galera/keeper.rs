//! Looks after the member: joins when there is something to join, tells what its copy is like, and on the promoted node says
//! which members have everything.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Shared;
use super::place::{self, Place};
use super::server::{How, Server};
use super::status::Status;
use crate::agent::AgentError;
use crate::blocking::blocking;
use crate::clock;
use crate::mysqld::client::Client;
use crate::roles::{CopyStatus, InSync, RolesView};
use crate::wishes::Wishes;

/// So many looks in a row without an answer, and the server counts as failed.
const SILENT_MAX: u32 = 10;
/// While nobody can be joined, others are asked once in so many looks: each attempt is a line in their logs.
const ASK_EACH: u32 = 4;
/// Makes the component of this node the primary one, in a server that has lost the others.
const RESTORE: &str = "SET GLOBAL wsrep_provider_options = 'pc.bootstrap=YES'";
/// The same where each option of the provider is a variable of its own (MariaDB from 11.4 on, with its plugin `wsrep_provider`):
/// there the one that holds all of them cannot be written to.
const RESTORE_BY_VARIABLE: &str = "SET GLOBAL wsrep_provider_pc_bootstrap = ON";

/// Has this member go on without the others. The caller has the right to.
///
/// # Errors
/// The server refuses it, or does not answer.
pub async fn go_on_alone(client: &mut Client) -> Result<(), AgentError> {
    let asked = client
        .rows("SHOW GLOBAL VARIABLES LIKE 'wsrep\\_provider\\_pc\\_bootstrap'")
        .await;
    let has_variable = asked.is_ok_and(|rows| rows.iter().next().is_some());
    let statement = if has_variable {
        RESTORE_BY_VARIABLE
    } else {
        RESTORE
    };
    let done = client.run(statement).await;
    done.map_err(|error| AgentError(format!("{statement}: {error}")))
}

/// The last primary component that this node was in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Component {
    /// How many members it had.
    pub size: usize,
    /// All of them are nodes of this cluster.
    pub is_ours: bool,
}

impl Component {
    /// Whether the register may decide which half goes on when it broke. Only for two members, both of them ours: then Galera
    /// itself stops both halves, so nothing goes on without a word from here. Of three or more the larger part goes on by
    /// Galera's own quorum, and an arbitrator counts there too.
    #[must_use]
    pub fn is_pair(&self) -> bool {
        self.is_ours && (1..=2).contains(&self.size)
    }
}

/// State of the loop.
#[derive(Default)]
struct Keeper {
    client: Option<Client>,
    silent: u32,
    looks: u32,
    /// What is to be committed.
    wish: Option<InSync>,
    wishes: Wishes,
    place: Option<Place>,
    /// Why it could not go on alone, as it was told.
    refused: String,
}

/// Runs until it is dropped.
pub async fn keep(shared: Arc<Shared>) {
    let mut roles = shared.context.roles.clone();
    let mut keeper = Keeper {
        // It may stand beside a server that was promoted before this process began.
        wishes: Wishes::resumed(),
        ..Keeper::default()
    };
    loop {
        let view = roles.borrow_and_update().clone();
        let mut server = shared.server.lock().await;
        if server.is_up().await {
            drop(server);
            if !keeper.look(&shared, &view).await {
                return;
            }
        } else if let Some(reason) = server.inner.end.reason() {
            tracing::debug!("the server ended: {reason}");
            return;
        } else if !keeper.wait(&shared, &mut server, &view).await {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(shared.params.interval) => {}
            changed = roles.changed() => if changed.is_err() { return },
        }
    }
}

impl Keeper {
    /// No server runs: it is joined when another member does. False when it failed.
    async fn wait(&mut self, shared: &Shared, server: &mut Server, roles: &RolesView) -> bool {
        let place = match self.place.take() {
            Some(place) => place,
            None => match Place::find(&shared.params, shared.patience()).await {
                Ok(place) => place,
                Err(error) => {
                    shared.context.events.failed(error.0);
                    return false;
                }
            },
        };
        shared.context.copy.tell(told(&place, roles));
        let due = self.looks.is_multiple_of(ASK_EACH);
        self.looks = self.looks.wrapping_add(1);
        let members = if due {
            server.members(roles).await
        } else {
            Vec::new()
        };
        if members.is_empty() {
            shared.say(&format!(
                "{}: waits for a member to join, or to be promoted",
                place.text()
            ));
            self.place = Some(place);
            return true;
        }
        let text = format!("joins {} from {}", members.join(" and "), place.text());
        shared.say(&text);
        shared.context.events.note("info", "galera-joins", text);
        let deadline = clock::now() + shared.patience();
        if let Err(error) = server.launch(How::Join, &place, roles, deadline).await {
            shared.context.events.failed(error.0);
            return false;
        }
        true
    }

    /// A server runs. False when it failed.
    async fn look(&mut self, shared: &Shared, roles: &RolesView) -> bool {
        let status = match self.ask(shared).await {
            Ok(status) => status,
            Err(None) => {
                // While it is filled there is no socket.
                shared.say("is starting, or being filled by another member");
                shared.context.copy.tell(CopyStatus {
                    obstacle: "it is starting, or being filled by another member".into(),
                    ..CopyStatus::default()
                });
                return true;
            }
            Err(Some(error)) => {
                self.silent += 1;
                if self.silent < SILENT_MAX {
                    return true;
                }
                shared
                    .context
                    .events
                    .failed(format!("the server does not answer: {error}"));
                return false;
            }
        };
        self.silent = 0;
        shared.say(&status.text());
        let datadir = shared.params.datadir.clone();
        if status.is_primary {
            let component = Component {
                size: status.size,
                is_ours: status.nodes(roles).is_some(),
            };
            *shared.component() = Some(component);
        }
        if status.is_synced {
            let marking = datadir.clone();
            if let Err(error) = blocking(move || place::mark_whole(&marking, true)).await {
                tracing::warn!("{}: {error}", datadir.display());
            }
        }
        let is_promoted = shared.promoted.load(Ordering::SeqCst);
        if is_promoted {
            self.wish_for(shared, &status, roles);
            self.restore(shared, &status, roles).await;
        } else {
            self.wish = None;
        }
        shared.context.copy.tell(CopyStatus {
            obstacle: obstacle(&status, shared),
            position: status.seqno,
            history: status.history.clone(),
            position_text: format!("{}:{}", status.history, status.seqno),
            // Virtually synchronous: what is certified is on all members.
            lag_ms: status.is_synced.then_some(0),
            possible_loss: String::new(),
            wish: self.wish.clone(),
            readable: status.is_synced,
        });
        true
    }

    /// `Err(None)`: there is no socket yet.
    async fn ask(&mut self, shared: &Shared) -> Result<Status, Option<String>> {
        let limit = shared.params.timeout;
        let mut client = match self.client.take() {
            Some(client) => client,
            None => match Client::local(&shared.params.socket, limit).await {
                Ok(client) => client,
                Err(error) if error.is_absent() => return Err(None),
                Err(error) => return Err(Some(error.to_string())),
            },
        };
        let status = Status::ask(&mut client)
            .await
            .map_err(|error| Some(error.to_string()))?;
        self.client = Some(client);
        Ok(status)
    }

    /// The promoted node says which copies have everything: the members of the primary component. When it lost the others and
    /// stands still, itself alone: once that is committed no other node is promoted, so it may go on.
    fn wish_for(&mut self, shared: &Shared, status: &Status, roles: &RolesView) {
        let own = BTreeSet::from([roles.own.name.clone()]);
        let wanted = if status.is_primary {
            let named = |name: &String| status.members.iter().any(|address| is_of(roles, name, *address));
            let others = roles
                .others
                .iter()
                .map(|peer| &peer.name)
                .filter(|name| named(name))
                .cloned();
            others.chain(own).collect()
        } else if shared.component().as_ref().is_some_and(Component::is_pair) {
            own
        } else {
            return;
        };
        self.wish = self.wishes.ask(&roles.in_sync, wanted);
    }

    /// The promoted node goes on alone.
    ///
    /// The proof: it is promoted under a permit that has not ended, the register has committed that only its copy has
    /// everything, and no wish with another node can be committed any more, so none can be promoted from here on; and as a half of two, the other half stands still by Galera's
    /// own quorum, until it joins this one.
    async fn restore(&mut self, shared: &Shared, status: &Status, roles: &RolesView) {
        let only_this = is_alone(&self.wishes, roles);
        let permitted = shared.context.permit.borrow().until > clock::now();
        let is_pair = shared.component().as_ref().is_some_and(Component::is_pair);
        if status.is_primary || !only_this || !permitted || !is_pair {
            return;
        }
        let Some(client) = &mut self.client else {
            return;
        };
        match go_on_alone(client).await {
            Ok(()) => shared.context.events.note(
                "warn",
                "galera-restored",
                "the other member is gone, and only this copy counts from now on: this node goes on alone",
            ),
            Err(error) if error.0 == self.refused => {}
            Err(error) => {
                self.refused.clone_from(&error.0);
                let text = format!("the other member is gone, and this node cannot go on alone: {error}");
                shared.context.events.note("alert", "galera-stands-still", text);
            }
        }
    }
}

/// Only this node is in the committed set, and no other can come in by a wish of before.
fn is_alone(wishes: &Wishes, roles: &RolesView) -> bool {
    let is_out = |name: &String| wishes.is_out(&roles.in_sync, name);
    roles.in_sync.nodes.contains(&roles.own.name)
        && roles.in_sync.nodes.len() == 1
        && roles.others.iter().all(|peer| is_out(&peer.name))
}

fn is_of(roles: &RolesView, name: &str, address: std::net::IpAddr) -> bool {
    let mut peers = roles.others.iter();
    peers.any(|peer| peer.name == name && peer.addresses.contains(&address))
}

fn obstacle(status: &Status, shared: &Shared) -> String {
    if status.is_synced {
        return String::new();
    }
    if status.is_primary {
        return format!("it is being filled by another member ({})", status.state);
    }
    // It lost the others. What it had until then, it has.
    match shared.component().as_ref() {
        Some(component) if component.is_pair() => String::new(),
        _ => "it is not in the primary component, and Galera's own quorum decides which part goes on".into(),
    }
}

/// What is told of a copy on which no server runs.
pub fn told(place: &Place, roles: &RolesView) -> CopyStatus {
    CopyStatus {
        obstacle: place.obstacle(roles),
        position: place.seqno,
        history: place.told_history(),
        position_text: place.text(),
        ..CopyStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Peer;

    fn view(generation: u64, nodes: &[&str]) -> RolesView {
        let peer = |name: &str| Peer {
            name: name.into(),
            ..Peer::default()
        };
        RolesView {
            own: peer("a"),
            others: vec![peer("b")],
            in_sync: InSync {
                generation,
                nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            },
            ..RolesView::default()
        }
    }

    #[test]
    fn it_goes_on_alone_only_when_no_wish_with_the_other_can_be_committed() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<BTreeSet<_>>()
        };
        let mut wishes = Wishes::resumed();
        let alone = view(6, &["a"]);
        assert!(
            !is_alone(&wishes, &alone),
            "an agent before this one may have wished the other"
        );
        let fresh = wishes
            .ask(&alone.in_sync, names(&["a"]))
            .expect("a set of its own first");
        let alone = view(fresh.generation, &["a"]);
        assert_eq!(wishes.ask(&alone.in_sync, names(&["a"])), None);
        assert!(is_alone(&wishes, &alone));
        // The other joins, and is gone before that is committed.
        wishes.ask(&alone.in_sync, names(&["a", "b"]));
        let smaller = wishes
            .ask(&alone.in_sync, names(&["a"]))
            .expect("it could still be committed");
        assert!(!is_alone(&wishes, &alone));
        assert!(!is_alone(&wishes, &view(smaller.generation - 1, &["a", "b"])));
        assert!(is_alone(&wishes, &view(smaller.generation, &["a"])));
    }
}

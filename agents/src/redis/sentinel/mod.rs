//! Answers the clients of Sentinel, so that they find the primary as they did before: `SENTINEL get-master-addr-by-name`, and
//! `+switch-master` when it changes.
//!
//! It tells what the cluster has committed, and only while that is seen to be true: the primary is promoted here under a
//! permit, or it is heard from here. Otherwise it knows no primary, and clients ask the next node.

mod answer;
mod reply;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::resp::{self, Value};
use super::state::{Believed, State};
use crate::agent::{AgentContext, EventSink, PermitView};
use crate::clock;
use crate::roles::RolesView;
pub use answer::{Session, World};

/// Clients at a time, on all addresses together.
const CLIENTS_MAX: usize = 512;
/// Longest command.
const COMMAND_BYTES_MAX: usize = 16 << 10;
/// How long a client may take to read an answer.
const WRITE: Duration = Duration::from_secs(5);
/// How long a command may take to arrive once it began.
const COMMAND: Duration = Duration::from_secs(10);
/// Pause before an address that could not be listened on is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);

/// What all clients share.
#[derive(Clone)]
pub struct Face {
    believed: watch::Receiver<Believed>,
    roles: watch::Receiver<RolesView>,
    permit: watch::Receiver<PermitView>,
    events: EventSink,
    name: String,
    port: u16,
    sentinel_port: u16,
    clients: Arc<Semaphore>,
}

impl Face {
    /// Listens on nothing yet.
    pub fn new(state: &State, context: &AgentContext, sentinel_port: u16) -> Face {
        Face {
            believed: state.believed.subscribe(),
            roles: context.roles.clone(),
            permit: context.permit.clone(),
            events: context.events.clone(),
            name: state.params.sentinel_name.clone(),
            port: state.params.port,
            sentinel_port,
            clients: Arc::new(Semaphore::new(CLIENTS_MAX)),
        }
    }

    /// Listens on all addresses of this node, until it is dropped.
    pub async fn run(self) {
        let mut roles = self.roles.clone();
        let mut listening: BTreeSet<IpAddr> = BTreeSet::new();
        let mut listeners = JoinSet::new();
        loop {
            let addresses: BTreeSet<IpAddr> =
                roles.borrow_and_update().own.addresses.iter().copied().collect();
            if addresses != listening {
                listeners.shutdown().await;
                for address in &addresses {
                    listeners.spawn(self.clone().listen(*address));
                }
                listening = addresses;
            }
            if roles.changed().await.is_err() {
                // Nothing changes any more; the listeners live as long as this does.
                std::future::pending::<()>().await;
            }
        }
    }

    async fn listen(self, address: IpAddr) {
        let mut sessions = JoinSet::new();
        let mut noted = false;
        loop {
            let listener = match TcpListener::bind((address, self.sentinel_port)).await {
                Ok(listener) => listener,
                Err(error) => {
                    if !std::mem::replace(&mut noted, true) {
                        let text = format!(
                            "cannot answer clients of Sentinel on {address} port {}: {error}; does a Sentinel still run there?",
                            self.sentinel_port
                        );
                        self.events.note("warn", "sentinel-port", text);
                    }
                    tokio::time::sleep(LISTEN_AGAIN).await;
                    continue;
                }
            };
            while let Ok((stream, _)) = listener.accept().await {
                while sessions.try_join_next().is_some() {}
                if let Ok(place) = Arc::clone(&self.clients).try_acquire_owned() {
                    let face = self.clone();
                    sessions.spawn(async move {
                        let _place = place;
                        face.serve(stream).await;
                    });
                } else {
                    // It sees the end of the connection and asks another node.
                    drop(stream);
                }
            }
            // Out of descriptors, say: pause, and listen anew.
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    /// What is told now.
    fn world(&self) -> World {
        let (believed, roles, now) = (self.believed.borrow().clone(), self.roles.borrow(), clock::now());
        let holds = now < believed.until && (!believed.own || now < self.permit.borrow().until);
        let mut others: Vec<_> = roles
            .others
            .iter()
            .filter_map(|peer| Some((peer.name.clone(), *peer.addresses.first()?)))
            .collect();
        others.sort();
        World {
            name: self.name.clone(),
            port: self.port,
            sentinel_port: self.sentinel_port,
            primary: believed.primary.filter(|_| holds).map(|(_, address)| address),
            replicas: believed.replicas,
            others,
            own: roles.own.name.clone(),
            epoch: roles.epoch,
        }
    }

    /// One client, until it hangs up or makes no sense.
    async fn serve(mut self, mut stream: TcpStream) {
        let mut session = Session::default();
        let mut unread = Vec::new();
        let mut last = self.world().primary;
        loop {
            let patience = if unread.is_empty() { Duration::MAX } else { COMMAND };
            let mut replies = Vec::new();
            tokio::select! {
                read = timeout(patience, stream.read_buf(&mut unread)) => match read {
                    Ok(Ok(bytes)) if bytes > 0 => match commands(&mut unread) {
                        Some(all) => for words in all {
                            replies.extend(session.answer(&words, &self.world()));
                        },
                        None => return,
                    },
                    _ => return,
                },
                Ok(()) = self.believed.changed() => {
                    let world = self.world();
                    if let Some(now) = world.primary {
                        let before = last.replace(now);
                        if let Some(before) = before.filter(|before| *before != now) {
                            replies = session.switched(&world, before, now);
                        }
                    }
                }
            }
            let mut bytes = Vec::new();
            for reply in replies {
                reply.write(session.resp3, &mut bytes);
            }
            let written = timeout(WRITE, stream.write_all(&bytes)).await;
            if session.over || !matches!(written, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// Takes all complete commands from `unread`. None when these are none, or one is too long.
pub(super) fn commands(unread: &mut Vec<u8>) -> Option<Vec<Vec<String>>> {
    let mut all = Vec::new();
    while let Some((value, length)) = resp::decode(unread).ok()? {
        unread.drain(..length);
        let Value::Array(Some(words)) = value else {
            return None;
        };
        let words: Option<Vec<String>> = words
            .into_iter()
            .map(|word| match word {
                Value::Bulk(word) => word,
                _ => None,
            })
            .collect();
        all.push(words?);
    }
    (unread.len() <= COMMAND_BYTES_MAX).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_cut_from_what_arrives() {
        let mut unread = [resp::encode(&["PING"]), resp::encode(&["SENTINEL", "masters"])].concat();
        unread.extend_from_slice(b"*1\r\n$4\r\nPI");
        let all = commands(&mut unread).unwrap();
        assert_eq!(all, [vec!["PING"], vec!["SENTINEL", "masters"]]);
        assert_eq!(unread, b"*1\r\n$4\r\nPI");
        unread.extend_from_slice(b"NG\r\n");
        assert_eq!(commands(&mut unread).unwrap().len(), 1);
        assert!(commands(&mut b"PING\r\n".to_vec()).is_none());
        assert!(commands(&mut b"*1\r\n:1\r\n".to_vec()).is_none());
        let mut long = format!("*1\r\n${}\r\n", COMMAND_BYTES_MAX * 2).into_bytes();
        long.resize(COMMAND_BYTES_MAX + 100, b'x');
        assert!(commands(&mut long).is_none());
    }
}

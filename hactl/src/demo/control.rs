//! The control sockets of the demo's nodes: status, a move, and a follower that copies events into the story.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{EventsRequest, MoveRequest, ResourceRequest, StatusView};

use super::config::GROUP;
use super::paths::Paths;
use super::story::Story;
use crate::client::Endpoint;

/// Pause before a follower connects again to a node that is off or restarts.
const RECONNECT: Duration = Duration::from_millis(10);
/// Past events asked for at each connection: those of a daemon that was not reachable for a moment.
const BACKLOG: u32 = 200;

/// The status as `node` sees it; none while it cannot be asked.
pub fn status(paths: &Paths, node: &str) -> Option<StatusView> {
    Endpoint::new(&paths.control(node)).status().ok()
}

/// Moves the group to the other node, asking `node`.
pub fn move_group(paths: &Paths, node: &str, to: &str) -> anyhow::Result<String> {
    Endpoint::new(&paths.control(node)).ask(Request::Move(MoveRequest {
        accept_loss: false,
        group: GROUP.into(),
        to: to.into(),
    }))
}

/// Makes the cluster forget the group's failures, asking `node`.
pub fn cleanup(paths: &Paths, node: &str) -> anyhow::Result<String> {
    Endpoint::new(&paths.control(node)).ask(Request::Resource(ResourceRequest {
        action: "cleanup".into(),
        group: GROUP.into(),
        resource: String::new(),
    }))
}

/// Copies the events of `node` into `story` for as long as the demo lives.
pub fn follow(paths: &Paths, node: &'static str, story: Arc<Story>) -> std::io::Result<()> {
    let endpoint = Endpoint::new(&paths.control(node));
    std::thread::Builder::new()
        .name(format!("events-{node}"))
        .spawn(move || {
            let mut known = BTreeSet::new();
            loop {
                // A node that is off, or a daemon that was killed, ends the stream: that is part of the demo.
                let _ = copy(&endpoint, node, &story, &mut known);
                std::thread::sleep(RECONNECT);
            }
        })?;
    Ok(())
}

fn copy(
    endpoint: &Endpoint,
    node: &str,
    story: &Story,
    known: &mut BTreeSet<(u64, String)>,
) -> anyhow::Result<()> {
    let mut replies = endpoint.send(Request::Events(EventsRequest {
        follow: true,
        last: BACKLOG,
    }))?;
    while let Some(reply) = replies.next(None)? {
        let Reply::Event(event) = reply else { continue };
        if known.insert((event.boot_us, event.text.clone())) {
            story.add(event.boot_us, node, &event.kind, event.text);
        }
    }
    Ok(())
}

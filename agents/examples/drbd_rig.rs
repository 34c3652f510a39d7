//! Runs the drbd agent by itself, with a stand-in for the cluster: for looking at real DRBD without one.
//!
//!     drbd_rig RESOURCE OWN PEER [STATE_DIR]
//!
//! Commands on standard input: `start`, `promote`, `demote`, `stop`, `kill`, `probe`, `adopt`, `primary NODE`, `set GENERATION
//! NODE...` (what is committed), `commit on|off` (wishes are committed at once, or not), `quit`. Prints what it sees.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_agents::agent::{AgentContext, AgentEvent, EventSink, PermitView, ResourceAgent};
use holdfast_agents::roles::{CopySink, InSync, Peer, RolesView};
use holdfast_agents::{clock, drbd};
use holdfast_proto::time::Time;
use tokio::sync::{mpsc, watch};

const LIMIT: Duration = Duration::from_secs(20);

fn say(what: &str, text: &str) {
    println!("{:>10} {what}: {text}", clock::now().as_millis());
}

fn peer(name: &str, id: u32) -> Peer {
    Peer {
        name: name.into(),
        id,
        addresses: Vec::new(),
    }
}

async fn obey(agent: &mut Box<dyn ResourceAgent>, roles: &watch::Sender<RolesView>, words: &[&str]) {
    let deadline = clock::now() + LIMIT;
    let done = match words {
        ["start"] => agent.start(deadline).await,
        ["promote"] => agent.promote(deadline).await,
        ["demote"] => agent.demote(None, deadline).await,
        ["stop"] => agent.stop(deadline).await,
        ["kill"] => agent.kill(deadline).await,
        ["adopt"] => agent.adopt().await,
        ["probe"] => return say("probe", &format!("{:?}", agent.probe().await)),
        ["primary", node] => {
            roles.send_modify(|view| view.primary = Some((*node).to_owned()));
            Ok(())
        }
        ["set", generation, nodes @ ..] => {
            let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
            let generation = generation.parse().unwrap_or(1);
            roles.send_modify(|view| view.in_sync = InSync { generation, nodes });
            Ok(())
        }
        _ => return say("unknown", &words.join(" ")),
    };
    match done {
        Ok(()) => say(words[0], "done"),
        Err(error) => say(words[0], &format!("FAILED {error}")),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [resource, own, other, rest @ ..] = &args[..] else {
        panic!("drbd_rig RESOURCE OWN PEER [STATE_DIR]");
    };
    let state_dir = rest.first().map_or("/run/holdfast-agentd", String::as_str);
    std::fs::create_dir_all(state_dir).expect("the state folder");
    let view = RolesView {
        own: peer(own, 1),
        others: vec![peer(other, 2)],
        ..RolesView::default()
    };
    let roles = watch::Sender::new(view);
    let (note_sender, mut notes) = mpsc::channel(64);
    let (failure_sender, mut failures) = mpsc::unbounded_channel();
    let copies = watch::Sender::default();
    let mut seen = copies.subscribe();
    let permit = watch::Sender::new(PermitView {
        epoch: 1,
        until: Time(u64::MAX),
    });
    let mut agent = drbd::build(AgentContext {
        group: "group".into(),
        resource: "data".into(),
        params: BTreeMap::from([("resource".to_owned(), resource.clone())]),
        lease: Duration::from_secs(1),
        permit: permit.subscribe(),
        events: EventSink::new(0, note_sender, failure_sender),
        saved: String::new(),
        state_dir: state_dir.into(),
        roles: roles.subscribe(),
        copy: CopySink::new(0, copies),
        gate: None,
    })
    .expect("parameters");
    let commits = watch::Sender::new(false);
    let (committing, committed) = (commits.subscribe(), roles.clone());
    tokio::spawn(async move {
        while seen.changed().await.is_ok() {
            let copy = seen.borrow_and_update().get(&0).cloned().unwrap_or_default();
            say(
                "copy",
                &format!(
                    "{} | obstacle {:?} | loss {:?} | wish {:?}",
                    copy.position_text, copy.obstacle, copy.possible_loss, copy.wish
                ),
            );
            if let Some(wish) = copy.wish.filter(|_| *committing.borrow()) {
                say("committed", &format!("{wish:?}"));
                committed.send_modify(|view| view.in_sync = wish);
            }
        }
    });
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Some((_, AgentEvent::Note { level, kind, text, .. })) = notes.recv() => say(level, &format!("{kind}: {text}")),
                Some((_, event)) = failures.recv() => say("FAILURE", &format!("{event:?}")),
                else => return,
            }
        }
    });
    let (line_sender, mut lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            let _ = line_sender.send(line);
        }
    });
    while let Some(line) = lines.recv().await {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [] => {}
            ["quit"] => return,
            ["commit", word] => drop(commits.send_replace(word == "on")),
            _ => obey(&mut agent, &roles, &words).await,
        }
    }
}

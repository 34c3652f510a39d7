//! An agent process that the test plays: whatever is ordered is done at once.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use holdfast_proto::agent::{
    AgentReport, AgentRequest, Alive, Attached, GroupStatus, agent_report, agent_request,
};
use holdfast_proto::stream::{Deframer, frame_message};

/// What a played agent process knows.
#[derive(Default)]
struct Played {
    /// It reads and answers nothing, as if it was stopped.
    hangs: bool,
    groups: BTreeMap<String, GroupStatus>,
    orders: Vec<Order>,
}

/// An order that an agent process got, and answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// A start, else a stop.
    pub start: bool,
    /// When.
    pub at: Instant,
}

/// The agent process as the test plays it.
pub struct Agentd {
    played: Arc<Mutex<Played>>,
}

impl Agentd {
    /// Begins to serve at `socket`.
    pub fn listen(socket: &Path) -> Agentd {
        let listener = UnixListener::bind(socket).expect("agent socket");
        let played = Arc::new(Mutex::new(Played::default()));
        let known = Arc::clone(&played);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let known = Arc::clone(&known);
                std::thread::spawn(move || serve(stream, &known));
            }
        });
        Agentd { played }
    }

    /// Makes it hang, or go on.
    pub fn hang(&self, hangs: bool) {
        self.played.lock().expect("played").hangs = hangs;
    }

    /// Starts and stops ordered since this was last asked.
    pub fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut self.played.lock().expect("played").orders)
    }

    /// Groups that run, and how often each was started.
    pub fn running(&self) -> Vec<String> {
        let played = self.played.lock().expect("played");
        played
            .groups
            .values()
            .filter(|status| status.run == "running")
            .map(|status| status.group.clone())
            .collect()
    }
}

fn serve(mut stream: UnixStream, played: &Mutex<Played>) {
    let mut deframer = Deframer::new();
    let mut piece = [0u8; 4096];
    while let Ok(length) = stream.read(&mut piece) {
        if length == 0 {
            return;
        }
        deframer.push(&piece[..length]);
        while let Some(request) = deframer.next::<AgentRequest>().expect("request") {
            while played.lock().expect("played").hangs {
                std::thread::sleep(Duration::from_millis(5));
            }
            if let Some(body) = answer(request, played)
                && stream
                    .write_all(&frame_message(&AgentReport { body: Some(body) }))
                    .is_err()
            {
                let _ = stream.shutdown(Shutdown::Both);
                return;
            }
        }
    }
}

fn answer(request: AgentRequest, played: &Mutex<Played>) -> Option<agent_report::Body> {
    let mut played = played.lock().expect("played");
    match request.body? {
        agent_request::Body::Attach(_) => {
            let groups = played
                .groups
                .values()
                .filter(|status| status.run != "stopped")
                .cloned()
                .collect();
            Some(agent_report::Body::Attached(Attached {
                groups,
                ..Attached::default()
            }))
        }
        agent_request::Body::Permits(_) => Some(agent_report::Body::Alive(Alive::default())),
        agent_request::Body::Start(start) => {
            let permit = start.permit.expect("permit");
            Some(played.enter(true, permit.group, permit.epoch))
        }
        agent_request::Body::Stop(stop) => Some(played.enter(false, stop.group, stop.epoch)),
        _ => None,
    }
}

impl Played {
    fn enter(&mut self, start: bool, group: String, epoch: u64) -> agent_report::Body {
        self.orders.push(Order {
            start,
            at: Instant::now(),
        });
        let status = GroupStatus {
            group: group.clone(),
            epoch,
            run: if start { "running" } else { "stopped" }.into(),
            ..GroupStatus::default()
        };
        self.groups.insert(group, status.clone());
        agent_report::Body::Group(status)
    }
}

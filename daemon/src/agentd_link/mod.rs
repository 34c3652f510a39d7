//! The way to `had-agentd`: a unix socket that is reconnected as fast as it breaks.
//!
//! Runs as a task of the deciding thread and never blocks it. Everything that is queued is bounded: an agent process
//! that does not read, or gives no sign of life, is cut off, which the core sees as `Detached`, and attached again.

mod relay;
pub mod roles;
pub mod translate;

use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::agent::{
    AgentReport, AgentRequest, Attach, Attached, FenceOutcome, GroupStatus, JobStatus, Note, RegisterAnswer,
    agent_report, agent_request,
};
use holdfast_proto::stream::{Deframer, frame_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};

/// Requests that may wait to be written.
const REQUESTS: usize = 256;
/// Reports that may wait to be taken in.
const REPORTS: usize = 256;
/// First pause before connecting again, doubled up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Longest pause.
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// An agent process that does not answer `Attach` for this long is hung; it is asked anew.
const PATIENCE: Duration = Duration::from_secs(2);

/// What comes from the agent process.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkEvent {
    /// Connected; what runs there.
    Attached(Attached),
    /// The connection is gone, for this reason.
    Detached(String),
    /// There is no connection yet, for this reason. Said once per reason.
    Away(String),
    /// A group changed.
    Group(GroupStatus),
    /// A fence device ended.
    Fenced(FenceOutcome),
    /// Something for the journal.
    Note(Note),
    /// A call to the register on shared disks ended.
    Registered(RegisterAnswer),
    /// How the latest run of a job stands.
    Job(JobStatus),
}

/// The deciding thread's end of the link.
pub struct AgentdLink {
    requests: mpsc::Sender<AgentRequest>,
    events: mpsc::Receiver<LinkEvent>,
    attach: watch::Sender<Attach>,
    cut: watch::Sender<u64>,
}

impl AgentdLink {
    /// Starts connecting to `socket`, now and for ever. Must be called inside the deciding thread's runtime.
    #[must_use]
    pub fn start(socket: PathBuf, attach: Attach) -> AgentdLink {
        let (requests, request_queue) = mpsc::channel(REQUESTS);
        let (event_queue, events) = mpsc::channel(REPORTS);
        let (attach, attach_seen) = watch::channel(attach);
        let (cut, cut_seen) = watch::channel(0);
        let task = Task {
            socket,
            requests: request_queue,
            events: event_queue,
            attach: attach_seen,
            cut: cut_seen,
        };
        tokio::spawn(task.run());
        AgentdLink {
            requests,
            events,
            attach,
            cut,
        }
    }

    /// Queues a request. When the queue is full the agent process is not reading: it is cut off, so that it
    /// attaches anew and nothing is lost silently.
    pub fn send(&self, body: agent_request::Body) {
        if self.requests.try_send(AgentRequest { body: Some(body) }).is_err() {
            self.cut.send_modify(|count| *count += 1);
        }
    }

    /// Attaches anew when the node's or cluster's name or the lease changed.
    pub fn follow(&self, attach: Attach) {
        self.attach.send_if_modified(|known| {
            let changed = *known != attach;
            *known = attach;
            changed
        });
    }

    /// The next report.
    pub async fn next(&mut self) -> LinkEvent {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// The next report, if one waits.
    pub fn try_next(&mut self) -> Option<LinkEvent> {
        self.events.try_recv().ok()
    }
}

struct Task {
    socket: PathBuf,
    requests: mpsc::Receiver<AgentRequest>,
    events: mpsc::Sender<LinkEvent>,
    attach: watch::Receiver<Attach>,
    cut: watch::Receiver<u64>,
}

impl Task {
    async fn run(mut self) {
        let mut pause = PAUSE_MIN;
        let mut told = String::new();
        while !self.events.is_closed() {
            let (attached, reason) = match UnixStream::connect(&self.socket).await {
                Ok(stream) => self.converse(stream).await,
                Err(error) => (false, format!("{}: {error}", self.socket.display())),
            };
            // These wait when the deciding thread is behind: this task may, the thread may not.
            if attached {
                pause = PAUSE_MIN;
                told.clear();
                let _ = self.events.send(LinkEvent::Detached(reason)).await;
            } else if reason != told {
                told.clone_from(&reason);
                let _ = self.events.send(LinkEvent::Away(reason)).await;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One connection, from `Attach` to its end: whether it got as far as `Attached`, and why it ended.
    async fn converse(&mut self, mut stream: UnixStream) -> (bool, String) {
        let mut deframer = Deframer::new();
        let attach = self.attach.borrow_and_update().clone();
        let silence = Duration::from_millis(attach.lease_ms.into());
        self.cut.borrow_and_update();
        let hello = AgentRequest {
            body: Some(agent_request::Body::Attach(attach)),
        };
        let first = async {
            stream
                .write_all(&frame_message(&hello))
                .await
                .map_err(|error| error.to_string())?;
            read_report(&mut stream, &mut deframer).await
        };
        let attached = match tokio::time::timeout(PATIENCE, first).await {
            Ok(Ok(AgentReport {
                body: Some(agent_report::Body::Attached(attached)),
            })) => attached,
            Ok(Ok(_)) => return (false, "had-agentd did not answer Attach with Attached".into()),
            Ok(Err(reason)) => return (false, reason),
            Err(_) => return (false, "had-agentd did not answer Attach".into()),
        };
        // What was queued for the connection before is stale: the core issues anew what it wants.
        while self.requests.try_recv().is_ok() {}
        if self.events.send(LinkEvent::Attached(attached)).await.is_err() {
            return (false, "had ends".into());
        }
        (true, self.relay(stream, deframer, silence).await)
    }
}

async fn read_report(stream: &mut UnixStream, deframer: &mut Deframer) -> Result<AgentReport, String> {
    let mut piece = vec![0u8; 8192];
    loop {
        if let Some(report) = deframer
            .next::<AgentReport>()
            .map_err(|error| error.to_string())?
        {
            return Ok(report);
        }
        match stream.read(&mut piece).await {
            Ok(0) => return Err("had-agentd closed the connection".into()),
            Ok(length) => deframer.push(&piece[..length]),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests;

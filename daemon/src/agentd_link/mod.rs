//! The way to `had-agentd`: a unix socket that is reconnected as fast as it breaks.
//!
//! Runs as a task of the deciding thread and never blocks it. Everything that is queued is bounded: an agent process
//! that does not read is cut off, which the core sees as `Detached`, and attached again.

pub mod translate;

use std::path::PathBuf;
use std::time::Duration;

use holdfast_proto::agent::{AgentReport, AgentRequest, Attach, Attached, FenceOutcome, GroupStatus, Note};
use holdfast_proto::agent::{agent_report, agent_request};
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
/// An agent process that takes no bytes or does not answer `Attach` for this long is hung.
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
        (true, self.relay(stream, deframer).await)
    }

    /// Carries requests out and reports in until something breaks; says what.
    async fn relay(&mut self, stream: UnixStream, mut deframer: Deframer) -> String {
        let (mut reader, mut writer) = stream.into_split();
        let mut piece = vec![0u8; 8192];
        loop {
            loop {
                match deframer.next::<AgentReport>() {
                    Ok(Some(report)) => {
                        if let Some(event) = to_event(report)
                            && self.events.send(event).await.is_err()
                        {
                            return "had ends".into();
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return format!("had-agentd sent garbage: {error}"),
                }
            }
            tokio::select! {
                biased;
                request = self.requests.recv() => {
                    let Some(request) = request else { return "had ends".into() };
                    match tokio::time::timeout(PATIENCE, writer.write_all(&frame_message(&request))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return format!("writing to had-agentd failed: {error}"),
                        Err(_) => return format!("had-agentd took no request for {} s", PATIENCE.as_secs()),
                    }
                }
                length = reader.read(&mut piece) => match length {
                    Ok(0) => return "had-agentd closed the connection".into(),
                    Ok(length) => deframer.push(&piece[..length]),
                    Err(error) => return format!("reading from had-agentd failed: {error}"),
                },
                _ = self.attach.changed() => return "attaching anew with a changed configuration".into(),
                _ = self.cut.changed() => return "had-agentd did not take requests, its queue was full".into(),
            }
        }
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

/// `None` for a report of a kind this version does not know.
fn to_event(report: AgentReport) -> Option<LinkEvent> {
    Some(match report.body? {
        agent_report::Body::Attached(attached) => LinkEvent::Attached(attached),
        agent_report::Body::Group(status) => LinkEvent::Group(status),
        agent_report::Body::Fenced(outcome) => LinkEvent::Fenced(outcome),
        agent_report::Body::Note(note) => LinkEvent::Note(note),
        agent_report::Body::Alive(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    fn block_on(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime")
            .block_on(test);
    }

    fn attached(groups: Vec<GroupStatus>) -> Vec<u8> {
        let attached = Attached {
            groups,
            ..Attached::default()
        };
        frame_message(&AgentReport {
            body: Some(agent_report::Body::Attached(attached)),
        })
    }

    async fn accept(listener: &UnixListener) -> (UnixStream, Deframer) {
        let (mut stream, _) = listener.accept().await.expect("connection");
        let mut deframer = Deframer::new();
        let request = read_request(&mut stream, &mut deframer).await;
        assert!(matches!(request, agent_request::Body::Attach(attach) if attach.node == "db1"));
        stream.write_all(&attached(Vec::new())).await.expect("write");
        (stream, deframer)
    }

    async fn read_request(stream: &mut UnixStream, deframer: &mut Deframer) -> agent_request::Body {
        let mut piece = [0u8; 1024];
        loop {
            if let Some(request) = deframer.next::<AgentRequest>().expect("request") {
                return request.body.expect("body");
            }
            let length = stream.read(&mut piece).await.expect("read");
            assert!(length > 0);
            deframer.push(&piece[..length]);
        }
    }

    #[test]
    fn attaches_relays_and_attaches_again() {
        block_on(async {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("agentd.sock");
            let attach = Attach {
                node: "db1".into(),
                cluster: "shop".into(),
                lease_ms: 1000,
            };
            let mut link = AgentdLink::start(path.clone(), attach);
            let listener = UnixListener::bind(&path).expect("listener");
            let (mut agent, mut deframer) = accept(&listener).await;
            // There may have been an attempt before the listener was there.
            let mut first = link.next().await;
            if matches!(first, LinkEvent::Away(_)) {
                first = link.next().await;
            }
            assert!(matches!(first, LinkEvent::Attached(_)));
            link.send(agent_request::Body::Maintenance(
                holdfast_proto::agent::Maintenance { on: true },
            ));
            let request = read_request(&mut agent, &mut deframer).await;
            assert!(matches!(request, agent_request::Body::Maintenance(_)));
            drop(agent);
            assert!(matches!(link.next().await, LinkEvent::Detached(_)));
            let _again = accept(&listener).await;
            assert!(matches!(link.next().await, LinkEvent::Attached(_)));
        });
    }

    #[test]
    fn garbage_cuts_the_connection() {
        block_on(async {
            let folder = tempfile::tempdir().expect("folder");
            let path = folder.path().join("agentd.sock");
            let listener = UnixListener::bind(&path).expect("listener");
            let attach = Attach {
                node: "db1".into(),
                ..Attach::default()
            };
            let mut link = AgentdLink::start(path, attach);
            let (mut agent, _deframer) = accept(&listener).await;
            assert!(matches!(link.next().await, LinkEvent::Attached(_)));
            agent.write_all(&[0xff; 64]).await.expect("write");
            let LinkEvent::Detached(reason) = link.next().await else {
                panic!("still attached")
            };
            assert!(reason.contains("garbage"), "{reason}");
        });
    }
}

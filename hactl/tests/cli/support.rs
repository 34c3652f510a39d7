//! A fake `had`: a control server in a temporary folder that answers from a script. It decides nothing; it lets
//! the tests see what `hactl` makes of replies that a real cluster gives only in trouble.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{ControlReply, ControlRequest, ErrorView, GroupView, NodeView, StatusView};
use holdfast_proto::stream::{Deframer, frame_message};

/// What a request leads to: pictures added to the history that `Watch` tells, and replies.
pub type Answer = Box<dyn Fn(&Request, &StatusView) -> (Vec<StatusView>, Vec<Reply>) + Send + Sync>;

/// The fake.
pub struct FakeHad {
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
}

struct Shared {
    pictures: Mutex<Vec<StatusView>>,
    more: Condvar,
    answer: Answer,
}

impl FakeHad {
    /// Listens, with `first` as the picture before anything is asked.
    pub fn new(
        first: StatusView,
        answer: impl Fn(&Request, &StatusView) -> (Vec<StatusView>, Vec<Reply>) + Send + Sync + 'static,
    ) -> FakeHad {
        let folder = tempfile::tempdir().expect("temporary folder");
        let listener = UnixListener::bind(folder.path().join("had.sock")).expect("socket");
        let shared = Arc::new(Shared {
            pictures: Mutex::new(vec![first]),
            more: Condvar::new(),
            answer: Box::new(answer),
        });
        let for_threads = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&for_threads);
                std::thread::spawn(move || serve(&shared, stream));
            }
        });
        FakeHad { folder, shared }
    }

    /// One that only has a status.
    pub fn with_status(view: StatusView) -> FakeHad {
        FakeHad::new(view, |_, _| (Vec::new(), vec![error("internal", "not scripted")]))
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("had.sock")
    }

    /// Adds a picture, as if the cluster had changed by itself.
    pub fn show(&self, view: StatusView) {
        self.shared.add(vec![view]);
    }

    /// Runs `hactl` against it, with pipes.
    pub fn hactl(&self, words: &[&str]) -> Output {
        hactl()
            .arg("--socket")
            .arg(self.socket())
            .args(words)
            .output()
            .expect("hactl runs")
    }
}

/// The program under test, without the environment of whoever runs the tests.
pub fn hactl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hactl"));
    command
        .env_remove("NO_COLOR")
        .env_remove("HACTL_SOCKET")
        .env("TERM", "xterm")
        .stdin(Stdio::null());
    command
}

impl Shared {
    fn add(&self, views: Vec<StatusView>) {
        self.pictures.lock().expect("lock").extend(views);
        self.more.notify_all();
    }

    fn latest(&self) -> StatusView {
        self.pictures
            .lock()
            .expect("lock")
            .last()
            .expect("a picture")
            .clone()
    }
}

fn serve(shared: &Shared, mut stream: UnixStream) {
    let Some(request) = read_request(&mut stream) else {
        return;
    };
    match request {
        Request::Status(_) => {
            send(&mut stream, Reply::Status(shared.latest()));
            send(&mut stream, Reply::Done(String::new()));
        }
        Request::Watch(_) => watch(shared, &mut stream),
        request => {
            let (views, replies) = (shared.answer)(&request, &shared.latest());
            shared.add(views);
            for reply in replies {
                send(&mut stream, reply);
            }
        }
    }
}

fn read_request(stream: &mut UnixStream) -> Option<Request> {
    let mut deframer = Deframer::new();
    let mut piece = [0u8; 4096];
    loop {
        if let Some(request) = deframer.next::<ControlRequest>().expect("a request") {
            return request.body;
        }
        match stream.read(&mut piece).expect("read") {
            0 => return None,
            bytes => deframer.push(&piece[..bytes]),
        }
    }
}

/// The latest picture, then each that is added, until the client goes.
fn watch(shared: &Shared, stream: &mut UnixStream) {
    let mut pictures = shared.pictures.lock().expect("lock");
    let mut next = pictures.len() - 1;
    loop {
        while next < pictures.len() {
            let view = pictures[next].clone();
            next += 1;
            if !send(stream, Reply::Status(view)) {
                return;
            }
        }
        pictures = shared.more.wait(pictures).expect("lock");
    }
}

fn send(stream: &mut UnixStream, reply: Reply) -> bool {
    stream
        .write_all(&frame_message(&ControlReply { body: Some(reply) }))
        .is_ok()
}

/// An error reply.
pub fn error(code: &str, message: &str) -> Reply {
    Reply::Error(ErrorView {
        code: code.into(),
        message: message.into(),
    })
}

/// A pair with a witness that runs one group on db1.
pub fn healthy() -> StatusView {
    let node = |name: &str, role: &str, leader: bool| NodeView {
        name: name.into(),
        role: role.into(),
        state: "online".into(),
        leader,
        voter: true,
        synced: true,
        boot: format!("b-{name}"),
        ..NodeView::default()
    };
    StatusView {
        cluster: "shop-db".into(),
        node: "db1".into(),
        summary: "healthy".into(),
        health: "ok".into(),
        leader: "db1".into(),
        quorum: "3 of 3 voters answer".into(),
        voters: vec!["db1".into(), "db2".into(), "witness".into()],
        version: 42,
        lease_ms: 1000,
        nodes: vec![
            node("db1", "data", true),
            node("db2", "data", false),
            node("witness", "witness", false),
        ],
        groups: vec![GroupView {
            name: "mysql".into(),
            state: "running".into(),
            node: "db1".into(),
            reason: "preferred node".into(),
            epoch: 7,
            requires: "fencing".into(),
            ..GroupView::default()
        }],
        ..StatusView::default()
    }
}

/// `view` with the group in another state.
pub fn with_group(view: &StatusView, state: &str, node: &str, epoch: u64, outage_ms: u64) -> StatusView {
    let mut view = view.clone();
    let group = &mut view.groups[0];
    (group.state, group.node) = (state.into(), node.into());
    (group.epoch, group.last_outage_ms) = (epoch, outage_ms);
    view
}

/// Standard output as text.
pub fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Standard error as text.
pub fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// The exit code.
pub fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

/// Standard output as one JSON document.
pub fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|wrong| panic!("{wrong}: {}", out(output)))
}

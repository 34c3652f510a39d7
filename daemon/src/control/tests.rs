use super::*;
use crate::journal::Record;
use crate::status::fixture::healthy;
use holdfast_proto::control::{
    Empty, EventsRequest, GroupRequest, MoveRequest, NodeRequest, StatusView, TokenRequest, control_request,
};
use holdfast_proto::operator::{OperatorOutcome, OperatorRequest};

/// A control socket whose deciding thread answers with a fixed picture, and refuses or accepts operators' requests.
struct Bench {
    path: PathBuf,
    control: Arc<Control>,
    changes: changes::Sender<u64>,
    summary: Arc<Mutex<Snapshot>>,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Bench {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("had.sock");
        let (asks, mut queue) = mpsc::channel(8);
        let (changes, changed) = changes::channel(0);
        let control = Arc::new(Control {
            asks,
            journal: Arc::new(Mutex::new(Journal::new(folder.path(), "db1"))),
            changed,
            force: Mutex::default(),
            joins: Arc::default(),
            followers: followers(),
        });
        let summary = Arc::new(Mutex::new(healthy()));
        let picture = Arc::clone(&summary);
        tokio::spawn(async move {
            while let Some(ask) = queue.recv().await {
                match ask {
                    Ask::Snapshot(reply) => drop(reply.send(picture.lock().expect("picture").clone())),
                    Ask::FenceTest { node, reply } => {
                        let mut tests = picture.lock().expect("picture").fence_tests.clone();
                        tests.retain(|test| test.section.node == node);
                        drop(reply.send(tests));
                    }
                    Ask::Due(_) => {}
                    Ask::Operator { call, reply } => drop(reply.send(match call.request {
                        OperatorRequest::Move { .. } => OperatorOutcome::Refused("db2 is in standby".into()),
                        _ => OperatorOutcome::Done(format!("done for {}", call.who)),
                    })),
                }
            }
        });
        let listener = UnixListener::from_std(bind(&path).expect("bound")).expect("listener");
        tokio::spawn(serve(listener, Arc::clone(&control), path.clone()));
        Bench {
            path,
            control,
            changes,
            summary,
            _folder: folder,
        }
    }

    async fn ask(&self, body: control_request::Body) -> Conversation {
        let mut stream = UnixStream::connect(&self.path).await.expect("connected");
        stream
            .write_all(&frame_message(&ControlRequest { body: Some(body) }))
            .await
            .expect("written");
        Conversation {
            stream,
            deframer: Deframer::new(),
        }
    }
}

struct Conversation {
    stream: UnixStream,
    deframer: Deframer,
}

impl Conversation {
    async fn next(&mut self) -> Option<control_reply::Body> {
        let mut piece = [0u8; 4096];
        loop {
            if let Some(reply) = self.deframer.next::<ControlReply>().expect("reply") {
                return reply.body;
            }
            let length = self.stream.read(&mut piece).await.expect("read");
            if length == 0 {
                return None;
            }
            self.deframer.push(&piece[..length]);
        }
    }

    async fn status(&mut self) -> StatusView {
        match self.next().await {
            Some(control_reply::Body::Status(view)) => view,
            other => panic!("no status but {other:?}"),
        }
    }

    async fn error(&mut self) -> ErrorView {
        match self.next().await {
            Some(control_reply::Body::Error(error)) => error,
            other => panic!("no error but {other:?}"),
        }
    }
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime")
        .block_on(test);
}

#[test]
fn status_is_answered_and_ends_with_done() {
    block_on(async {
        let bench = Bench::start();
        let mut talk = bench.ask(control_request::Body::Status(Empty {})).await;
        assert_eq!(talk.status().await.summary, "healthy: mysql runs on db1");
        assert!(matches!(talk.next().await, Some(control_reply::Body::Done(_))));
        assert_eq!(talk.next().await, None);
    });
}

#[test]
fn watch_tells_changes_only() {
    block_on(async {
        let bench = Bench::start();
        let mut talk = bench.ask(control_request::Body::Watch(Empty {})).await;
        assert_eq!(talk.status().await.health, "ok");
        bench.changes.send_modify(|count| *count += 1);
        bench.summary.lock().expect("picture").view.has_quorum = false;
        bench.changes.send_modify(|count| *count += 1);
        assert_eq!(talk.status().await.health, "down");
    });
}

#[test]
fn events_begin_in_the_past_and_follow() {
    block_on(async {
        let bench = Bench::start();
        bench.control.journal().record(Record::new("old", "info", "one"));
        bench.control.journal().record(Record::new("old", "info", "two"));
        let request = EventsRequest {
            follow: true,
            last: 1,
        };
        let mut talk = bench.ask(control_request::Body::Events(request)).await;
        let text = |reply| match reply {
            Some(control_reply::Body::Event(event)) => event.text,
            other => panic!("no event but {other:?}"),
        };
        assert_eq!(text(talk.next().await), "two");
        bench
            .control
            .journal()
            .record(Record::new("new", "info", "three"));
        assert_eq!(text(talk.next().await), "three");
    });
}

#[test]
fn requests_are_translated_refused_and_done() {
    block_on(async {
        let bench = Bench::start();
        let to = |to: &str| MoveRequest {
            accept_loss: false,
            group: "mysql".into(),
            to: to.into(),
        };
        let error = bench
            .ask(control_request::Body::Move(to("db2")))
            .await
            .error()
            .await;
        assert_eq!(
            (error.code.as_str(), error.message.as_str()),
            ("refused", "db2 is in standby")
        );
        let error = bench
            .ask(control_request::Body::Move(to("db7")))
            .await
            .error()
            .await;
        assert_eq!(error.code, "not-found");
        let switch = holdfast_proto::control::Switch { on: true };
        let done = bench
            .ask(control_request::Body::Maintenance(switch))
            .await
            .next()
            .await;
        assert!(matches!(done, Some(control_reply::Body::Done(text)) if text.starts_with("done for ")));
        let error = bench
            .ask(control_request::Body::Why(GroupRequest { group: "web".into() }))
            .await
            .error()
            .await;
        assert!(error.message.contains("there are: mysql"), "{}", error.message);
    });
}

#[test]
fn a_forced_quorum_takes_a_look_and_a_token() {
    block_on(async {
        let bench = Bench::start();
        let force = |token: &str| control_request::Body::QuorumForce(TokenRequest { token: token.into() });
        let error = bench.ask(force("")).await.error().await;
        assert!(
            error.message.contains("nothing needs forcing"),
            "{}",
            error.message
        );
        bench.summary.lock().expect("picture").view.has_quorum = false;
        assert_eq!(bench.ask(force("guess")).await.error().await.code, "refused");
        let text = match bench.ask(force("")).await.next().await {
            Some(control_reply::Body::Done(text)) => text,
            other => panic!("no description but {other:?}"),
        };
        let token = text.rsplit(' ').next().expect("token").to_owned();
        assert!(matches!(
            bench.ask(force(&token)).await.next().await,
            Some(control_reply::Body::Done(_))
        ));
        assert_eq!(
            bench.ask(force(&token)).await.error().await.code,
            "refused",
            "once only"
        );
    });
}

#[test]
fn garbage_and_empty_requests_are_refused_in_words() {
    block_on(async {
        let bench = Bench::start();
        let mut stream = UnixStream::connect(&bench.path).await.expect("connected");
        stream.write_all(&[0xff; 32]).await.expect("written");
        let mut talk = Conversation {
            stream,
            deframer: Deframer::new(),
        };
        assert_eq!(talk.error().await.code, "invalid");
        let mut stream = UnixStream::connect(&bench.path).await.expect("connected");
        stream
            .write_all(&frame_message(&ControlRequest { body: None }))
            .await
            .expect("written");
        let mut talk = Conversation {
            stream,
            deframer: Deframer::new(),
        };
        assert!(talk.error().await.message.contains("does not know"));
    });
}

#[test]
fn clients_that_follow_or_say_nothing_leave_room_for_others_or_are_refused_in_words() {
    block_on(async {
        let bench = Bench::start();
        let mut following = Vec::new();
        for _ in 0..FOLLOWERS {
            let mut talk = bench.ask(control_request::Body::Watch(Empty {})).await;
            talk.status().await;
            following.push(talk);
        }
        let mut talk = bench.ask(control_request::Body::Watch(Empty {})).await;
        assert!(
            talk.error()
                .await
                .message
                .contains("clients follow this node already")
        );
        let mut talk = bench.ask(control_request::Body::Status(Empty {})).await;
        assert_eq!(talk.status().await.health, "ok");
        drop(talk);
        // Others connect and say nothing, until there is no place left.
        let mut silent = Vec::new();
        let error = loop {
            let stream = UnixStream::connect(&bench.path).await.expect("connected");
            let mut talk = Conversation {
                stream,
                deframer: Deframer::new(),
            };
            match tokio::time::timeout(Duration::from_millis(20), talk.error()).await {
                Ok(error) => break error,
                Err(_) => silent.push(talk),
            }
            assert!(silent.len() <= CONNECTIONS, "nobody is turned away");
        };
        assert!(error.message.contains("try again"), "{}", error.message);
    });
}

#[test]
fn an_oversized_request_is_refused_at_its_length() {
    block_on(async {
        let bench = Bench::start();
        let mut stream = UnixStream::connect(&bench.path).await.expect("connected");
        let bytes = u32::try_from(holdfast_proto::MESSAGE_BYTES_MAX).expect("fits") + 1;
        stream.write_all(&bytes.to_be_bytes()).await.expect("written");
        let mut talk = Conversation {
            stream,
            deframer: Deframer::new(),
        };
        assert!(talk.error().await.message.contains("the limit is"));
    });
}

/// Only the calling thread changes its user: the kernel keeps credentials per thread, and glibc's wrapper that changes
/// all of them is not used.
fn become_nobody() {
    const NOBODY: libc::c_long = 65534;
    // SAFETY: both calls take integers only and change nothing but this thread's credentials.
    unsafe {
        assert_eq!(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY), 0);
        assert_eq!(
            libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>()),
            0
        );
        assert_eq!(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY), 0);
    }
}

#[test]
fn whoever_is_no_operator_is_refused_even_where_the_mode_lets_him_in() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    block_on(async {
        let bench = Bench::start();
        let folder = bench.path.parent().expect("folder").to_owned();
        let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777));
        open(&folder).and_then(|()| open(&bench.path)).expect("opened");
        let path = bench.path.clone();
        let stranger = std::thread::spawn(move || {
            become_nobody();
            std::os::unix::net::UnixStream::connect(path).expect("connected")
        });
        let stream = tokio::task::spawn_blocking(|| stranger.join().expect("stranger"));
        let stream = stream.await.expect("connected");
        stream.set_nonblocking(true).expect("non-blocking");
        let mut talk = Conversation {
            stream: UnixStream::from_std(stream).expect("stream"),
            deframer: Deframer::new(),
        };
        let error = talk.error().await;
        assert_eq!(error.code, "denied");
        assert!(error.message.contains("group holdfast"), "{}", error.message);
    });
}

#[test]
fn a_live_socket_is_not_taken_over_and_a_dead_one_is() {
    block_on(async {
        let bench = Bench::start();
        assert!(
            bind(&bench.path)
                .expect_err("in use")
                .to_string()
                .contains("another had")
        );
        let dead = bench.path.with_extension("dead");
        drop(std::os::unix::net::UnixListener::bind(&dead).expect("bound"));
        bind(&dead).expect("replaced");
    });
}

#[test]
fn a_fence_test_says_what_each_device_showed() {
    block_on(async {
        let bench = Bench::start();
        let request = |node: &str| {
            control_request::Body::FenceTest(NodeRequest {
                node: node.into(),
                on: true,
                reason: String::new(),
            })
        };
        let error = bench.ask(request("db2")).await.error().await;
        assert!(error.message.contains("db2 has no fence device"), "{error:?}");
        {
            let mut snapshot = bench.summary.lock().expect("picture");
            let config = crate::status::fixture::with_fences();
            snapshot.fence_tests =
                crate::fence_tests::FenceTests::new(&config, snapshot.view.node, snapshot.now).picture();
            snapshot.config = Arc::new(config);
        }
        let view = match bench.ask(request("db2")).await.next().await {
            Some(control_reply::Body::FenceTest(view)) => view,
            other => panic!("no answer but {other:?}"),
        };
        assert_eq!(
            (view.node.as_str(), view.from.as_str(), view.ok),
            ("db2", "db1", false)
        );
        assert_eq!(
            (view.devices.len(), view.devices[0].state.as_str()),
            (1, "untested")
        );
        bench.summary.lock().expect("picture").agent.attached = false;
        let error = bench.ask(request("db2")).await.error().await;
        assert!(error.message.contains("had-agentd"), "{error:?}");
        let error = bench.ask(request("witness")).await.error().await;
        assert!(error.message.contains("never fenced"), "{error:?}");
    });
}

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
            sbd: None,
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

/// An agent process that reads and answers, until it is told to hang.
async fn answer_while(stream: &mut UnixStream, deframer: &mut Deframer, count: usize) {
    for _ in 0..count {
        while !matches!(
            read_request(stream, deframer).await,
            agent_request::Body::Permits(_)
        ) {}
        let alive = AgentReport {
            body: Some(agent_report::Body::Alive(Default::default())),
        };
        stream.write_all(&frame_message(&alive)).await.expect("write");
    }
}

#[test]
fn an_agent_process_that_hangs_is_cut_off_and_attached_again() {
    block_on(async {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("agentd.sock");
        let listener = UnixListener::bind(&path).expect("listener");
        let attach = Attach {
            node: "db1".into(),
            lease_ms: 200,
            ..Attach::default()
        };
        let mut link = AgentdLink::start(path, attach);
        let (mut agent, mut deframer) = accept(&listener).await;
        assert!(matches!(link.next().await, LinkEvent::Attached(_)));
        answer_while(&mut agent, &mut deframer, 3).await;
        let LinkEvent::Detached(reason) = link.next().await else {
            panic!("still attached")
        };
        assert!(reason.contains("no sign of life"), "{reason}");
        let _again = accept(&listener).await;
        assert!(matches!(link.next().await, LinkEvent::Attached(_)));
    });
}

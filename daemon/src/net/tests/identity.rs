//! Who is let in, and in which words the others are refused.

use std::sync::Arc;
use std::time::Duration;

use super::super::{NetConfig, NetError, NetEvent, start};
use super::{CLUSTER, Member, config, config_of};

#[tokio::test]
async fn a_key_that_is_not_pinned_is_refused_in_words_on_both_sides() {
    let (one, two) = (Member::new(1), Member::new(2));
    let stranger = Member::new(9);
    let right = config(11, &[&one, &two], 1);
    // To node 1, node 2 has a key that it does not have.
    let wrong = config_of(
        11,
        CLUSTER,
        &[(1, vec![one.keys.pin()]), (2, vec![stranger.keys.pin()])],
        1,
    );
    let (mut acceptor, mut dialler) = (one.up(&wrong, 1).await, two.up(&right, 1).await);
    let (here, there) = (acceptor.refused().await, dialler.refused().await);
    let pin = two.keys.pin().to_string();
    assert!(
        here.contains("db2") && here.contains(&pin) && here.contains("not pinned"),
        "{here}"
    );
    assert!(
        there.contains("db1") && there.contains("refused this node's key") && there.contains(&pin),
        "{there}"
    );
    assert!(!here.contains("<<") && !there.contains("<<"), "{here} / {there}");
}

#[tokio::test]
async fn whoever_answers_with_a_wrong_key_is_refused_in_words_on_both_sides() {
    let (one, two) = (Member::new(1), Member::new(2));
    let stranger = Member::new(9);
    let right = config(12, &[&one, &two], 1);
    let wrong = config_of(
        12,
        CLUSTER,
        &[(1, vec![stranger.keys.pin()]), (2, vec![two.keys.pin()])],
        1,
    );
    let (mut acceptor, mut dialler) = (one.up(&right, 1).await, two.up(&wrong, 1).await);
    let (here, there) = (dialler.refused().await, acceptor.refused().await);
    let pin = one.keys.pin().to_string();
    assert!(
        here.contains("db1") && here.contains(&pin) && here.contains("refused"),
        "{here}"
    );
    assert!(
        there.contains("db2") && there.contains("refused this node's key"),
        "{there}"
    );
}

#[tokio::test]
async fn another_cluster_is_refused_in_words_on_both_sides() {
    let (one, two) = (Member::new(1), Member::new(2));
    let pins = [(1, vec![one.keys.pin()]), (2, vec![two.keys.pin()])];
    let (ours, theirs) = (
        config_of(13, CLUSTER, &pins, 1),
        config_of(13, "00000000000000bb", &pins, 1),
    );
    let (mut acceptor, mut dialler) = (one.up(&ours, 1).await, two.up(&theirs, 1).await);
    for sentence in [acceptor.refused().await, dialler.refused().await] {
        assert!(
            sentence.contains("belongs to cluster 00000000000000bb"),
            "{sentence}"
        );
        assert!(sentence.contains("cluster 00000000000000aa"), "{sentence}");
    }
}

#[tokio::test]
async fn a_node_that_is_not_in_the_configuration_is_refused_in_words() {
    let (one, two, three) = (Member::new(1), Member::new(2), Member::new(3));
    let pair = config(14, &[&one, &two], 1);
    // Node 3 shows node 2's address and key, but calls itself 3: the configuration knows no such member.
    let pins = [
        (1, vec![one.keys.pin()]),
        (2, vec![three.keys.pin()]),
        (3, vec![two.keys.pin()]),
    ];
    let other = config_of(14, CLUSTER, &pins, 1);
    let mut acceptor = one.up(&pair, 1).await;
    let joins = Arc::default();
    let me = Member {
        id: 3,
        dir: two.dir,
        keys: two.keys,
    };
    let mut dialler = me.up_with(&other, 1, &joins).await;
    let (here, there) = (acceptor.refused().await, dialler.refused().await);
    assert!(
        here.contains("is not the address of a member") || here.contains("not a member"),
        "{here}"
    );
    assert!(there.contains("db1") && there.contains("refused"), "{there}");
}

#[tokio::test]
async fn another_protocol_version_is_refused_in_words() {
    let (one, two) = (Member::new(1), Member::new(2));
    let config = config(15, &[&one, &two], 1);
    let mut acceptor = one.up(&config, 1).await;
    // A dialler of a version that does not exist, by the same TLS and the right key.
    struct Anyone;
    impl super::super::Judge for Anyone {
        fn server(&self, _: &str, _: holdfast_proto::config::KeyPin) -> Result<(), String> {
            Ok(())
        }
        fn client(&self, _: holdfast_proto::config::KeyPin) -> Result<(), String> {
            Ok(())
        }
    }
    let tls = super::super::tls_client(&two.keys, Arc::new(Anyone), &[b"holdfast/99"]).expect("tls");
    let client = super::super::client_config(tls, false).expect("client");
    let here = std::net::SocketAddr::new(super::address(15, 2, 0), 0);
    let endpoint = super::super::open_endpoint(here, &two.keys, None).expect("endpoint");
    let there = std::net::SocketAddr::new(super::address(15, 1, 0), 7947);
    let error = endpoint
        .connect_with(client, there, "node1.holdfast")
        .expect("dial")
        .await
        .expect_err("refused");
    let sentence = super::super::explain(&error, "db1").into_words();
    assert!(sentence.contains("no version of the peer protocol"), "{sentence}");
    let sentence = acceptor.refused().await;
    assert!(
        sentence.contains("db2") && sentence.contains("no version of the peer protocol"),
        "{sentence}"
    );
}

#[tokio::test]
async fn pins_change_while_everybody_runs() {
    let (one, two, renewed) = (Member::new(1), Member::new(2), Member::new(2));
    let old = config(16, &[&one, &two], 1);
    let both = config_of(
        16,
        CLUSTER,
        &[
            (1, vec![one.keys.pin()]),
            (2, vec![two.keys.pin(), renewed.keys.pin()]),
        ],
        1,
    );
    let new = config(16, &[&one, &renewed], 1);
    let (mut acceptor, mut dialler) = (one.up(&old, 1).await, two.up(&old, 1).await);
    acceptor.up(2, 0).await;
    dialler.up(1, 0).await;
    // Two pins: the connection stays, and the new key is let in after a restart with it.
    acceptor.net.reconfigure(Arc::clone(&both));
    dialler.delivers(&mut acceptor, 1, 1).await;
    dialler.net.close("restart with a new key").await;
    drop(dialler);
    let mut dialler = renewed.up(&both, 2).await;
    acceptor.up(2, 0).await;
    dialler.up(1, 0).await;
    // The old pin goes: nothing happens to the new key.
    acceptor.net.reconfigure(new);
    dialler.delivers(&mut acceptor, 1, 2).await;
    // Its own pin goes: the connection is closed, and the dialler reads why.
    acceptor.net.reconfigure(old);
    let sentence = dialler.refused().await;
    assert!(sentence.contains("db1 refused"), "{sentence}");
}

#[tokio::test]
async fn a_link_that_is_added_is_used_and_one_that_is_removed_is_not() {
    let (one, two) = (Member::new(1), Member::new(2));
    let (single, double) = (config(17, &[&one, &two], 1), config(17, &[&one, &two], 2));
    let (mut first, second) = (one.up(&single, 1).await, two.up(&single, 1).await);
    first.up(2, 0).await;
    first.net.reconfigure(Arc::clone(&double));
    second.net.reconfigure(double);
    first.up(2, 1).await;
    first.net.reconfigure(Arc::clone(&single));
    second.net.reconfigure(single);
    assert_eq!(first.net.links().len(), 1);
    second.delivers(&mut first, 1, 5).await;
}

#[tokio::test]
async fn an_address_that_is_taken_is_said_at_the_start() {
    let (one, two) = (Member::new(1), Member::new(2));
    let config = config(18, &[&one, &two], 1);
    let _first = one.up(&config, 1).await;
    let again = NetConfig {
        me: holdfast_core::event::Identity {
            node: holdfast_proto::ids::NodeId(1),
            boot: holdfast_proto::ids::BootId(1),
            incarnation: holdfast_proto::ids::Incarnation(2),
        },
        config: Arc::clone(&config),
        keys: Arc::clone(&one.keys),
        joins: Arc::default(),
    };
    let error = start(again.clone()).map(drop).expect_err("taken").to_string();
    assert!(
        error.contains("cannot listen on 127.") && error.contains("in use"),
        "{error}"
    );
    let me = holdfast_core::event::Identity {
        node: holdfast_proto::ids::NodeId(5),
        ..again.me
    };
    let stranger = NetConfig { me, ..again };
    assert!(matches!(start(stranger), Err(NetError::NotAMember(_))));
}

#[tokio::test]
async fn garbage_from_a_socket_changes_nothing() {
    let (one, two) = (Member::new(1), Member::new(2));
    let config = config(19, &[&one, &two], 1);
    let (mut acceptor, dialler) = (one.up(&config, 1).await, two.up(&config, 1).await);
    let socket = std::net::UdpSocket::bind((super::address(19, 77, 0), 0)).expect("socket");
    let there = (super::address(19, 1, 0), 7947);
    for length in [0usize, 1, 20, 1200, 1400] {
        for fill in [0u8, 0x40, 0xc0, 0xff] {
            socket.send_to(&vec![fill; length], there).expect("send");
        }
    }
    acceptor.up(2, 0).await;
    dialler.delivers(&mut acceptor, 1, 1).await;
    let stray = tokio::time::timeout(Duration::from_millis(50), acceptor.events.recv()).await;
    assert!(!matches!(stray, Ok(Some(NetEvent::Message { .. }))), "{stray:?}");
}

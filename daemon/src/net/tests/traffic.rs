//! Messages and heartbeats between those who know each other.

use std::time::Duration;

use holdfast_core::event::NetworkHealth;
use holdfast_proto::ids::{Incarnation, NodeId};
use holdfast_proto::peer::Beat;

use super::super::NetEvent;
use super::{Member, Running, config, heartbeat};

fn seq(beat: &Beat) -> u64 {
    match beat {
        Beat::Heartbeat(heartbeat) => heartbeat.seq,
        Beat::Ack(ack) => ack.seq,
    }
}

/// Sends heartbeats until one arrives at `to`, and returns its number.
async fn beats(from: &Running, to: &mut Running, node: u8, first: u64) -> u64 {
    let mut number = first;
    loop {
        from.net.send_beat(NodeId(node), heartbeat(number));
        let arrived = tokio::time::timeout(Duration::from_millis(20), async {
            loop {
                if let NetEvent::Beat { beat, .. } = to.events.recv().await.expect("runs") {
                    return seq(&beat);
                }
            }
        });
        if let Ok(number) = arrived.await {
            return number;
        }
        number += 1;
        assert!(number < first + 1000, "no heartbeat arrives");
    }
}

#[tokio::test]
async fn a_pair_and_a_witness_exchange_messages_and_heartbeats_both_ways() {
    let (one, two, witness) = (Member::new(1), Member::new(2), Member::new(0));
    let config = config(1, &[&one, &two, &witness], 2);
    let (mut one, mut two, mut witness) = (
        one.up(&config, 7).await,
        two.up(&config, 8).await,
        witness.up(&config, 9).await,
    );
    assert_eq!(one.up(2, 0).await, Incarnation(8));
    two.up(1, 0).await;
    witness.up(1, 0).await;
    one.delivers(&mut two, 2, 1).await;
    two.delivers(&mut one, 1, 2).await;
    one.delivers(&mut witness, 0, 3).await;
    witness.delivers(&mut two, 2, 4).await;
    beats(&one, &mut two, 2, 1).await;
    beats(&two, &mut one, 1, 1).await;
    beats(&one, &mut witness, 0, 1).await;
    beats(&witness, &mut one, 1, 1).await;
    let links = one.net.links();
    let to: Vec<_> = links.iter().map(|link| (link.peer.0, link.link)).collect();
    assert_eq!(to, [(0, 0), (0, 1), (2, 0), (2, 1)]);
    assert!(
        links
            .iter()
            .any(|link| link.up && link.rtt_us > 0 && !link.version.is_empty()),
        "{links:?}"
    );
}

#[tokio::test]
async fn a_heartbeat_on_two_links_reaches_the_core_once() {
    let (one, two) = (Member::new(1), Member::new(2));
    let config = config(2, &[&one, &two], 2);
    let (mut one, mut two) = (one.up(&config, 1).await, two.up(&config, 1).await);
    one.up(2, 0).await;
    one.up(2, 1).await;
    two.up(1, 0).await;
    let last = beats(&one, &mut two, 2, 1).await;
    for number in last + 1..last + 50 {
        one.net.send_beat(NodeId(2), heartbeat(number));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let mut got = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(200), two.events.recv()).await {
        if let NetEvent::Beat { beat, .. } = event {
            got.push(seq(&beat));
        }
    }
    let mut once = got.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), got.len(), "{got:?}");
    assert!(got.contains(&(last + 49)), "{got:?}");
}

#[tokio::test]
async fn a_restarted_peer_replaces_its_older_run() {
    let (one, two) = (Member::new(1), Member::new(2));
    let config = config(3, &[&one, &two], 1);
    let (first, mut other) = (one.up(&config, 1).await, two.up(&config, 1).await);
    other.up(1, 0).await;
    first.delivers(&mut other, 2, 1).await;
    first.net.close("had was asked to end").await;
    let why = other
        .until("the goodbye", |event| match event {
            NetEvent::LinkDown { why, .. } => Some(why),
            _ => None,
        })
        .await;
    assert!(why.contains("goodbye") && why.contains("asked to end"), "{why}");
    drop(first);
    let mut second = one.up(&config, 2).await;
    assert_eq!(other.up(1, 0).await, Incarnation(2));
    second.up(2, 0).await;
    other.delivers(&mut second, 1, 2).await;
    second.delivers(&mut other, 2, 3).await;
}

/// A run that ended without a word: its sockets are gone, nothing was said. Played by a runtime of its own.
#[test]
fn a_crashed_peer_is_known_by_its_reset_before_the_idle_timeout() {
    let (one, two) = (Member::new(1), Member::new(2));
    let config = config(4, &[&one, &two], 1);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("runtime")
    };
    let (crashing, living) = (runtime(), runtime());
    // Each runtime moves only while it is driven, so the peer has a thread of its own.
    let (up, is_up) = std::sync::mpsc::channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let doomed = std::thread::spawn({
        let config = config.clone();
        move || {
            let first = crashing.block_on(async {
                let mut first = one.up(&config, 1).await;
                first.up(2, 0).await;
                up.send(()).expect("the test waits");
                ended.await.expect("the test says when");
                first
            });
            // Tasks end without another step, so nothing is said; then the sockets go.
            drop(crashing);
            drop(first);
            one
        }
    });
    living.block_on(async {
        let mut other = two.up(&config, 1).await;
        other.up(1, 0).await;
        while is_up.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        end.send(()).expect("the peer runs");
        let one = doomed.join().expect("crashed");
        let _second = one.up(&config, 2).await;
        let mut number = 0;
        let incarnation = loop {
            number += 1;
            other.net.send_beat(NodeId(1), heartbeat(number));
            let up = tokio::time::timeout(Duration::from_millis(20), other.up(1, 0)).await;
            if let Ok(incarnation) = up {
                break incarnation;
            }
            assert!(number < 1000, "the new run is not seen");
        };
        assert_eq!(incarnation, Incarnation(2));
    });
}

#[tokio::test]
async fn the_first_word_is_about_the_own_network() {
    let one = Member::new(1);
    let two = Member::new(2);
    let config = config(5, &[&one, &two], 1);
    let mut one = one.up(&config, 1).await;
    let health = one
        .until("the first look at the network", |event| match event {
            NetEvent::Network(health) => Some(health),
            _ => None,
        })
        .await;
    assert_eq!(
        health,
        NetworkHealth {
            any_link_up: true,
            ping_answers: true
        }
    );
}

//! Keeps one connection to one peer on one link, for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_proto::ids::NodeId;
use holdfast_proto::wire::Purpose;

use super::refusal::{CODE_PROTOCOL, CODE_REFUSED, Ended, explain};
use super::routing::Shared;
use super::tls::server_name;
use super::{hello, lane};

const PAUSE_MIN: Duration = Duration::from_millis(20);
/// Pause after the end of a connection that lasted: whoever ended it with a word or a reset is there.
const PAUSE_FIRST: Duration = Duration::from_millis(1);
/// A connection that lasted this long worked.
const LASTED: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_millis(250);
/// The same while another link to the peer is up: a link that cannot be had, because there is no route between the two
/// addresses, say, must not cost more than those that work.
const PAUSE_SPARE: Duration = Duration::from_secs(8);
/// Pause after a refusal, which only an operator or a new configuration ends.
const PAUSE_REFUSED: Duration = Duration::from_secs(1);
/// A peer that was connected is most likely being restarted, and back within this time.
const EAGER: Duration = Duration::from_secs(1);
/// An attempt on such a peer is given up after this and four round trips: what was sent before it listened is sent
/// again by QUIC at doubling pauses, a new attempt is sooner.
const EAGER_PATIENCE: Duration = Duration::from_millis(100);

/// How hard to try.
struct Zeal {
    pause: Duration,
    /// Until when the peer is expected back, and its round trip when it was last there.
    eager: Option<(Instant, Duration)>,
}

impl Zeal {
    fn was_connected(&mut self, now: Instant, lasted: Duration, rtt: Duration) {
        self.pause = if lasted >= LASTED { PAUSE_FIRST } else { PAUSE_MIN };
        self.eager = Some((now + EAGER, rtt));
    }

    /// The pause after an attempt in vain.
    fn failed(&mut self, now: Instant, spare: bool) {
        self.eager = self.eager.filter(|(until, _)| now < *until);
        self.pause = if self.eager.is_some() {
            PAUSE_MIN
        } else {
            (self.pause * 2).clamp(PAUSE_MIN, if spare { PAUSE_SPARE } else { PAUSE_MAX })
        };
    }

    /// Time for one attempt; `most` is what a peer that may be slow gets.
    fn patience(&self, now: Instant, most: Duration) -> Duration {
        match self.eager {
            Some((until, rtt)) if now < until => most.min(EAGER_PATIENCE + rtt * 4),
            _ => most,
        }
    }
}

/// Dials `peer` whenever it is not connected.
pub async fn keep(shared: Arc<Shared>, peer: NodeId, link: usize, purpose: Purpose) {
    let mut zeal = Zeal {
        pause: PAUSE_MIN,
        eager: None,
    };
    loop {
        let begun = Instant::now();
        let patience = zeal.patience(begun, shared.patience());
        match attempt(&shared, peer, link, purpose, patience).await {
            Ok((Ended::Lost(_) | Ended::TurnedAway(_), rtt)) => {
                zeal.was_connected(Instant::now(), begun.elapsed(), rtt);
            }
            Ok((Ended::Refused(sentence), _)) | Err(Ended::Refused(sentence)) => {
                shared.refused(link, Some(peer), sentence.clone());
                shared.unreachable(peer, link, sentence);
                tokio::time::sleep(PAUSE_REFUSED).await;
                continue;
            }
            Err(Ended::TurnedAway(sentence)) => {
                zeal.failed(Instant::now(), shared.is_heard(peer));
                // While it is being restarted this says nothing.
                if zeal.eager.is_none() {
                    shared.refused(link, Some(peer), sentence.clone());
                }
                shared.unreachable(peer, link, sentence);
            }
            Err(Ended::Lost(why)) => {
                zeal.failed(Instant::now(), shared.is_heard(peer));
                shared.unreachable(peer, link, why);
            }
        }
        rest(&shared, peer, zeal.pause).await;
    }
}

/// Pauses, but not for long once no link to the peer is up.
async fn rest(shared: &Shared, peer: NodeId, pause: Duration) {
    let mut left = pause;
    while left > PAUSE_MAX && shared.is_heard(peer) {
        tokio::time::sleep(PAUSE_MAX * 4).await;
        left = left.saturating_sub(PAUSE_MAX * 4);
    }
    tokio::time::sleep(left.min(PAUSE_MAX)).await;
}

/// One connection: `Err` if it never came to be, else how it ended, and its round trip.
async fn attempt(
    shared: &Arc<Shared>,
    peer: NodeId,
    link: usize,
    purpose: Purpose,
    patience: Duration,
) -> Result<(Ended, Duration), Ended> {
    let name = shared.name(peer);
    let Some((endpoint, address)) = shared.route_to(peer, link) else {
        return Err(Ended::Lost(format!("link {link} to {name} has no socket")));
    };
    let connecting = endpoint
        .connect_with(shared.client(purpose), address, &server_name(peer))
        .map_err(|error| Ended::Lost(format!("cannot dial {name} at {address}: {error}")))?;
    let silent = || Ended::Lost(format!("{name} does not answer at {address}"));
    let connection = match tokio::time::timeout(patience, connecting).await {
        Err(_) => return Err(silent()),
        Ok(connected) => connected.map_err(|error| explain(&error, &name))?,
    };
    let introduced = hello::introduce(shared, &connection, peer, link, purpose);
    let greeted = match tokio::time::timeout(patience, introduced).await {
        Err(_) => {
            connection.close(CODE_PROTOCOL, b"the hello took too long");
            return Err(silent());
        }
        Ok(greeted) => greeted?,
    };
    match shared.install(&greeted, &connection) {
        Ok(outbox) => {
            let ended = lane::run(shared, &connection, &greeted, outbox).await;
            Ok((ended, connection.rtt()))
        }
        Err((_, sentence)) => {
            connection.close(CODE_REFUSED, sentence.as_bytes());
            Err(Ended::Lost(sentence))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_connected_is_dialled_eagerly_for_a_second() {
        let start = Instant::now();
        let mut zeal = Zeal {
            pause: PAUSE_MIN,
            eager: None,
        };
        let most = Duration::from_millis(500);
        (0..9).for_each(|_| zeal.failed(start, false));
        assert_eq!((zeal.pause, zeal.patience(start, most)), (PAUSE_MAX, most));
        (0..9).for_each(|_| zeal.failed(start, true));
        assert_eq!(zeal.pause, PAUSE_SPARE);
        zeal.was_connected(start, LASTED, Duration::from_millis(5));
        assert_eq!(zeal.pause, PAUSE_FIRST);
        (0..9).for_each(|_| zeal.failed(start + Duration::from_millis(999), true));
        assert_eq!(zeal.pause, PAUSE_MIN);
        assert_eq!(zeal.patience(start, most), Duration::from_millis(120));
        zeal.failed(start + EAGER, true);
        assert_eq!(zeal.pause, PAUSE_MIN * 2);
        assert_eq!(zeal.patience(start + EAGER, most), most);
    }
}

//! What is known about each peer and each link to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use holdfast_proto::ids::NodeId;
use holdfast_proto::peer::{Beat, Sender};
use holdfast_proto::wire::{Purpose, Refusal};
use quinn::Connection;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::LinkStatus;
use super::hello::Greeted;
use super::refusal::CODE_REPLACED;
use super::window::Window;

/// Messages that may wait for one connection.
const OUTBOX_MAX: usize = 64;

/// A connection that is up.
pub struct Lane {
    pub connection: Connection,
    pub from: Sender,
    pub outbox: mpsc::Sender<Vec<u8>>,
}

/// One link to one peer.
pub struct Link {
    pub endpoint: usize,
    pub address: SocketAddr,
    pub beats: Option<Lane>,
    pub messages: Option<Lane>,
    pub dialers: Vec<AbortHandle>,
    heard: Option<Instant>,
    up: bool,
    why: String,
    version: String,
    window: Window,
}

impl Link {
    /// Heartbeats come in on it.
    pub fn is_up(&self) -> bool {
        self.up
    }

    pub fn new(endpoint: usize, address: SocketAddr) -> Link {
        Link {
            endpoint,
            address,
            beats: None,
            messages: None,
            dialers: Vec::new(),
            heard: None,
            up: false,
            why: "never connected".into(),
            version: String::new(),
            window: Window::default(),
        }
    }

    fn lane(&mut self, purpose: Purpose) -> &mut Option<Lane> {
        match purpose {
            Purpose::Beats => &mut self.beats,
            Purpose::Messages => &mut self.messages,
        }
    }

    pub fn lanes(&self) -> impl Iterator<Item = &Lane> {
        self.beats.iter().chain(&self.messages)
    }

    fn rtt(&self) -> Duration {
        self.beats
            .as_ref()
            .map_or(Duration::MAX, |lane| lane.connection.rtt())
    }

    /// Stops dialling and closes what is open.
    pub fn end(&mut self, code: quinn::VarInt, reason: &str) {
        self.dialers.drain(..).for_each(|dialer| dialer.abort());
        self.lanes()
            .for_each(|lane| lane.connection.close(code, reason.as_bytes()));
    }

    /// Notes that the link carries nothing. True if it did before.
    pub fn down(&mut self, why: &str) -> bool {
        self.why = why.to_owned();
        std::mem::replace(&mut self.up, false)
    }

    fn heard(&mut self, now: Instant) -> bool {
        self.heard = Some(now);
        !std::mem::replace(&mut self.up, true)
    }

    /// How long an up link has been silent.
    pub fn silence(&self, now: Instant) -> Option<Duration> {
        self.heard
            .filter(|_| self.up)
            .map(|heard| now.saturating_duration_since(heard))
    }
}

/// One peer.
#[derive(Default)]
pub struct Peer {
    pub links: BTreeMap<usize, Link>,
    run: Option<Sender>,
    heartbeats: Window,
    acks: Window,
    received_seq: u64,
    sent_seq: u64,
    current: Option<usize>,
}

/// What came of a connection's installation.
pub struct Installed {
    /// Messages to write to it.
    pub outbox: mpsc::Receiver<Vec<u8>>,
    /// Its link was down until now.
    pub link_came_up: bool,
    /// Links that an older run of the peer had up.
    pub ended: Vec<usize>,
}

/// What a beat that arrived is worth.
pub struct Arrival {
    /// It did not come before on any link.
    pub fresh: bool,
    /// The link was down until now.
    pub link_came_up: bool,
}

impl Peer {
    /// Puts a greeted connection in its place. A newer run of the peer ends everything of the older one.
    pub fn install(
        &mut self,
        greeted: &Greeted,
        connection: &Connection,
        now: Instant,
    ) -> Result<Installed, (Refusal, String)> {
        if !self.links.contains_key(&greeted.link) {
            return Err((
                Refusal::WrongNode,
                format!("link {} left the configuration", greeted.link),
            ));
        }
        // The core ignores a run that is not numbered above an earlier one, so it has to be refused here, in words.
        if let Some(run) = self.run
            && run != greeted.from
            && run.incarnation >= greeted.from.incarnation
        {
            let why = if run.boot == greeted.from.boot {
                "a newer run of the same had is connected: is it started twice?"
            } else {
                "an earlier boot had a higher run number: if this node's disk was replaced and its clock is behind, set the \
                 clock and restart had; if its clock was ahead then, restart had on the other members as well"
            };
            return Err((Refusal::Busy, why.into()));
        }
        let ended = if self.run == Some(greeted.from) {
            Vec::new()
        } else {
            self.begin_run(greeted.from)
        };
        let Some(link) = self.links.get_mut(&greeted.link) else {
            unreachable!("looked up above")
        };
        let (sender, outbox) = mpsc::channel(OUTBOX_MAX);
        let lane = Lane {
            connection: connection.clone(),
            from: greeted.from,
            outbox: sender,
        };
        if let Some(old) = link.lane(greeted.purpose).replace(lane) {
            old.connection
                .close(CODE_REPLACED, b"a newer connection of the same kind");
        }
        link.version.clone_from(&greeted.version);
        let link_came_up = greeted.purpose == Purpose::Beats && link.heard(now);
        Ok(Installed {
            outbox,
            link_came_up,
            ended,
        })
    }

    /// Ends what an older run left behind. Returns the links that it had up.
    fn begin_run(&mut self, run: Sender) -> Vec<usize> {
        self.close_run(|from| from != run);
        self.run = Some(run);
        (self.heartbeats, self.acks, self.received_seq) = (Window::default(), Window::default(), 0);
        self.links
            .values_mut()
            .for_each(|link| link.window = Window::default());
        self.restarted()
    }

    /// Ends a run of which one connection learned that it is over: the others' dialers then dial at once. Returns the
    /// links that were up.
    pub fn end_run(&mut self, run: Sender) -> Vec<usize> {
        self.close_run(|from| from == run);
        if self.run == Some(run) {
            self.restarted()
        } else {
            Vec::new()
        }
    }

    fn restarted(&mut self) -> Vec<usize> {
        let mut ended = Vec::new();
        for (index, link) in &mut self.links {
            if link.down("it has restarted") {
                ended.push(*index);
            }
        }
        ended
    }

    /// Closes the connections of the runs that `ended` picks.
    fn close_run(&self, ended: impl Fn(Sender) -> bool) {
        let lanes = self
            .links
            .values()
            .flat_map(Link::lanes)
            .filter(|lane| ended(lane.from));
        lanes.for_each(|lane| lane.connection.close(CODE_REPLACED, b"this had was restarted"));
    }

    /// Takes a connection out, unless another took its place. True if the link went down with it.
    pub fn remove(&mut self, greeted: &Greeted, connection: &Connection, why: &str) -> bool {
        let Some(link) = self.links.get_mut(&greeted.link) else {
            return false;
        };
        let lane = link.lane(greeted.purpose);
        let mine = lane
            .as_ref()
            .is_some_and(|lane| lane.connection.stable_id() == connection.stable_id());
        if mine {
            *lane = None;
        }
        mine && greeted.purpose == Purpose::Beats && link.down(why)
    }

    /// Notes a beat that came on `link`.
    pub fn take_beat(&mut self, peer: NodeId, link: usize, beat: &Beat, now: Instant) -> Arrival {
        let (seq, window) = match beat {
            Beat::Heartbeat(heartbeat) => (heartbeat.seq, &mut self.heartbeats),
            Beat::Ack(ack) => (ack.seq, &mut self.acks),
        };
        let fresh = window.fresh(seq);
        let Some(link) = self.links.get_mut(&link) else {
            return Arrival {
                fresh,
                link_came_up: false,
            };
        };
        // Of data nodes the heartbeats count, of a witness, which only answers, its answers; and of these the even ones,
        // which every link carries.
        if peer.is_witness() == matches!(beat, Beat::Ack(_)) && seq.is_multiple_of(2) {
            link.window.fresh(seq / 2);
        }
        Arrival {
            fresh,
            link_came_up: link.heard(now),
        }
    }

    /// The connections for the beat numbered `seq`. Every second one goes out on all links, so that each is known to work
    /// and the loss of one costs nothing; the others only on the first link on which the peer was heard within `well`,
    /// or on all if there is none. Twice the packets for each beat would be most of the cost of an idle cluster.
    pub fn lanes_for_beat(&self, seq: u64, well: Duration, now: Instant) -> Vec<&Connection> {
        let heard_well =
            |link: &&Link| link.beats.is_some() && link.silence(now).is_some_and(|silent| silent < well);
        let first = self
            .links
            .values()
            .find(heard_well)
            .filter(|_| !seq.is_multiple_of(2));
        let links: Vec<&Link> = match first {
            Some(first) => vec![first],
            None => self.links.values().collect(),
        };
        let lanes = links.into_iter().filter_map(|link| link.beats.as_ref());
        lanes.map(|lane| &lane.connection).collect()
    }

    /// True if `seq` continues what `run` sent. A message that was overtaken on another link is dropped.
    pub fn take_message(&mut self, run: Sender, seq: u64) -> bool {
        let fresh = self.run == Some(run) && seq > self.received_seq;
        if fresh {
            self.received_seq = seq;
        }
        fresh
    }

    pub fn next_seq(&mut self) -> u64 {
        self.sent_seq += 1;
        self.sent_seq
    }

    /// Hands a message to the best connection: the link used last while it is up, else the fastest that is up, else any.
    /// False if none takes it.
    pub fn route(&mut self, mut packed: Vec<u8>) -> bool {
        let mut order: Vec<_> = self
            .links
            .iter()
            .filter(|(_, link)| link.messages.is_some())
            .collect();
        order.sort_by_key(|(index, link)| (!link.up, self.current != Some(**index), link.rtt(), **index));
        for (index, link) in order {
            let Some(lane) = &link.messages else { continue };
            match lane.outbox.try_send(packed) {
                Ok(()) => {
                    self.current = Some(*index);
                    return true;
                }
                Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back)) => {
                    packed = back
                }
            }
        }
        false
    }

    /// Every link, for status output.
    pub fn status(&self, peer: NodeId) -> impl Iterator<Item = LinkStatus> + '_ {
        self.links.iter().map(move |(index, link)| LinkStatus {
            peer,
            link: *index,
            address: link.address,
            up: link.up,
            why: if link.up { String::new() } else { link.why.clone() },
            rtt_us: link.beats.as_ref().map_or(0, |lane| {
                u32::try_from(lane.connection.rtt().as_micros()).unwrap_or(u32::MAX)
            }),
            lost_percent: if link.up { link.window.lost_percent() } else { 100 },
            version: link.version.clone(),
        })
    }
}

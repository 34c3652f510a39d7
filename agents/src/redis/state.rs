//! What the actions and the keeper of one Redis share.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::{Notify, watch};

use super::client::{Login, Place};
use super::copy::Durable;
use super::info::Info;
use super::instance::Instance;
use super::params::Params;
use super::waiting::Waiting;

/// What this node is to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// Follow, and take no writes.
    #[default]
    Unpromoted,
    /// Take writes.
    Promoted,
}

/// See [`Facts::loss_told`].
pub struct LossTold {
    /// Which process.
    pub run_id: String,
    pub at: Time,
    /// Of the assignment that was committed then: it was made without that knowledge.
    pub epoch: u64,
}

/// What is known.
#[derive(Default)]
pub struct Facts {
    pub duty: Duty,
    /// As it answered last.
    pub info: Info,
    /// The `run_id` of the process whose copy was seen to hold all that was acknowledged; empty for none.
    pub whole: String,
    pub durable: Durable,
    /// For whom a primary waits.
    pub waiting: Waiting,
    /// When the connection with its primary was seen to be gone; None while it is there.
    pub link_lost: Option<Time>,
    /// That promoting this process' copy may lose something, as it was told first.
    pub loss_told: Option<LossTold>,
}

impl Facts {
    /// This process' copy has held all that was acknowledged.
    pub fn is_whole(&self) -> bool {
        !self.info.run_id.is_empty() && self.whole == self.info.run_id
    }

    /// What promoting this process' copy may lose was told so long ago that the word has arrived.
    pub fn is_loss_known(&self, now: Time, lease: Duration) -> bool {
        let told = self.loss_told.as_ref();
        told.is_some_and(|told| told.run_id == self.info.run_id && told.at.until(now) >= 2 * lease)
    }
}

/// Who is believed to be the primary, for those who ask us as they would ask a Sentinel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Believed {
    /// Its node and address. None: not known.
    pub primary: Option<(String, IpAddr)>,
    /// Not to be believed any more from then on.
    pub until: Time,
    /// It is here, and holds while the permit does.
    pub own: bool,
    /// The replicas that are connected.
    pub replicas: Vec<(IpAddr, u16)>,
}

/// See the module.
pub struct State {
    pub params: Params,
    pub login: Login,
    /// Who holds it may change the Redis here. Never held across a wait for another node.
    pub local: tokio::sync::Mutex<Instance>,
    /// Wakes the keeper, whatever it waits for.
    pub nudge: Notify,
    pub believed: watch::Sender<Believed>,
    facts: Mutex<Facts>,
}

impl State {
    /// Connects to nothing yet.
    pub fn new(params: Params, login: Login) -> State {
        let local = Instance::new(params.place(), login.clone(), params.probe_timeout);
        State {
            params,
            login,
            local: tokio::sync::Mutex::new(local),
            nudge: Notify::new(),
            believed: watch::Sender::default(),
            facts: Mutex::default(),
        }
    }

    /// Never held across an await.
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The Redis of another node.
    pub fn remote(&self, address: IpAddr, limit: Duration) -> Instance {
        Instance::new(Place::Tcp(address, self.params.port), self.login.clone(), limit)
    }
}

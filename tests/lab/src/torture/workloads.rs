//! The load: a ledger, a redis counter and a MariaDB counter, each in a group of its own.

mod amqp;
pub mod attempt;
pub mod client;
mod install;
pub mod journals;
pub mod mariadb;
mod pulse;
pub mod rabbitmq;
pub mod redis;
pub mod store;
mod wire;

use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::history::{Clock, History};
use super::ledger::clock::HostClock;
use super::ledger::{self, Record};
use super::{MARIADB_VIP, REDIS_VIP};
use crate::net::Net;
use attempt::Origin;
use client::Client;
use pulse::Pulse;
use store::Store;

pub use install::{groups, install, process};
pub use journals::collect as collect_journals;

/// The running load.
#[derive(Debug)]
pub struct Workloads {
    ledger: PathBuf,
    clock: Clock,
    origin: Origin,
    redis: Client,
    mariadb: Client,
    pulse: Pulse,
}

impl Workloads {
    /// Starts it. `shared` is the host's path of the shared directory; what clients see goes into files of
    /// `history.dir()`, on `history.clock`.
    pub fn start(net: &Net, shared: &Path, history: &History) -> Result<Workloads> {
        let (dir, clock) = (history.dir(), history.clock);
        let host = HostClock::new()?;
        let origin = Origin {
            monotonic_ns: host.now_ns().saturating_sub(clock.now_ms() * 1_000_000),
            wall_ms: clock.wall_ms(),
        };
        let path = attempt::origin_file(dir);
        std::fs::write(&path, serde_json::to_vec(&origin)?).with_context(|| path.display().to_string())?;
        let start = |group: &str, store: Box<dyn Store>| Client::start(group, store, net, dir, clock);
        Ok(Workloads {
            ledger: shared.join("ledger").join(ledger::FILE),
            clock,
            origin,
            redis: start("redis", Box::new(redis::Redis::new(at(REDIS_VIP, 6379)?)))?,
            mariadb: start("mariadb", Box::new(mariadb::MariaDb::new(at(MARIADB_VIP, 3306)?)))?,
            pulse: Pulse::start(dir, clock)?,
        })
    }

    /// When the newest request of `group` that was answered was *sent* (history clock).
    #[must_use]
    pub fn last_ack_ms(&self, group: &str) -> Option<u64> {
        match group {
            "redis" => self.redis.last_ack_ms(),
            "mariadb" => self.mariadb.last_ack_ms(),
            _ => self.last_record_ms(),
        }
    }

    /// When the newest record of the ledger was written.
    fn last_record_ms(&self) -> Option<u64> {
        let file = File::open(&self.ledger).ok()?;
        let size = Record::SIZE as u64;
        let last = (file.metadata().ok()?.len() / size).checked_sub(1)?;
        let mut bytes = [0; Record::SIZE];
        file.read_exact_at(&mut bytes, last * size).ok()?;
        let since = Record::decode(&bytes)?
            .at_ns
            .checked_sub(self.origin.monotonic_ns)?;
        Some((since / 1_000_000).min(self.clock.now_ms()))
    }

    /// Stops it, after everything was read back that the servers have, for which the cluster must be healthy. A server
    /// that cannot be read is told of, and is a finding of the checker.
    pub fn stop(self) -> Result<()> {
        let ended = [self.redis.finish(), self.mariadb.finish(), self.pulse.finish()];
        ended.into_iter().collect()
    }
}

fn at(address: &str, port: u16) -> Result<SocketAddr> {
    let address: IpAddr = address.parse().with_context(|| format!("address {address}"))?;
    Ok(SocketAddr::new(address, port))
}

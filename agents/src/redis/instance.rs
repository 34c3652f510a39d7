//! One Redis, and the few things that are asked of it.

use std::net::IpAddr;
use std::time::Duration;

use super::client::{Client, Fault, Login, Place};
use super::held;
use super::info::Info;
use super::resp::Value;

/// A Redis.
pub struct Instance(Client);

impl Instance {
    /// Connects with the first command.
    pub fn new(place: Place, login: Login, limit: Duration) -> Instance {
        Instance(Client::new(place, login, limit))
    }

    /// What it is and how far its data is.
    pub async fn info(&mut self) -> Result<Info, Fault> {
        Ok(Info::read(&self.0.text(&["INFO"], "INFO").await?))
    }

    /// Sets one of its settings until it is restarted.
    pub async fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        self.0.ask(&["CONFIG", "SET", key, value]).await.map(drop)
    }

    /// Reads one of its settings.
    pub async fn get(&mut self, key: &'static str) -> Result<String, Fault> {
        match self.0.ask(&["CONFIG", "GET", key]).await? {
            Value::Array(Some(pair)) => match pair.into_iter().nth(1) {
                Some(Value::Bulk(Some(value))) => Ok(value),
                _ => Err(Fault::Unexpected("CONFIG GET")),
            },
            _ => Err(Fault::Unexpected("CONFIG GET")),
        }
    }

    /// How many replicas it demands before it takes a write.
    pub async fn demands(&mut self) -> Result<u32, Fault> {
        let text = self.get("min-replicas-to-write").await?;
        text.parse().map_err(|_| Fault::Unexpected("CONFIG GET"))
    }

    /// Demands so many replicas before it takes a write.
    pub async fn demand(&mut self, replicas: u32) -> Result<(), Fault> {
        self.set("min-replicas-to-write", &replicas.to_string()).await
    }

    /// Takes no more writes until [`Instance::demand`] says otherwise, whether it is a master or not.
    pub async fn refuse_writes(&mut self) -> Result<(), Fault> {
        self.demand(held::REPLICAS).await
    }

    /// Makes it a replica of nobody: it refuses writes and gives its data to nobody.
    pub async fn hold(&mut self) -> Result<(), Fault> {
        let port = held::PORT.to_string();
        self.0.ask(&["REPLICAOF", held::HOST, &port]).await.map(drop)
    }

    /// Makes it a replica.
    pub async fn follow(&mut self, address: IpAddr, port: u16) -> Result<(), Fault> {
        let (address, port) = (address.to_string(), port.to_string());
        self.0.ask(&["REPLICAOF", &address, &port]).await.map(drop)
    }

    /// Makes it a master. What it demands before it takes writes was set before.
    pub async fn lead(&mut self) -> Result<(), Fault> {
        self.0.ask(&["REPLICAOF", "NO", "ONE"]).await.map(drop)
    }

    /// Changes roles with a replica that has all there is, while writes wait. Goes on by itself; `INFO` tells how far it
    /// is. Forced after a millisecond: Redis would wait up to a second for the replica to confirm what we have read there.
    pub async fn hand_over(&mut self, address: IpAddr, port: u16) -> Result<(), Fault> {
        let (address, port) = (address.to_string(), port.to_string());
        let words = ["FAILOVER", "TO", &address, &port, "FORCE", "TIMEOUT", "1"];
        self.0.ask(&words).await.map(drop)
    }

    /// Gives up handing over.
    pub async fn keep(&mut self) -> Result<(), Fault> {
        self.0.ask(&["FAILOVER", "ABORT"]).await.map(drop)
    }

    /// Lets writes wait, at most so long.
    pub async fn pause_writes(&mut self, limit: Duration) -> Result<(), Fault> {
        let limit = limit.as_millis().max(1).to_string();
        self.0.ask(&["CLIENT", "PAUSE", &limit, "WRITE"]).await.map(drop)
    }

    /// Ends the waiting of [`Instance::pause_writes`].
    pub async fn go_on(&mut self) -> Result<(), Fault> {
        self.0.ask(&["CLIENT", "UNPAUSE"]).await.map(drop)
    }

    /// Ends all connections of clients but this one, so that they look for the primary.
    pub async fn end_clients(&mut self) -> Result<(), Fault> {
        for kind in ["normal", "pubsub"] {
            self.0
                .ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
                .await?;
        }
        Ok(())
    }

    /// What has to be set after each start of the process: how others reach it, and as whom it follows.
    pub async fn prepare(&mut self, own: Option<IpAddr>, port: u16, login: &Login) -> Result<(), Fault> {
        if let Some(own) = own {
            // So that a primary names its replicas by the addresses that we know them by.
            self.set("replica-announce-ip", &own.to_string()).await?;
            self.set("replica-announce-port", &port.to_string()).await?;
        }
        if let Some(password) = &login.password {
            self.set("masterauth", password).await?;
            self.set("masteruser", login.user.as_deref().unwrap_or_default())
                .await?;
        }
        // It would end itself when a write of its primary does not get to its disk. What is done then is decided here.
        self.set("replica-ignore-disk-write-errors", "yes").await?;
        // It would refuse to end while its disk is full, because it takes a snapshot first.
        self.set("shutdown-on-sigterm", "force").await?;
        self.set("replica-read-only", "yes").await
    }

    /// Writes its append only file anew, in the background.
    pub async fn rewrite(&mut self) -> Result<(), Fault> {
        self.0.ask(&["BGREWRITEAOF"]).await.map(drop)
    }
}

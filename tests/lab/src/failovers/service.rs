//! The services whose failovers are counted.

use std::net::SocketAddr;

use super::FAILOVER_VIP;
use crate::torture::workloads::store::Store;
use crate::torture::workloads::{mariadb, redis};

/// A service with a primary and a replica.
#[derive(Debug)]
pub struct Service {
    /// Its name on the command line; also that of its group.
    pub name: &'static str,
    /// Port of clients.
    pub port: u16,
    /// The server's name as a process.
    pub process: &'static str,
    /// Folder of its data, on a disk of its own.
    pub data: &'static str,
    /// What prepares a node for it, below tests/lab/files.
    pub prepare: &'static str,
    /// Shows the server's own log, as a shell command.
    pub log: &'static str,
    /// The resource in the configuration, without the virtual address.
    pub resource: &'static str,
    /// What the clients need, as a shell command on the primary; empty for nothing.
    pub create: &'static str,
    /// Whether an acknowledged write must survive the loss of the primary, by the number that came with it.
    pub binds: fn(Option<u64>) -> bool,
    /// A client of the server at that address.
    pub store: fn(SocketAddr) -> Box<dyn Store>,
}

/// The table that the client of the torture writes to.
const MARIADB_CREATE: &str = "mariadb -e \"CREATE DATABASE torture; \
     CREATE TABLE torture.writes (number BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, id BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB; \
     CREATE USER torture@'%' IDENTIFIED BY ''; GRANT ALL ON torture.* TO torture@'%'\"";

/// All of them.
const SERVICES: &[Service] = &[
    Service {
        name: "redis",
        port: 6379,
        process: "redis-server",
        data: "/var/lib/redis",
        prepare: "failovers-redis",
        log: "tail -n 60 /var/log/redis/redis-server.log",
        resource: "type = \"redis\"\nunit = \"redis-server.service\"\n",
        create: "",
        // What no replica had yet was promised to nobody.
        binds: |replicas| replicas.is_some_and(|replicas| replicas > 0),
        store: |at| Box::new(redis::Redis::waiting(at)),
    },
    Service {
        name: "mariadb",
        port: 3306,
        process: "mariadbd",
        data: "/var/lib/mysql",
        prepare: "failovers-mariadb",
        log: "journalctl -b --no-pager -n 80 -u mariadb",
        resource: "type = \"mysqld\"\nmode = \"replication\"\nunit = \"mariadb.service\"\nprivate_link = true\n",
        create: MARIADB_CREATE,
        binds: |_| true,
        store: |at| Box::new(mariadb::MariaDb::new(at)),
    },
];

/// The service called `name`.
pub fn find(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

impl Service {
    /// Where its disk is mounted.
    pub fn disk(&self) -> &'static str {
        self.data
    }

    /// Its group in the configuration.
    pub fn group(&self) -> String {
        format!(
            "[[group]]\nname = \"{0}\"\nprefer = [\"n1\"]\n\n[[group.resource]]\nname = \"{0}\"\n{1}\n\
             [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{FAILOVER_VIP}/24\"\n",
            self.name, self.resource
        )
    }
}

//! The services whose failovers are counted.

use std::net::SocketAddr;

use super::FAILOVER_VIP;
use super::fault::Fault;
use crate::torture::workloads::store::Store;
use crate::torture::workloads::{mariadb, rabbitmq, redis};

/// Where the data of a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copies {
    /// On each node, and only the promoted one takes writes.
    Replica,
    /// On storage that both nodes see; the group mounts it where it runs. There is no DRBD here, so it is a folder of this
    /// machine that both nodes have: what was written before a power cut is there whether it was synced or not.
    Shared,
    /// On each node, and each takes writes, which are on both before they are acknowledged.
    Cluster,
}

/// A service that runs on one of two nodes, or is promoted there.
#[derive(Debug)]
pub struct Service {
    /// Its name on the command line; also that of its group.
    pub name: &'static str,
    /// Port of clients.
    pub port: u16,
    /// Says which process is the server, as a shell command.
    pub pid: &'static str,
    /// Where its data is.
    pub copies: Copies,
    /// For a server that the nodes' Debian does not have: a folder of the host with it, and where nodes see that.
    pub programs: Option<(&'static str, &'static str)>,
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
    /// What is done to it unless other faults are asked for.
    pub faults: &'static [Fault],
    /// Where clients of Sentinel are answered.
    pub sentinel: Option<u16>,
    /// A client of the server at that address.
    pub store: fn(SocketAddr) -> Box<dyn Store>,
}

/// MySQL, as `cargo xtask` unpacks it.
const MYSQL_HOST: &str = "/var/tmp/holdfast/mysql-sid";
/// The table that the client of the torture writes to.
const TABLE: &str = "mariadb -e \"CREATE DATABASE torture; \
     CREATE TABLE torture.writes (number BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, id BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB; \
     CREATE USER torture@'%' IDENTIFIED BY ''; GRANT ALL ON torture.* TO torture@'%'\"";

/// No full disk: a broker stops its publishers for that, on whichever node it runs.
const BROKER_FAULTS: [Fault; 4] = [Fault::Power, Fault::Kill, Fault::Cut, Fault::Hang];

/// Where both nodes see the shared folder.
const SHARED: &str = "/srv/shared";

/// A primary and its replica; MySQL differs in little.
const MARIADB: Service = Service {
    name: "mariadb",
    port: 3306,
    pid: "pidof -s mariadbd",
    copies: Copies::Replica,
    programs: None,
    data: "/var/lib/mysql",
    prepare: "failovers-mariadb",
    log: "journalctl --no-pager -n 4000 -u mariadb | grep -v 'Aborted connection' | tail -n 200",
    resource: "type = \"mysqld\"\nmode = \"replication\"\nunit = \"mariadb.service\"\nprivate_link = true\n",
    create: TABLE,
    binds: |_| true,
    faults: &Fault::ALL,
    sentinel: None,
    store: |at| Box::new(mariadb::MariaDb::new(at)),
};

/// One broker; a cluster of two differs in little.
const RABBITMQ: Service = Service {
    name: "rabbitmq",
    port: 5672,
    pid: "pidof -s beam.smp",
    copies: Copies::Shared,
    programs: None,
    data: "/var/lib/rabbitmq",
    prepare: "failovers-rabbitmq",
    log: "tail -n 80 /var/log/rabbitmq/*.log",
    resource: "type = \"rabbitmq\"\nnode_name = \"rabbit@shop-queue\"\nprobe_interval = \"1s\"\n",
    create: "",
    binds: |_| true,
    faults: &BROKER_FAULTS,
    sentinel: None,
    store: |at| Box::new(rabbitmq::Rabbitmq::new(at, "classic")),
};

/// All of them.
const SERVICES: &[Service] = &[
    Service {
        name: "redis",
        port: 6379,
        pid: "pidof -s redis-server",
        copies: Copies::Replica,
        programs: None,
        data: "/var/lib/redis",
        prepare: "failovers-redis",
        log: "tail -n 60 /var/log/redis/redis-server.log",
        resource: "type = \"redis\"\nunit = \"redis-server.service\"\nsentinel_port = 26379\n",
        create: "",
        // What no replica had yet was promised to nobody.
        binds: |replicas| replicas.is_some_and(|replicas| replicas > 0),
        faults: &Fault::ALL,
        sentinel: Some(26379),
        store: |at| Box::new(redis::Redis::waiting(at)),
    },
    MARIADB,
    Service {
        name: "mysql",
        pid: "cat /run/mysqld/mysqld.pid",
        programs: Some((MYSQL_HOST, "/opt/mysql")),
        prepare: "failovers-mysql",
        log: "journalctl -b --no-pager -n 80 -u mysql",
        resource: "type = \"mysqld\"\nmode = \"replication\"\nunit = \"mysql.service\"\nprivate_link = true\n",
        ..MARIADB
    },
    RABBITMQ,
    Service {
        name: "rabbitmq-cluster",
        copies: Copies::Cluster,
        prepare: "failovers-rabbitmq-cluster",
        log: "tail -n 120 /var/log/rabbitmq/*.log",
        resource: "type = \"rabbitmq\"\nmode = \"cluster\"\nnode_name = \"rabbit@{node}\"\nprobe_timeout = \"1s\"\n",
        store: |at| Box::new(rabbitmq::Rabbitmq::new(at, "quorum")),
        ..RABBITMQ
    },
];

/// The service called `name`.
pub fn find(name: &str) -> Option<&'static Service> {
    SERVICES.iter().find(|service| service.name == name)
}

impl Service {
    /// Where its disk is mounted, once the service runs.
    pub fn disk(&self) -> &'static str {
        self.data
    }

    /// Where the nodes have the disk from the start.
    pub fn bound(&self) -> &'static str {
        match self.copies {
            Copies::Replica | Copies::Cluster => self.data,
            Copies::Shared => SHARED,
        }
    }

    /// Its group in the configuration.
    pub fn group(&self) -> String {
        // The other broker runs already: it is there sooner than the same one again.
        let settings = if self.copies == Copies::Cluster {
            "max_restarts = 0\n"
        } else {
            ""
        };
        let storage = match self.copies {
            Copies::Replica | Copies::Cluster => String::new(),
            Copies::Shared => format!(
                "[[group.resource]]\nname = \"fs\"\ntype = \"filesystem\"\ndevice = \"{SHARED}\"\npath = \"{}\"\n\n",
                self.data
            ),
        };
        format!(
            "[[group]]\nname = \"{0}\"\nprefer = [\"n1\"]\n{settings}\n{storage}[[group.resource]]\nname = \"{0}\"\n{1}\n\
             [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{FAILOVER_VIP}/24\"\n",
            self.name, self.resource
        )
    }
}

//! What `INFO` says, as far as it is of use here.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// A replica as its primary sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its address, as it announces it.
    pub address: Option<IpAddr>,
    /// Its port, as it announces it.
    pub port: u16,
    /// It has the whole data and gets what is written.
    pub online: bool,
    /// Up to here it has confirmed.
    pub offset: u64,
    /// Seconds since it last confirmed anything.
    pub lag_s: u64,
}

/// A Redis at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// Its version, `7.0.15`. Of Valkey the version of Valkey.
    pub version: String,
    /// Random, new with each start of the process.
    pub run_id: String,
    /// It takes writes, as far as it is concerned.
    pub is_master: bool,
    /// Keys of all databases.
    pub keys: u64,
    /// It reads its data, from disk or from its primary, and answers little.
    pub loading: bool,
    /// The history that `offset` counts in.
    pub replid: String,
    /// The history before that, which is this one's before `offset2`.
    pub replid2: String,
    /// See `replid2`.
    pub offset2: u64,
    /// How far its data is in the history.
    pub offset: u64,
    /// `no-failover`, or which part of a failover it is in. Empty before Redis 6.2.
    pub failover_state: String,
    /// As a replica: where its primary is.
    pub master: Option<(String, u16)>,
    /// As a replica: it is connected with it, and gets what is written.
    pub link_up: bool,
    /// As a replica: it gets a whole copy.
    pub sync_in_progress: bool,
    /// As a replica: seconds since it last heard its primary.
    pub last_io_s: Option<u64>,
    /// As a primary.
    pub replicas: Vec<Replica>,
    /// It writes each command into a file.
    pub appends: bool,
    /// What it wrote last into that file did not get there. It takes no writes then.
    pub append_failed: bool,
    /// Bytes that wait to be written into that file.
    pub append_buffer: u64,
    /// Its last snapshot failed. It takes no writes then, unless it was told otherwise.
    pub snapshot_failed: bool,
}

impl Info {
    /// Reads what `INFO` answers. What is missing or damaged is as if it were not said.
    #[must_use]
    pub fn read(text: &str) -> Info {
        let fields: BTreeMap<&str, &str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split_once(':'))
            .collect();
        let word = |key: &str| fields.get(key).copied().unwrap_or_default().to_owned();
        let number = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok());
        let flag = |key: &str| {
            fields
                .get(key)
                .is_some_and(|value| *value != "0" && *value != "-1")
        };
        let is_master = word("role") == "master";
        let host = fields.get("master_host").filter(|_| !is_master);
        let port = number("master_port").and_then(|port| u16::try_from(port).ok());
        // A replica's own offset; while it is connected with nobody that of the master it would be.
        let offset = number("slave_repl_offset").filter(|_| !is_master);
        Info {
            version: ["valkey_version", "redis_version"]
                .into_iter()
                .find_map(|key| fields.get(key))
                .copied()
                .unwrap_or_default()
                .to_owned(),
            run_id: word("run_id"),
            is_master,
            keys: fields
                .iter()
                .filter(|(key, _)| is_database(key))
                .filter_map(|(_, value)| {
                    value
                        .strip_prefix("keys=")?
                        .split(',')
                        .next()?
                        .parse::<u64>()
                        .ok()
                })
                .fold(0, u64::saturating_add),
            loading: flag("loading") || flag("async_loading"),
            replid: word("master_replid"),
            replid2: word("master_replid2"),
            offset2: number("second_repl_offset").unwrap_or_default(),
            offset: offset
                .or_else(|| number("master_repl_offset"))
                .unwrap_or_default(),
            failover_state: word("master_failover_state"),
            master: host.zip(port).map(|(host, port)| ((*host).to_owned(), port)),
            link_up: !is_master && word("master_link_status") == "up",
            sync_in_progress: !is_master && flag("master_sync_in_progress"),
            last_io_s: number("master_last_io_seconds_ago"),
            replicas: (0..16)
                .filter_map(|n| replica(fields.get(format!("slave{n}").as_str())?))
                .collect(),
            appends: flag("aof_enabled"),
            append_failed: flag("aof_enabled") && word("aof_last_write_status") == "err",
            append_buffer: number("aof_buffer_length").unwrap_or_default(),
            snapshot_failed: word("rdb_last_bgsave_status") == "err",
        }
    }

    /// True when `other` is of a history that contains all of this one's: this one's data would be a beginning of it.
    #[must_use]
    pub fn is_beginning_of(&self, other: &Info) -> bool {
        let same = self.replid == other.replid && self.offset <= other.offset;
        // `offset2` is the first byte that is not common.
        let before = self.replid == other.replid2 && self.offset < other.offset2;
        !self.replid.is_empty() && (same || before)
    }
}

fn is_database(key: &str) -> bool {
    key.strip_prefix("db")
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `ip=10.0.0.2,port=6379,state=online,offset=14,lag=1`.
fn replica(line: &str) -> Option<Replica> {
    let fields: BTreeMap<&str, &str> = line.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let number = |key: &str| fields.get(key).and_then(|value| value.parse::<u64>().ok());
    Some(Replica {
        address: fields.get("ip").and_then(|ip| ip.parse().ok()),
        port: number("port").and_then(|port| u16::try_from(port).ok())?,
        online: fields.get("state") == Some(&"online"),
        offset: number("offset").unwrap_or_default(),
        lag_s: number("lag").unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_primary_is_read() {
        let info = Info::read(
            "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\nloading:0\r\nasync_loading:0\r\naof_enabled:1\r\n\
             role:master\r\nconnected_slaves:1\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=1\r\n\
             master_failover_state:no-failover\r\nmaster_replid:aa\r\nmaster_replid2:bb\r\nmaster_repl_offset:20\r\n\
             second_repl_offset:-1\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb12:keys=4,expires=0\r\n",
        );
        assert!(info.is_master && info.appends && !info.loading && info.master.is_none());
        assert_eq!((info.offset, info.keys, info.version.as_str()), (20, 7, "7.0.15"));
        let replica = &info.replicas[0];
        assert!(replica.online && replica.offset == 14 && replica.lag_s == 1);
    }

    #[test]
    fn a_replica_is_read() {
        let info = Info::read(
            "redis_version:7.2.4\nvalkey_version:8.0.1\nrole:slave\nmaster_host:10.0.0.1\nmaster_port:6379\n\
             master_link_status:up\nmaster_last_io_seconds_ago:2\nmaster_sync_in_progress:0\nslave_repl_offset:19\n\
             master_repl_offset:19\nmaster_replid:aa\n",
        );
        assert!(!info.is_master && info.link_up && !info.sync_in_progress);
        assert_eq!(info.master, Some(("10.0.0.1".into(), 6379)));
        assert_eq!(
            (info.offset, info.last_io_s, info.version.as_str()),
            (19, Some(2), "8.0.1")
        );
    }

    #[test]
    fn a_disk_that_takes_nothing_is_read() {
        let info = Info::read(
            "aof_enabled:1\naof_last_write_status:err\naof_buffer_length:77\nrdb_last_bgsave_status:err\n",
        );
        assert!(info.append_failed && info.snapshot_failed && info.append_buffer == 77);
        let info = Info::read("aof_enabled:0\naof_last_write_status:err\nrdb_last_bgsave_status:ok\n");
        assert!(!info.append_failed && !info.snapshot_failed);
    }

    #[test]
    fn damage_is_as_if_nothing_was_said() {
        let info =
            Info::read("role:master\nmaster_repl_offset:-5\nslave0:ip=x\nslave1:port=99999\ndb0:keys=\n:\n");
        assert_eq!((info.offset, info.keys, info.replicas.len()), (0, 0, 0));
    }

    #[test]
    fn histories_are_compared() {
        let copy = |replid: &str, offset, replid2: &str, offset2| Info {
            replid: replid.into(),
            offset,
            replid2: replid2.into(),
            offset2,
            ..Info::default()
        };
        let old = copy("a", 10, "", 0);
        assert!(old.is_beginning_of(&copy("a", 12, "", 0)));
        assert!(!old.is_beginning_of(&copy("a", 9, "", 0)));
        assert!(old.is_beginning_of(&copy("b", 99, "a", 11)));
        assert!(
            !old.is_beginning_of(&copy("b", 99, "a", 5)),
            "it wrote on after the other was promoted"
        );
        assert!(!copy("", 0, "", 0).is_beginning_of(&copy("", 0, "", 0)));
    }
}

//! Which server it is, and how it says things.

use std::fmt;

/// A server's family and version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// MariaDB; else MySQL.
    pub mariadb: bool,
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
}

impl Server {
    /// From the text of a greeting. MariaDB of before 11 puts a 5.5.5- before its version, for old replicas.
    #[must_use]
    pub fn parse(text: &str) -> Server {
        let mariadb = text.contains("MariaDB");
        let text = text.strip_prefix("5.5.5-").unwrap_or(text);
        let mut numbers = text
            .split(|c: char| !c.is_ascii_digit())
            .map(|number| number.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Server {
            mariadb,
            version: (next(), next(), next()),
        }
    }

    /// Refuses what the agent was not made for: the words it uses for replication are not known to older servers.
    ///
    /// # Errors
    /// What to do.
    pub fn check(self) -> Result<(), String> {
        let least = if self.mariadb { (10, 6, 0) } else { (8, 4, 0) };
        if self.version >= least {
            return Ok(());
        }
        let (major, minor, _) = least;
        Err(format!(
            "{self} is too old for mode = \"replication\"; it needs at least {major}.{minor}"
        ))
    }

    /// The global variable that keeps all clients from writing.
    #[must_use]
    pub fn read_only(self) -> &'static str {
        if self.mariadb {
            "read_only"
        } else {
            "super_read_only"
        }
    }

    /// True when it can cut off, at a start, transactions of its binary log that were never acknowledged.
    #[must_use]
    pub fn truncates(self) -> bool {
        self.mariadb
            && match self.version {
                (10, 6, patch) => patch >= 19,
                (10, 11, patch) => patch >= 9,
                version => version >= (11, 4, 3),
            }
    }

    /// Prefix of the variables of semi-synchronous replication on a primary.
    #[must_use]
    pub fn semi_sync_primary(self) -> &'static str {
        if self.mariadb {
            "rpl_semi_sync_master"
        } else {
            "rpl_semi_sync_source"
        }
    }

    /// The variable that makes a replica acknowledge.
    #[must_use]
    pub fn semi_sync_replica(self) -> &'static str {
        if self.mariadb {
            "rpl_semi_sync_slave_enabled"
        } else {
            "rpl_semi_sync_replica_enabled"
        }
    }

    /// "replica" in names of variables and commands where the families differ.
    #[must_use]
    pub fn replica(self) -> &'static str {
        if self.mariadb { "slave" } else { "replica" }
    }

    /// The expression of all transactions that it has in its binary log or has applied.
    #[must_use]
    pub fn executed(self) -> &'static str {
        if self.mariadb {
            "@@gtid_binlog_state"
        } else {
            "@@gtid_executed"
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = if self.mariadb { "MariaDB" } else { "MySQL" };
        let (major, minor, patch) = self.version;
        write!(f, "{family} {major}.{minor}.{patch}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_of_real_servers_are_understood() {
        let read = |text| Server::parse(text).to_string();
        assert_eq!(read("5.5.5-10.11.19-MariaDB-0+deb12u1-log"), "MariaDB 10.11.19");
        assert_eq!(read("11.8.6-MariaDB-0+deb13u1 from Debian"), "MariaDB 11.8.6");
        assert_eq!(read("9.7.4-2"), "MySQL 9.7.4");
        assert_eq!(read("x"), "MySQL 0.0.0");
        assert!(Server::parse("8.0.44").check().is_err());
        assert!(Server::parse("8.4.3").check().is_ok());
    }

    #[test]
    fn which_servers_truncate() {
        for (text, can) in [
            ("5.5.5-10.6.18-MariaDB", false),
            ("5.5.5-10.6.19-MariaDB", true),
            ("5.5.5-10.11.8-MariaDB", false),
            ("5.5.5-10.11.9-MariaDB", true),
            ("11.4.2-MariaDB", false),
            ("11.8.1-MariaDB", true),
            ("9.7.4", false),
        ] {
            assert_eq!(Server::parse(text).truncates(), can, "{text}");
        }
    }
}

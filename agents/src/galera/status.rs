//! What a running server says of its cluster.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::mysqld::client::{Client, Rows, SqlError};
use crate::mysqld::wire::plain;
use crate::roles::RolesView;

/// More than its words for a state, and its uuid, have.
const WORDS_CHARS: usize = 200;

/// One look at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It is in the component that may take writes.
    pub is_primary: bool,
    /// It has everything and takes statements.
    pub is_synced: bool,
    /// Its own words for that.
    pub state: String,
    /// The cluster's uuid.
    pub history: String,
    /// The last transaction.
    pub seqno: u64,
    /// How many members its component has.
    pub size: usize,
    /// Addresses of the members.
    pub members: Vec<IpAddr>,
}

impl Status {
    /// Asks the server.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn ask(client: &mut Client) -> Result<Status, SqlError> {
        let rows = client.rows("SHOW GLOBAL STATUS LIKE 'wsrep\\_%'").await?;
        Ok(Status::of(&rows))
    }

    /// Reads its answer.
    #[must_use]
    pub fn of(rows: &Rows) -> Status {
        let mut status = Status::default();
        let mut is_ready = false;
        for row in rows.iter() {
            let value = row.at(1);
            match row.at(0) {
                "wsrep_cluster_status" => status.is_primary = value.eq_ignore_ascii_case("primary"),
                "wsrep_ready" => is_ready = value == "ON",
                "wsrep_local_state_comment" => status.state = plain(value, WORDS_CHARS),
                "wsrep_local_state_uuid" => status.history = plain(value, WORDS_CHARS),
                "wsrep_last_committed" => status.seqno = value.parse().unwrap_or_default(),
                "wsrep_cluster_size" => status.size = value.parse().unwrap_or_default(),
                "wsrep_incoming_addresses" => status.members = addresses(value),
                _ => {}
            }
        }
        // A donor has everything too: it only lags while it gives.
        let in_step = status.state == "Synced" || status.state.starts_with("Donor");
        status.is_synced = status.is_primary && is_ready && in_step;
        status
    }

    /// The nodes of the cluster that are members here. None when a member is none of them (an arbitrator, another server):
    /// then Galera's own quorum is about more than these nodes.
    #[must_use]
    pub fn nodes(&self, roles: &RolesView) -> Option<BTreeSet<String>> {
        let peers = || roles.others.iter().chain([&roles.own]);
        let named = |address: &IpAddr| peers().find(|peer| peer.addresses.contains(address));
        let nodes: BTreeSet<String> = self
            .members
            .iter()
            .map(|address| named(address).map(|peer| peer.name.clone()))
            .collect::<Option<_>>()?;
        (nodes.len() == self.size).then_some(nodes)
    }

    /// For the operator.
    #[must_use]
    pub fn text(&self) -> String {
        let component = if self.is_primary { "primary" } else { "non-primary" };
        format!(
            "{} in a {component} component of {}, at {}:{}",
            self.state, self.size, self.history, self.seqno
        )
    }
}

fn addresses(text: &str) -> Vec<IpAddr> {
    let words = text.split(',').map(str::trim);
    let one = |word: &str| {
        let socket = word.parse::<SocketAddr>().map(|socket| socket.ip());
        let host = word.rsplit_once(':').map_or(word, |(host, _)| host);
        socket
            .ok()
            .or_else(|| word.parse().ok())
            .or_else(|| host.parse().ok())
    };
    words.filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Peer;

    #[test]
    fn members_are_nodes_unless_one_is_not() {
        let peer = |name: &str, address: &str| Peer {
            name: name.into(),
            addresses: vec![address.parse().unwrap()],
            ..Peer::default()
        };
        let roles = RolesView {
            own: peer("db1", "10.0.0.1"),
            others: vec![peer("db2", "fd00::2")],
            ..RolesView::default()
        };
        let with = |text: &str, size: usize| Status {
            members: addresses(text),
            size,
            ..Status::default()
        };
        let both = BTreeSet::from(["db1".to_owned(), "db2".to_owned()]);
        assert_eq!(with("10.0.0.1:3306,[fd00::2]:3306", 2).nodes(&roles), Some(both));
        assert_eq!(
            with("10.0.0.1:3306", 1).nodes(&roles),
            Some(BTreeSet::from(["db1".to_owned()]))
        );
        // An arbitrator has no address, a stranger another one.
        assert_eq!(with("10.0.0.1:3306,", 2).nodes(&roles), None);
        assert_eq!(with("10.0.0.1:3306,10.0.0.9:3306", 2).nodes(&roles), None);
    }
}

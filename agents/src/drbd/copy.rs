//! What is said of this node's copy, from what DRBD says and what the cluster has committed. Pure.

use std::collections::BTreeSet;

use super::events::{Connection, State};
use crate::roles::{CopyStatus, RolesView};

/// All that a word on the copy is made from.
pub struct Seen<'a> {
    /// What DRBD says.
    pub state: &'a State,
    /// What is committed.
    pub view: &'a RolesView,
    /// DRBD found that both sides were written to.
    pub split_brain: bool,
    /// When the connection was last seen whole and then lost, for people.
    pub lost_at: Option<&'a str>,
    /// KiB that differed when the resync began.
    pub resync_kib: u64,
}

/// The cluster's name for the other side of a connection. 8.4 calls every connection `peer`.
#[must_use]
pub fn node_of<'a>(connection: &str, view: &'a RolesView) -> Option<&'a str> {
    // DRBD 9 calls it by its host name, which may have a domain.
    let host = connection.split('.').next().unwrap_or(connection);
    let by_name = view
        .others
        .iter()
        .find(|peer| peer.name == connection || peer.name == host);
    match (by_name, &view.others[..]) {
        (Some(peer), _) => Some(&peer.name),
        (None, [only]) if connection == "peer" => Some(&only.name),
        _ => None,
    }
}

/// This node, and all others that every write reaches before it is acknowledged. `without`: those that DRBD is just giving up,
/// whatever it said last.
#[must_use]
pub fn whole(state: &State, view: &RolesView, without: &BTreeSet<String>) -> BTreeSet<String> {
    let connected = state
        .connections
        .iter()
        .filter(|(_, connection)| connection.is_whole())
        .filter_map(|(name, _)| node_of(name, view))
        .filter(|node| !without.contains(*node));
    connected
        .chain([view.own.name.as_str()])
        .map(str::to_owned)
        .collect()
}

impl Seen<'_> {
    /// The word, without a wish.
    #[must_use]
    pub fn status(&self) -> CopyStatus {
        CopyStatus {
            obstacle: self.obstacle(),
            position_text: self.text(),
            possible_loss: self.possible_loss(),
            readable: self.state.is_primary(),
            ..CopyStatus::default()
        }
    }

    fn is_agreed_whole(&self) -> bool {
        self.view.in_sync.nodes.contains(&self.view.own.name)
    }

    /// Why it cannot be promoted here.
    fn obstacle(&self) -> String {
        let state = self.state;
        if !state.complete {
            return "DRBD was not heard yet".to_owned();
        }
        if !state.exists || state.devices.is_empty() {
            return "the resource is down".to_owned();
        }
        match state.worst_disk() {
            "UpToDate" | "Consistent" => {}
            disk => {
                let progress = self
                    .progress()
                    .map(|text| format!(" ({text})"))
                    .unwrap_or_default();
                return format!("its disk is {disk}{progress}");
            }
        }
        if self.split_brain && !self.is_agreed_whole() {
            return "both sides were written to (split brain), and this is not the one that the cluster agreed on: hactl drbd \
                    resolve gives one of them up"
                .to_owned();
        }
        String::new()
    }

    /// What a promotion here might lose.
    fn possible_loss(&self) -> String {
        let connected =
            self.state.is_up_to_date() && self.state.connections.values().any(Connection::is_whole);
        if self.view.in_sync.generation == 0 || self.is_agreed_whole() || self.state.is_primary() || connected
        {
            return String::new();
        }
        match self.lost_at {
            Some(at) => {
                format!("everything that was written elsewhere since {at}, when the connection was lost")
            }
            None => "everything that was written elsewhere since this copy was last connected".to_owned(),
        }
    }

    /// How far a resync is.
    fn progress(&self) -> Option<String> {
        let syncing = self
            .state
            .connections
            .values()
            .find(|connection| connection.activity().is_some())?;
        Some(progress(syncing, self.resync_kib))
    }

    /// One line for people.
    #[must_use]
    pub fn text(&self) -> String {
        let state = self.state;
        if !state.exists {
            return "down".to_owned();
        }
        let mut parts = vec![format!("{}, disk {}", state.role, state.worst_disk())];
        if !matches!(state.suspended.as_str(), "" | "no") {
            parts.push(format!("I/O is frozen ({})", state.suspended));
        }
        for (name, connection) in &state.connections {
            parts.push(self.line(node_of(name, self.view).unwrap_or(name), connection));
        }
        if state.stands_alone() {
            parts.push(match self.split_brain {
                true => {
                    "stands alone: both sides were written to (split brain); hactl drbd resolve".to_owned()
                }
                false => "stands alone".to_owned(),
            });
        }
        parts.join("; ")
    }

    fn line(&self, node: &str, connection: &Connection) -> String {
        let disks: BTreeSet<&str> = connection
            .volumes
            .values()
            .map(|there| there.disk.as_str())
            .collect();
        let disks = disks.into_iter().collect::<Vec<_>>().join("/");
        let mut line = format!("{node} {}, disk {disks}", connection.state);
        let kib = connection.out_of_sync_kib();
        if connection.activity().is_some() {
            line += &format!(", {}", progress(connection, self.resync_kib));
        } else if kib > 0 {
            line += &format!(", {} out of sync", size(kib));
        }
        line
    }
}

fn progress(connection: &Connection, resync_kib: u64) -> String {
    let what = connection.activity().unwrap_or_default();
    let kib = connection.out_of_sync_kib();
    if resync_kib == 0 || kib > resync_kib {
        return format!("{what}, {} to go", size(kib));
    }
    let percent = (resync_kib - kib) as f64 * 100.0 / resync_kib as f64;
    format!("{what} {percent:.1} %, {} to go", size(kib))
}

/// For people.
#[must_use]
pub fn size(kib: u64) -> String {
    match kib {
        0..10_240 => format!("{kib} KiB"),
        10_240..10_485_760 => format!("{:.1} MiB", kib as f64 / 1024.0),
        _ => format!("{:.1} GiB", kib as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::events::tests::replay;
    use super::*;
    use crate::roles::{InSync, Peer};

    fn view(in_sync: &[&str]) -> RolesView {
        let peer = |name: &str| Peer {
            name: name.into(),
            ..Peer::default()
        };
        RolesView {
            own: peer("n1"),
            others: vec![peer("n2")],
            in_sync: InSync {
                generation: 3,
                nodes: in_sync.iter().map(|name| (*name).to_owned()).collect(),
            },
            ..RolesView::default()
        }
    }

    fn seen<'a>(state: &'a State, view: &'a RolesView) -> Seen<'a> {
        Seen {
            state,
            view,
            split_brain: false,
            lost_at: None,
            resync_kib: 0,
        }
    }

    #[test]
    fn the_peer_is_whole_only_while_it_is_waited_for() {
        let (states, _) = replay(include_str!("recorded/fencing-84.txt"));
        let view = view(&["n1", "n2"]);
        let sets: Vec<usize> = states
            .iter()
            .map(|state| whole(state, &view, &BTreeSet::new()).len())
            .collect();
        assert_eq!(sets.first(), Some(&1));
        assert_eq!(sets.last(), Some(&2));
        let frozen = states
            .iter()
            .position(|state| state.suspended == "fencing")
            .unwrap();
        // In the very line that says frozen the connection is not known to be lost yet; two lines later it is.
        assert_eq!((sets[frozen - 1], sets[frozen + 1]), (2, 1));
        let without = BTreeSet::from(["n2".to_owned()]);
        assert_eq!(whole(&states[frozen - 1], &view, &without).len(), 1);
    }

    #[test]
    fn obstacles_are_named() {
        let (states, _) = replay(include_str!("recorded/resync-84.txt"));
        let view = view(&["n2"]);
        let syncing = states
            .iter()
            .find(|state| state.worst_disk() == "Inconsistent")
            .unwrap();
        let mut syncing = syncing.clone();
        let counted = "exists peer-device name:r0 conn-name:peer volume:0 replication:SyncTarget peer-disk:UpToDate out-of-sync:39552";
        syncing.take("r0", counted);
        let mut now = seen(&syncing, &view);
        now.resync_kib = 42_564;
        assert_eq!(
            now.status().obstacle,
            "its disk is Inconsistent (SyncTarget 7.1 %, 38.6 MiB to go)"
        );
        let last = states.last().unwrap();
        let status = seen(last, &view).status();
        assert_eq!(status.obstacle, "");
        assert_eq!(
            status.possible_loss, "",
            "connected and whole: the set follows in a moment"
        );
        let (lost, _) = replay(include_str!("recorded/takeover-84.txt"));
        let apart = |state: &&State| {
            state
                .connections
                .get("peer")
                .is_some_and(|peer| peer.state == "Connecting")
        };
        let loss = seen(lost.iter().find(apart).unwrap(), &view)
            .status()
            .possible_loss;
        assert!(loss.contains("since this copy was last connected"), "{loss}");
        assert_eq!(
            status.position_text,
            "Secondary, disk UpToDate; n2 Connected, disk UpToDate"
        );
        assert_eq!(
            seen(&State::default(), &view).status().obstacle,
            "DRBD was not heard yet"
        );
    }

    #[test]
    fn of_two_sides_of_a_split_brain_the_agreed_one_may_be_promoted() {
        let (states, _) = replay(include_str!("recorded/split-brain-84.txt"));
        for (agreed, promotable) in [("n1", true), ("n2", false)] {
            let view = view(&[agreed]);
            let mut now = seen(states.last().unwrap(), &view);
            now.split_brain = true;
            assert_eq!(now.status().obstacle.is_empty(), promotable);
            assert!(now.text().contains("split brain"), "{}", now.text());
        }
    }
}

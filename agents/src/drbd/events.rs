//! What DRBD says of a resource: the lines of `drbdsetup events2`, and the state that they add up to.
//!
//! The same words from the module in the kernel's tree (8.4, through drbdsetup-84) and from DRBD 9. 8.4 calls its one
//! connection `peer`, DRBD 9 calls each by the host name of the other side.

use std::collections::BTreeMap;

/// Connections, devices and volumes of one resource that are kept; DRBD has no more.
const OBJECTS_MAX: usize = 65_536;

/// One resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The first picture is complete.
    pub complete: bool,
    /// It is known to the kernel.
    pub exists: bool,
    /// `Primary`, `Secondary`, `Unknown`.
    pub role: String,
    /// Why I/O is frozen (`fencing`, `no-data`, `quorum`, `user`); `no` for not.
    pub suspended: String,
    /// Local devices by volume.
    pub devices: BTreeMap<u32, Device>,
    /// By name.
    pub connections: BTreeMap<String, Connection>,
}

/// A local device.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Device {
    /// Its minor number.
    pub minor: u32,
    /// State of the local disk.
    pub disk: String,
}

/// To another node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connection {
    /// State of the connection.
    pub state: String,
    /// Role of the other side.
    pub role: String,
    /// What is there, by volume.
    pub volumes: BTreeMap<u32, PeerVolume>,
}

/// A volume on the other side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerVolume {
    /// State of its disk.
    pub disk: String,
    /// What is going on between the disks.
    pub replication: String,
    /// KiB that differ, as far as this side knows.
    pub out_of_sync_kib: Option<u64>,
}

/// Something that a line said beside the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing else.
    State,
    /// DRBD called a handler.
    Called(String),
    /// Not understood, or of another resource.
    Nothing,
}

impl State {
    /// Takes in one line of `resource`.
    pub fn take(&mut self, resource: &str, line: &str) -> Said {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else {
            return Said::Nothing;
        };
        let Some(object) = words.next() else {
            return Said::Nothing;
        };
        if (verb, object) == ("exists", "-") {
            self.complete = true;
            return Said::State;
        }
        let facts = Facts(words.filter_map(|word| word.split_once(':')).collect());
        if facts.get("name") != Some(resource) {
            return Said::Nothing;
        }
        let is_new = matches!(verb, "exists" | "create" | "change");
        if !is_new && verb != "destroy" {
            let called = facts
                .get("helper")
                .filter(|helper| verb == "call" && object == "helper" && !helper.is_empty());
            return called.map_or(Said::Nothing, |helper| Said::Called(helper.to_owned()));
        }
        match object {
            "resource" if is_new => self.resource(&facts),
            "resource" => {
                *self = State {
                    complete: self.complete,
                    ..State::default()
                }
            }
            "device" => self.device(&facts, is_new),
            "connection" => self.connection(&facts, is_new),
            "peer-device" => self.peer_volume(&facts, is_new),
            _ => return Said::Nothing,
        }
        Said::State
    }

    /// The state that `text`, the whole output of `events2 --now`, describes.
    #[must_use]
    pub fn read(resource: &str, text: &str) -> State {
        let mut state = State::default();
        for line in text.lines() {
            state.take(resource, line);
        }
        state
    }

    fn resource(&mut self, facts: &Facts) {
        self.exists = true;
        facts.set("role", &mut self.role);
        facts.set("suspended", &mut self.suspended);
    }

    fn device(&mut self, facts: &Facts, is_new: bool) {
        let Some(volume) = facts.number("volume") else {
            return;
        };
        if !is_new {
            self.devices.remove(&volume);
            return;
        }
        if self.devices.len() >= OBJECTS_MAX {
            return;
        }
        let device = self.devices.entry(volume).or_default();
        facts.set("disk", &mut device.disk);
        device.minor = facts.number("minor").unwrap_or(device.minor);
    }

    fn connection(&mut self, facts: &Facts, is_new: bool) {
        let name = facts.peer();
        if !is_new {
            self.connections.remove(name);
            return;
        }
        if self.connections.len() >= OBJECTS_MAX {
            return;
        }
        let connection = self.connections.entry(name.to_owned()).or_default();
        facts.set("connection", &mut connection.state);
        facts.set("role", &mut connection.role);
    }

    fn peer_volume(&mut self, facts: &Facts, is_new: bool) {
        let connection = self.connections.get_mut(facts.peer());
        let (Some(connection), Some(volume)) = (connection, facts.number("volume")) else {
            return;
        };
        if !is_new {
            connection.volumes.remove(&volume);
            return;
        }
        if connection.volumes.len() >= OBJECTS_MAX {
            return;
        }
        let there = connection.volumes.entry(volume).or_default();
        facts.set("peer-disk", &mut there.disk);
        facts.set("replication", &mut there.replication);
        if let Some(kib) = facts.get("out-of-sync").and_then(|text| text.parse().ok()) {
            there.out_of_sync_kib = Some(kib);
        }
    }

    /// The counters of `newer`, which was asked for by itself, for what is known here.
    pub fn take_counters(&mut self, newer: &State) {
        for (name, connection) in &mut self.connections {
            let Some(other) = newer.connections.get(name) else {
                continue;
            };
            for (volume, there) in &mut connection.volumes {
                there.out_of_sync_kib = other.volumes.get(volume).and_then(|other| other.out_of_sync_kib);
            }
        }
    }

    /// It takes writes here.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.role == "Primary"
    }

    /// There is no connection, and none is tried. 8.4 takes one away that stands alone, and still lists it when asked.
    #[must_use]
    pub fn stands_alone(&self) -> bool {
        let alone = |connection: &Connection| connection.state == "StandAlone";
        self.exists && self.connections.values().all(alone)
    }

    /// All local disks hold the newest data, as far as DRBD knows.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        !self.devices.is_empty() && self.devices.values().all(|device| device.disk == "UpToDate")
    }

    /// The worst of the local disks.
    #[must_use]
    pub fn worst_disk(&self) -> &str {
        let rank = |disk: &str| DISKS.iter().position(|known| *known == disk).unwrap_or(0);
        let disks = self.devices.values().map(|device| device.disk.as_str());
        disks.min_by_key(|disk| rank(disk)).unwrap_or("none")
    }
}

/// Disk states, the worst first; what is not known is as bad.
const DISKS: [&str; 9] = [
    "Diskless",
    "Attaching",
    "Detaching",
    "Failed",
    "Negotiating",
    "Inconsistent",
    "Outdated",
    "Consistent",
    "UpToDate",
];

impl Connection {
    /// Every write is on the other side too before it is acknowledged, and all that was written before is there.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let whole = |there: &PeerVolume| there.disk == "UpToDate" && there.replication == "Established";
        self.state == "Connected" && !self.volumes.is_empty() && self.volumes.values().all(whole)
    }

    /// KiB that differ.
    #[must_use]
    pub fn out_of_sync_kib(&self) -> u64 {
        self.volumes
            .values()
            .filter_map(|there| there.out_of_sync_kib)
            .sum()
    }

    /// What is going on, if it is more than standing still.
    #[must_use]
    pub fn activity(&self) -> Option<&str> {
        let mut activities = self.volumes.values().map(|there| there.replication.as_str());
        activities.find(|what| !matches!(*what, "" | "Off" | "Established"))
    }
}

/// `key:value` words of a line.
struct Facts<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Facts<'a> {
    fn get(&self, key: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| *value)
    }

    /// The connection. 8.4 leaves the name out of one that stands alone.
    fn peer(&self) -> &'a str {
        self.get("conn-name").unwrap_or("peer")
    }

    fn number(&self, key: &str) -> Option<u32> {
        self.get(key)?.parse().ok()
    }

    /// The new value; in `old->new` form the part behind the arrow.
    fn set(&self, key: &str, field: &mut String) {
        if let Some(value) = self.get(key) {
            let value = value.rsplit_once("->").map_or(value, |(_, new)| new);
            value.clone_into(field);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The states that the recorded lines of `r0` lead through, and which handlers were called.
    pub fn replay(text: &str) -> (Vec<State>, Vec<String>) {
        let (mut state, mut states, mut called) = (State::default(), Vec::new(), Vec::new());
        for line in text.lines() {
            match state.take("r0", line) {
                Said::Called(helper) => called.push(helper),
                Said::State => states.push(state.clone()),
                Said::Nothing => {}
            }
        }
        (states, called)
    }

    #[test]
    fn a_primary_freezes_until_its_handler_has_answered() {
        let (states, called) = replay(include_str!("recorded/fencing-84.txt"));
        assert!(
            states
                .iter()
                .any(|state| state.suspended == "fencing" && state.is_primary())
        );
        assert_eq!(called, ["fence-peer", "before-resync-source"]);
        let last = states.last().unwrap();
        assert!(last.is_primary() && last.is_up_to_date() && last.suspended == "no");
        assert!(last.connections["peer"].is_whole());
        let is_syncing = |connection: &Connection| connection.activity() == Some("SyncSource");
        let mut connections = states.iter().flat_map(|state| state.connections.values());
        let syncing = connections.find(|connection| is_syncing(connection)).unwrap();
        assert!(!syncing.is_whole());
    }

    #[test]
    fn a_split_brain_ends_in_standing_alone() {
        let (states, called) = replay(include_str!("recorded/split-brain-84.txt"));
        assert!(called.iter().any(|helper| helper == "split-brain"));
        assert!(states.last().unwrap().stands_alone());
        let asked = State::read("r0", include_str!("recorded/standalone-84.txt"));
        assert!(asked.complete && asked.stands_alone());
        assert_eq!(asked.connections["peer"].out_of_sync_kib(), 132);
    }

    #[test]
    fn a_resync_passes_through_inconsistent() {
        let (states, _) = replay(include_str!("recorded/resync-84.txt"));
        let disks: Vec<&str> = states.iter().map(State::worst_disk).collect();
        assert!(disks.contains(&"Outdated") && disks.contains(&"Inconsistent"));
        assert_eq!(disks.last(), Some(&"UpToDate"));
    }

    #[test]
    fn the_words_of_drbd_9_are_the_same() {
        // In the form that the manual page of DRBD 9 describes.
        let text = "exists resource name:r0 role:Secondary suspended:no force-io-failures:no may_promote:yes promotion_score:10101\n\
                    exists connection name:r0 peer-node-id:1 conn-name:n2 connection:Connected role:Secondary\n\
                    exists device name:r0 volume:0 minor:1000 backing_dev:/dev/vdb disk:UpToDate client:no open:no quorum:yes\n\
                    exists peer-device name:r0 peer-node-id:1 conn-name:n2 volume:0 replication:Established peer-disk:UpToDate \
                    peer-client:no resync-suspended:no\n\
                    exists path name:r0 peer-node-id:1 conn-name:n2 local:ipv4:10.0.0.1:7789 peer:ipv4:10.0.0.2:7789 established:yes\n\
                    exists resource name:other role:Primary suspended:no\nexists -\n\
                    change device name:r0 volume:0 minor:1000 disk:UpToDate->Failed\n";
        let state = State::read("r0", text);
        assert!(state.complete && !state.is_primary());
        assert_eq!(state.devices[&0].minor, 1000);
        assert_eq!(state.worst_disk(), "Failed");
        assert!(state.connections["n2"].is_whole());
    }

    /// Found by fuzzing.
    #[test]
    fn a_handler_without_a_name_was_not_called() {
        let said = State::default().take("r0", "call helper name:r0 helper:");
        assert_eq!(said, Said::Nothing);
    }

    #[test]
    fn nonsense_changes_nothing() {
        for text in [
            "",
            "exists",
            "exists device name:r0 volume:x",
            "change connection name:r0\0",
            "destroy resource name:r1",
        ] {
            let mut state = State::default();
            state.take("r0", text);
            assert!(state.devices.is_empty() && !state.complete, "{text}");
        }
    }
}

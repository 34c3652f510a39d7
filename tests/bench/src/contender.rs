//! Who takes part: a cluster manager and the time after which it gives a silent node up.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use holdfast_hactl::demo::Profile;

/// A cluster manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// `had` and `had-agentd`, two nodes and a witness.
    Holdfast(Profile),
    /// keepalived on two nodes: VRRP version 3, nobody is fenced.
    Keepalived {
        /// Advertisement interval in hundredths of a second.
        advert_cs: u32,
        /// Priority of the first node; the second has one less.
        priority: u8,
    },
    /// Corosync and Pacemaker on two nodes, and a third in standby that only votes.
    Pacemaker {
        /// Token timeout; none leaves the default, which is 3000 ms and 650 ms more for the third node.
        token_ms: Option<u32>,
    },
}

/// A cluster manager as it is configured here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// Which it is.
    pub manager: Manager,
    /// Silence after which it gives a node up, as configured.
    pub detection_ms: u32,
    /// Whether it may have real-time scheduling.
    pub realtime: bool,
}

const fn holdfast(name: &'static str, profile: Profile, detection_ms: u32, realtime: bool) -> Contender {
    Contender {
        name,
        manager: Manager::Holdfast(profile),
        detection_ms,
        realtime,
    }
}

const fn keepalived(name: &'static str, advert_cs: u32, priority: u8, detection_ms: u32) -> Contender {
    Contender {
        name,
        manager: Manager::Keepalived { advert_cs, priority },
        detection_ms,
        realtime: true,
    }
}

const fn pacemaker(
    name: &'static str,
    token_ms: Option<u32>,
    detection_ms: u32,
    realtime: bool,
) -> Contender {
    Contender {
        name,
        manager: Manager::Pacemaker { token_ms },
        detection_ms,
        realtime,
    }
}

/// All that can take part. A VRRP backup waits 3 x advert + advert x (256 - priority) / 256: 301 ms, 1000 ms, 5000 ms.
pub const ALL: [Contender; 10] = [
    holdfast("holdfast-300", Profile::Fast, 300, true),
    holdfast("holdfast-1000", Profile::Balanced, 1000, true),
    holdfast("holdfast-5000", Profile::Wan, 5000, true),
    keepalived("keepalived-300", 10, 254, 300),
    keepalived("keepalived-1000", 33, 249, 1000),
    keepalived("keepalived-5000", 166, 254, 5000),
    pacemaker("pacemaker-300", Some(300), 300, true),
    pacemaker("pacemaker-default", None, 3650, true),
    holdfast("holdfast-300-ordinary", Profile::Fast, 300, false),
    pacemaker("pacemaker-300-ordinary", Some(300), 300, false),
];

impl Contender {
    /// The detection time as a span.
    #[must_use]
    pub fn detection(&self) -> Duration {
        Duration::from_millis(u64::from(self.detection_ms))
    }
}

impl fmt::Display for Contender {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name)
    }
}

impl FromStr for Contender {
    type Err = String;

    fn from_str(name: &str) -> Result<Contender, String> {
        ALL.into_iter()
            .find(|contender| contender.name == name)
            .ok_or_else(|| {
                let names: Vec<&str> = ALL.iter().map(|contender| contender.name).collect();
                format!("there is no contender `{name}`; there are {}", names.join(", "))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vrrp_backup_waits_as_long_as_the_lease_it_is_compared_with() {
        for contender in ALL {
            let Manager::Keepalived { advert_cs, priority } = contender.manager else {
                continue;
            };
            // RFC 5798, 6.1, for the backup, whose priority is one less.
            let advert_ms = f64::from(advert_cs) * 10.0;
            let skew_ms = advert_ms * f64::from(256 - i32::from(priority - 1)) / 256.0;
            let down_ms = 3.0 * advert_ms + skew_ms;
            let wanted_ms = f64::from(contender.detection_ms);
            assert!(
                (down_ms - wanted_ms).abs() < wanted_ms * 0.01,
                "{contender}: {down_ms}"
            );
        }
    }

    #[test]
    fn names_are_found_and_unknown_ones_refused() {
        for contender in ALL {
            assert_eq!(contender.name.parse(), Ok(contender));
        }
        assert!(
            "heartbeat-300"
                .parse::<Contender>()
                .unwrap_err()
                .contains("keepalived-300")
        );
    }
}

//! Every timer of the cluster, derived from the one number an operator sets.

use std::time::Duration;

use super::ClusterSection;

/// Derived timers. `hactl config timers` prints them with [`Timers::rows`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    /// How long an acceptor's promise binds it after it answered a heartbeat: the detection time.
    pub lease: Duration,
    /// Time between heartbeats on each link.
    pub heartbeat: Duration,
    /// Silence after which a link is shown as down.
    pub link_silence: Duration,
    /// Extra wait after a permit's lapse before a `requires = "lease"` group may start elsewhere:
    /// the time that the old node has to take its addresses down.
    pub lapse_margin: Duration,
    /// Permit of a `requires = "fencing"` group: it may outlive the leader's lease, because such a group
    /// never moves on a lapse, so that losing the leader does not stop groups on the other nodes.
    pub fencing_permit: Duration,
    /// Longest time an election round may take before the candidate tries again.
    pub election: Duration,
    /// Step by which candidates of lower rank hold back.
    pub stagger: Duration,
    /// A deciding thread that woke this much too late was stalled itself and blames nobody.
    pub stall: Duration,
    /// Wait of the node that is not the survivor before it fences, in a pair.
    pub fence_delay: Duration,
    /// Silence of the witness before a pair goes on without it.
    pub witness_grace: Duration,
    /// Time a node may take to appear after our own start before it is fenced.
    pub startup_grace: Duration,
    /// The same after a restart within a boot: the cluster was up a moment ago.
    pub resume_grace: Duration,
    /// First pause between attempts of a fence device; doubles up to 16 times this.
    pub fence_retry: Duration,
}

impl Timers {
    /// Lease lengths are multiplied by this, in percent, whenever they pass from one clock to another. Two clocks
    /// that drift 1 % each, in opposite directions, differ by 1.01 / 0.99, so 99 would not be enough.
    pub const DRIFT_PERCENT: u32 = 98;

    /// Derives all timers.
    #[must_use]
    pub fn derive(cluster: &ClusterSection) -> Timers {
        let lease = Duration::from_millis(cluster.detection_ms.into());
        let ms = |value: u32| Duration::from_millis(value.into());
        Timers {
            lease,
            heartbeat: (lease / 8).min(Duration::from_millis(250)),
            link_silence: lease / 2,
            lapse_margin: (lease / 10).clamp(Duration::from_millis(25), Duration::from_millis(250)),
            fencing_permit: lease * 2,
            election: (lease / 4).clamp(Duration::from_millis(50), Duration::from_millis(500)),
            stagger: (lease / 20).clamp(Duration::from_millis(10), Duration::from_millis(100)),
            stall: lease / 4,
            fence_delay: ms(cluster.fence_delay_ms),
            witness_grace: ms(cluster.witness_grace_ms),
            startup_grace: ms(cluster.startup_grace_ms),
            resume_grace: ms(cluster.startup_grace_ms).min((lease * 5).max(Duration::from_secs(5))),
            fence_retry: Duration::from_secs(1),
        }
    }

    /// Those of the same configuration with the detection time `detection_ms`.
    #[must_use]
    pub fn with_detection(cluster: &ClusterSection, detection_ms: u32) -> Timers {
        Timers::derive(&ClusterSection {
            detection_ms,
            ..cluster.clone()
        })
    }

    /// `span` as it may be counted on another clock.
    #[must_use]
    pub fn shrink(span: Duration) -> Duration {
        span * Timers::DRIFT_PERCENT / 100
    }

    /// `span` as it must be waited for on another clock.
    #[must_use]
    pub fn stretch(span: Duration) -> Duration {
        span * 100 / Timers::DRIFT_PERCENT
    }

    /// Name, value and meaning of each timer, for people.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, Duration, &'static str)> {
        vec![
            (
                "lease",
                self.lease,
                "silence before a node is given up; a promise binds an acceptor this long",
            ),
            ("heartbeat", self.heartbeat, "between heartbeats on each link"),
            (
                "link_silence",
                self.link_silence,
                "silence before a link is shown as down",
            ),
            (
                "leader_lease",
                Timers::shrink(self.lease),
                "what the leader counts of a lease (clock drift taken off)",
            ),
            (
                "lease_permit",
                Timers::shrink(Timers::shrink(self.lease)),
                "longest permit of a group that requires a lease",
            ),
            (
                "fencing_permit",
                Timers::shrink(self.fencing_permit),
                "longest permit of a group that requires fencing",
            ),
            (
                "lapse_margin",
                self.lapse_margin,
                "added to a lapsed permit before a takeover without fencing",
            ),
            (
                "election",
                self.election,
                "an election round is tried again after this",
            ),
            ("stagger", self.stagger, "step between candidates"),
            (
                "stall",
                self.stall,
                "own lateness beyond which this node blames nobody",
            ),
            (
                "fence_delay",
                self.fence_delay,
                "pair without a majority: head start of the survivor",
            ),
            (
                "witness_grace",
                self.witness_grace,
                "silence of the witness before a pair goes on without it",
            ),
            (
                "startup_grace",
                self.startup_grace,
                "time for a node to appear before it is fenced at start-up",
            ),
            (
                "resume_grace",
                self.resume_grace,
                "the same after a restart of had within a boot",
            ),
            (
                "fence_retry",
                self.fence_retry,
                "first pause between attempts of a fence device",
            ),
        ]
    }
}

//! The situations, each with its name and its meaning.

macro_rules! situations {
    ($($variant:ident $name:literal $meaning:literal)*) => {
        /// A situation that a run has to reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Situation {
            $(#[doc = $meaning] $variant,)*
        }

        impl Situation {
            /// All of them.
            pub const ALL: [Situation; [$($name),*].len()] = [$(Situation::$variant),*];

            /// Its name in output.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Situation::$variant => $name,)* }
            }

            /// What it means, in a line.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Situation::$variant => $meaning,)* }
            }
        }
    };
}

situations! {
    // Who fences whom, and what is taken for a proof.
    RaceWonBySurvivor "race-won-by-the-survivor" "in a pair that lost contact the agreed survivor proved the other off"
    RaceWonByOther "race-won-by-the-other" "in a pair that lost contact the node that is not the survivor proved it off"
    BothFence "both-fence-each-other" "two nodes had a fence device of each other at work at the same time"
    FencedSilent "fenced-because-silent" "a node was fenced because it was not heard"
    FencedNeverHeard "fenced-because-never-heard" "a node was fenced because it was not heard since the fencing node started"
    FencedAgentGone "fenced-because-its-agents-are-gone" "a node was fenced because its agent process did not answer"
    FencedStuck "fenced-because-a-stop-is-stuck" "a node was fenced because a group could not be stopped on it"
    FencedOnRequest "fenced-on-request" "a node was fenced because an operator asked for it"
    DevicePretends "device-pretends" "a fence device exited 0 and the read-back said that the node was still on"
    DeviceFails "device-fails" "a fence device failed and was tried again later"
    SecondLevelProves "second-level-proves" "the first fence device failed and that of the next level gave the proof"
    RaceWonBySecond "race-of-methods-won-by-the-second" "of two methods of a level the second proved it while the first was still at work"
    LateAnswer "late-answer-noted" "a device that had lost the race of methods answered, and that was only noted"
    StaysOut "stays-out-first" "a node that was fenced more than once had to stay before the only voter let it vote again"
    FencedByTheDead "fenced-by-the-dead" "a device cut the power for a had that had meanwhile ended itself"
    VoteVoid "vote-void-on-return" "a proof that stood in for a vote was void because the node was heard with a new boot"
    IsolatedHoldsBack "isolated-node-holds-back" "a node that saw its own links down lost contact and fenced nobody"
    OrderProves "order-on-disks-proves" "an order on shared disks was the proof that a node is off"
    OrderObeyed "order-on-disks-obeyed" "a node read an order in its mailbox on a shared disk and ended"
    DisksExcused "disks-lost-with-a-quorum" "a node could not read enough shared disks and went on because it was part of a quorum"
    DisksLost "disks-lost-without-a-quorum" "a node could not read enough shared disks, was part of no quorum, and was petted no more"
    // Takeovers, by proof.
    TakeoverPower "takeover-on-power" "a group left a node on a power proof"
    TakeoverWatchdog "takeover-on-watchdog" "a group left a node because its watchdog must have fired"
    TakeoverLapse "takeover-on-lapse" "a group left a node because its permit had lapsed"
    TakeoverReset "takeover-on-reset" "a group left a boot of a node because that node answered with another boot"
    TakeoverOperator "takeover-on-an-operators-word" "a group left a node on the operator's word that it is off"
    MoveOnStop "move-on-confirmed-stop" "a group left a node that confirmed the stop"
    // Voters.
    VoterDropped "voter-dropped" "a data node was voted out"
    VoterRegained "voter-regained" "a data node was voted in again"
    WitnessDropped "witness-dropped" "the witness was voted out and the pair went on without it"
    WitnessRegained "witness-regained" "the witness was voted in again"
    SoleVoter "sole-voter" "one node became the only voter"
    BlankVoterDropped "blank-voter-dropped" "a voter that lost its disk was voted out"
    Withdrawn "addition-withdrawn" "a sole voter withdrew an addition that the new voter did not complete"
    JointElection "joint-election" "a node was elected while its committed and its accepted voters differed"
    QuorumForced "quorum-forced" "an operator made a node the only voter by force"
    ForceRefused "quorum-force-refused" "forcing quorum was refused because a voter could be heard"
    StrangerRefused "stranger-refused" "an acceptor refused a candidate that was no voter by what it had committed"
    // Leadership.
    AdoptsUncommitted "adopts-uncommitted" "a new leader adopted a state that nobody knew as committed"
    LeaseLost "lease-lost" "a leader stepped down because a majority did not answer"
    Deposed "deposed" "a leader stepped down because it learned of a higher ballot"
    LeaderReelected "restarted-leader-reelected" "a leader whose had was restarted within its boot was elected again"
    HandedOver "leadership-handed-over" "a node was elected because the leader stepped down in its favour"
    TransferRefused "transfer-refused" "a transfer of leadership came too late to be followed"
    BoundRefuses "bound-acceptor-refuses" "an acceptor refused a candidate because a lease that it backs had not ended"
    RestartedWaits "restarted-acceptor-waits" "an acceptor refused a candidate because it had itself just been restarted"
    StaleBallot "stale-ballot-refused" "an acceptor refused a ballot below the one it had promised"
    // Permits and stops.
    PermitLapsed "permit-lapsed" "a permit ended and its group was stopped without a word from had"
    LapsedAtTick "permit-lapsed-at-its-tick" "a running group's permit was looked at in the very microsecond in which it ended"
    PermitWithheld "permit-withheld" "a leader withheld the permit of a group whose move was in flight"
    PairKeepsRunning "pair-keeps-running" "a node of a pair renewed its permits although contact was lost and nobody led"
    StopBeforeAck "stop-before-ack" "an acceptor stopped a group before it acknowledged the state that takes it away"
    StopBeforeAdopt "stop-before-adoption" "a new leader stopped a group before it proposed the adopted state that takes it away"
    OldOrderRefused "old-order-refused" "an agent process refused an order of an older epoch or without a permit"
    RunsByNewerWord "runs-by-a-newer-word" "a restarted had found a group running by an assignment newer than its disk"
    ServicesSurvive "services-survive-had" "a restarted had found groups running and left them alone"
    // Machines, clocks, disks.
    WatchdogFired "watchdog-fired" "a watchdog reset its node"
    WeakerWatchdog "weaker-watchdog" "an agent process came back without the watchdog that others counted on, or with a slower one"
    OwnStall "own-stall-recognised" "a node noticed that it had been stalled itself"
    DeafNode "deaf-node" "a node was taken for lost because it heard nobody, although it was heard"
    ColdStartWaits "cold-start-waits" "a freshly booted node of a pair waited for its dead peer and fenced nobody"
    LeaderLosesDisk "leader-loses-its-disk" "a node that led came back without its state"
    RejoinsUnsynced "rejoins-unsynced" "a node that lost its state received it again and was synced in the same boot"
    FullDiskLeader "leader-with-a-full-disk" "a leader gave up leading because its state could not be written"
    DiskRecovered "disk-recovered" "a node that could not write its state could again"
    CrashInWrite "crash-in-a-write" "a had or its machine died while a record was being written"
    OldMessage "old-message-dropped" "a message from an earlier run of a member arrived after one from a later run"
    CaughtUp "reboot-caught-up" "a voter that had rebooted acknowledged a commit made for it and was synced"
    MixedVersions "mixed-versions" "two members of neighbouring versions spoke with each other"
    LaterVersion "later-version" "two members that were both upgraded spoke the later version"
    TooFarApart "versions-too-far-apart" "two members refused each other because of their versions"
    // Operators and services.
    MoveInFailover "move-during-failover" "an operator asked for a move while nobody led"
    MoveDone "move-done" "a group moved because an operator asked for it"
    ConfigInPartition "configuration-changed-in-a-partition" "a configuration was committed while the network was cut"
    AllStandby "all-standby" "every data node was in standby"
    Maintenance "lost-in-maintenance" "a node was lost during maintenance, when nobody fences"
    FailedHere "failed-and-moved" "a group failed on its node and was taken from it"
    FlapHeld "flap-budget-held" "a group that kept failing was held"
    // Jobs.
    JobBegun "job-begun" "a run of a job was given to a node"
    JobInterrupted "job-interrupted" "the node of a run was lost, fenced or booted anew while it ran"
    JobAgain "job-begun-again" "an interrupted run was begun again"
    JobSkipped "job-skipped" "what was due was left out, or its run could not begin"
    JobClockBack "job-clock-put-back" "by the clock of the one that leads something was due that is dealt with"
}

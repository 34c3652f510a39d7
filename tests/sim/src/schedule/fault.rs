//! What can go wrong, with all that it needs to go wrong the same way again.
//!
//! Members are given by number: 0 is the witness. Spans are in microseconds of true time.

#![expect(
    missing_docs,
    reason = "the sentence about each fault names its fields: members, spans, shares of a thousand"
)]

use serde::{Deserialize, Serialize};

/// One fault. Those that find nothing to do (a cut between a node and itself, power for what has power) do nothing, so that
/// any part of a schedule is a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum Fault {
    /// Nothing passes between two members.
    Cut { a: u8, b: u8 },
    /// Nothing passes in one direction.
    CutOneWay { from: u8, to: u8 },
    /// A member is cut off from all others.
    Isolate { node: u8 },
    /// Every link of a member is down, and it sees that.
    CarrierLost { node: u8 },
    /// Cuts, losses and delays end.
    HealNetwork,
    /// Messages are lost and doubled (of a thousand), and delayed by up to `jitter_us`, which also reorders them.
    Lossy {
        loss: u64,
        duplicate: u64,
        jitter_us: u64,
    },
    /// One direction takes this much longer.
    Delay { from: u8, to: u8, us: u64 },
    /// Old messages, also of earlier boots and runs of their senders, arrive once more at `to`.
    Replay { to: u8, count: u64 },
    /// `had` dies; systemd starts it again.
    KillHad { node: u8 },
    /// Another version of Holdfast, or of its codec, is installed on a member, which restarts `had`.
    Upgrade { node: u8, version: u32 },
    /// A member loses power.
    PowerLoss { node: u8 },
    /// All members lose power at once.
    SitePowerLoss,
    /// Whatever has no power gets it back.
    PowerReturns,
    /// One member gets its power back.
    PowerReturnsTo { node: u8 },
    /// A machine does nothing for a while (a paused guest, a stall of the kernel).
    PauseMachine { node: u8, us: u64 },
    /// `had` does nothing for a while.
    HangHad { node: u8, us: u64 },
    /// Each write takes up to `us` longer, for `for_us`.
    SlowDisk { node: u8, us: u64, for_us: u64 },
    /// No write ends for this long.
    StallDisk { node: u8, us: u64 },
    /// The disk fills up, or has room again.
    FullDisk { node: u8, full: bool },
    /// The next write does not end: `had`, or the machine with `power`, dies in it and leaves this behind.
    CrashInWrite { node: u8, power: bool, left: Left },
    /// The newest state file, or both, are damaged while nobody looks, and `had` is started again. (Damage to the older one
    /// alone shows nowhere: it is overwritten next.)
    CorruptDisk { node: u8 },
    /// The machine gets a new, empty disk, which takes `us`.
    ReplaceDisk { node: u8, us: u64 },
    /// The clock goes at another rate from now on.
    Drift { node: u8, ppm: i64 },
    /// The wall clock is set, to this much later or earlier.
    WallJump { node: u8, us: i64 },
    /// `had-agentd` is away for a while (a restart, or a hang); what it runs goes on.
    AgentAway { node: u8, us: u64 },
    /// The watchdog of a node has another timeout, or is none (0), from when it is opened the next time: at a boot, or when
    /// `had-agentd` starts while nothing runs.
    Watchdog { node: u8, us: u64 },
    /// Stops of groups that require fencing hang on a node for a while.
    StopHangs { node: u8, us: u64 },
    /// Starts hang on a node for a while.
    StartHangs { node: u8, us: u64 },
    /// Starts fail, of a thousand.
    StartFailures { permille: u64 },
    /// A group fails where it runs, beyond what a restart in place mends.
    ResourceFails { group: u16 },
    /// The monitor of a group says "failed" although all is well: `had-agentd` stops it and reports the failure.
    MonitorLies { group: u16 },
    /// Nothing of what is promoted elsewhere reaches the copies on a node for a while.
    ReplicaLags { node: u8, us: u64 },
    /// What runs unpromoted on a node fails, and cannot run for a while.
    MemberFails { node: u8, us: u64 },
    /// A fence device misbehaves. `device` counts the devices of the node.
    Device { node: u8, device: u8, mode: DeviceMode },
    /// A node no longer reaches one of the shared disks.
    DiskPathLost { node: u8, disk: u8 },
    /// Nobody reaches one of the shared disks.
    SharedDiskLost { disk: u8 },
    /// All shared disks are reached by all again.
    SharedDisksReturn,
    /// All fence devices of a node work.
    MendDevices { node: u8 },
    /// An operator at node `at` asks for something.
    Ask { at: u8, request: Request },
}

/// What a write that never ended left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Left {
    /// What was there before (the write is lost).
    Old,
    /// All of the new record, which nobody was told of.
    New,
    /// Half of it: the newest generation is garbage.
    Torn,
}

/// How a fence device behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceMode {
    /// It takes this much longer.
    Slow { us: u64 },
    /// It cannot be reached.
    Dead,
    /// It exits 0 and has done nothing.
    Pretends,
    /// It reports a timeout, and acts this much later.
    ActsLate { us: u64 },
    /// It turns off and then cannot turn on.
    OffOnly,
    /// Its status reads "on", or an error, half of the time.
    Flaps,
}

/// What an operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// `hactl move`.
    Move { group: u16, to: Option<u8> },
    /// `hactl move --accept-loss`.
    MoveAcceptingLoss { group: u16, to: u8 },
    /// `hactl standby` or `hactl online`.
    Standby { node: u8, on: bool },
    /// `hactl standby` for every node, at once.
    StandbyAll,
    /// `hactl fence`.
    Fence { node: u8 },
    /// `hactl fence confirm`, by an operator who has seen that the node is off. Otherwise not asked.
    FenceConfirm { node: u8 },
    /// `hactl quorum force`, by an operator who has seen that all others are off and that this node knows the newest state.
    /// Otherwise not asked. What follows is repair: the faults end.
    QuorumForce,
    /// `hactl maintenance`.
    Maintenance { on: bool },
    /// `hactl disable` or `hactl enable`.
    Enable { group: u16, on: bool },
    /// `hactl restart`.
    Restart { group: u16 },
    /// `hactl config apply`: another detection time.
    ApplyDetection { ms: u64 },
    /// `hactl config apply`: one group more.
    ApplyMoreGroups,
    /// `hactl config apply`: without the last group.
    ApplyFewerGroups,
}

//! What may go differently: each action but `Go` and the ends of earlier deviations costs one of the budget.

use std::fmt;

use holdfast_proto::ids::NodeId;

/// What happens at a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// What happens by default.
    Go,
    /// The packet that would arrive now is lost.
    Lose,
    /// It is late.
    Hold,
    /// A late packet arrives now.
    Release(usize),
    /// A late call to the register, or its answer, arrives now.
    ReleaseErrand(usize),
    /// The address of the register leads to another, empty one.
    RegisterReplaced,
    /// It leads to the former one again.
    RegisterBack,
    /// A node does not reach the shared disk any more.
    LoseSharedDisk(NodeId),
    /// It does again.
    FindSharedDisk(NodeId),
    /// Nothing passes between two members.
    Cut(NodeId, NodeId),
    /// Nothing passes from the first to the second.
    CutOneWay(NodeId, NodeId),
    /// All that passes from the first to the second is held for so many milliseconds.
    Slow(NodeId, NodeId, u64),
    /// Two members reach each other again.
    Heal(NodeId, NodeId),
    /// A machine loses power.
    PowerOff(NodeId),
    /// A machine that is off gets power.
    PowerOn(NodeId),
    /// The same with an empty disk.
    PowerOnWiped(NodeId),
    /// `had` dies; systemd starts it again.
    Kill(NodeId),
    /// Nothing on the machine is scheduled for so many milliseconds.
    Pause(NodeId, u64),
    /// `had` is not scheduled for so many milliseconds; the agent process is.
    Hang(NodeId, u64),
    /// Writes come to no end for a while.
    StallDisk(NodeId),
    /// They do, early.
    DiskRecovers(NodeId),
    /// The fence device at work cannot be reached.
    FenceRefuses(usize),
    /// The fence device at work exits 0 without having acted.
    FencePretends(usize),
    /// The fence device at work gives no answer in time, and may act later.
    FenceIsLate(usize),
    /// The fence device that was late acts.
    FenceActs(usize),
    /// The fence device at work acts and reads back, and its answer is late.
    FenceAnswerIsLate(usize),
    /// That answer arrives.
    FenceAnswers(usize),
    /// The stop under way of a group does not end.
    StopHangs(NodeId, usize),
    /// It does.
    StopEnds(NodeId, usize),
    /// An operator says, truly, that the second machine is off, at the first.
    Confirm(NodeId, NodeId),
    /// An operator has the second machine fenced, by the first.
    Fence(NodeId, NodeId),
    /// An operator forces quorum at a machine, all others being off.
    Force(NodeId),
    /// An operator moves a group.
    Move(usize, NodeId),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Go => write!(f, "go on"),
            Action::Lose => write!(f, "this packet is lost"),
            Action::Hold => write!(f, "this packet is late"),
            Action::Release(number) => write!(f, "late packet {number} arrives"),
            Action::ReleaseErrand(number) => {
                write!(f, "late call or answer {number} of the register arrives")
            }
            Action::RegisterReplaced => write!(f, "the register is another, empty one"),
            Action::RegisterBack => write!(f, "the register is the former one again"),
            Action::LoseSharedDisk(node) => write!(f, "{node} does not reach the shared disk any more"),
            Action::FindSharedDisk(node) => write!(f, "{node} reaches the shared disk again"),
            Action::Cut(a, b) => write!(f, "the link between {a} and {b} is cut"),
            Action::CutOneWay(a, b) => write!(f, "nothing arrives from {a} at {b}"),
            Action::Slow(a, b, ms) => write!(f, "everything from {a} to {b} is held for {ms} ms"),
            Action::Heal(a, b) => write!(f, "the link between {a} and {b} is whole again"),
            Action::PowerOff(node) => write!(f, "{node} loses power"),
            Action::PowerOn(node) => write!(f, "{node} gets power"),
            Action::PowerOnWiped(node) => write!(f, "{node} gets power, with an empty disk"),
            Action::Kill(node) => write!(f, "had on {node} is killed"),
            Action::Pause(node, ms) => write!(f, "{node} is paused for {ms} ms"),
            Action::Hang(node, ms) => write!(f, "had on {node} hangs for {ms} ms"),
            Action::StallDisk(node) => write!(f, "the disk of {node} stalls"),
            Action::DiskRecovers(node) => write!(f, "the disk of {node} goes on"),
            Action::FenceRefuses(_) => write!(f, "the fence device refuses"),
            Action::FencePretends(_) => write!(f, "the fence device exits 0 without acting"),
            Action::FenceIsLate(_) => write!(f, "the fence device does not answer in time"),
            Action::FenceActs(_) => write!(f, "the late fence device acts"),
            Action::FenceAnswerIsLate(_) => write!(f, "the fence device acts, and its answer is late"),
            Action::FenceAnswers(_) => write!(f, "the late answer of the fence device arrives"),
            Action::StopHangs(node, _) => write!(f, "the stop on {node} hangs"),
            Action::StopEnds(node, _) => write!(f, "the stop on {node} ends at last"),
            Action::Confirm(at, about) => write!(f, "an operator confirms on {at} that {about} is off"),
            Action::Fence(at, about) => write!(f, "an operator has {at} fence {about}"),
            Action::Force(at) => write!(f, "an operator forces quorum on {at}"),
            Action::Move(_, to) => write!(f, "an operator moves the group to {to}"),
        }
    }
}

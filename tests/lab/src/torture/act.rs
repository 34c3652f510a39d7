//! The faults that there are, as they are drawn from the seed: what, to whom, from when and until when.

use std::fmt;

use super::relay::Habit;

/// A data node by its place: 0 for n1, 1 for n2.
pub type Data = usize;

/// A member by its place: 0 for n1, 1 for n2, 2 for the witness.
pub type Member = usize;

/// Names of the members by place.
pub const NAMES: [&str; 3] = ["n1", "n2", "witness"];

/// The link in whose network the clients are.
const CLIENTS: u8 = 0;
/// A delay of that much on all links of a member, in milliseconds, takes a good part of a lease.
const NOTICED_MS: u64 = 150;

/// Processes of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Process {
    /// The cluster daemon.
    Had,
    /// The agents' daemon.
    Agentd,
    /// Both daemons.
    Both,
    /// Every process of the member.
    All,
}

/// What a member's links do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Nothing gets through.
    Cut,
    /// So many of a hundred packets are lost.
    Lossy(u32),
}

/// Which direction of traffic is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both.
    Both,
    /// What the first of two sends.
    There,
}

/// Which of the two links are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// One of them.
    One(u8),
    /// Both.
    Both,
}

/// What is wrong with a fence device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// It is off: nobody answers.
    Gone,
    /// It hangs: its address is there, and nothing comes back.
    Hung,
    /// It knows another password.
    Refuses,
    /// It answers after that many milliseconds.
    Slow(u64),
    /// It says yes and does nothing.
    Deaf,
    /// It says yes and does it that many milliseconds later.
    Late(u64),
}

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Moves the group to the other node.
    Move(usize),
    /// Takes a node out of service.
    Standby(Data),
    /// Takes both out of service.
    StandbyBoth,
    /// Fences a node, from the other one.
    Fence(Data),
    /// Restarts a group in place.
    Restart(usize),
    /// Keeps a group stopped.
    Disable(usize),
    /// Leaves all resources alone.
    Maintenance,
    /// Applies a configuration that changes a timer.
    Apply,
    /// Asks for the status, again and again, on every node.
    Storm,
    /// Restarts a daemon as an upgrade does.
    Upgrade(Member),
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// SIGKILL.
    Kill(Member, Process),
    /// SIGSTOP; SIGCONT when it is undone.
    Stop(Member, Process),
    /// SIGKILL to the service of the group at that place of [`super::GROUPS`], wherever it runs.
    KillService(usize),
    /// SIGSTOP to it.
    StopService(usize),
    /// The power goes; it comes back when it is undone.
    PowerOff(Member),
    /// The power of both data nodes goes.
    Blackout,
    /// The cable is pulled: the card sees it.
    Unplug(Member, Links),
    /// Packets between two members are lost; no card sees anything.
    Between(Member, Member, Way, Links, Wrong),
    /// The cable gets a box that delays, reorders and repeats.
    Relay(Member, Links, Habit),
    /// The disk of the member's state is full.
    DiskFull(Member),
    /// The node's fence device fails.
    Board(Data, Board),
    /// The nodes cannot reach any fence device.
    Unreachable(Data),
    /// The witness loses its state.
    Wipe,
    /// The node loses its power and boots with other clocks, so many seconds ahead.
    Clock(Member, u32),
    /// The node gets that percentage of one processor.
    Starve(Member, u32),
    /// An operator's order.
    Order(Order),
}

impl Act {
    /// What kind of fault it is, in one word for the report.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Act::Kill(..) | Act::KillService(_) => "kill",
            Act::Stop(_, Process::All) => "pause",
            Act::Stop(..) | Act::StopService(_) => "stop",
            Act::PowerOff(_) => "power-off",
            Act::Blackout => "blackout",
            Act::Unplug(..) => "unplug",
            Act::Between(_, _, Way::Both, _, Wrong::Cut) => "cut",
            Act::Between(_, _, Way::There, _, Wrong::Cut) => "one-way-cut",
            Act::Between(_, _, _, _, Wrong::Lossy(_)) => "loss",
            Act::Relay(_, _, habit) if habit.twice_percent > 0 => "duplication",
            Act::Relay(..) => "delay",
            Act::DiskFull(_) => "disk-full",
            Act::Board(_, Board::Gone) => "fence-gone",
            Act::Board(_, Board::Hung) => "fence-hung",
            Act::Board(_, Board::Refuses) => "fence-refuses",
            Act::Board(_, Board::Slow(_)) => "fence-slow",
            Act::Board(_, Board::Deaf) => "fence-deaf",
            Act::Board(_, Board::Late(_)) => "fence-late",
            Act::Unreachable(_) => "fence-unreachable",
            Act::Wipe => "wipe",
            Act::Clock(..) => "clock",
            Act::Starve(..) => "starve",
            Act::Order(order) => order.kind(),
        }
    }

    /// To whom, in words.
    #[must_use]
    pub fn target(&self) -> String {
        match *self {
            Act::Kill(member, process) | Act::Stop(member, process) => {
                format!("{}/{process}", NAMES[member])
            }
            Act::KillService(group) | Act::StopService(group) => super::GROUPS[group].into(),
            Act::Between(one, other, way, links, _) => {
                let arrow = if way == Way::Both { "-" } else { "->" };
                format!("{}{arrow}{} {links}", NAMES[one], NAMES[other])
            }
            Act::Unplug(member, links) | Act::Relay(member, links, _) => {
                format!("{} {links}", NAMES[member])
            }
            Act::Board(node, _) => format!("device of {}", NAMES[node]),
            Act::Unreachable(node) => format!("devices, from {}", NAMES[node]),
            Act::PowerOff(member)
            | Act::DiskFull(member)
            | Act::Clock(member, _)
            | Act::Starve(member, _) => NAMES[member].into(),
            Act::Blackout => "n1 and n2".into(),
            Act::Wipe => NAMES[2].into(),
            Act::Order(order) => order.target(),
        }
    }

    /// Members that may fall silent because of it, or seem to.
    #[must_use]
    pub fn hurts(&self) -> Vec<Member> {
        match *self {
            Act::Kill(member, Process::Both | Process::All)
            | Act::Stop(member, _)
            | Act::PowerOff(member)
            | Act::Clock(member, _)
            | Act::Starve(member, _)
            | Act::Unplug(member, Links::Both)
            | Act::Order(Order::Fence(member)) => vec![member],
            Act::Relay(member, Links::Both, habit) if habit.slowest_ms() >= NOTICED_MS => vec![member],
            Act::Between(one, other, _, Links::Both, _) => vec![one, other],
            Act::Blackout => vec![0, 1],
            _ => Vec::new(),
        }
    }

    /// Members with less to spare because of it: alone it does no harm, together with what happens to others it may.
    #[must_use]
    pub fn weakens(&self) -> Vec<Member> {
        match *self {
            Act::Kill(member, _) | Act::DiskFull(member) | Act::Order(Order::Upgrade(member)) => vec![member],
            Act::Wipe => vec![2],
            _ => self.hurts(),
        }
    }

    /// Groups that it is aimed at.
    #[must_use]
    pub fn groups(&self) -> Vec<usize> {
        match *self {
            Act::KillService(group)
            | Act::StopService(group)
            | Act::Order(Order::Move(group) | Order::Restart(group) | Order::Disable(group)) => vec![group],
            Act::Order(Order::StandbyBoth) => (0..super::GROUPS.len()).collect(),
            _ => Vec::new(),
        }
    }

    /// The node whose groups it stops or moves, or keeps from being reached by clients, although the node is well.
    #[must_use]
    pub fn empties(&self) -> Option<Data> {
        match *self {
            Act::Order(Order::Standby(node)) | Act::Unplug(node, Links::One(CLIENTS)) => Some(node),
            Act::Relay(node, Links::One(CLIENTS), habit) if habit.slowest_ms() >= NOTICED_MS => Some(node),
            _ => None,
        }
    }

    /// The link that it makes worse, where the other link goes on working.
    #[must_use]
    pub fn link(&self) -> Option<u8> {
        match *self {
            Act::Unplug(_, Links::One(link))
            | Act::Between(_, _, _, Links::One(link), _)
            | Act::Relay(_, Links::One(link), _) => Some(link),
            _ => None,
        }
    }
}

impl Habit {
    /// The longest delay of a frame, one way.
    #[must_use]
    pub fn slowest_ms(&self) -> u64 {
        self.out_ms.max(self.in_ms) + self.jitter_ms
    }
}

impl Order {
    fn kind(self) -> &'static str {
        match self {
            Order::Move(_) => "hactl-move",
            Order::Standby(_) | Order::StandbyBoth => "hactl-standby",
            Order::Fence(_) => "hactl-fence",
            Order::Restart(_) => "hactl-restart",
            Order::Disable(_) => "hactl-disable",
            Order::Maintenance => "hactl-maintenance",
            Order::Apply => "hactl-apply",
            Order::Storm => "hactl-storm",
            Order::Upgrade(_) => "restart-had",
        }
    }

    fn target(self) -> String {
        match self {
            Order::Move(group) | Order::Restart(group) | Order::Disable(group) => super::GROUPS[group].into(),
            Order::Standby(node) | Order::Fence(node) | Order::Upgrade(node) => NAMES[node].into(),
            Order::StandbyBoth => "n1 and n2".into(),
            Order::Maintenance | Order::Apply | Order::Storm => "cluster".into(),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match *self {
            Process::Had => "had",
            Process::Agentd => "had-agentd",
            Process::Both => "had and had-agentd",
            Process::All => "everything",
        })
    }
}

impl fmt::Display for Links {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Links::One(link) => write!(out, "link {link}"),
            Links::Both => out.write_str("all links"),
        }
    }
}

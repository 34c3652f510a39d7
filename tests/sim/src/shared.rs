//! Shared disks in the format of SBD, as far as they matter here: marks, orders, and who reaches which disk. What a node makes
//! of them is in `world::shared`.

use std::collections::{BTreeMap, BTreeSet};

use holdfast_proto::ids::NodeId;

/// Looks at a disk come this often.
pub const LOOP_US: u64 = 1_000_000;
/// Time allowed for one look.
pub const IO_US: u64 = 500_000;
/// Who wrote an order waits at least so long.
pub const MSGWAIT_US: u64 = 4_000_000;

/// One disk.
#[derive(Clone, Debug, Default)]
pub struct SharedDisk {
    /// Nobody reaches it.
    pub broken: bool,
    /// Who does not reach it.
    pub cut: BTreeSet<NodeId>,
    /// The boot that promised to obey what it reads here, by its number.
    pub marks: BTreeMap<NodeId, u64>,
    /// Orders that stand, by their number.
    pub orders: BTreeMap<NodeId, u64>,
}

/// The disks of a cluster.
#[derive(Clone, Debug, Default)]
pub struct SharedDisks {
    /// Each of them.
    pub disks: Vec<SharedDisk>,
    /// The number of the latest order.
    pub orders: u64,
}

impl SharedDisks {
    /// So many disks, all well.
    #[must_use]
    pub fn new(count: u8) -> SharedDisks {
        SharedDisks {
            disks: vec![SharedDisk::default(); count.into()],
            orders: 0,
        }
    }

    /// The disks that `node` reaches.
    #[must_use]
    pub fn reached_by(&self, node: NodeId) -> Vec<usize> {
        let all = self.disks.iter().enumerate();
        all.filter(|(_, disk)| !disk.broken && !disk.cut.contains(&node))
            .map(|(number, _)| number)
            .collect()
    }

    /// On how many an order has to stand.
    #[must_use]
    pub fn write_quorum(&self) -> usize {
        self.disks.len() / 2 + 1
    }

    /// How many have to be read so that no order is missed.
    #[must_use]
    pub fn read_quorum(&self) -> usize {
        self.disks.len() + 1 - self.write_quorum()
    }

    /// All of them are well again.
    pub fn mend(&mut self) {
        for disk in &mut self.disks {
            disk.broken = false;
            disk.cut.clear();
        }
    }
}

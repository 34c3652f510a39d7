//! A witness that is kept on shared disks: the agent process of each data node has a processor, which reads and writes blocks.
//! The disks stand in an array, which is the witness's machine, so that the faults of that machine are those of the array: away,
//! slow, full, cut from one node or in one direction (which holds back an answer though the write was done), emptied. Of three
//! disks one is away by itself now and then. What a machine had under way when it died may be done long after.

use std::time::Duration;

use holdfast_core::witness::record::{Head, Record};
use holdfast_core::witness::{Call, CallId, Input, Op, Outcome};
use holdfast_proto::ids::NodeId;
use holdfast_sbd::register::{self, Block, Done, Me, Processor, RING, Snapshot, Value, Work};
use holdfast_sbd::write_quorum;

use super::World;
use super::register::{Errand, durable};
use crate::rng::{Purpose, Rng};

/// A call is given up after this, before the proxy does.
const PATIENCE: Duration = Duration::from_millis(900);
/// What cannot reach a disk is tried again after this.
const AGAIN_US: u64 = 20_000;
/// One of three disks is away for a while of this length, in some of them.
const WHILE_US: u64 = 3_000_000;

/// A record, by the name of its head.
#[derive(Clone, Debug, PartialEq)]
pub struct Held(Record);

impl Value for Held {
    type Name = Head;
    fn name(&self) -> Head {
        self.0.head
    }
}

/// The disks of the array.
#[derive(Clone, Debug, Default)]
pub struct WitnessDisks {
    /// Which register they hold: another one each time they are emptied.
    register: u128,
    blocks: Vec<Vec<Block<Held>>>,
    /// The ballot of the newest value that stands on a majority.
    chosen: register::Ballot,
}

impl WitnessDisks {
    /// So many, for so many nodes.
    pub fn new(disks: usize, nodes: usize) -> WitnessDisks {
        let blocks = vec![Block::unused(); nodes * RING];
        WitnessDisks {
            register: 1,
            blocks: vec![blocks; disks],
            chosen: register::Ballot::ZERO,
        }
    }

    fn empty(&mut self) {
        let nodes = self.blocks.first().map_or(0, |blocks| blocks.len() / RING);
        *self = WitnessDisks {
            register: self.register + 1,
            ..WitnessDisks::new(self.blocks.len(), nodes)
        };
    }
}

/// What the agent process of a node has to do with them.
#[derive(Debug, Default)]
pub struct DiskPart {
    processor: Option<Processor<Held>>,
    /// Work that has not ended: while there is some, no other process begins.
    under_way: usize,
    runs: u128,
    /// The run of the daemon that asked last.
    asker: u64,
    wakes_at: Option<u64>,
}

impl DiskPart {
    /// The process ends.
    pub fn end(&mut self) {
        self.processor = None;
    }

    /// So does the whole machine: nobody waits for what it had under way.
    pub fn reboot(&mut self) {
        (self.processor, self.under_way, self.wakes_at) = (None, 0, None);
    }
}

/// Work on its way to a disk.
#[derive(Clone, Debug)]
pub(super) struct DiskJob {
    boots: u64,
    disk: usize,
    work: Work<Held>,
    read: Vec<Block<Held>>,
    done: Option<Result<(), String>>,
}

impl World {
    /// A call reaches the agent process of its node, if that is there.
    pub(super) fn call_disks(&mut self, node: NodeId, run: u64, call: Call) {
        let (now_us, disks) = (self.now_us, self.disks.blocks.len());
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.run != run || machine.agent_free_us() > now_us {
            return;
        }
        let (local, boot, boots) = (machine.local(now_us), machine.boot().0, machine.boots);
        let part = &mut machine.disk_part;
        if part.processor.is_none() {
            if part.under_way > 0 {
                return;
            }
            part.runs += 1;
            let run = u128::from(node.0) << 96 | u128::from(boots) << 48 | part.runs;
            let me = Me {
                node: node.0,
                boot,
                run,
            };
            part.processor = Some(Processor::new(me, disks));
        }
        part.asker = run;
        let op = match call.op {
            Op::Read => register::Op::Read,
            Op::Swap { expect, write } => register::Op::Swap {
                expect,
                write: Held(*write),
            },
        };
        if let Some(processor) = &mut part.processor {
            processor.call(local, call.id.0, op, local + PATIENCE);
        }
        self.follow_disks(node);
    }

    /// A deadline of the processor may have passed.
    pub(super) fn wake_disks(&mut self, node: NodeId, boots: u64) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != boots {
            return;
        }
        let (local, free_us) = (machine.local(now_us), machine.agent_free_us());
        machine.disk_part.wakes_at = None;
        if free_us > now_us {
            machine.disk_part.wakes_at = Some(free_us);
            return self.run_errand(free_us, node, 0, Errand::WakeDisks { boots });
        }
        if let Some(processor) = &mut machine.disk_part.processor
            && processor.poll_timeout().is_some_and(|at| at <= local)
        {
            processor.timeout(local);
        }
        self.follow_disks(node);
    }

    /// Carries out what the processor asks for.
    fn follow_disks(&mut self, node: NodeId) {
        let now_us = self.now_us;
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        let (boots, asker) = (machine.boots, machine.disk_part.asker);
        let Some(processor) = &mut machine.disk_part.processor else {
            return;
        };
        let asks: Vec<_> = std::iter::from_fn(|| processor.poll_ask()).collect();
        let answer = processor.poll_answer();
        let deadline = processor.poll_timeout();
        machine.disk_part.under_way += asks.len();
        let due = deadline.map(|at| machine.true_us(at).max(now_us + 1));
        let wake = due.filter(|at| machine.disk_part.wakes_at.is_none_or(|known| *at < known));
        if let Some(at) = wake {
            machine.disk_part.wakes_at = Some(at);
            self.run_errand(at, node, 0, Errand::WakeDisks { boots });
        }
        if let Some((id, outcome)) = answer {
            let outcome = match outcome {
                register::Outcome::Swapped => Outcome::Swapped,
                register::Outcome::Content(held) => Outcome::Content(held.map(|held| held.0)),
                register::Outcome::Failed(why) => Outcome::Failed(why),
            };
            let told = Errand::Give(Input::Answer(CallId(id), outcome));
            self.run_errand(now_us + 100, node, asker, told);
        }
        for ask in asks {
            let mut dice = self.dice(Purpose::Disk, node, NodeId::WITNESS);
            let takes = if !self.healed && dice.chance(2) {
                dice.range(1_000, 2_000_000)
            } else {
                dice.range(100, 3_000)
            };
            let job = DiskJob {
                boots,
                disk: ask.disk,
                work: ask.work,
                read: Vec::new(),
                done: None,
            };
            self.run_errand(now_us + takes, node, 0, Errand::Disk(job));
        }
    }

    /// Work goes on at its disk, or has ended there.
    pub(super) fn work_on_disk(&mut self, node: NodeId, mut job: DiskJob) {
        if let Some(done) = job.done.clone() {
            return self.end_disk_job(node, job, done);
        }
        let late = self
            .machines
            .get(&node)
            .is_some_and(|machine| machine.boots != job.boots);
        if late && !self.may_come_late(node, &job) {
            return;
        }
        let mut dice = self.dice(Purpose::Disk, node, NodeId(job.disk as u8 + 1));
        if let Some(at) = self.disk_is_away(node, job.disk) {
            if dice.chance(10) {
                job.done = Some(Err("input/output error".into()));
            }
            return self.run_errand(at, node, 0, Errand::Disk(job));
        }
        let at = self.now_us + dice.range(20, 400);
        match job.work.clone() {
            Work::Read { .. } => {
                let blocks = &self.disks.blocks[job.disk];
                let upto = if job.read.is_empty() {
                    dice.range(1, blocks.len() as u64) as usize
                } else {
                    blocks.len()
                };
                job.read.extend(blocks[job.read.len()..upto].iter().cloned());
                if job.read.len() == blocks.len() {
                    job.done = Some(Ok(()));
                }
            }
            Work::Write {
                register,
                place,
                block,
            } => {
                job.done = Some(self.write_block(&job, register, place, block, &mut dice));
                if late {
                    self.trace.add(self.now_us, Some(node), || {
                        format!("a write of boot {} reaches disk {}", job.boots, job.disk + 1)
                    });
                }
            }
        }
        self.run_errand(at, node, 0, Errand::Disk(job));
    }

    /// A write of a boot that is over comes before so many boots more; its first one before the next boot has a block.
    fn may_come_late(&self, node: NodeId, job: &DiskJob) -> bool {
        let Work::Write { place, block, .. } = &job.work else {
            return false;
        };
        let holds = |blocks: &&Vec<Block<Held>>| blocks[*place].boot == block.boot;
        let known = self.disks.blocks.iter().filter(holds).count() >= write_quorum(self.disks.blocks.len());
        let boots = self.machines[&node].boots;
        known && boots + 1 < job.boots + RING as u64
    }

    /// When to look again, if this node cannot reach that disk now.
    fn disk_is_away(&self, node: NodeId, disk: usize) -> Option<u64> {
        let (now_us, array) = (self.now_us, &self.machines[&NodeId::WITNESS]);
        let alone = self.disks.blocks.len() > 1 && {
            let mut dice = Rng::of(&[self.seed, 0xd15c, now_us / WHILE_US]);
            !self.healed && dice.range(0, 6) == disk as u64
        };
        let cut = self.network.cut.contains(&(node, NodeId::WITNESS));
        let away = !array.serves || alone || cut || array.had_free_us() > now_us;
        away.then_some(now_us + AGAIN_US)
    }

    fn write_block(
        &mut self,
        job: &DiskJob,
        register: u128,
        place: usize,
        block: Block<Held>,
        dice: &mut Rng,
    ) -> Result<(), String> {
        if register != self.disks.register {
            return Err("it was made anew".into());
        }
        let full = self
            .machines
            .get(&NodeId::WITNESS)
            .is_some_and(|array| array.disk.full);
        let fails = !self.healed && dice.chance(2);
        if full || fails && dice.chance(500) {
            return Err("no space left on device".into());
        }
        self.disks.blocks[job.disk][place] = block.clone();
        self.note_chosen(place, &block);
        if fails {
            Err("input/output error".into())
        } else {
            Ok(())
        }
    }

    /// Whoever asks what is on the disk of the witness is told what stands on a majority.
    fn note_chosen(&mut self, place: usize, block: &Block<Held>) {
        let disks = &mut self.disks;
        let stands = |blocks: &&Vec<Block<Held>>| blocks[place].accepted == block.accepted;
        let standing = disks.blocks.iter().filter(stands).count();
        if block.accepted <= disks.chosen || standing < write_quorum(disks.blocks.len()) {
            return;
        }
        disks.chosen = block.accepted;
        if let (Some(held), Some(array)) = (&block.value, self.machines.get_mut(&NodeId::WITNESS)) {
            array.disk.hold(durable(&held.0));
        }
    }

    /// The machine hears of it once the way back is open and it can run.
    fn end_disk_job(&mut self, node: NodeId, job: DiskJob, done: Result<(), String>) {
        let (now_us, register) = (self.now_us, self.disks.register);
        let Some(machine) = self.machines.get_mut(&node) else {
            return;
        };
        if machine.boots != job.boots {
            return;
        }
        let cut = self.network.cut.contains(&(NodeId::WITNESS, node));
        let free_us = if cut {
            now_us + AGAIN_US
        } else {
            machine.paused_until_us
        };
        if free_us > now_us {
            return self.run_errand(free_us, node, 0, Errand::Disk(job));
        }
        let local = machine.local(now_us);
        machine.disk_part.under_way -= 1;
        let done = match job.work {
            Work::Write { .. } => Done::Wrote(done),
            Work::Read { .. } => Done::Read(done.map(|()| Snapshot {
                register,
                blocks: job.read,
            })),
        };
        if let Some(processor) = &mut machine.disk_part.processor {
            processor.handle(local, job.disk, done);
        }
        self.follow_disks(node);
    }

    /// The array serves, with what its disks hold: nothing, if that was lost.
    pub(super) fn start_array(&mut self) {
        let now_us = self.now_us;
        let Some(array) = self.machines.get_mut(&NodeId::WITNESS) else {
            return;
        };
        let lost = array.disk.load().is_none() && self.disks.chosen > register::Ballot::ZERO;
        array.serves = true;
        array.incarnation.0 = array.heard_of.0 + 1;
        if lost {
            self.disks.empty();
        }
        self.trace.add(now_us, Some(NodeId::WITNESS), || {
            format!(
                "the array serves{}",
                if lost { ", its disks made anew" } else { "" }
            )
        });
    }
}

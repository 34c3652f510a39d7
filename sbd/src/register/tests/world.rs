//! Machines and disks in steps of a millisecond.

use std::time::Duration;

use holdfast_proto::time::Time;

use super::history::History;
use super::{Block, Done, Link, Op, Outcome, Processor, RING, Snapshot, Work};
use crate::register::Me;

#[derive(Clone, Copy)]
pub(super) struct Plan {
    pub disks: usize,
    pub nodes: u8,
}

#[derive(Clone, Debug)]
struct Disk {
    blocks: Vec<Block<Link>>,
    dead_until: u64,
}

/// Work that a disk has not ended.
#[derive(Clone, Debug)]
struct Job {
    node: usize,
    disk: usize,
    work: Work<Link>,
    due: u64,
    /// Blocks that a reading has come to.
    read: Vec<Block<Link>>,
    /// It will end with an error, done or not.
    fails: bool,
}

struct Machine {
    processor: Option<Processor<Link>>,
    boots: u64,
    up_at: u64,
    /// The call under way, by its number in the history.
    call: Option<usize>,
    /// What it saw last.
    seen: Option<Link>,
}

pub(super) struct World {
    plan: Plan,
    dice: u64,
    now: u64,
    disks: Vec<Disk>,
    machines: Vec<Machine>,
    jobs: Vec<Job>,
    /// Writes of boots that are over: when, and until which boot of that machine they come at all.
    late: Vec<(u64, u64, Job)>,
    pub(super) history: History,
    values: u32,
    runs: u128,
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan) -> World {
        let disk = Disk {
            blocks: vec![Block::unused(); RING * usize::from(plan.nodes)],
            dead_until: 0,
        };
        let machine = |_| Machine {
            processor: None,
            boots: 0,
            up_at: 0,
            call: None,
            seen: None,
        };
        World {
            plan,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            now: 1,
            disks: vec![disk; plan.disks],
            machines: (0..plan.nodes).map(machine).collect(),
            jobs: Vec::new(),
            late: Vec::new(),
            history: History::default(),
            values: 0,
            runs: 0,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % end
    }

    fn time(&self) -> Time {
        Time(self.now * 1000)
    }

    pub(super) fn rage(&mut self, steps: u64) {
        for _ in 0..steps {
            self.now += 1;
            for node in 0..self.machines.len() {
                self.live(node);
            }
            if self.disks.len() > 1 && self.below(200) == 0 {
                // At most one is away at a time.
                let away = self.disks.iter().any(|disk| disk.dead_until > self.now);
                let disk = self.below(self.disks.len() as u64) as usize;
                if !away {
                    self.disks[disk].dead_until = self.now + self.below(400);
                }
            }
            self.arrive_late();
            self.work();
        }
    }

    /// What happens on a machine.
    fn live(&mut self, node: usize) {
        let now = self.time();
        if self.machines[node].processor.is_none() {
            if self.machines[node].up_at <= self.now {
                self.start(node, true);
            }
            return;
        }
        match self.below(700) {
            0 => return self.crash(node),
            // Only the process, which ends when its work has.
            1 if !self.jobs.iter().any(|job| job.node == node) => return self.start(node, false),
            _ => {}
        }
        if self.machines[node].call.is_none() && self.below(3) == 0 {
            self.ask(node);
        }
        let due = |processor: &Processor<Link>| processor.poll_timeout().is_some_and(|at| at <= now);
        if let Some(processor) = self.machines[node].processor.as_mut().filter(|it| due(it)) {
            processor.timeout(now);
        }
        self.collect(node);
    }

    fn start(&mut self, node: usize, boots: bool) {
        self.runs += 1;
        let machine = &mut self.machines[node];
        machine.boots += u64::from(boots);
        let me = Me {
            node: node as u8 + 1,
            boot: u128::from(machine.boots) * 16 + node as u128 + 1,
            run: self.runs,
        };
        machine.processor = Some(Processor::new(me, self.plan.disks));
        machine.call = None;
    }

    fn crash(&mut self, node: usize) {
        let up_at = self.now + 1 + self.below(60);
        let machine = &mut self.machines[node];
        (machine.processor, machine.call, machine.up_at) = (None, None, up_at);
        // It comes before so many boots more, because one after them takes the same block again.
        let until = machine.boots + RING as u64 - 1;
        let (own, others) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|job| job.node == node);
        self.jobs = others;
        let own: Vec<Job> = own;
        for job in own {
            // The first write of a boot is what gives it its block: that it comes later than the next boot is excluded.
            let first = matches!(&job.work, Work::Write { place, block, .. }
                if self.disks.iter().filter(|disk| disk.blocks[*place].boot == block.boot).count() <= self.disks.len() / 2);
            match self.below(3) {
                0 if matches!(job.work, Work::Write { .. }) && !first => {
                    let due = self.now + self.below(1_500);
                    self.late.push((due, until, job));
                }
                1 => self.carry_out(&job),
                _ => {}
            }
        }
    }

    fn arrive_late(&mut self) {
        let late = std::mem::take(&mut self.late);
        for (due, until, job) in late {
            if self.machines[job.node].boots >= until {
                // It never came.
            } else if due <= self.now {
                self.carry_out(&job);
            } else {
                self.late.push((due, until, job));
            }
        }
    }

    fn ask(&mut self, node: usize) {
        let after = self.machines[node].seen.map(|link| link.id);
        let swaps = self.below(3) != 0;
        let op = if swaps {
            self.values += 1;
            let write = Link {
                id: self.values,
                after,
            };
            Op::Swap { expect: after, write }
        } else {
            Op::Read
        };
        let write = match &op {
            Op::Swap { write, .. } => Some(*write),
            Op::Read => None,
        };
        let call = self.history.begin(self.now * 2, write);
        let (now, until) = (
            self.time(),
            self.time() + Duration::from_millis(50 + self.below(400)),
        );
        let machine = &mut self.machines[node];
        machine.call = Some(call);
        if let Some(processor) = &mut machine.processor {
            processor.call(now, call as u64, op, until);
        }
    }

    /// What the processor asks for, and what it answers.
    fn collect(&mut self, node: usize) {
        let machine = &mut self.machines[node];
        let Some(processor) = &mut machine.processor else {
            return;
        };
        let asks: Vec<_> = std::iter::from_fn(|| processor.poll_ask()).collect();
        if let Some((call, outcome)) = processor.poll_answer() {
            assert_eq!(machine.call.map(|call| call as u64), Some(call));
            machine.call = None;
            if let Outcome::Content(held) = &outcome {
                machine.seen = *held;
            }
            self.history.end(call as usize, self.now * 2 + 1, outcome);
        }
        for ask in asks {
            let takes = if self.below(8) == 0 {
                self.below(150)
            } else {
                self.below(6)
            };
            let fails = self.below(40) == 0;
            self.jobs.push(Job {
                node,
                disk: ask.disk,
                work: ask.work,
                due: self.now + takes,
                read: Vec::new(),
                fails,
            });
        }
    }

    fn carry_out(&mut self, job: &Job) {
        if let Work::Write { place, block, .. } = &job.work {
            self.disks[job.disk].blocks[*place] = block.clone();
        }
    }

    /// Goes on with what disks have to do. A reading comes to the blocks one after the other.
    fn work(&mut self) {
        let jobs = std::mem::take(&mut self.jobs);
        for mut job in jobs {
            let dead = self.disks[job.disk].dead_until > self.now;
            if dead || job.due > self.now {
                self.jobs.push(job);
                continue;
            }
            match &job.work {
                Work::Read { .. } => {
                    let blocks = &self.disks[job.disk].blocks;
                    let reach = job.read.len() + 1 + (self.dice % 40) as usize;
                    job.read
                        .extend(blocks.iter().take(reach).skip(job.read.len()).cloned());
                    if job.read.len() < blocks.len() {
                        self.jobs.push(job);
                        continue;
                    }
                }
                Work::Write { .. } if job.fails && self.below(2) == 0 => {}
                Work::Write { .. } => self.carry_out(&job),
            }
            self.end(job);
        }
    }

    fn end(&mut self, job: Job) {
        let failed = || "input/output error".to_string();
        let done = match job.work {
            Work::Read { .. } if job.fails => Done::Read(Err(failed())),
            Work::Read { wanted } => Done::Read(Ok(Snapshot {
                register: 7,
                blocks: shown(job.read, wanted),
            })),
            Work::Write { .. } if job.fails => Done::Wrote(Err(failed())),
            Work::Write { .. } => Done::Wrote(Ok(())),
        };
        let now = self.time();
        if let Some(processor) = &mut self.machines[job.node].processor {
            processor.handle(now, job.disk, done);
        }
        self.collect(job.node);
    }
}

/// With the values that a disk gives, and no others.
fn shown(mut blocks: Vec<Block<Link>>, wanted: Option<usize>) -> Vec<Block<Link>> {
    let top = blocks.iter().map(|block| block.accepted).max();
    for (index, block) in blocks.iter_mut().enumerate() {
        if Some(block.accepted) != top && wanted != Some(index) {
            block.value = None;
        }
    }
    blocks
}

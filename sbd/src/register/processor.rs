//! The algorithm, for one run of the process that owns the node's blocks. No I/O, no clock.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::place::{self, Place};
use super::stage::{Progress, Seen, Stage, look, newest};
use super::{Ask, Ballot, Block, Done, Op, Outcome, Snapshot, Value, Work};
use crate::write_quorum;

/// A disk that failed is asked again after this.
const RETRY: Duration = Duration::from_millis(250);
/// So often it is looked again before a reader writes.
const LOOKS: u32 = 4;
/// Pause after somebody else was faster, at least; it doubles a few times.
const PAUSE: Duration = Duration::from_millis(2);
const DOUBLED_MAX: u32 = 5;
/// No disk gives that.
const NOT_READ: &str = "a value was accepted and is not there";

/// Who this is.
#[derive(Clone, Copy, Debug)]
pub struct Me {
    /// Number of the node, from 1.
    pub node: u8,
    /// The boot, as the kernel names it.
    pub boot: u128,
    /// A number that no other run has: random.
    pub run: u128,
}

/// The algorithm.
#[derive(Clone, Debug)]
pub struct Processor<V: Value> {
    me: Me,
    now: Time,
    disks: Vec<DiskState<V>>,
    /// The register, once a majority of disks named the same.
    register: Option<u128>,
    place: Option<Place>,
    own: Option<Block<V>>,
    /// Highest round that was seen.
    round: u64,
    task: Option<Task<V>>,
    /// Number of the present step.
    step: u64,
    dice: u64,
    asks: VecDeque<Ask<V>>,
    answer: Option<(u64, Outcome<V>)>,
}

#[derive(Clone, Debug)]
struct DiskState<V> {
    /// The step for which work is under way.
    busy: Option<u64>,
    progress: Progress<V>,
    retry_at: Option<Time>,
    /// Why it failed last; empty if it did not.
    trouble: String,
}

#[derive(Clone, Debug)]
struct Task<V: Value> {
    id: u64,
    op: Op<V>,
    until: Time,
    stage: Stage<V>,
    looks: u32,
    tries: u32,
    paused_until: Option<Time>,
    /// The ballot of this attempt.
    ballot: Ballot,
}

impl<V: Value> Processor<V> {
    /// One that knows nothing yet of `disks` disks.
    #[must_use]
    pub fn new(me: Me, disks: usize) -> Processor<V> {
        let idle = DiskState {
            busy: None,
            progress: Progress::default(),
            retry_at: None,
            trouble: String::new(),
        };
        Processor {
            me,
            now: Time::ZERO,
            disks: vec![idle; disks],
            register: None,
            place: None,
            own: None,
            round: 0,
            task: None,
            step: 0,
            dice: (me.run as u64) | 1,
            asks: VecDeque::new(),
            answer: None,
        }
    }

    /// Begins a call, which is answered by `until`. One that is under way is given up.
    pub fn call(&mut self, now: Time, id: u64, op: Op<V>, until: Time) {
        self.now = now;
        self.answer = None;
        self.task = Some(Task {
            id,
            op,
            until,
            stage: Stage::Choose,
            looks: 0,
            tries: 0,
            paused_until: None,
            ballot: Ballot::ZERO,
        });
        if self.own.is_some() {
            self.begin();
        } else {
            self.enter(Stage::Choose);
        }
        self.go_on();
    }

    /// Work on a disk has ended.
    pub fn handle(&mut self, now: Time, disk: usize, done: Done<V>) {
        self.now = now;
        let Some(state) = self.disks.get_mut(disk) else {
            return;
        };
        let of_step = state.busy.take();
        if of_step == Some(self.step) && self.task.is_some() {
            match done {
                Done::Wrote(Ok(())) => state.progress.wrote = true,
                Done::Read(Ok(snapshot)) => self.take(disk, snapshot),
                Done::Wrote(Err(why)) | Done::Read(Err(why)) => self.fail(disk, why),
            }
        }
        self.go_on();
    }

    /// The deadline of [`Processor::poll_timeout`] has passed.
    pub fn timeout(&mut self, now: Time) {
        self.now = now;
        if self.task.as_ref().is_some_and(|task| task.until <= now) {
            let why = self.describe();
            self.finish(Outcome::Failed(why));
            if self.disks.iter().any(|disk| !disk.trouble.is_empty()) {
                // They may have been made anew. Then what was known is of no use; if not, it is found there again.
                (self.own, self.place, self.register) = (None, None, None);
            }
        }
        self.go_on();
    }

    /// When [`Processor::timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        let task = self.task.as_ref()?;
        let retries = self.disks.iter().filter_map(|disk| disk.retry_at);
        let pause = task.paused_until.into_iter();
        pause.chain(retries).chain([task.until]).min()
    }

    /// The next work on a disk.
    pub fn poll_ask(&mut self) -> Option<Ask<V>> {
        self.asks.pop_front()
    }

    /// How a call ended.
    pub fn poll_answer(&mut self) -> Option<(u64, Outcome<V>)> {
        self.answer.take()
    }

    /// What each disk said last when it failed; empty for one that works.
    pub fn troubles(&self) -> impl Iterator<Item = &str> {
        self.disks.iter().map(|disk| disk.trouble.as_str())
    }

    fn quorum(&self) -> usize {
        write_quorum(self.disks.len())
    }

    fn begin(&mut self) {
        match self.task.as_ref().map(|task| &task.op) {
            Some(Op::Read) => self.enter(Stage::Look),
            Some(Op::Swap { .. }) => self.prepare(),
            None => {}
        }
    }

    fn enter(&mut self, stage: Stage<V>) {
        self.step += 1;
        for disk in &mut self.disks {
            (disk.progress, disk.retry_at) = (Progress::default(), None);
        }
        if let Some(task) = &mut self.task {
            task.stage = stage;
        }
    }

    /// Begins a ballot above every one that was seen.
    fn prepare(&mut self) {
        let Some(block) = &mut self.own else { return };
        self.round = self.round.max(block.begun.round) + 1;
        block.begun = Ballot {
            round: self.round,
            run: self.me.run,
        };
        let ballot = block.begun;
        if let Some(task) = &mut self.task {
            task.ballot = ballot;
        }
        self.enter(Stage::Prepare);
    }

    fn go_on(&mut self) {
        let Some(task) = &mut self.task else { return };
        if task.paused_until.is_some_and(|until| until > self.now) {
            return;
        }
        task.paused_until = None;
        let (writes, reads) = (task.stage.writes(), task.stage.reads());
        let recovers = matches!(task.stage, Stage::Recover);
        let wanted = self.place.filter(|_| recovers).map(|place| place.index);
        for (number, disk) in self.disks.iter_mut().enumerate() {
            let rests = disk.retry_at.is_some_and(|at| at > self.now);
            if disk.busy.is_some() || rests || disk.progress.read.len() >= reads {
                continue;
            }
            let work = match (&self.own, self.place, self.register) {
                (Some(block), Some(place), Some(register)) if writes && !disk.progress.wrote => Work::Write {
                    register,
                    place: place.index,
                    block: block.clone(),
                },
                _ => Work::Read { wanted },
            };
            (disk.busy, disk.retry_at) = (Some(self.step), None);
            self.asks.push_back(Ask { disk: number, work });
        }
    }

    fn fail(&mut self, disk: usize, why: String) {
        let state = &mut self.disks[disk];
        state.trouble = why;
        state.retry_at = Some(self.now + RETRY);
    }

    fn take(&mut self, disk: usize, snapshot: Snapshot<V>) {
        if self
            .register
            .is_some_and(|register| register != snapshot.register)
        {
            return self.fail(
                disk,
                "it was made for another register: make all disks of one in one go".into(),
            );
        }
        let rounds = snapshot
            .blocks
            .iter()
            .map(|block| block.begun.round.max(block.accepted.round));
        self.round = rounds.max().unwrap_or(0).max(self.round);
        let highest = snapshot.blocks.iter().map(|block| block.begun).max();
        let state = &mut self.disks[disk];
        state.trouble.clear();
        state.progress.read.push(snapshot);
        let Some(task) = &self.task else { return };
        if task.stage.writes() && highest > Some(task.ballot) {
            return self.give_way();
        }
        self.conclude();
    }

    /// Somebody has begun a higher ballot.
    fn give_way(&mut self) {
        let pause = self.pause();
        let Some(task) = &mut self.task else { return };
        task.tries += 1;
        task.looks = 0;
        task.paused_until = Some(self.now + pause);
        self.begin();
    }

    fn pause(&mut self) -> Duration {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        let tries = self.task.as_ref().map_or(0, |task| task.tries).min(DOUBLED_MAX);
        let least = PAUSE * 2u32.pow(tries);
        least + least * ((self.dice % 256) as u32) / 256
    }

    /// What follows once enough disks are through with this step.
    fn conclude(&mut self) {
        let Some(task) = &self.task else { return };
        let reads = task.stage.reads();
        let through: Vec<&Progress<V>> = self
            .disks
            .iter()
            .map(|disk| &disk.progress)
            .filter(|progress| progress.read.len() >= reads)
            .collect();
        if through.len() < self.quorum() {
            return;
        }
        match &task.stage {
            Stage::Choose => self.choose(),
            Stage::Recover => self.recover(),
            Stage::Look => match look(&through, self.quorum()) {
                Seen::Empty => self.finish(Outcome::Content(None)),
                Seen::Chosen(value) => self.finish(Outcome::Content(Some(value))),
                Seen::Unclear => self.look_again(),
            },
            Stage::Prepare => {
                let blocks = through
                    .iter()
                    .flat_map(|disk| &disk.read)
                    .flat_map(|one| &one.blocks);
                let found = newest(blocks).map(|block| block.value.clone());
                self.decide(found);
            }
            Stage::Accept { answer } => {
                let answer = answer.clone();
                self.finish(answer);
            }
        }
    }

    fn snapshots(&self, register: u128) -> Vec<&Snapshot<V>> {
        let read = self.disks.iter().filter_map(|disk| disk.progress.read.first());
        read.filter(|snapshot| snapshot.register == register).collect()
    }

    fn choose(&mut self) {
        let named = self.disks.iter().filter_map(|disk| disk.progress.read.first());
        let agreed = named
            .map(|snapshot| snapshot.register)
            .find(|register| self.snapshots(*register).len() >= self.quorum());
        let Some(register) = agreed else {
            let why = "the disks were not made for one register: make all of them in one go";
            return self.finish(Outcome::Failed(why.into()));
        };
        let chosen = place::choose(&self.snapshots(register), self.me.node, self.me.boot);
        let Some(place) = chosen else {
            let why = format!(
                "the disks were made for fewer nodes: they have no blocks of node {}",
                self.me.node
            );
            return self.finish(Outcome::Failed(why));
        };
        (self.register, self.place) = (Some(register), Some(place));
        self.enter(Stage::Recover);
    }

    fn recover(&mut self) {
        let (Some(place), Some(register)) = (self.place, self.register) else {
            return;
        };
        let block = place::recover(&self.snapshots(register), place, self.me.boot);
        let Some(block) = block.filter(|block| block.accepted == Ballot::ZERO || block.value.is_some())
        else {
            return self.finish(Outcome::Failed(NOT_READ.into()));
        };
        self.own = Some(block);
        self.begin();
    }

    fn look_again(&mut self) {
        let pause = self.pause();
        let Some(task) = &mut self.task else { return };
        task.looks += 1;
        if task.looks < LOOKS {
            task.paused_until = Some(self.now + pause);
            self.enter(Stage::Look);
        } else {
            self.prepare();
        }
    }

    /// The ballot is begun, and this was accepted last, if anything was.
    fn decide(&mut self, found: Option<Option<V>>) {
        let Some(task) = &self.task else { return };
        let found = match found {
            Some(None) => return self.finish(Outcome::Failed(NOT_READ.into())),
            Some(value) => value,
            None => None,
        };
        let name = found.as_ref().map(Value::name);
        let (value, answer) = match &task.op {
            Op::Swap { write, .. } if name == Some(write.name()) => (found, Outcome::Swapped),
            Op::Swap { expect, write } if *expect == name => (Some(write.clone()), Outcome::Swapped),
            _ => (found.clone(), Outcome::Content(found)),
        };
        let (Some(value), Some(block)) = (value, &mut self.own) else {
            return self.finish(Outcome::Content(None));
        };
        (block.accepted, block.value) = (block.begun, Some(value));
        self.enter(Stage::Accept { answer });
    }

    fn finish(&mut self, outcome: Outcome<V>) {
        if let Some(task) = self.task.take() {
            self.answer = Some((task.id, outcome));
        }
    }

    /// Why a call was not answered in time.
    fn describe(&self) -> String {
        let words = |disk: &DiskState<V>| match (disk.busy, disk.trouble.as_str()) {
            (Some(_), "") => Some("it does not answer".to_string()),
            (_, "") => None,
            (_, trouble) => Some(trouble.to_string()),
        };
        let said = self.disks.iter().enumerate();
        let said: Vec<String> = said
            .filter_map(|(number, disk)| words(disk).map(|words| format!("disk {}: {words}", number + 1)))
            .collect();
        if said.is_empty() {
            "other nodes were faster each time".into()
        } else {
            said.join("; ")
        }
    }
}

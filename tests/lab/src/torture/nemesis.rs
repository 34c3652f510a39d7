//! The nemesis: rounds of faults that overlap, after each of which all is mended and every group must come back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Result;

use super::act::{Act, Member, NAMES};
use super::history::{Fault, History, Phase, PhaseKind};
use super::rng::Rng;
use super::schedule::{self, Round, Step};
use super::stage::Stage;
use super::strike::{Hand, mend_board};
use super::workloads::{self, Workloads};
use super::{GROUPS, recovery};

/// How long all is left alone between rounds.
const QUIET_MS: (u64, u64) = (2_500, 5_000);
/// The stream of numbers that the nemesis draws from besides the schedule's, which are the rounds' numbers.
const STREAM: u64 = u64::MAX;

/// What the nemesis did.
#[derive(Debug, Default)]
pub struct Deeds {
    /// Rounds.
    pub rounds: u32,
    /// Injected faults, by kind.
    pub kinds: BTreeMap<&'static str, u32>,
    /// Faults that could not be injected, in words.
    pub not_possible: Vec<String>,
    /// Seconds from the mending until the group served again, the longest of all rounds, by group.
    pub longest_recovery_s: BTreeMap<&'static str, f64>,
    /// The same until the cluster was whole.
    pub longest_whole_s: f64,
    /// Groups and clusters that did not come back in time, in words.
    pub late: Vec<String>,
}

/// The nemesis of a run.
pub struct Nemesis<'a> {
    stage: &'a Stage,
    load: &'a Workloads,
    history: &'a History,
    hand: Hand<'a>,
    seed: u64,
    rng: Rng,
    next: u32,
    deeds: Deeds,
}

/// What has happened in a round so far.
#[derive(Default)]
struct Sofar {
    faults: BTreeMap<usize, Fault>,
    undone: BTreeSet<usize>,
    weak: BTreeSet<Member>,
    is_rough: bool,
    links: BTreeSet<u8>,
}

impl<'a> Nemesis<'a> {
    /// One that draws from `seed`.
    pub fn new(stage: &'a Stage, load: &'a Workloads, history: &'a History, seed: u64) -> Nemesis<'a> {
        Nemesis {
            stage,
            load,
            history,
            hand: Hand::new(stage),
            seed,
            rng: Rng::new(seed, STREAM),
            next: 1,
            deeds: Deeds::default(),
        }
    }

    /// Plays rounds as long as `time` allows; what was done.
    pub fn play(mut self, time: Duration) -> Result<Deeds> {
        let end_ms = self.now() + u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.quiet(0)?;
        while self.now() < end_ms && self.deeds.late.is_empty() {
            let number = self.deeds.rounds;
            let round = schedule::draw(self.seed, number, self.stage.has_witness());
            let mut sofar = self.torment(number, &round)?;
            self.heal(number, &mut sofar)?;
            self.quiet(number)?;
            self.deeds.rounds += 1;
            let left_s = end_ms.saturating_sub(self.now()) / 1000;
            eprintln!(
                "lab: round {}: {} faults so far, longest recovery {:.1} s, {left_s} s left",
                self.deeds.rounds,
                self.next - 1,
                self.deeds
                    .longest_recovery_s
                    .values()
                    .fold(0.0, |a: f64, b| a.max(*b)),
            );
        }
        Ok(self.deeds)
    }

    fn now(&self) -> u64 {
        self.history.clock.now_ms()
    }

    fn sleep_until(&self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms.saturating_sub(self.now())));
    }

    /// Injects and undoes the faults of a round as their times come.
    fn torment(&mut self, number: u32, round: &Round) -> Result<Sofar> {
        let begin = self.now();
        self.phase(number, PhaseKind::Faults, begin, None)?;
        let mut sofar = Sofar::default();
        let begins = round
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| (step.at_ms, at, false));
        let ends = round.steps.iter().enumerate();
        let ends = ends.filter_map(|(at, step)| Some((step.until_ms?, at, true)));
        let mut times: Vec<(u64, usize, bool)> = begins.chain(ends).collect();
        times.sort_unstable();
        for (ms, at, is_end) in times {
            self.sleep_until(begin + ms);
            if is_end {
                self.undo(at, &round.steps[at].act, &mut sofar)?;
            } else {
                self.strike(at, &round.steps[at], &mut sofar)?;
            }
        }
        self.sleep_until(begin + round.length_ms);
        Ok(sofar)
    }

    fn strike(&mut self, at: usize, step: &Step, sofar: &mut Sofar) -> Result<()> {
        let id = self.next;
        let groups = sofar.expects(self.stage, &step.act);
        let at_ms = self.now();
        let detail = match self.hand.strike(id, &step.act) {
            Ok(detail) => detail,
            Err(error) => {
                let what = format!("{} {}: {error:#}", step.act.kind(), step.act.target());
                eprintln!("lab: not possible: {what}");
                self.deeds.not_possible.push(what);
                return Ok(());
            }
        };
        self.next += 1;
        *self.deeds.kinds.entry(step.act.kind()).or_default() += 1;
        let fault = Fault {
            id,
            at_ms,
            until_ms: None,
            explains_until_ms: None,
            kind: step.act.kind().into(),
            target: step.act.target(),
            detail,
            expects_outage_of: groups
                .into_iter()
                .map(|group| GROUPS[group].to_string())
                .collect(),
        };
        self.history.fault(&fault)?;
        sofar.faults.insert(at, fault);
        Ok(())
    }

    fn undo(&mut self, at: usize, act: &Act, sofar: &mut Sofar) -> Result<()> {
        let Some(fault) = sofar.faults.get_mut(&at) else {
            return Ok(());
        };
        self.hand.undo(fault.id, act)?;
        sofar.undone.insert(at);
        fault.until_ms = Some(self.history.clock.now_ms());
        self.history.fault(fault)
    }

    /// Undoes all that is left and waits until every group serves and the cluster is whole.
    fn heal(&mut self, number: u32, sofar: &mut Sofar) -> Result<()> {
        let begin = self.now();
        self.phase(number, PhaseKind::Heal, begin, None)?;
        let round = schedule::draw(self.seed, number, self.stage.has_witness());
        for (at, step) in round.steps.iter().enumerate() {
            if !sofar.undone.contains(&at) {
                self.undo(at, &step.act, sofar)?;
            }
        }
        // Whatever a fault left that is not itself: a board that fenced without switching on again, a stopped process.
        for node in [0, 1] {
            mend_board(self.stage, node)?;
        }
        for member in 0..self.stage.cluster.machines.len() {
            self.stage.member(member).node().power_on()?;
        }
        let healed = self.now();
        let back = recovery::wait(self.stage, self.load, self.history, &mut self.hand.orders, healed)?;
        for (group, seconds) in &back.groups {
            let longest = self.deeds.longest_recovery_s.entry(group).or_default();
            *longest = longest.max(*seconds);
        }
        self.deeds.longest_whole_s = self.deeds.longest_whole_s.max(back.whole_s);
        self.deeds.late.extend(back.late);
        self.close(sofar)?;
        self.phase(number, PhaseKind::Heal, begin, Some(back.whole_s))?;
        workloads::collect_journals(&self.stage.cluster.machines, self.history.dir())
    }

    /// Writes down the end of the round's faults: from here on none of them explains anything.
    fn close(&mut self, sofar: &mut Sofar) -> Result<()> {
        let replies = self.hand.orders.finish();
        let now = self.now();
        for fault in sofar.faults.values_mut() {
            if let Some(reply) = replies.get(&fault.id) {
                fault.detail.push_str(reply);
            }
            fault.explains_until_ms = Some(now);
            self.history.fault(fault)?;
        }
        Ok(())
    }

    /// Leaves all alone for a while.
    fn quiet(&mut self, number: u32) -> Result<()> {
        let begin = self.now();
        self.phase(number, PhaseKind::Quiet, begin, None)?;
        let length = self.rng.range(QUIET_MS.0, QUIET_MS.1);
        self.sleep_until(begin + length);
        Ok(())
    }

    fn phase(&self, round: u32, kind: PhaseKind, at_ms: u64, recovery_s: Option<f64>) -> Result<()> {
        self.history.phase(&Phase {
            round,
            kind,
            at_ms,
            recovery_s,
        })
    }
}

impl Sofar {
    /// Groups that may be down because of `act`, after what has happened in this round already.
    fn expects(&mut self, stage: &Stage, act: &Act) -> BTreeSet<usize> {
        let mut groups: BTreeSet<usize> = act.groups().into_iter().collect();
        self.weak.extend(act.weakens());
        self.links.extend(act.link());
        let hurts = act.hurts();
        self.is_rough |= !hurts.is_empty();
        // One member is what the cluster can do without; of two or more nobody knows what is left.
        let adds = !act.weakens().is_empty() || act.link().is_some();
        let spare = if stage.has_witness() { 1 } else { 0 };
        let too_much = self.weak.len() > 1 && self.is_rough || self.links.len() > 1;
        let peers = hurts.iter().filter(|member| **member < 2).count();
        if adds && too_much || peers > spare && hurts.len() > 1 {
            groups.extend(0..GROUPS.len());
        }
        for node in hurts
            .into_iter()
            .chain(act.empties())
            .filter(|member| *member < 2)
        {
            groups.extend((0..GROUPS.len()).filter(|group| {
                let hosts = stage.hosts(*group);
                hosts.is_empty() || hosts.contains(&node)
            }));
        }
        groups
    }
}

/// The names of the members whose power is on, for a message.
#[must_use]
pub fn powered(stage: &Stage) -> String {
    let on: Vec<&str> = (0..stage.cluster.machines.len())
        .filter(|member| stage.member(*member).node().is_on())
        .map(|member| NAMES[member])
        .collect();
    on.join(" ")
}

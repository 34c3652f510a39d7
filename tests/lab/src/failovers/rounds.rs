//! One fault after the other, each from the strike until both copies are whole again.

use std::time::Duration;

use anyhow::{Context, Result};

use super::fault::Fault;
use super::judge;
use super::report::{Report, Round};
use super::sentinel::Follower;
use super::service::Copies;
use super::stage::{Stage, WHOLE};
use super::writer::{Target, Writer};
use crate::sh;
use crate::torture::history::Clock;
use crate::torture::workloads::attempt::Attempt;

/// How long a fault lasts that would otherwise be mended before it was felt.
const HELD: Duration = Duration::from_secs(8);
/// How long the clients write before a strike, and after it is mended.
const CALM: Duration = Duration::from_millis(700);

/// A run under way.
pub struct Rounds<'a> {
    stage: &'a Stage,
    report: &'a mut Report,
    writers: Vec<Writer>,
    follower: Option<Follower>,
    clock: Clock,
}

impl<'a> Rounds<'a> {
    /// Begins to write.
    pub fn start(stage: &'a Stage, report: &'a mut Report) -> Result<Rounds<'a>> {
        let clock = Clock::start();
        let mut targets = vec![(Target::Vip, stage.vip()?)];
        // Where no second primary can be, or each node takes writes, there is none to be found.
        let alone = stage.service.copies != Copies::Replica;
        for (machine, place) in stage.data().iter().zip(0..).filter(|_| !alone) {
            targets.push((Target::Node(machine.name.clone()), stage.own(place)?));
        }
        let stride = targets.len() as u64;
        let writers: Result<Vec<Writer>> = targets
            .into_iter()
            .zip(0..)
            .map(|(target, offset)| {
                Writer::start(stage.service, target, (offset, stride), &stage.lab.net, clock)
            })
            .collect();
        let follower = stage
            .service
            .sentinel
            .map(|port| stage.follower(port, clock))
            .transpose()?;
        let rounds = Rounds {
            stage,
            report,
            writers: writers?,
            follower,
            clock,
        };
        rounds.writes_go_on(0)?;
        Ok(rounds)
    }

    /// Waits until a write that was sent after `since_ms` was acknowledged at the virtual address.
    fn writes_go_on(&self, since_ms: u64) -> Result<()> {
        sh::wait("a write to be acknowledged", WHOLE, || {
            self.writers[0]
                .last_ack_ms()
                .filter(|at| *at >= since_ms)
                .map(drop)
        })
    }

    /// A round begins: how much each client has tried.
    fn counts(&mut self) -> Vec<usize> {
        if let Some(follower) = &mut self.follower {
            follower.begin();
        }
        self.writers.iter().map(Writer::count).collect()
    }

    /// The client of Sentinel has to have found the primary.
    fn is_followed(&self) -> Result<()> {
        let Some(follower) = &self.follower else {
            return Ok(());
        };
        follower.follows(&self.stage.address_of(&self.stage.primary()?)?, WHOLE)
    }

    /// A planned move to the other node.
    pub fn switch_over(&mut self) -> Result<()> {
        self.writes_go_on(self.clock.now_ms())?;
        let owner = self.stage.primary()?;
        let other = self.stage.cluster.other(&owner);
        let from = self.counts();
        std::thread::sleep(CALM);
        other.sh(&format!("hactl move {} {}", self.stage.service.name, other.name))?;
        let moved_ms = self.clock.now_ms();
        self.writes_go_on(moved_ms)?;
        self.stage.whole()?;
        self.is_followed()?;
        self.close("switchover", moved_ms, &from, 1);
        Ok(())
    }

    /// One fault at the node where the group is promoted, or at both.
    pub fn strike(&mut self, fault: Fault) -> Result<()> {
        let (stage, service) = (self.stage, self.stage.service);
        // Of what the fault before left, nothing may count for this one.
        self.writes_go_on(self.clock.now_ms())?;
        let owner = stage.primary()?;
        let mut struck = vec![stage.cluster.machine(&owner)];
        if fault.is_everywhere() {
            struck.push(stage.cluster.other(&owner));
        }
        let from = self.counts();
        std::thread::sleep(CALM);
        let struck_ms = self.clock.now_ms();
        for machine in &struck {
            fault
                .strike(machine, &stage.lab.net, service)
                .with_context(|| format!("{fault} at {}", machine.name))?;
        }
        if fault.lasts() {
            std::thread::sleep(HELD);
        }
        let go_on = |rounds: &Rounds| rounds.writes_go_on(struck_ms + CALM.as_millis() as u64);
        // It is mended also when they do not go on, so that the nodes can be asked why.
        let gone_on = if fault.is_everywhere() {
            Ok(())
        } else {
            go_on(self)
        };
        for machine in &struck {
            fault
                .mend(machine, &stage.lab.net, service)
                .with_context(|| format!("mend {fault} at {}", machine.name))?;
        }
        gone_on
            .and_then(|()| go_on(self))
            .with_context(|| format!("after {fault} at {owner}"))?;
        stage
            .whole()
            .with_context(|| format!("after {fault} at {owner} was mended"))?;
        let moved = stage.primary()? != owner;
        anyhow::ensure!(
            moved || fault.may_stay(),
            "{fault} at {owner}: the group did not move"
        );
        self.is_followed()
            .with_context(|| format!("after {fault} at {owner}"))?;
        std::thread::sleep(CALM);
        self.close(&fault.to_string(), struck_ms, &from, 1);
        Ok(())
    }

    /// Judges what was written since `from`.
    fn close(&mut self, what: &str, struck_ms: u64, from: &[usize], changes_max: usize) {
        let attempts: Vec<_> = self
            .writers
            .iter()
            .zip(from)
            .map(|(writer, from)| writer.since(*from))
            .collect();
        let round = Round {
            what: what.into(),
            outage_ms: judge::outage_ms(&attempts[0]).unwrap_or(0),
            whole_ms: self.clock.now_ms() - struck_ms,
            sentinel_ms: self.follower.as_ref().and_then(Follower::outage_ms),
            changes: match attempts.as_slice() {
                [_, first, second] => judge::changes(first, second),
                _ => 0,
            },
        };
        eprintln!(
            "lab: {what}: writes stood for {} ms, all whole after {} ms",
            round.outage_ms, round.whole_ms
        );
        if round.changes > changes_max {
            let text = format!(
                "{what} at {struck_ms} ms: the node that takes writes changed {} times",
                round.changes
            );
            self.report.faults.push(text);
        }
        self.report.rounds.push(round);
    }

    /// Ends the clients; all that they tried.
    pub fn finish(self) -> Vec<(Target, Vec<Attempt>)> {
        let writers = self.writers.into_iter();
        writers
            .map(|writer| (writer.target.clone(), writer.finish()))
            .collect()
    }
}

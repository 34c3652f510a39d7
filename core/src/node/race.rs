//! The race of a level: its methods run side by side, each proves by itself, and the first that does wins. The devices of
//! one method are needed together.

use std::sync::Arc;

use holdfast_proto::config::{FenceAction, FenceKind, SBD_AGENT};
use holdfast_proto::ids::{BootId, Epoch, NodeId};
use holdfast_proto::time::Time;

use super::Node;
use super::fencing::{FenceRun, RETRY_GROWTH_MAX};
use super::orders::Standing;
use crate::effect::{Effect, FenceId, FenceStep};
use crate::event::FenceResult;
use crate::journal::Level;
use crate::proof::FenceProof;

/// Devices of one level that are needed together.
#[derive(Clone, Debug)]
pub(super) struct Method {
    /// Its name in the configuration, if it has one.
    pub(super) name: Option<String>,
    /// Its devices, as indices into the configuration of the run.
    pub(super) devices: Vec<usize>,
    /// What they are asked for.
    pub(super) step: FenceStep,
    pub(super) results: Vec<(FenceKind, FenceResult)>,
    /// When all its power devices were, or had been, read as off; without any, its storage devices.
    pub(super) all_off_at: Option<Time>,
    /// How it ended, once it did.
    pub(super) proved: Option<bool>,
}

/// A command that is not answered yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Number of its method.
    pub(super) method: usize,
    pub(super) kind: FenceKind,
    /// It is an order on shared disks.
    pub(super) by_order: bool,
}

impl FenceRun {
    /// Some command of `method` is not answered yet.
    fn waits_for(&self, method: usize) -> bool {
        self.outstanding.values().any(|asked| asked.method == method)
    }

    /// Power devices of `method` that have a power state. An order on disks has none.
    fn outlets(&self, method: usize) -> usize {
        let devices = self.methods[method].devices.iter();
        let sections = devices.map(|device| &self.config.fences[*device]);
        let outlets =
            sections.filter(|section| section.kind == FenceKind::Power && section.agent != SBD_AGENT);
        outlets.count()
    }
}

impl Node {
    /// The levels of `node`'s devices, in the order in which they are tried.
    fn levels_of(&self, node: NodeId) -> Vec<u8> {
        let devices = self.config.fences_of(node);
        let mut levels: Vec<u8> = devices.iter().map(|device| device.level).collect();
        levels.dedup();
        levels
    }

    /// The methods of a level. Devices without a method are one.
    fn methods_of(&self, node: NodeId, level: usize) -> Vec<Method> {
        let Some(level) = self.levels_of(node).get(level).copied() else {
            return Vec::new();
        };
        let mut methods: Vec<Method> = Vec::new();
        let all = self.config.fences.iter().enumerate();
        for (index, section) in all.filter(|(_, section)| section.node == node && section.level == level) {
            match methods.iter_mut().find(|method| method.name == section.method) {
                Some(method) => method.devices.push(index),
                None => methods.push(Method {
                    name: section.method.clone(),
                    devices: vec![index],
                    step: FenceStep::Act,
                    results: Vec::new(),
                    all_off_at: None,
                    proved: None,
                }),
            }
        }
        methods
    }

    /// Starts all devices of the current level. Where several control its power, each is only turned off: an outlet that came
    /// on again before the last one is off would keep the node running, and every read-back would still have said off; and
    /// a method that is slower than another would turn off the boot that the other had let come up.
    pub(super) fn run_level(&mut self, node: NodeId) {
        // What was heard since the attempt before is what has to end now.
        let heard = self.boot_of(node);
        let config = Arc::clone(&self.config);
        let ballot = self.leading_ballot();
        let Some(level) = self.fences.get(&node).map(|run| run.level) else {
            return;
        };
        let methods = self.methods_of(node, level);
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        run.boot = heard.or(run.boot);
        run.config = config;
        run.methods = methods;
        run.standing = Standing { ballot, void: false };
        run.retry_at = None;
        let outlets: Vec<usize> = (0..run.methods.len()).map(|method| run.outlets(method)).collect();
        let several = outlets.iter().sum::<usize>() > 1;
        for (method, outlets) in outlets.into_iter().enumerate() {
            let step = if several && outlets > 0 {
                FenceStep::Off
            } else {
                FenceStep::Act
            };
            self.ask_method(node, method, step);
        }
    }

    /// Asks all devices of a method for `step`.
    fn ask_method(&mut self, node: NodeId, method: usize, step: FenceStep) {
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        let asked = &mut run.methods[method];
        asked.results.clear();
        asked.step = step;
        for device in asked.devices.clone() {
            let on = step == FenceStep::On;
            if on && run.config.fences[device].action == FenceAction::Off {
                continue;
            }
            self.next_fence_id += 1;
            let id = FenceId(self.next_fence_id);
            if !on {
                let section = &run.config.fences[device];
                let (kind, by_order) = (section.kind, section.agent == SBD_AGENT);
                let asked = Asked {
                    method,
                    kind,
                    by_order,
                };
                run.outstanding.insert(id, asked);
            }
            self.outbox.push_back(Effect::Fence {
                id,
                node,
                boot: run.boot,
                device,
                step,
                config: Arc::clone(&run.config),
            });
        }
    }

    pub(super) fn on_fenced(&mut self, id: FenceId, result: FenceResult) {
        self.watch_orders();
        let mut runs = self.fences.iter_mut();
        let found = runs.find_map(|(node, run)| Some((*node, run.outstanding.remove(&id)?, run)));
        let Some((node, asked, run)) = found else {
            return;
        };
        let method = asked.method;
        if run.won.is_some() {
            self.account_for_late(node, method, &result);
            return self.settle_race(node);
        }
        let result = if asked.by_order {
            self.judge_order(node, result)
        } else {
            result
        };
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        run.methods[method].results.push((asked.kind, result));
        if !run.waits_for(method) {
            self.judge_method(node, method);
        }
    }

    /// All devices of a method ended: prove, or wait for the other methods, or go on to the next level.
    fn judge_method(&mut self, node: NodeId, number: usize) {
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        let outlets = run.outlets(number);
        let method = &mut run.methods[number];
        let all_off = method.results.iter().all(|(_, result)| result.off_read_back);
        if method.step != FenceStep::ReadBack {
            let read = |kind: FenceKind| {
                let of_kind = method.results.iter().filter(move |result| result.0 == kind);
                of_kind.map(|(_, result)| result.read_at).max()
            };
            method.all_off_at = read(FenceKind::Power).or_else(|| read(FenceKind::Storage));
        }
        if method.step == FenceStep::Off && all_off && outlets > 1 {
            // Another node's fencing may have turned one on again meanwhile. Each read off before and each reads off now,
            // so there was an instant at which all of them were off.
            return self.ask_method(node, number, FenceStep::ReadBack);
        }
        let Some(run) = self.fences.get(&node) else { return };
        let (boot, before_epoch) = (self.boot_that_ended(node, run, number), self.next_epoch());
        let results = &run.methods[number].results;
        match FenceProof::from_devices(node, boot, results, self.now, before_epoch) {
            Some(proof) => self.take_method_proof(node, number, proof),
            None => self.take_method_failure(node, number),
        }
    }

    /// A method proved it. Where a vote has to be proven as well, a power device that is still at work goes on.
    fn take_method_proof(&mut self, node: NodeId, number: usize, proof: FenceProof) {
        let enough = proof.votes() || !self.in_pair();
        self.account_for_proof(node, number, &proof);
        self.note_fenced(node, proof.ended_boot());
        self.take_proof(node, proof);
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        run.methods[number].proved = Some(true);
        let others = 0..run.methods.len();
        let mut others = others.filter(|other| run.methods[*other].proved.is_none());
        if enough || others.all(|other| run.outlets(other) == 0) {
            run.won = Some(number);
            self.settle_race(node);
        }
    }

    fn take_method_failure(&mut self, node: NodeId, number: usize) {
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        run.methods[number].proved = Some(false);
        if !run.outstanding.is_empty() {
            return self.account_for_method(node, number);
        }
        let mut methods = run.methods.iter();
        if let Some(proved) = methods.position(|method| method.proved == Some(true)) {
            run.won = Some(proved);
            self.account_for_method(node, number);
            return self.settle_race(node);
        }
        self.account_for_failure(node);
        self.go_to_next_level(node);
    }

    fn go_to_next_level(&mut self, node: NodeId) {
        let levels = self.levels_of(node).len();
        let pause = self.spans.fence_retry;
        if self.ends_pointless_fence(node) {
            return;
        }
        let Some(run) = self.fences.get_mut(&node) else {
            return;
        };
        run.level += 1;
        if run.level < levels {
            self.run_level(node);
        } else {
            run.level = 0;
            run.retry_at = Some(self.now + pause * (1 << run.attempts.min(5)).min(RETRY_GROWTH_MAX));
            run.attempts += 1;
        }
    }

    /// The race is won: when no device can turn an outlet off any more, all that were turned off are turned on again, and with
    /// the last answer the run is over. Nobody waits for that: the proof counts already.
    fn settle_race(&mut self, node: NodeId) {
        let Some(run) = self.fences.get(&node) else { return };
        let is_off = |number: &usize| {
            let step = run.methods[*number].step;
            matches!(step, FenceStep::Off | FenceStep::ReadBack)
        };
        let numbers = 0..run.methods.len();
        let mut waiting = numbers.clone().filter(|number| run.waits_for(*number));
        let may_turn_on = waiting.all(|number| !is_off(&number));
        let to_turn_on: Vec<usize> = numbers.filter(|number| may_turn_on && is_off(number)).collect();
        // Turning on is not waited for.
        let is_over = run.outstanding.is_empty();
        for number in to_turn_on {
            self.ask_method(node, number, FenceStep::On);
        }
        if is_over {
            self.fences.remove(&node);
        }
    }

    /// Ends an attempt whose end nobody needs any more: what the node owned left it on another proof, a countdown or a word.
    pub(super) fn ends_pointless_fence(&mut self, node: NodeId) -> bool {
        let Some(run) = self.fences.get(&node) else {
            return false;
        };
        let needed = run.asked_for || self.in_pair() || self.reason_to_fence(node).is_some();
        if needed || !self.is_established() || run.methods.is_empty() {
            return false;
        }
        self.fences.remove(&node);
        if !self.is_online(node) {
            let text = format!(
                "{} is fenced no longer: nothing is left there that waits for a proof",
                self.name(node)
            );
            self.journal("fence-ended", Level::Info, text);
        }
        true
    }

    /// The boot that is over once the devices of a method read off: the one that was last heard before they were read. That may
    /// be a later one than was to be fenced, if the node was heard again before its power went off. To name only the earlier
    /// one would be to fence the node again for the silence of the later one, and so to kill each boot just as it comes up.
    pub(super) fn boot_that_ended(&self, node: NodeId, run: &FenceRun, method: usize) -> Option<BootId> {
        let off_at = run.methods[method].all_off_at;
        let member = self.members.get(&node);
        let heard_before = member.and_then(|member| {
            let heard_at = member.heard_at?;
            member.boot.filter(|_| off_at.is_some_and(|off| heard_at < off))
        });
        heard_before.or(run.boot)
    }

    /// How many commands to fence devices came after this one. For encodings of commands in flight.
    #[must_use]
    pub fn fence_commands_since(&self, id: FenceId) -> u64 {
        self.next_fence_id.saturating_sub(id.0)
    }

    /// Epochs from here on are given out after now.
    pub(super) fn next_epoch(&self) -> Epoch {
        self.committed().map_or(0, |state| state.next_epoch)
    }

    fn take_proof(&mut self, node: NodeId, proof: FenceProof) {
        // If it came back meanwhile, the reset that was observed says all that is still true; and a proof that names no boot,
        // because none had been heard, would be held against the one that was heard since, and no answer could refute it.
        if self
            .boot_of(node)
            .is_none_or(|boot| proof.ended_boot() == Some(boot))
        {
            self.proofs.insert(node, proof);
        }
    }
}

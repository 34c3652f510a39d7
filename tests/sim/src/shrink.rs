//! Makes a schedule that breaks a promise as small as it gets: fewer faults (delta debugging, Zeller & Hildebrandt 2002), a
//! smaller cluster, shorter spans. Each candidate is run; it is kept when it breaks the same promise.

use crate::cluster::{Kind, NodePlan};
use crate::run::run_schedule;
use crate::schedule::{Fault, Request, Schedule, Strike};

/// Candidates that are run at most.
const TRIES_MAX: usize = 4000;

/// The promise that `broken` is about: `S1`, `L1`, `assertion`.
#[must_use]
pub fn promise(broken: &str) -> &str {
    broken.split(':').next().unwrap_or(broken)
}

/// A smaller schedule that breaks the same promise as `schedule`, which broke `broken`. `progress` hears of each step.
pub fn shrink(schedule: &Schedule, broken: &str, progress: &mut dyn FnMut(&Schedule)) -> Schedule {
    let mut search = Search {
        best: schedule.clone(),
        promise: promise(broken).into(),
        tries: 0,
        progress,
    };
    loop {
        let before = search.best.clone();
        search.drop_lasting();
        search.drop_strikes();
        search.shorten();
        search.shrink_cluster();
        search.simplify_strikes();
        if search.best == before || search.tries >= TRIES_MAX {
            return search.best;
        }
    }
}

struct Search<'a> {
    best: Schedule,
    promise: String,
    tries: usize,
    progress: &'a mut dyn FnMut(&Schedule),
}

impl Search<'_> {
    /// Keeps `candidate` if it breaks the same promise.
    fn accepts(&mut self, candidate: Schedule) -> bool {
        if self.tries >= TRIES_MAX || candidate == self.best {
            return false;
        }
        self.tries += 1;
        let run = run_schedule(&candidate, false);
        let same = run.broken.is_some_and(|broken| promise(&broken) == self.promise);
        if same {
            self.best = candidate;
            (self.progress)(&self.best);
        }
        same
    }

    fn with(&self, change: impl FnOnce(&mut Schedule)) -> Schedule {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        candidate
    }

    fn drop_lasting(&mut self) {
        self.accepts(self.with(|schedule| schedule.lasting = None));
    }

    /// ddmin over complements: leaves out one of `parts` parts at a time, in ever smaller parts.
    fn drop_strikes(&mut self) {
        let mut parts = 2;
        while !self.best.strikes.is_empty() {
            let count = self.best.strikes.len();
            parts = parts.min(count);
            let size = count.div_ceil(parts);
            let left_out = (0..count).step_by(size).any(|from| {
                let candidate = self.with(|schedule| {
                    schedule.strikes.drain(from..(from + size).min(count));
                });
                self.accepts(candidate)
            });
            match left_out {
                true => parts = (parts - 1).max(2),
                false if size == 1 => return,
                false => parts = (parts * 2).min(count),
            }
        }
    }

    /// A fault phase that ends sooner.
    fn shorten(&mut self) {
        let last_us = self.best.strikes.last().map_or(0, |strike| strike.at_us);
        for beyond_us in [1, 500_000, 2_000_000, 8_000_000] {
            let length_us = last_us + beyond_us;
            if length_us < self.best.length_us
                && self.accepts(self.with(|schedule| schedule.length_us = length_us))
            {
                return;
            }
        }
    }

    fn shrink_cluster(&mut self) {
        while self.best.cluster.nodes.len() > 2 {
            let gone = self.best.cluster.nodes.len() as u8;
            let candidate = self.with(|schedule| {
                schedule.cluster.nodes.pop();
                schedule.strikes.retain(|strike| !names(&strike.fault, gone));
                schedule.lasting = schedule.lasting.filter(|lasting| lasting.victim() != gone);
            });
            if !self.accepts(candidate) {
                break;
            }
        }
        self.accepts(self.with(|schedule| {
            (schedule.cluster.witness_ppm, schedule.cluster.etcd) = (None, false);
            schedule.cluster.witness_disks = 0;
            schedule.strikes.retain(|strike| !names(&strike.fault, 0));
        }));
        self.drop_groups();
        for index in 0..self.best.cluster.nodes.len() {
            let plain = NodePlan::default();
            let plan = self.best.cluster.nodes[index];
            let simpler = [
                plain,
                NodePlan { drift_ppm: 0, ..plan },
                NodePlan {
                    watchdog: false,
                    ..plan
                },
                NodePlan { outlets: 0, ..plan },
                NodePlan {
                    second_level: false,
                    ..plan
                },
                NodePlan { races: false, ..plan },
            ];
            for plan in simpler {
                self.accepts(self.with(|schedule| schedule.cluster.nodes[index] = plan));
            }
        }
        if self.best.cluster.witness_ppm.is_some() {
            self.accepts(self.with(|schedule| schedule.cluster.witness_ppm = Some(0)));
        }
    }

    fn drop_groups(&mut self) {
        let mut size = (self.best.cluster.groups.len() / 2).max(1);
        loop {
            let mut from = 0;
            while self.best.cluster.groups.len() > 1 && from < self.best.cluster.groups.len() {
                let to = (from + size).min(self.best.cluster.groups.len());
                let candidate = self.with(|schedule| {
                    schedule.cluster.groups.drain(from..to);
                });
                if candidate.cluster.groups.is_empty() || !self.accepts(candidate) {
                    from = to;
                }
            }
            if size == 1 {
                break;
            }
            size /= 2;
        }
        for index in 0..self.best.cluster.groups.len() {
            self.accepts(self.with(|schedule| {
                let group = &mut schedule.cluster.groups[index];
                (group.prefer, group.apart, group.after) = (None, false, false);
            }));
            self.accepts(self.with(|schedule| schedule.cluster.groups[index].kind = Kind::Plain));
        }
    }

    fn simplify_strikes(&mut self) {
        for index in 0..self.best.strikes.len() {
            for fault in simpler(&self.best.strikes[index].fault) {
                if self.accepts(self.with(|schedule| schedule.strikes[index].fault = fault)) {
                    break;
                }
            }
            for grain_us in [1_000_000, 100_000, 10_000] {
                let Strike { at_us, .. } = self.best.strikes[index];
                let rounded = at_us / grain_us * grain_us;
                let after_others = index == 0 || self.best.strikes[index - 1].at_us <= rounded;
                if after_others && self.accepts(self.with(|schedule| schedule.strikes[index].at_us = rounded))
                {
                    break;
                }
            }
        }
    }
}

/// Variants of a fault that are easier to think about, the easiest first.
fn simpler(fault: &Fault) -> Vec<Fault> {
    match *fault {
        Fault::Lossy {
            loss,
            duplicate,
            jitter_us,
        } => vec![
            Fault::Lossy {
                loss,
                duplicate: 0,
                jitter_us: 0,
            },
            Fault::Lossy {
                loss: 0,
                duplicate: 0,
                jitter_us,
            },
            Fault::Lossy {
                loss: 0,
                duplicate,
                jitter_us,
            },
            Fault::Lossy {
                loss,
                duplicate: 0,
                jitter_us,
            },
        ],
        Fault::Replay { to, count } if count > 1 => {
            vec![
                Fault::Replay { to, count: 1 },
                Fault::Replay { to, count: count / 2 },
            ]
        }
        Fault::Drift { node, .. } => vec![Fault::Drift { node, ppm: 0 }],
        Fault::Delay { from, to, us } => vec![Fault::Delay { from, to, us: us / 2 }],
        Fault::PauseMachine { node, us } => vec![Fault::PauseMachine { node, us: us / 2 }],
        Fault::HangHad { node, us } => vec![Fault::HangHad { node, us: us / 2 }],
        Fault::AgentAway { node, us } => vec![Fault::AgentAway { node, us: us / 2 }],
        Fault::StallDisk { node, us } => vec![Fault::StallDisk { node, us: us / 2 }],
        Fault::StopHangs { node, us } => vec![Fault::StopHangs { node, us: us / 2 }],
        Fault::StartHangs { node, us } => vec![Fault::StartHangs { node, us: us / 2 }],
        Fault::Ask {
            at,
            request: Request::StandbyAll,
        } => {
            let standby = |node| Fault::Ask {
                at,
                request: Request::Standby { node, on: true },
            };
            vec![standby(1), standby(2)]
        }
        Fault::Isolate { node } => (0..=3)
            .filter(|other| *other != node)
            .map(|other| Fault::Cut { a: node, b: other })
            .collect(),
        Fault::Cut { a, b } => vec![
            Fault::CutOneWay { from: a, to: b },
            Fault::CutOneWay { from: b, to: a },
        ],
        _ => Vec::new(),
    }
}

/// True when `fault` is about this member.
fn names(fault: &Fault, member: u8) -> bool {
    let text = serde_json::to_value(fault).unwrap_or_default();
    let keys = ["node", "a", "b", "from", "to", "at"];
    keys.iter().any(|key| text[*key] == member)
        || text["request"]
            .to_string()
            .contains(&format!("\"node\":{member}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_members_that_a_fault_names_are_found() {
        assert!(names(&Fault::Cut { a: 1, b: 3 }, 3));
        assert!(!names(&Fault::Cut { a: 1, b: 2 }, 3));
        let request = Request::Fence { node: 3 };
        assert!(names(&Fault::Ask { at: 1, request }, 3));
        assert!(!names(&Fault::ResourceFails { group: 3 }, 3));
    }

    #[test]
    fn a_promise_is_what_stands_before_the_colon() {
        assert_eq!(promise("S1: g0 runs on [node1, node2]"), "S1");
        assert_eq!(promise("assertion: time ran backwards"), "assertion");
    }
}

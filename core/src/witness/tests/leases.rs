//! Backing a leader, and promising another.

use super::*;

#[test]
fn another_candidate_is_promised_when_it_has_seen_the_same_backing_for_a_lease() {
    let mut pair = Pair::filled();
    assert!(pair.backs(1, ballot(2, 1)));
    pair.pass(400);
    assert!(
        is_bound(&pair.prepare(2, ballot(3, 2), None)),
        "seen for the first time"
    );
    pair.pass(LEASE_MS - 1);
    assert!(
        is_bound(&pair.prepare(2, ballot(3, 2), None)),
        "counted from when it was seen"
    );
    pair.pass(1);
    assert!(is_promise(&pair.prepare(2, ballot(3, 2), None)));
    assert!(!pair.backs(1, ballot(2, 1)), "the old leader is backed no more");
    assert!(pair.backs(2, ballot(3, 2)));
}

#[test]
fn a_leader_that_is_backed_on_is_never_given_up() {
    let mut pair = Pair::filled();
    for _ in 0..40 {
        pair.beat(1, ballot(2, 1), true);
        assert!(is_bound(&pair.prepare(2, ballot(3, 2), None)));
        pair.pass(125);
    }
}

#[test]
fn a_leader_is_backed_by_a_write_once_in_a_quarter_of_its_lease() {
    let mut pair = Pair::filled();
    let before = pair.register.clone().expect("filled").head.write;
    for _ in 0..80 {
        pair.beat(1, ballot(2, 1), true);
        pair.pass(125);
    }
    let writes = pair.register.expect("filled").head.write - before;
    assert_eq!(writes, 40, "ten leases, four writes each");
}

#[test]
fn a_renewal_between_the_look_and_the_promise_makes_the_promise_fail() {
    let mut pair = Pair::filled();
    assert!(pair.backs(1, ballot(2, 1)));
    pair.beat(2, ballot(1, 1), false);
    pair.pass(LEASE_MS);
    let prepare = Message::Prepare {
        ballot: ballot(3, 2),
        transfer: None,
    };
    pair.give(2, Input::Message(prepare));
    let swap = pair.next_call(2);
    assert!(
        matches!(swap.op, Op::Swap { .. }),
        "by what it saw it may: {swap:?}"
    );
    assert!(pair.backs(1, ballot(2, 1)), "the leader is late and not gone");
    let outcome = carry_out(&mut pair.register, &swap.op);
    pair.answer(2, swap.id, outcome);
    assert!(is_bound(&message(pair.settle(2)).expect("an answer")));
}

#[test]
fn a_promise_whose_answer_was_lost_is_given_when_it_is_found() {
    let mut pair = Pair::filled();
    pair.beat(2, ballot(1, 1), false);
    let prepare = Message::Prepare {
        ballot: ballot(3, 2),
        transfer: None,
    };
    pair.give(2, Input::Message(prepare));
    let swap = pair.next_call(2);
    carry_out(&mut pair.register, &swap.op);
    pair.pass(2 * LEASE_MS);
    pair.give(2, Input::Timeout);
    assert_eq!(pair.proxy(2).trouble(), "no answer in time");
    let beat = pair.heartbeat(ballot(1, 1), false);
    pair.give(2, beat);
    let told = pair.settle(2);
    assert!(is_promise(&message(told).expect("the promise")));
}

#[test]
fn who_was_named_as_successor_does_not_wait_and_its_warrant_is_looked_at() {
    let mut pair = Pair::filled();
    assert!(pair.backs(1, ballot(2, 1)));
    assert!(is_bound(&pair.prepare(2, ballot(3, 2), Some(ballot(1, 1)))));
    assert!(is_promise(&pair.prepare(2, ballot(3, 2), Some(ballot(2, 1)))));
}

#[test]
fn a_leader_that_was_restarted_is_promised_at_once() {
    let mut pair = Pair::filled();
    assert!(pair.backs(1, ballot(2, 1)));
    pair.proxies[0] = Pair::empty().proxies[0].clone();
    assert!(is_promise(&pair.prepare(1, ballot(3, 1), None)));
}

#[test]
fn a_restart_of_the_other_forgets_how_long_it_had_watched() {
    let mut pair = Pair::filled();
    assert!(pair.backs(1, ballot(2, 1)));
    pair.beat(2, ballot(1, 1), false);
    pair.pass(LEASE_MS);
    pair.proxies[1] = Pair::empty().proxies[1].clone();
    assert!(is_bound(&pair.prepare(2, ballot(3, 2), None)));
}

/// Two nodes that do not hear each other, each of which leads when the witness backs it. Calls are lost before or after they
/// are carried out, or carried out long after they were given up; clocks differ by 1 %. Never two leases.
#[test]
fn two_nodes_never_hold_a_lease_at_once_whatever_becomes_of_the_calls() {
    let mut elected = 0;
    for seed in 1..=200 {
        elected += Storm::new(seed).rage(4_000);
    }
    assert!(elected > 1_000, "only {elected} elections");
}

struct Storm {
    seed: u64,
    register: Option<Record>,
    proxies: [Proxy; 2],
    ballots: [Ballot; 2],
    leads: [bool; 2],
    lease_until_us: [u64; 2],
    /// When, who asked, and what; the answer reaches it or not.
    under_way: Vec<(u64, usize, Call, bool)>,
    answers: Vec<(u64, usize, CallId, Outcome)>,
    elected: u64,
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let Pair {
            register, proxies, ..
        } = Pair::filled();
        Storm {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            register,
            proxies,
            ballots: [ballot(1, 1), ballot(1, 2)],
            leads: [false; 2],
            lease_until_us: [0; 2],
            under_way: Vec::new(),
            answers: Vec::new(),
            elected: 0,
        }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 7;
        self.seed ^= self.seed << 17;
        self.seed % end
    }

    /// One clock is 1 % fast, the other slow.
    fn local(node: usize, true_us: u64) -> Time {
        Time(true_us * [1010, 990][node] / 1000)
    }

    fn rage(&mut self, steps: u64) -> u64 {
        let mut now_us = 1_000_000;
        for _ in 0..steps {
            now_us += 10_000;
            for node in 0..2 {
                self.act(node, now_us);
            }
            self.work(now_us);
            let local = |node| Storm::local(node, now_us);
            let held = (0..2).filter(|node| Time(self.lease_until_us[*node]) > local(*node));
            assert!(held.count() < 2, "two leases at {now_us}");
        }
        self.elected
    }

    fn act(&mut self, node: usize, now_us: u64) {
        let local = Storm::local(node, now_us);
        let input = match self.below(60) {
            0 if !self.leads[node] => {
                self.ballots[node].round += 1 + self.below(3);
                let ballot = self.ballots[node];
                Input::Message(Message::Prepare {
                    ballot,
                    transfer: None,
                })
            }
            1 => {
                // It gives up leading; what it was granted counts on.
                self.leads[node] = false;
                return;
            }
            2..12 => self.beat(node, local),
            _ => Input::Timeout,
        };
        self.give(node, now_us, input);
    }

    fn beat(&mut self, node: usize, local: Time) -> Input {
        let (ballot, leading) = (self.ballots[node], self.leads[node]);
        let Input::Beat(Beat::Heartbeat(beat)) = Pair::empty().heartbeat(ballot, leading) else {
            unreachable!("a heartbeat")
        };
        let seq = local.0;
        Input::Beat(Beat::Heartbeat(Heartbeat {
            seq,
            sent_at: local,
            ..beat
        }))
    }

    fn give(&mut self, node: usize, now_us: u64, input: Input) {
        let proxy = &mut self.proxies[node];
        proxy.handle(Storm::local(node, now_us), Trusted::Only(BootId(77)), input);
        let told: Vec<Event> = std::iter::from_fn(|| proxy.poll_answer()).collect();
        let calls: Vec<Call> = std::iter::from_fn(|| proxy.poll_call()).collect();
        for event in told {
            self.hear(node, event);
        }
        for call in calls {
            // Mostly soon, sometimes long after the node gave it up.
            let takes = if self.below(6) == 0 {
                self.below(4_000_000)
            } else {
                self.below(60_000)
            };
            let answered = self.below(5) != 0;
            if self.below(8) != 0 {
                self.under_way.push((now_us + takes, node, call, answered));
            }
        }
    }

    fn work(&mut self, now_us: u64) {
        let (due, later) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition::<Vec<_>, _>(|it| it.0 <= now_us);
        self.under_way = later;
        for (_, node, call, answered) in due {
            let outcome = carry_out(&mut self.register, &call.op);
            let back = now_us + self.below(60_000);
            if answered {
                self.answers.push((back, node, call.id, outcome));
            }
        }
        let (due, later) = std::mem::take(&mut self.answers)
            .into_iter()
            .partition::<Vec<_>, _>(|it| it.0 <= now_us);
        self.answers = later;
        for (_, node, id, outcome) in due {
            self.give(node, now_us, Input::Answer(id, outcome));
        }
    }

    fn hear(&mut self, node: usize, event: Event) {
        match event {
            Event::Message {
                message: Message::Promise { ballot, .. },
                ..
            } if ballot == self.ballots[node] => {
                self.leads[node] = true;
                self.elected += 1;
            }
            Event::Message {
                message: Message::Refuse { promised, .. },
                ..
            } => self.ballots[node].round = self.ballots[node].round.max(promised.round),
            Event::Beat {
                beat: Beat::Ack(ack), ..
            } if ack.backs => {
                let until = ack.sent_at + Spans::shrink(Duration::from_millis(LEASE_MS));
                self.lease_until_us[node] = self.lease_until_us[node].max(until.0);
            }
            _ => {}
        }
    }
}

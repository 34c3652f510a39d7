//! What is done to the cluster in a round: drawn from the seed and the number of the round alone.

use super::act::{Act, Board, Links, Member, Order, Process, Way, Wrong};
use super::relay::Habit;
use super::rng::Rng;

/// Rounds of faults that nobody should notice, in a hundred.
const GENTLE_PERCENT: u64 = 20;

/// One fault of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Milliseconds from the begin of the round.
    pub at_ms: u64,
    /// When it is undone; none for the end of the round.
    pub until_ms: Option<u64>,
    /// The fault.
    pub act: Act,
}

/// The faults of a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round {
    /// How long faults are injected, in milliseconds.
    pub length_ms: u64,
    /// The faults, by time.
    pub steps: Vec<Step>,
}

/// Draws round `number`, for a cluster with a witness or without.
#[must_use]
pub fn draw(seed: u64, number: u32, witness: bool) -> Round {
    let mut rng = Rng::new(seed, u64::from(number));
    let gentle = rng.percent(GENTLE_PERCENT);
    let length_ms = rng.range(9_000, 24_000);
    let count = if gentle { rng.range(1, 3) } else { rng.range(4, 10) };
    let acts = if gentle {
        gentle_acts(&mut rng, count, witness)
    } else {
        (0..count).map(|_| rough_act(&mut rng, witness)).collect()
    };
    let mut steps: Vec<Step> = acts
        .into_iter()
        .map(|act| step(&mut rng, length_ms, act))
        .collect();
    steps.sort_by_key(|step| step.at_ms);
    Round { length_ms, steps }
}

/// A time for `act`: it begins in the first two thirds of the round and lasts a while, or until the end.
fn step(rng: &mut Rng, length_ms: u64, act: Act) -> Step {
    let at_ms = rng.range(0, length_ms * 2 / 3);
    let lasts_ms = rng.range(300, 12_000);
    let until_ms = Some(at_ms + lasts_ms).filter(|until| *until < length_ms && !rng.percent(30));
    Step { at_ms, until_ms, act }
}

/// Faults that the cluster has to bear without an outage: each on one spare part, and all on the same one.
fn gentle_acts(rng: &mut Rng, count: u64, witness: bool) -> Vec<Act> {
    let spare = rng.range(0, if witness { 2 } else { 1 });
    let link = rng.range(0, 1) as u8;
    (0..count)
        .map(|_| match (rng.range(0, 2), spare) {
            (0, _) => side_act(rng),
            (_, 0) => one_link(rng, link, witness),
            (_, 1) => Act::Kill(
                rng.range(0, 1) as Member,
                rng.pick(&[Process::Had, Process::Agentd]),
            ),
            _ => witness_act(rng),
        })
        .collect()
}

/// Something that is no part of what keeps the groups running.
fn side_act(rng: &mut Rng) -> Act {
    let node = rng.range(0, 1) as Member;
    match rng.range(0, 5) {
        0 | 1 => Act::Board(node, board(rng)),
        2 => Act::Unreachable(node),
        3 => Act::Order(Order::Apply),
        4 => Act::DiskFull(node),
        _ => Act::Order(Order::Storm),
    }
}

/// Something about the link `link` of somebody.
fn one_link(rng: &mut Rng, link: u8, witness: bool) -> Act {
    let (one, other) = two(rng, witness);
    let links = Links::One(link);
    match rng.range(0, 4) {
        0 => Act::Unplug(one, links),
        1 => Act::Between(one, other, Way::Both, links, Wrong::Cut),
        2 => Act::Between(one, other, Way::There, links, Wrong::Cut),
        3 => Act::Between(one, other, Way::Both, links, Wrong::Lossy(30)),
        _ => Act::Relay(one, links, habit(rng)),
    }
}

/// Something that happens to the witness.
fn witness_act(rng: &mut Rng) -> Act {
    match rng.range(0, 7) {
        0 | 1 => Act::Kill(2, Process::Had),
        2 => Act::Stop(2, Process::Had),
        3 => Act::PowerOff(2),
        4 => Act::Unplug(2, Links::Both),
        5 => Act::Clock(2, ahead(rng)),
        6 => Act::DiskFull(2),
        _ => Act::Wipe,
    }
}

/// Any fault.
fn rough_act(rng: &mut Rng, witness: bool) -> Act {
    let node = rng.range(0, 1) as Member;
    let link = rng.range(0, 1) as u8;
    let (one, other) = two(rng, witness);
    match rng.range(0, 24) {
        0 | 1 => Act::Kill(
            node,
            rng.pick(&[Process::Had, Process::Agentd, Process::Both, Process::All]),
        ),
        2 | 3 => Act::Stop(node, rng.pick(&[Process::Had, Process::Agentd, Process::Both])),
        4 => Act::Stop(node, Process::All),
        5 => Act::KillService(group(rng)),
        6 => Act::StopService(group(rng)),
        7 | 8 => Act::PowerOff(node),
        9 => Act::Blackout,
        10 => Act::Unplug(node, Links::Both),
        11 | 12 => Act::Between(one, other, Way::Both, Links::Both, Wrong::Cut),
        13 | 14 => Act::Between(one, other, Way::There, Links::Both, Wrong::Cut),
        15 => Act::Between(one, other, Way::Both, Links::Both, Wrong::Lossy(30)),
        16 => one_link(rng, link, witness),
        17 => Act::Relay(node, rng.pick(&[Links::Both, Links::One(link)]), habit(rng)),
        18 => Act::Starve(node, rng.range(5, 20) as u32),
        19 => Act::Clock(node, ahead(rng)),
        20 | 21 => side_act(rng),
        22 if witness => witness_act(rng),
        _ => Act::Order(order(rng, node)),
    }
}

fn order(rng: &mut Rng, node: Member) -> Order {
    match rng.range(0, 9) {
        0..=2 => Order::Move(group(rng)),
        3 => Order::Standby(node),
        4 => Order::StandbyBoth,
        5 => Order::Fence(node),
        6 => Order::Restart(group(rng)),
        7 => Order::Disable(group(rng)),
        8 => Order::Maintenance,
        _ => Order::Upgrade(node),
    }
}

fn board(rng: &mut Rng) -> Board {
    match rng.range(0, 5) {
        0 => Board::Gone,
        1 => Board::Hung,
        2 => Board::Refuses,
        3 => Board::Slow(rng.range(1_000, 6_000)),
        4 => Board::Late(rng.range(1_000, 8_000)),
        _ => Board::Deaf,
    }
}

fn habit(rng: &mut Rng) -> Habit {
    let twice = rng.percent(40);
    Habit {
        out_ms: rng.range(0, 250),
        in_ms: rng.range(0, 250),
        jitter_ms: if rng.percent(50) { rng.range(1, 100) } else { 0 },
        twice_percent: if twice { 30 } else { 0 },
    }
}

fn group(rng: &mut Rng) -> usize {
    rng.range(0, super::GROUPS.len() as u64 - 1) as usize
}

/// Seconds from a minute to half a year.
fn ahead(rng: &mut Rng) -> u32 {
    rng.pick(&[60, 3_600, 86_400, 2_600_000, 15_000_000])
}

/// Two different members.
fn two(rng: &mut Rng, witness: bool) -> (Member, Member) {
    let members = if witness { 3 } else { 2 };
    let one = rng.range(0, members - 1);
    let other = (one + rng.range(1, members - 1)) % members;
    (one as Member, other as Member)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_round_is_determined_by_its_seed() {
        assert_eq!(draw(1, 3, true), draw(1, 3, true));
        assert_ne!(draw(1, 3, true), draw(1, 4, true));
        assert_ne!(draw(1, 3, true), draw(2, 3, true));
    }

    #[test]
    fn every_kind_of_fault_is_drawn() {
        let kinds = |witness| {
            let rounds = (0..2000).map(|number| draw(1, number, witness));
            let steps = rounds.flat_map(|round| round.steps);
            steps.map(|step| step.act.kind()).collect::<BTreeSet<_>>()
        };
        let pair = kinds(false);
        assert_eq!(pair.len(), 30, "{pair:?}");
        assert!(!pair.contains("wipe"));
        assert!(kinds(true).contains("wipe"));
    }

    #[test]
    fn nothing_happens_to_a_witness_that_is_not_there() {
        for number in 0..2000 {
            for step in draw(5, number, false).steps {
                assert!(!step.act.weakens().contains(&2), "{step:?}");
            }
        }
    }

    #[test]
    fn faults_end_within_their_round() {
        for number in 0..500 {
            let round = draw(9, number, true);
            assert!(!round.steps.is_empty());
            for step in &round.steps {
                assert!(step.at_ms < round.length_ms, "{step:?}");
                assert!(
                    step.until_ms
                        .is_none_or(|until| until > step.at_ms && until < round.length_ms)
                );
            }
        }
    }
}

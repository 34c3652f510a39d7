//! What the watch on the disks has seen, and whether the watchdog may be petted. No I/O.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use holdfast_proto::time::Time;
use holdfast_sbd::read_quorum;

/// How far the watch is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// No disk is watched.
    #[default]
    Idle,
    /// Slots are claimed and mailboxes read; nothing is promised to anybody yet.
    Claiming,
    /// Disks carry, or are about to carry, the mark of this boot: the watchdog depends on them.
    Tied,
    /// Marks are being erased. The watchdog still depends on the disks.
    Releasing,
}

/// One disk as its thread sees it.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// When the latest look without an order and without trouble began.
    good: Option<Time>,
    /// How long that counts.
    patience: Duration,
    /// Its mark is erased, or never was on it.
    released: bool,
}

#[derive(Default)]
struct State {
    phase: Phase,
    disks: Vec<Seen>,
    /// Of the threads that are to run: one that holds another number ends.
    generation: u64,
    ordered: bool,
    /// As of when a quorum stood behind this node.
    quorum: Option<Time>,
}

/// Shared by the guard, which pets the watchdog, and the threads that read the disks.
#[derive(Default)]
pub struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

impl Watch {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while the watchdog may be petted: no order came, and, once others may rely on it, enough disks were read
    /// a moment ago, or a quorum stood behind this node. Counted from when a look began, or from when the heartbeat was sent
    /// that the quorum answered: what was written after that moment may not be seen yet, and who writes it sees to it that no
    /// later heartbeat is answered so.
    #[must_use]
    pub fn may_pet(&self, now: Time) -> bool {
        let state = self.lock();
        !state.ordered && (state.is_free() || state.reads_enough(now) || state.has_quorum(now))
    }

    /// True if it may be petted only because a quorum stands behind this node.
    #[must_use]
    pub fn rests_on_quorum(&self, now: Time) -> bool {
        let state = self.lock();
        !state.ordered && !state.is_free() && !state.reads_enough(now) && state.has_quorum(now)
    }

    /// A quorum stood behind this node as of `since`.
    pub fn has_quorum(&self, since: Time) {
        let mut state = self.lock();
        state.quorum = state.quorum.max(Some(since));
    }

    /// True while the watchdog depends on the disks: it must not be disarmed.
    #[must_use]
    pub fn is_tied(&self) -> bool {
        matches!(self.lock().phase, Phase::Tied | Phase::Releasing)
    }

    /// An order was read: this node ends.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        self.lock().ordered
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// Begins with so many disks; the number that its threads hold.
    pub(super) fn begin(&self, disks: usize, phase: Phase) -> u64 {
        let mut state = self.lock();
        state.phase = phase;
        state.disks = vec![Seen::default(); disks];
        state.generation += 1;
        self.changed.notify_all();
        state.generation
    }

    /// How far it is, for a thread of `generation`; None if that is to end.
    pub(super) fn phase_of(&self, generation: u64) -> Option<Phase> {
        let state = self.lock();
        (state.generation == generation && state.phase != Phase::Idle).then_some(state.phase)
    }

    /// A look at `disk` that began at `begun` found no order and no trouble.
    pub(super) fn saw(&self, generation: u64, disk: usize, begun: Time, patience: Duration) {
        self.about(generation, disk, |seen| {
            seen.good = Some(begun);
            seen.patience = patience;
        });
    }

    /// Notes what a thread found, unless it is one of an earlier watch: its number is that of another disk now.
    fn about(&self, generation: u64, disk: usize, note: impl FnOnce(&mut Seen)) {
        let mut state = self.lock();
        if state.generation == generation
            && let Some(seen) = state.disks.get_mut(disk)
        {
            note(seen);
        }
        self.changed.notify_all();
    }

    /// An order for this node was read: never pet again.
    pub(super) fn order(&self) {
        self.lock().ordered = true;
    }

    /// Once enough disks are read, others may rely on the watch. `record` comes first: a successor that does not know
    /// of the promise would pet without reading.
    pub(super) fn try_tie(&self, now: Time, record: impl FnOnce() -> bool) -> bool {
        let mut state = self.lock();
        let ready = state.phase == Phase::Claiming && state.fresh(now) >= read_quorum(state.disks.len());
        if ready && record() {
            state.phase = Phase::Tied;
            return true;
        }
        false
    }

    /// From now on marks are erased. False if there were none, and the watch is over at once.
    pub(super) fn release(&self) -> bool {
        let mut state = self.lock();
        match state.phase {
            Phase::Tied | Phase::Releasing => state.phase = Phase::Releasing,
            Phase::Idle | Phase::Claiming => state.phase = Phase::Idle,
        }
        self.changed.notify_all();
        state.phase == Phase::Releasing
    }

    /// The mark on `disk` is erased.
    pub(super) fn released(&self, generation: u64, disk: usize) {
        self.about(generation, disk, |seen| seen.released = true);
    }

    /// Ends a watch whose marks are all erased: a single one left, and somebody might rely on it.
    pub(super) fn end_if_released(&self) -> bool {
        let mut state = self.lock();
        let over = state.phase == Phase::Releasing && state.disks.iter().all(|seen| seen.released);
        if over && !state.ordered {
            state.phase = Phase::Idle;
        }
        over
    }

    /// Waits until something changed, `limit` at most.
    pub(super) fn pause(&self, limit: Duration) {
        let state = self.lock();
        drop(self.changed.wait_timeout(state, limit));
    }

    /// Waits `span`, but not longer than until `phase` is another one.
    pub(super) fn pause_in(&self, phase: Phase, span: Duration) {
        let state = self.lock();
        let same = |state: &mut State| state.phase == phase;
        drop(self.changed.wait_timeout_while(state, span, same));
    }
}

impl State {
    fn is_free(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Claiming)
    }

    fn reads_enough(&self, now: Time) -> bool {
        self.fresh(now) >= read_quorum(self.disks.len())
    }

    /// No longer than a look counts on any disk: that is what the marks promise.
    fn has_quorum(&self, now: Time) -> bool {
        let patience = self.disks.iter().map(|seen| seen.patience);
        let shortest = patience.filter(|patience| !patience.is_zero()).min();
        let counts = |(since, shortest)| now.since(since) <= shortest;
        self.quorum.zip(shortest).is_some_and(counts)
    }

    fn fresh(&self, now: Time) -> usize {
        let counts = |seen: &&Seen| seen.good.is_some_and(|good| now.since(good) <= seen.patience);
        // What is released is read no more, and need not be: nobody can rely on it.
        self.disks
            .iter()
            .filter(|seen| seen.released || counts(seen))
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(4);

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000)
    }

    #[test]
    fn nothing_depends_on_disks_that_promise_nothing() {
        let watch = Watch::default();
        assert!(watch.may_pet(at(1)) && !watch.is_tied());
        watch.begin(3, Phase::Claiming);
        assert!(watch.may_pet(at(1)));
        assert!(!watch.try_tie(at(1), || unreachable!("no disk was read")));
    }

    #[test]
    fn petting_needs_enough_disks_that_were_read_a_moment_ago() {
        for (disks, enough) in [(1, 1), (2, 1), (3, 2)] {
            let watch = Watch::default();
            let threads = watch.begin(disks, Phase::Tied);
            assert!(!watch.may_pet(at(10)));
            for disk in 0..disks {
                watch.saw(threads, disk, at(10), PATIENCE);
                assert_eq!(watch.may_pet(at(14)), disk + 1 >= enough, "{disk} of {disks}");
            }
            assert!(!watch.may_pet(at(15)), "counted from when the look began");
        }
    }

    #[test]
    fn a_quorum_stands_in_for_disks_as_long_as_a_look_would() {
        let watch = Watch::default();
        let threads = watch.begin(3, Phase::Tied);
        watch.has_quorum(at(10));
        assert!(!watch.may_pet(at(10)), "what the marks promise is not known yet");
        for disk in 0..3 {
            watch.saw(threads, disk, at(10), PATIENCE);
        }
        assert!(watch.may_pet(at(14)) && !watch.rests_on_quorum(at(14)));
        watch.has_quorum(at(13));
        assert!(watch.may_pet(at(17)) && watch.rests_on_quorum(at(17)));
        assert!(!watch.may_pet(at(18)), "counted from when the heartbeat was sent");
        watch.has_quorum(at(12));
        assert!(watch.may_pet(at(17)), "word of before takes nothing back");
        watch.order();
        assert!(!watch.may_pet(at(17)), "an order is obeyed all the same");
    }

    #[test]
    fn an_order_ends_petting_for_good() {
        let watch = Watch::default();
        let threads = watch.begin(1, Phase::Tied);
        watch.saw(threads, 0, at(10), PATIENCE);
        watch.order();
        watch.saw(threads, 0, at(11), PATIENCE);
        assert!(!watch.may_pet(at(11)));
        watch.release();
        watch.released(threads, 0);
        watch.end_if_released();
        assert!(!watch.may_pet(at(11)) && watch.is_tied());
    }

    #[test]
    fn the_promise_is_recorded_before_it_counts() {
        let watch = Watch::default();
        let threads = watch.begin(1, Phase::Claiming);
        watch.saw(threads, 0, at(10), PATIENCE);
        assert!(
            !watch.try_tie(at(10), || false) && !watch.is_tied(),
            "it could not be recorded"
        );
        assert!(watch.try_tie(at(10), || true) && watch.is_tied());
    }

    #[test]
    fn the_watch_ends_when_the_last_mark_is_erased() {
        let watch = Watch::default();
        let threads = watch.begin(2, Phase::Tied);
        watch.saw(threads, 0, at(10), PATIENCE);
        assert!(watch.release());
        watch.released(threads, 0);
        assert!(!watch.end_if_released() && watch.is_tied());
        assert_eq!(watch.phase_of(threads), Some(Phase::Releasing));
        watch.released(threads, 1);
        assert!(watch.end_if_released() && !watch.is_tied() && watch.may_pet(at(99)));
        assert_eq!(watch.phase_of(threads), None);
        watch.begin(1, Phase::Claiming);
        assert_eq!(watch.phase_of(threads), None, "threads of before end");
        watch.saw(threads, 0, at(99), PATIENCE);
        assert!(
            !watch.try_tie(at(99), || true),
            "what they still read is another disk"
        );
        assert!(!watch.release(), "nothing was promised yet");
    }
}

use std::collections::BTreeSet;

use super::*;

#[test]
fn the_earliest_deadline_is_next_and_ties_keep_the_declared_order() {
    let mut timers = Timers::default();
    assert_eq!(timers.next(), None);
    timers.set(Timer::Countdown, Time(20));
    timers.set(Timer::LeaseEnd, Time(10));
    timers.set(Timer::Heartbeat, Time(10));
    assert_eq!(timers.next(), Some((Time(10), Timer::Heartbeat)));
}

#[test]
fn only_what_is_due_expires_and_each_once() {
    let mut timers = Timers::default();
    timers.set(Timer::Election, Time(10));
    timers.set(Timer::Handover, Time(11));
    assert_eq!(timers.pop_expired(Time(9)), None);
    assert_eq!(timers.pop_expired(Time(10)), Some(Timer::Election));
    assert_eq!(timers.pop_expired(Time(10)), None);
    assert_eq!(timers.get(Timer::Handover), Some(Time(11)));
}

#[test]
fn an_earlier_deadline_wins_over_a_later_one() {
    let mut timers = Timers::default();
    timers.set_earliest(Timer::FenceRetry, Time(30));
    timers.set_earliest(Timer::FenceRetry, Time(40));
    assert_eq!(timers.get(Timer::FenceRetry), Some(Time(30)));
    timers.set_earliest(Timer::FenceRetry, Time(20));
    assert_eq!(timers.get(Timer::FenceRetry), Some(Time(20)));
    timers.set(Timer::FenceRetry, Time(50));
    assert_eq!(timers.get(Timer::FenceRetry), Some(Time(50)), "set replaces");
    timers.clear(Timer::FenceRetry);
    assert_eq!(timers.next(), None);
}

#[test]
fn every_timer_has_a_slot_and_a_reason_of_its_own() {
    let reasons: BTreeSet<&str> = Timer::ALL.iter().map(|timer| timer.reason()).collect();
    assert_eq!(reasons.len(), Timer::ALL.len());
    for (slot, timer) in Timer::ALL.into_iter().enumerate() {
        assert_eq!(timer as usize, slot);
    }
}

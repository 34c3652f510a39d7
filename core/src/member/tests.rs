use holdfast_proto::ids::NodeId;

use super::*;

fn from(boot: u128, incarnation: u64) -> Sender {
    Sender {
        node: NodeId(2),
        boot: BootId(boot),
        incarnation: Incarnation(incarnation),
    }
}

#[test]
fn word_of_an_older_run_is_ignored_in_any_boot() {
    let mut member = Member::default();
    assert_eq!(member.hear(from(1, 1), Time(10)), Heard::NewIncarnation);
    assert_eq!(member.hear(from(1, 2), Time(20)), Heard::NewIncarnation);
    assert_eq!(member.hear(from(1, 1), Time(30)), Heard::Old);
    assert_eq!(member.hear(from(2, 3), Time(40)), Heard::NewBoot(BootId(1)));
    assert_eq!(
        member.hear(from(1, 2), Time(50)),
        Heard::Old,
        "a stale message of the boot before"
    );
    assert_eq!(
        member.hear(from(2, 3), Time(60)),
        Heard::Same,
        "does not make the newer boot the older one"
    );
    assert_eq!(member.heard_at, Some(Time(60)));
}

#[test]
fn what_is_ignored_is_no_sign_of_life() {
    let mut member = Member::default();
    member.hear(from(1, 2), Time(10));
    member.hear(from(1, 1), Time(90));
    assert_eq!(member.heard_at, Some(Time(10)));
}

#[test]
fn a_new_run_in_the_same_boot_starts_its_numbers_anew_and_keeps_its_watchdog() {
    let mut member = Member::default();
    member.hear(from(1, 1), Time(10));
    member.seq = 500;
    member.synced = true;
    member.backed_at = Some(Time(9));
    member.watchdog = Some(Duration::from_secs(2));
    member.answered_at = Some(Time(8));
    member.hear(from(1, 2), Time(20));
    assert_eq!((member.seq, member.synced, member.backed_at), (0, false, None));
    assert_eq!(
        member.watchdog,
        Some(Duration::from_secs(2)),
        "the kernel holds it, not had"
    );
    assert_eq!(member.boot_since, Time(10), "the boot is the same");
    assert_eq!(
        member.answered_at,
        Some(Time(8)),
        "permits given to it may still run"
    );
}

#[test]
fn a_new_boot_has_no_watchdog_before_it_says_so_but_old_permits_are_remembered() {
    let mut member = Member::default();
    member.hear(from(1, 1), Time(10));
    member.watchdog = Some(Duration::from_secs(2));
    member.answered_at = Some(Time(8));
    member.hear(from(2, 2), Time(20));
    assert_eq!(member.watchdog, None);
    assert_eq!(member.boot_since, Time(20));
    assert_eq!(member.answered_at, Some(Time(8)));
}

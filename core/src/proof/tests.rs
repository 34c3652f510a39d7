use super::*;

const OWNER: NodeId = NodeId(2);
const OTHER: NodeId = NodeId(1);
const BOOT: BootId = BootId(7 << 96);
const BALLOT: Ballot = Ballot { round: 4, node: 1 };

fn owned(epoch: Epoch) -> Assignment {
    Assignment::Owned {
        owner: OWNER,
        boot: Some(BOOT),
        epoch,
    }
}

fn releasing(epoch: Epoch) -> Assignment {
    Assignment::Releasing {
        owner: OWNER,
        boot: Some(BOOT),
        epoch,
        toward: None,
    }
}

fn result(off_read_back: bool) -> FenceResult {
    FenceResult {
        off_read_back,
        evidence: "exit 0".into(),
        error: String::new(),
        read_at: Time(9),
    }
}

fn devices(results: &[(FenceKind, FenceResult)]) -> Option<FenceProof> {
    FenceProof::from_devices(OWNER, Some(BOOT), results, Time(10), 5)
}

fn kind(proof: Option<ReleaseProof>) -> Option<ProofKind> {
    proof.map(|proof| proof.kind())
}

#[test]
fn a_fence_counts_by_what_was_read_back_and_not_by_an_exit_code() {
    assert_eq!(devices(&[(FenceKind::Power, result(false))]), None);
    let proof = devices(&[(FenceKind::Power, result(true))]).expect("read back as off");
    assert_eq!((proof.kind(), proof.ended_boot()), (ProofKind::Power, Some(BOOT)));
}

#[test]
fn every_device_of_a_level_has_to_read_back() {
    assert_eq!(devices(&[]), None, "no device proves nothing");
    let half = [
        (FenceKind::Power, result(true)),
        (FenceKind::Power, result(false)),
    ];
    assert_eq!(devices(&half), None, "one of two power supplies");
}

#[test]
fn only_a_proof_that_ended_the_boot_votes() {
    let power = devices(&[(FenceKind::Power, result(true))]).expect("proof");
    let storage = devices(&[(FenceKind::Storage, result(true))]).expect("proof");
    let word = FenceProof::operator(OWNER, Some(BOOT), "ann looked".into(), Time(10), 5);
    assert_eq!(
        (power.votes(), storage.votes(), word.votes()),
        (true, false, false)
    );
    for proof in [power, storage, word] {
        assert!(
            proof.releases(&owned(4)).is_some(),
            "{:?} releases groups",
            proof.kind()
        );
    }
}

#[test]
fn a_fence_proof_covers_its_own_node_and_what_was_assigned_before_it() {
    let proof = devices(&[(FenceKind::Power, result(true))]).expect("proof");
    assert!(proof.releases(&owned(4)).is_some());
    assert_eq!(proof.releases(&owned(5)), None, "assigned afterwards");
    let elsewhere = Assignment::Owned {
        owner: OTHER,
        boot: Some(BOOT),
        epoch: 1,
    };
    assert_eq!(proof.releases(&elsewhere), None);
    assert_eq!(proof.releases(&Assignment::Stopped { epoch: 1 }), None);
}

fn countdown() -> Countdown {
    Countdown {
        ballot: BALLOT,
        node: OWNER,
        lapsed_at: Time(100),
        fired_at: Some(Time(200)),
        answered: Some(Time(50)),
        elected_at: Time(40),
    }
}

#[test]
fn a_lapse_releases_what_requires_a_lease_and_not_a_moment_early() {
    let ends = |at, requires| kind(countdown().releases(Time(at), BALLOT, &owned(1), requires));
    assert_eq!(ends(99, Requires::Lease), None);
    assert_eq!(ends(100, Requires::Lease), Some(ProofKind::Lapsed));
    assert_eq!(
        ends(199, Requires::Fencing),
        None,
        "a lapse is no proof for such a group"
    );
    assert_eq!(ends(200, Requires::Fencing), Some(ProofKind::Watchdog));
}

#[test]
fn without_an_armed_watchdog_no_countdown_releases_what_requires_fencing() {
    let unarmed = Countdown {
        fired_at: None,
        ..countdown()
    };
    assert_eq!(
        unarmed.releases(Time(u64::MAX), BALLOT, &owned(1), Requires::Fencing),
        None
    );
}

#[test]
fn a_countdown_holds_only_inside_the_ballot_it_was_counted_in() {
    let later = BALLOT.next_for(OTHER);
    assert_eq!(
        countdown().releases(Time(900), later, &owned(1), Requires::Lease),
        None
    );
    assert_eq!(
        countdown().releases(Time(900), later, &owned(1), Requires::Fencing),
        None
    );
}

#[test]
fn a_reset_is_observed_by_another_boot_than_the_one_assigned() {
    let observed = |assignment: &Assignment, node, boot| {
        ReleaseProof::observed_reset(assignment, node, boot).map(|proof| proof.record(3).ended_boot)
    };
    assert_eq!(observed(&owned(1), OWNER, BootId(8 << 96)), Some(Some(BOOT)));
    assert_eq!(
        observed(&owned(1), OWNER, BOOT),
        None,
        "the same boot may be running it"
    );
    assert_eq!(
        observed(&owned(1), OTHER, BootId(8 << 96)),
        None,
        "another node's boot says nothing"
    );
    let unknown = Assignment::Owned {
        owner: OWNER,
        boot: None,
        epoch: 1,
    };
    assert_eq!(
        observed(&unknown, OWNER, BootId(8 << 96)),
        None,
        "which boot it was made for is not known"
    );
}

#[test]
fn a_stop_counts_when_it_was_asked_for_and_confirmed_under_that_epoch() {
    assert_eq!(
        kind(ReleaseProof::stopped(&releasing(4), OWNER, 4)),
        Some(ProofKind::Stopped)
    );
    assert_eq!(
        ReleaseProof::stopped(&releasing(4), OWNER, 3),
        None,
        "a stop from before"
    );
    assert_eq!(
        ReleaseProof::stopped(&owned(4), OWNER, 9),
        None,
        "it may be starting right now"
    );
    assert_eq!(ReleaseProof::stopped(&releasing(4), OTHER, 4), None);
}

#[test]
fn only_a_group_that_requires_nothing_goes_without_a_proof() {
    assert!(ReleaseProof::not_required(&owned(1), Requires::Nothing).is_some());
    assert_eq!(ReleaseProof::not_required(&owned(1), Requires::Lease), None);
    assert_eq!(ReleaseProof::not_required(&owned(1), Requires::Fencing), None);
    assert_eq!(
        ReleaseProof::not_required(&Assignment::Stopped { epoch: 1 }, Requires::Nothing),
        None
    );
}

#[test]
fn a_proof_is_recorded_with_its_evidence() {
    let word = FenceProof::operator(OWNER, None, "ann looked".into(), Time(10), 5);
    let record = word.releases(&owned(1)).expect("released").record(9);
    assert_eq!((record.kind, record.version), (ProofKind::Operator, 9));
    assert_eq!(record.evidence, "ann looked");
}

#[test]
fn a_proof_keeps_when_it_was_made_what_it_covers_and_what_was_seen() {
    let power = [(FenceKind::Power, result(true))];
    let proof = FenceProof::from_devices(OWNER, Some(BOOT), &power, Time(77), 9).expect("all off");
    assert_eq!((proof.at(), proof.before_epoch()), (Time(77), 9));
    assert_eq!(proof.evidence(), "exit 0");
    let release = proof.releases(&owned(8)).expect("made before it");
    assert_eq!(release.evidence(), "exit 0");
    assert!(proof.releases(&owned(9)).is_none());
}

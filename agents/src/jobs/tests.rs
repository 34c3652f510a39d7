//! Which order begins a run, and what is made of files. Runs of real programs: `agents/tests/jobs.rs`.

use tokio::sync::mpsc;

use super::*;

fn state(run: u64, outcome: Outcome) -> State {
    State {
        saved: Saved {
            run,
            outcome,
            cluster: 7,
            ..Saved::default()
        },
        damage: None,
    }
}

fn order(run: u64, begin: bool) -> JobOrder {
    JobOrder {
        job: "backup".into(),
        run,
        begin,
        cluster_id: 7,
        ..JobOrder::default()
    }
}

#[test]
fn only_a_later_run_begins() {
    for outcome in [
        Outcome::Done,
        Outcome::Failed,
        Outcome::Interrupted,
        Outcome::NotBegun,
    ] {
        let state = state(5, outcome);
        assert_eq!(state.judge(&order(4, true)), Judged::Say);
        assert_eq!(state.judge(&order(5, true)), Judged::Say, "{outcome:?}");
        assert_eq!(state.judge(&order(6, true)), Judged::Begin);
        assert_eq!(state.judge(&order(5, false)), Judged::Say);
        assert_eq!(state.judge(&order(6, false)), Judged::CallOff);
    }
}

#[test]
fn a_run_that_goes_on_is_ended_by_its_own_number_only() {
    let state = state(5, Outcome::Running);
    assert_eq!(state.judge(&order(5, true)), Judged::Say);
    assert_eq!(state.judge(&order(5, false)), Judged::End);
    assert_eq!(state.judge(&order(4, false)), Judged::Say);
    assert_eq!(state.judge(&order(6, false)), Judged::Say);
    let Judged::Refuse(why) = state.judge(&order(6, true)) else {
        panic!("two runs of a job at once")
    };
    assert_eq!(why, "run 5 of it still goes on");
}

#[test]
fn numbers_of_another_cluster_say_nothing() {
    let mut other = order(1, true);
    other.cluster_id = 8;
    assert_eq!(state(5, Outcome::Done).judge(&other), Judged::Begin);
    assert!(matches!(
        state(5, Outcome::Running).judge(&other),
        Judged::Refuse(_)
    ));
}

#[test]
fn a_damaged_file_lets_nothing_begin_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("backup.job"), b"{").unwrap();
    let (guard, mut commands) = mpsc::unbounded_channel();
    let mut jobs = Jobs::new(folder.path().into(), guard);
    jobs.obey(order(9, true));
    let Some(Command::Job(status)) = commands.try_recv().ok() else {
        panic!("nothing is said")
    };
    assert_eq!((status.run, status.outcome.as_str()), (9, "failed"));
    assert!(
        status.detail.contains("backup.job is damaged"),
        "{}",
        status.detail
    );
    assert!(status.detail.contains("remove the file"), "{}", status.detail);
}

#[test]
fn what_was_called_off_stays_called_off_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let (guard, mut commands) = mpsc::unbounded_channel();
        let mut jobs = Jobs::new(folder.path().into(), guard);
        jobs.obey(order(9, round == 1));
        let said = std::iter::from_fn(|| commands.try_recv().ok());
        let outcomes: Vec<String> = said
            .filter_map(|command| match command {
                Command::Job(status) => Some(format!("{} {}", status.run, status.outcome)),
                _ => None,
            })
            .collect();
        assert!(
            !outcomes.is_empty() && outcomes.iter().all(|said| said == "9 not-begun"),
            "{outcomes:?}"
        );
    }
}

#[test]
fn a_run_whose_keeper_is_gone_without_a_word_was_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let running = Saved::of(&order(3, true));
    running.write(folder.path()).unwrap();
    let stale = saved::Ended {
        run: 2,
        well: true,
        how: "it ended well".into(),
        last_line: String::new(),
        took_ms: 1,
    };
    stale.write(&Spec::path(folder.path(), "backup")).unwrap();
    let (guard, mut commands) = mpsc::unbounded_channel();
    let _jobs = Jobs::new(folder.path().into(), guard);
    let Some(Command::Job(status)) = commands.try_recv().ok() else {
        panic!("nothing is said")
    };
    assert_eq!(
        (status.run, status.outcome.as_str()),
        (3, "interrupted"),
        "{}",
        status.detail
    );
}

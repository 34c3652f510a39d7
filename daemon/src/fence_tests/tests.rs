use super::*;
use holdfast_proto::config;

const MINUTE: Duration = Duration::from_secs(60);

fn cluster(device_of_db2: &str) -> Config {
    let pin = |digit: &str| digit.repeat(64);
    let text = format!(
        "[cluster]\nname = \"shop\"\nid = \"0000000000000007\"\n\
         [[node]]\nname = \"db1\"\nlinks = [\"127.0.0.1\"]\nkeys = [\"{}\"]\n\
         [[node]]\nname = \"db2\"\nlinks = [\"127.0.0.2\"]\nkeys = [\"{}\"]\n\
         [[fence]]\nnode = \"db1\"\nagent = \"fence_ipmilan\"\nparams = {{ ip = \"10.0.9.1\" }}\n\
         [[fence]]\nnode = \"db2\"\nagent = \"fence_ipmilan\"\nparams = {{ ip = \"{device_of_db2}\" }}\n",
        pin("1"),
        pin("2"),
    );
    config::parse(&text, "tests.toml").unwrap_or_else(|wrong| panic!("{}", wrong.render(false)))
}

fn tests() -> FenceTests {
    FenceTests::new(&cluster("10.0.9.2"), NodeId(1), Time::ZERO)
}

fn outcome(id: u64, off: bool, error: &str) -> FenceOutcome {
    FenceOutcome {
        id,
        off_read_back: off,
        evidence: if error.is_empty() {
            "it says so".into()
        } else {
            String::new()
        },
        error: error.into(),
        took_ms: 7,
        ..FenceOutcome::default()
    }
}

/// Ends test `id` at `now`; db2 is heard.
fn end(tests: &mut FenceTests, outcome: &FenceOutcome, now: Time) -> Option<Record> {
    tests.end(outcome, |_| true, now, |node| format!("db{}", node.0))
}

#[test]
fn the_devices_of_others_are_tested_soon_and_then_at_the_interval() {
    let mut tests = tests();
    let first = Time::ZERO + Duration::from_secs(15);
    assert_eq!(tests.next_due(), Some(first));
    assert_eq!(tests.due(first), Some(1), "the device of db2, not its own");
    assert_eq!(tests.begin(1, 40), Some(40));
    assert_eq!((tests.due(first), tests.next_due()), (None, None));
    let told = end(&mut tests, &outcome(40, false, ""), first).expect("news");
    assert_eq!((told.kind.as_str(), told.level), ("fence-test-passed", "info"));
    assert_eq!(tests.next_due(), Some(first + 60 * MINUTE));
    tests.begin(1, 41);
    assert_eq!(end(&mut tests, &outcome(41, false, ""), first + MINUTE), None);
    let test = &tests.picture()[1];
    assert_eq!(
        (&test.shown, test.proven_at),
        (&Shown::Proven, Some(first + MINUTE))
    );
}

#[test]
fn a_failure_is_told_once_and_looked_at_again_soon() {
    let mut tests = tests();
    let now = Time::ZERO + MINUTE;
    tests.begin(1, 1);
    let told = end(&mut tests, &outcome(1, false, "no route to host"), now).expect("news");
    assert_eq!((told.kind.as_str(), told.level), ("fence-test-failed", "alert"));
    assert!(
        told.text.contains("db2") && told.text.contains("no route"),
        "{}",
        told.text
    );
    assert_eq!(tests.next_due(), Some(now + AGAIN));
    tests.begin(1, 2);
    assert_eq!(end(&mut tests, &outcome(2, false, "no route to host"), now), None);
    tests.begin(1, 3);
    let told = end(&mut tests, &outcome(3, false, ""), now).expect("it works again");
    assert_eq!(told.kind, "fence-test-passed");
}

#[test]
fn a_device_that_says_off_of_a_node_that_is_heard_controls_another_machine() {
    let mut tests = tests();
    let now = Time::ZERO + MINUTE;
    tests.begin(1, 1);
    assert_eq!(
        end(&mut tests, &outcome(1, true, ""), now),
        None,
        "it may just have lost power"
    );
    assert_eq!(tests.picture()[1].shown, Shown::Nothing);
    assert_eq!(tests.next_due(), Some(now + Duration::from_secs(2) + DOUBT));
    tests.begin(1, 2);
    let told = end(&mut tests, &outcome(2, true, ""), now + MINUTE).expect("news");
    assert!(told.text.contains("controls another machine"), "{}", told.text);
    // Of a node that is not heard, off is the truth.
    tests.begin(1, 3);
    let told = tests.end(&outcome(3, true, ""), |_| false, now, |_| "db2".into());
    assert_eq!(told.expect("news").kind, "fence-test-passed");
}

#[test]
fn a_test_that_gave_way_says_nothing_about_the_device() {
    let mut tests = tests();
    let now = Time::ZERO + MINUTE;
    tests.begin(1, 1);
    let skipped = FenceOutcome {
        skipped: true,
        ..outcome(1, false, "it gave way")
    };
    assert_eq!(end(&mut tests, &skipped, now), None);
    assert_eq!(tests.picture()[1].shown, Shown::Nothing);
    assert_eq!(tests.next_due(), Some(now + AGAIN));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut tests = tests();
    assert_eq!(end(&mut tests, &outcome(9, false, "x"), Time::ZERO), None);
    tests.begin(1, 1);
    tests.abort(Time::ZERO + MINUTE);
    assert_eq!(end(&mut tests, &outcome(1, false, "x"), Time::ZERO), None);
    assert_eq!(tests.next_due(), Some(Time::ZERO + MINUTE + AGAIN));
}

#[test]
fn a_new_configuration_keeps_what_is_known_of_devices_that_did_not_change() {
    let mut tests = tests();
    let now = Time::ZERO + MINUTE;
    tests.begin(1, 1);
    end(&mut tests, &outcome(1, false, ""), now);
    tests.follow(&cluster("10.0.9.2"), now);
    assert_eq!(tests.picture()[1].shown, Shown::Proven);
    tests.follow(&cluster("10.0.9.3"), now);
    assert_eq!(tests.picture()[1].shown, Shown::Nothing);
}

//! The OCF host with agents of the test's own: the environment, exit codes, what lives on and what does not.

mod ocf_stage;

use std::fs;
use std::path::Path;
use std::time::Duration;

use holdfast_agents::agent::Presence;
use holdfast_agents::{clock, registry};
use ocf_stage::{PLAIN, Stage, lives, soon, until};

#[tokio::test]
async fn actions_get_the_environment_that_the_standard_names() {
    let more = [
        ("param.port", "5"),
        ("monitor_interval_ms", "4000"),
        ("check_level", "10"),
    ];
    let stage = Stage::new(PLAIN, &more);
    let mut agent = stage.agent();
    assert_eq!(agent.probe().await, Presence::Inactive);
    let probe = stage.environment("monitor");
    assert_eq!(probe["OCF_RESKEY_CRM_meta_interval"], "0");
    agent.start(soon()).await.unwrap();
    let start = stage.environment("start");
    let root = stage.path("root").display().to_string();
    for (name, value) in [
        ("OCF_ROOT", root.as_str()),
        ("OCF_RA_VERSION_MAJOR", "1"),
        ("OCF_RA_VERSION_MINOR", "1"),
        ("OCF_RESOURCE_INSTANCE", "shop.db"),
        ("OCF_RESOURCE_TYPE", "try"),
        ("OCF_RESOURCE_PROVIDER", "test"),
        ("OCF_CHECK_LEVEL", "0"),
        ("OCF_RESKEY_port", "5"),
        ("OCF_RESKEY_CRM_meta_name", "start"),
        ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
        ("HA_RSCTMP", "/run/resource-agents"),
    ] {
        assert_eq!(start.get(name).map(String::as_str), Some(value), "{name}");
    }
    let timeout: u64 = start["OCF_RESKEY_CRM_meta_timeout"].parse().unwrap();
    assert!((1..=30_000).contains(&timeout), "{timeout}");
    // The deeper look comes beside the plain one.
    until(|| {
        let looks = fs::read_to_string(stage.path("env.monitor")).unwrap_or_default();
        looks.contains("OCF_CHECK_LEVEL=10\n") && looks.contains("_meta_interval=60000\n")
    })
    .await;
    agent.stop(soon()).await.unwrap();
    agent.stop(soon()).await.unwrap();
    assert_eq!(agent.probe().await, Presence::Inactive);
}

#[tokio::test]
async fn a_monitor_that_finds_it_gone_is_a_failure_with_the_agents_reason_and_no_private_value() {
    let more = [("monitor_interval_ms", "100"), ("param.password", "hunter2")];
    let mut stage = Stage::new(PLAIN, &more);
    let mut agent = stage.agent();
    agent.start(soon()).await.unwrap();
    fs::write(stage.path("code"), "190").unwrap();
    let note = stage.note("ocf-degraded").await;
    assert_eq!(
        note,
        "monitor ended with 190 (running, but degraded): it said ***"
    );
    assert!(agent.detail().contains("degraded"), "{}", agent.detail());
    fs::remove_file(stage.path("code")).unwrap();
    assert!(stage.note("ocf-degraded").await.contains("well again"));
    fs::write(stage.path("code"), "9").unwrap();
    let reason = stage.failure().await;
    assert_eq!(reason, "monitor ended with 9 (promoted, but failed): it said ***");
    agent.stop(soon()).await.unwrap();
}

#[tokio::test]
async fn parameters_are_held_against_the_meta_data_and_a_refused_start_needs_no_stop_of_anything() {
    let mut stage = Stage::new(PLAIN, &[("param.prot", "5")]);
    let mut agent = stage.agent();
    let error = agent.start(soon()).await.unwrap_err().0;
    assert_eq!(
        error,
        "agent try has no parameter \"prot\"; it has: dir, port, password"
    );
    assert!(!stage.path("up").exists());
    agent.stop(soon()).await.unwrap();
    drop(agent);
    stage.context.params.remove("param.prot");
    stage.context.params.insert("param.port".into(), "five".into());
    let mut agent = stage.agent();
    agent.start(soon()).await.unwrap();
    assert!(stage.note("ocf-parameter").await.contains("not a whole number"));
    agent.stop(soon()).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_not_installed_is_said_to_be_and_stops() {
    let stage = Stage::new(PLAIN, &[]);
    let mut agent = registry::build("ocf:test:absent", stage.context.clone()).unwrap();
    assert_eq!(agent.probe().await, Presence::Inactive);
    let error = agent.start(soon()).await.unwrap_err().0;
    assert!(
        error.contains("5 (not installed") && error.contains("test/absent"),
        "{error}"
    );
    agent.stop(soon()).await.unwrap();
}

#[tokio::test]
async fn what_start_leaves_behind_lives_on_and_what_monitor_leaves_does_not() {
    let body = r#"
case $1 in
start) sleep 1000 & echo $! > "$dir/daemon.pid";;
stop) kill -9 "$(cat "$dir/daemon.pid")"; exit 0;;
monitor) if [ ! -e "$dir/child.pid" ]; then sleep 1000 & echo $! > "$dir/child.pid"; fi; exit 0;;
esac
"#;
    let stage = Stage::new(body, &[("monitor_interval_ms", "60000")]);
    let mut agent = stage.agent();
    agent.start(soon()).await.unwrap();
    until(|| stage.pid("child.pid").is_some()).await;
    let (daemon, child) = (stage.pid("daemon.pid").unwrap(), stage.pid("child.pid").unwrap());
    assert_eq!(agent.probe().await, Presence::Active);
    until(|| !lives(child)).await;
    assert!(lives(daemon));
    // A restarted had-agentd finds it again and can end it by force.
    let mut context = stage.context.clone();
    context.saved = agent.saved();
    drop(agent);
    assert!(lives(daemon));
    let mut next = registry::build("ocf:test:try", context).unwrap();
    assert_eq!(next.probe().await, Presence::Active);
    next.adopt().await.unwrap();
    next.kill(soon()).await.unwrap();
    assert!(!lives(daemon));
}

#[tokio::test]
async fn an_action_that_is_dropped_is_killed_with_its_process_group() {
    let body = r#"
case $1 in start) echo $$ > "$dir/agent.pid"; sleep 1000 & echo $! > "$dir/child.pid"; wait;; monitor) exit 7;; esac
"#;
    let stage = Stage::new(body, &[]);
    let mut agent = stage.agent();
    let started = async {
        until(|| stage.pid("child.pid").is_some()).await;
    };
    tokio::select! {
        _ = agent.start(soon()) => panic!("it cannot have started"),
        () = started => {}
    }
    let child = stage.pid("child.pid").unwrap();
    until(|| !lives(child)).await;
    // Not even a zombie is left of it.
    let own = format!("/proc/{}", stage.pid("agent.pid").unwrap());
    until(|| !Path::new(&own).exists()).await;
    agent.stop(soon()).await.unwrap();
    let limit = clock::now() + Duration::from_millis(300);
    fs::remove_file(stage.path("child.pid")).unwrap();
    let error = agent.start(limit).await.unwrap_err().0;
    assert!(
        error.contains("did not end within") && error.contains("was killed"),
        "{error}"
    );
    until(|| stage.pid("child.pid").is_none_or(|child| !lives(child))).await;
}

/// Found by comparing states with Pacemaker's: an action that had just ended when it was dropped stayed as a zombie.
#[tokio::test]
async fn nothing_is_left_of_an_action_that_ended_in_the_moment_it_is_dropped() {
    let body = r#"
case $1 in start) echo $$ > "$dir/agent.pid"; sleep 0.3;; esac
"#;
    let stage = Stage::new(body, &[]);
    let mut agent = stage.agent();
    let mut start = agent.start(soon());
    while stage.pid("agent.pid").is_none() {
        tokio::select! {
            biased;
            _ = &mut start => panic!("it cannot have started"),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    let own = format!("/proc/{}/stat", stage.pid("agent.pid").unwrap());
    // The runtime does not see the end.
    while !fs::read_to_string(&own).unwrap().contains(") Z") {
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(start);
    until(|| !Path::new(&own).exists()).await;
}

#[tokio::test]
async fn a_look_that_runs_out_of_time_is_repeated_once() {
    let body = r#"
case $1 in monitor) [ -e "$dir/hang" ] && exec sleep 1000; exit 0;; esac
"#;
    let more = [("monitor_interval_ms", "100"), ("monitor_timeout_ms", "1500")];
    let mut stage = Stage::new(body, &more);
    let mut agent = stage.agent();
    agent.start(soon()).await.unwrap();
    fs::write(stage.path("hang"), "").unwrap();
    assert!(stage.note("ocf-slow").await.contains("asked once more"));
    assert_eq!(
        stage.failure().await,
        "monitor did not end within 1500 ms and was killed"
    );
}

#[tokio::test]
async fn a_stop_that_fails_is_an_error_and_force_believes_only_the_agent() {
    let body = r#"
case $1 in stop) [ -e "$dir/stuck" ] && { echo "ocf-exit-reason:busy" >&2; exit 1; }; exit 0;;
monitor) [ -e "$dir/stuck" ] && exit 1; exit 7;; esac
"#;
    let stage = Stage::new(body, &[]);
    let mut agent = stage.agent();
    fs::write(stage.path("stuck"), "").unwrap();
    let error = agent.stop(soon()).await.unwrap_err().0;
    assert_eq!(error, "stop ended with 1 (generic error): busy");
    assert!(agent.kill(soon()).await.is_err());
    assert_eq!(
        agent.probe().await,
        Presence::Unknown("monitor ended with 1 (generic error)".into())
    );
    fs::remove_file(stage.path("stuck")).unwrap();
    agent.kill(soon()).await.unwrap();
}

/// Every agent that is installed here describes itself in a way that is understood.
#[tokio::test]
async fn installed_agents_are_understood() {
    let root = Path::new("/usr/lib/ocf/resource.d/heartbeat");
    let Ok(folder) = fs::read_dir(root) else {
        eprintln!("skipped: no agents are installed in {}", root.display());
        return;
    };
    let limit = Duration::from_secs(60);
    let (mut read, mut parameters) = (0, 0);
    for entry in folder.flatten() {
        let args = ["meta-data".to_owned()];
        let variables = [("OCF_ROOT", "/usr/lib/ocf")];
        let ran = holdfast_agents::program::run_with(&entry.path(), &args, &variables, "", limit).await;
        let printed = ran.map(|ran| ran.stdout).unwrap_or_default();
        if !printed.contains("</resource-agent>") {
            // It needs something that is not installed even for that.
            continue;
        }
        let found = holdfast_proto::ocf::parse(&printed);
        let found = found.unwrap_or_else(|error| panic!("{}: {error}", entry.path().display()));
        let expected = printed.matches("<parameter ").count();
        assert_eq!(found.parameters.len(), expected, "{}", entry.path().display());
        (read, parameters) = (read + 1, parameters + expected);
    }
    eprintln!("{read} agents with {parameters} parameters");
    assert!(read > 0);
}

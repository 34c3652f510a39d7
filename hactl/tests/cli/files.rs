//! Commands that need no cluster: checking files, making a cluster, completions, manual pages.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{code, err, hactl, json, out};

const GOOD: &str = "[cluster]\nname = \"c\"\nid = \"00112233445566ff\"\n\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n";

fn file(folder: &Path, text: &[u8]) -> String {
    let path = folder.join("holdfast.toml");
    fs::write(&path, text).expect("write");
    path.display().to_string()
}

#[test]
fn a_good_file_is_summed_up_and_its_risks_are_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = file(folder.path(), GOOD.as_bytes());
    let output = hactl()
        .args(["config", "check", &path])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(
        out(&output).starts_with("valid: cluster c: 1 node, no witness"),
        "{}",
        out(&output)
    );
    assert!(
        err(&output).contains("warning: there is one data node"),
        "{}",
        err(&output)
    );
    let document = json(
        &hactl()
            .args(["config", "check", &path, "--json"])
            .output()
            .expect("hactl runs"),
    );
    assert_eq!(document["ok"], true);
    assert!(
        document["warnings"]
            .as_array()
            .is_some_and(|warnings| !warnings.is_empty())
    );
    let timers = json(
        &hactl()
            .args(["config", "timers", &path, "--json"])
            .output()
            .expect("hactl runs"),
    );
    assert_eq!(timers["rows"][0]["name"], "lease");
    assert_eq!(timers["rows"][0]["value_ms"], 1000.0);
}

#[test]
fn a_bad_file_is_shown_with_line_column_and_the_nearest_key() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = file(folder.path(), GOOD.replace("links", "linsk").as_bytes());
    let output = hactl()
        .args(["config", "check", &path])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 6);
    assert!(
        err(&output).contains("holdfast.toml:7:1") && err(&output).contains("links"),
        "{}",
        err(&output)
    );
    let output = hactl()
        .args(["config", "check", &path, "--json"])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 6);
    let document = json(&output);
    assert_eq!(document["ok"], false);
    let errors = document["errors"].as_array().expect("a list");
    assert!(
        errors
            .iter()
            .any(|error| error["line"] == 7 && error["column"] == 1),
        "{document}"
    );
    let output = hactl()
        .args(["--socket", "/nonexistent", "config", "apply", &path])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 6, "refused before had is asked");
}

#[test]
fn files_that_are_no_text_or_not_there_are_refused_in_words() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = file(folder.path(), b"[cluster]\n\xff\xfe");
    let output = hactl()
        .args(["config", "check", &path])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 6);
    assert!(
        err(&output).contains("is not UTF-8 text (byte 10)"),
        "{}",
        err(&output)
    );
    let output = hactl()
        .args(["config", "check", "/nonexistent/x"])
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 1);
    assert!(
        err(&output).contains("/nonexistent/x cannot be read"),
        "{}",
        err(&output)
    );
}

/// A folder with hactl and a fake `had` that prints a pin and remembers how it was called.
fn installed() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("temporary folder");
    fs::copy(env!("CARGO_BIN_EXE_hactl"), folder.path().join("hactl")).expect("copy");
    let script = format!(
        "#!/bin/sh\necho \"$1\" >> {0}/calls\n[ \"$1\" = keygen ] && echo {1}\n[ \"$1\" = join ] && cat > {0}/input\nexit 0\n",
        folder.path().display(),
        "ab".repeat(32)
    );
    let had = folder.path().join("had");
    fs::write(&had, script).expect("write");
    fs::set_permissions(&had, fs::Permissions::from_mode(0o755)).expect("mode");
    folder
}

fn run_in(folder: &Path, words: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(folder.join("hactl"));
    command.env_remove("HACTL_SOCKET").args(words).arg("--no-start");
    command
        .arg("--config-dir")
        .arg(folder.join("etc"))
        .arg("--state-dir")
        .arg(folder.join("var"));
    command
        .stdin(std::process::Stdio::null())
        .output()
        .expect("hactl runs")
}

#[test]
fn a_cluster_is_made_once() {
    let folder = installed();
    let words = [
        "cluster",
        "init",
        "--name",
        "shop-db",
        "--node",
        "db1",
        "--links",
        "10.0.0.1,192.168.7.1",
    ];
    let output = run_in(folder.path(), &words);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert!(
        out(&output).starts_with("done: cluster shop-db is prepared"),
        "{}",
        out(&output)
    );
    let config = folder.path().join("etc/holdfast.toml");
    assert_eq!(
        fs::metadata(&config).expect("config").permissions().mode() & 0o777,
        0o640
    );
    let check = hactl()
        .args(["config", "check"])
        .arg(&config)
        .output()
        .expect("hactl runs");
    assert_eq!(code(&check), 0, "{}", err(&check));
    assert_eq!(
        fs::read_to_string(folder.path().join("etc/node")).expect("node"),
        "db1\n"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("calls")).expect("calls"),
        "keygen\ninit\n"
    );
    let before = fs::read_to_string(&config).expect("config");
    let output = run_in(folder.path(), &words);
    assert_eq!(code(&output), 3);
    assert!(
        err(&output).contains("belongs to a cluster already"),
        "{}",
        err(&output)
    );
    assert_eq!(fs::read_to_string(&config).expect("config"), before);
}

#[test]
fn init_without_what_it_needs_writes_nothing() {
    let folder = installed();
    let output = run_in(
        folder.path(),
        &["cluster", "init", "--node", "db1", "--links", "10.0.0.1"],
    );
    assert_eq!(code(&output), 2);
    assert!(err(&output).contains("--name"), "{}", err(&output));
    assert!(!folder.path().join("etc").exists());
}

#[test]
fn a_token_reaches_had_by_standard_input_only() {
    let folder = installed();
    let output = run_in(folder.path(), &["cluster", "join", "--node", "db2", "TOKEN-1"]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    assert_eq!(
        fs::read_to_string(folder.path().join("input")).expect("input"),
        "TOKEN-1\n"
    );
    let folder = installed();
    let output = run_in(folder.path(), &["cluster", "join", "--node", "db2", "-"]);
    assert_eq!(code(&output), 2, "an empty standard input is no token");
}

#[test]
fn completions_and_manual_pages_cover_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = hactl().args(["completions", shell]).output().expect("hactl runs");
        assert!(out(&output).contains("failover"), "{shell}");
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    let output = hactl()
        .arg("man")
        .arg(folder.path())
        .output()
        .expect("hactl runs");
    assert_eq!(code(&output), 0, "{}", err(&output));
    for page in ["hactl.1", "hactl-status.1", "hactl-cluster-init.1"] {
        assert!(folder.path().join(page).exists(), "{page}");
    }
}

#[test]
fn every_command_has_help() {
    let commands = [
        "cluster init",
        "cluster join",
        "cluster token",
        "status",
        "move",
        "failover",
        "standby",
        "online",
        "maintenance",
        "resource restart",
        "resource cleanup",
        "resource disable",
        "resource enable",
        "fence",
        "fence confirm",
        "quorum force",
        "config check",
        "config show",
        "config timers",
        "config apply",
        "why",
        "events",
        "demo",
        "completions",
    ];
    for command in commands {
        let output = hactl()
            .args(command.split(' '))
            .arg("--help")
            .output()
            .expect("hactl runs");
        assert_eq!(code(&output), 0, "{command}");
        assert!(out(&output).contains("Example"), "{command}: {}", out(&output));
    }
}

#[test]
fn the_services_own_files_are_checked_below_a_folder() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let group = "[[group]]\nname = \"db\"\nrequires = \"lease\"\n[[group.resource]]\nname = \"server\"\ntype = \"systemd\"\n\
                 unit = \"mariadb\"\n";
    let path = file(folder.path(), format!("{GOOD}{group}").as_bytes());
    fs::create_dir_all(folder.path().join("image/etc/mysql")).expect("folders");
    let pushed = "[galera]\nwsrep_on = ON\nwsrep_cluster_address = gcomm://\n";
    fs::write(folder.path().join("image/etc/mysql/my.cnf"), pushed).expect("write");
    let image = folder.path().join("image").display().to_string();
    let check = |more: &[&str]| {
        let output = hactl().args(["config", "check", &path]).args(more).output();
        output.expect("hactl runs")
    };
    let output = check(&["--root", &image]);
    assert_eq!(code(&output), 0, "{}", err(&output));
    let told = err(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        told.contains("warning: /etc/mysql/my.cnf:3: wsrep_cluster_address = \"gcomm://\": when it is restarted it founds"),
        "{told}"
    );
    let document = json(&check(&["--root", &image, "--json"]));
    let finding = &document["services"][0];
    assert_eq!(finding["check"], "galera-empty-address");
    assert_eq!(
        (&finding["file"], &finding["line"]),
        (&"/etc/mysql/my.cnf".into(), &3.into())
    );
    // Without the folder this machine would have to be a node, and it has not its name.
    assert_eq!(json(&check(&["--json"]))["services"], serde_json::json!([]));
}

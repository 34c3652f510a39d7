//! Our own agents as OCF agents, judged by `ocf-tester` of resource-agents, in namespaces of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs in namespaces of its own; `$1` is a folder, `$2` the agent, `$3` more options.
const STAGE: &str = r#"
mount -t proc proc /proc && mount -t tmpfs tmpfs /run || exit 99
mkdir /run/resource-agents /run/a /run/b
ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 10.9.0.1/24 dev d0
ip link set d0 up; ip link set d1 up
eval exec "$1"
"#;

/// Runs `script` there and returns what it printed. None where namespaces or `ocf-tester` are missing.
fn stage(kind: &str, script: &str) -> Option<String> {
    let is_here = ["/usr/sbin/ocf-tester", "/usr/bin/unshare", "/usr/bin/xmllint"]
        .iter()
        .all(|path| Path::new(path).exists());
    if !is_here || !nix::unistd::geteuid().is_root() {
        eprintln!(
            "skipped: it needs root, unshare, ocf-tester (package resource-agents) and xmllint (libxml2-utils)"
        );
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("resource.d/holdfast");
    fs::create_dir_all(&home).unwrap();
    // As the package has it, but for the place of the program.
    let text = include_str!("../../systemd/ocf/agent")
        .replace("/usr/bin/had-agentd", env!("CARGO_BIN_EXE_had-agentd"));
    let agent = home.join(kind);
    fs::write(&agent, text).unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let script = script.replace("AGENT", &agent.display().to_string());
    let out = Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-c",
            STAGE,
            "sh",
        ])
        .arg(format!("sh -c '{script}' 2>&1"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

#[track_caller]
fn passes(kind: &str, options: &str) {
    if let Some(said) = stage(kind, &format!("ocf-tester -n t {options} AGENT")) {
        assert!(said.contains("passed all tests"), "{said}");
    }
}

#[test]
fn vip_passes_the_tests_of_ocf_agents() {
    passes("vip", "-o address=10.9.0.7/24 -o interface=d0");
}

#[test]
fn filesystem_passes_the_tests_of_ocf_agents() {
    passes("filesystem", "-o device=/run/a -o path=/run/b");
}

#[test]
fn exec_passes_the_tests_of_ocf_agents() {
    passes("exec", "-o command=\"/bin/sleep 1000\"");
}

#[test]
fn a_failure_is_noticed_and_wrong_parameters_are_said() {
    let script = "export OCF_RESKEY_address=10.9.0.7/24 OCF_RESKEY_interface=d0 OCF_RESOURCE_INSTANCE=t \
                  OCF_EXIT_REASON_PREFIX=ocf-exit-reason:; \
                  AGENT monitor; echo probe $?; AGENT start; echo start $?; AGENT monitor; echo monitor $?; \
                  ip addr del 10.9.0.7/24 dev d0; AGENT monitor; echo broken $?; AGENT stop; echo stop $?; \
                  OCF_RESKEY_address=x AGENT validate-all; echo wrong $?; AGENT promote; echo promote $?";
    let Some(said) = stage("vip", script) else { return };
    for line in [
        "probe 7",
        "start 0",
        "monitor 0",
        "broken 7",
        "stop 0",
        "wrong 6",
        "promote 3",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}: {said}");
    }
    assert_eq!(said.matches("ocf-exit-reason:").count(), 2, "{said}");
}

#[test]
fn what_rests_on_a_register_is_refused() {
    let script = "export OCF_RESOURCE_INSTANCE=t; AGENT start; echo start $?; AGENT promote; echo promote $?";
    let Some(said) = stage("redis", script) else {
        return;
    };
    assert!(
        said.contains("start 6\n") && said.contains("promote 3\n"),
        "{said}"
    );
}

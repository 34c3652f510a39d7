//! One run of one case, in namespaces of its own: prepares them, then takes the steps.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use crate::cases::{self, Case};
use crate::{holdfast, pacemaker};

/// Folder for the files of a case.
pub const WORK: &str = "/run/t";
/// What a run may change without anybody else seeing it.
const COPIED: [&str; 3] = ["/etc", "/var", "/srv"];
/// How long a state must stay the same.
const SETTLES: Duration = Duration::from_millis(500);
/// Put before every shell text of a case: `end NAME` kills the processes of that name, which are the case's own, because
/// there are no others in its namespace.
const PRELUDE: &str = r#"cd /run/t
alive() { for p in /proc/[0-9]*; do
  [ "$(cat $p/comm 2>/dev/null)" = "$1" ] && ! grep -q 'State:.Z' $p/status 2>/dev/null && echo ${p#/proc/}; done; true; }
end() { while left=$(alive "$1"); [ -n "$left" ]; do kill -9 $left 2>/dev/null; sleep 0.05; done; true; }
names() { for p in /proc/[0-9]*; do cat $p/comm 2>/dev/null; done | sort -u | grep -E "^($1)$"; true; }
"#;

/// Who runs the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Executor {
    /// Holdfast's OCF host.
    Holdfast,
    /// `crm_resource`.
    Pacemaker,
}

/// What one step gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which one: `start`, `start again`, `state`.
    pub name: String,
    /// Exit code of an agent's action.
    pub code: Option<i32>,
    /// The state that was seen, or why there is no code.
    pub text: String,
}

/// Runs an action and returns its exit code, with words.
pub trait Host {
    /// `monitor` with interval 0, `start`, `stop`, `promote` or `demote`.
    fn action(&mut self, action: &str) -> Result<(Option<i32>, String)>;
    /// Whether the executor noticed by itself that the resource failed, if it looks by itself.
    fn noticed(&mut self) -> Option<String>;
}

/// Takes all steps of `case` under `executor` and prints them as JSON.
pub fn run(case: &str, executor: Executor) -> Result<()> {
    ensure!(
        std::os::unix::process::parent_id() == 1,
        "this is for a namespace of its own"
    );
    let case = cases::find(case)?;
    isolate()?;
    shell(
        "ip link set lo up; ip link add d0 type veth peer name d1; ip addr add 10.9.0.1/24 dev d0; ip link set d0 up; ip link set d1 up",
    )?;
    shell(case.setup).context("setting up")?;
    let mut host: Box<dyn Host> = match executor {
        Executor::Holdfast => Box::new(holdfast::Runner::new(case)?),
        Executor::Pacemaker => Box::new(pacemaker::Runner::new(case)?),
    };
    let mut steps = Vec::new();
    take(case, host.as_mut(), &mut steps)?;
    println!("{}", serde_json::to_string(&steps)?);
    Ok(())
}

fn take(case: &Case, host: &mut dyn Host, steps: &mut Vec<Step>) -> Result<()> {
    act(
        &[("probe", "monitor"), ("start", "start"), ("monitor", "monitor")],
        host,
        steps,
    )?;
    steps.push(seen("state", case)?);
    act(&[("start again", "start")], host, steps)?;
    if case.promotable {
        let roles = [
            ("promote", "promote"),
            ("monitor promoted", "monitor"),
            ("demote", "demote"),
            ("monitor demoted", "monitor"),
        ];
        act(&roles, host, steps)?;
    }
    shell(case.breaks).context("breaking it")?;
    act(&[("monitor broken", "monitor")], host, steps)?;
    let looks = !case.breaks.is_empty();
    if let Some(text) = looks.then(|| host.noticed()).flatten() {
        steps.push(Step {
            name: "noticed".into(),
            code: None,
            text,
        });
    }
    let end = [
        ("stop broken", "stop"),
        ("start anew", "start"),
        ("stop", "stop"),
        ("stop again", "stop"),
        ("monitor stopped", "monitor"),
    ];
    act(&end, host, steps)?;
    steps.push(seen("state after", case)?);
    Ok(())
}

fn act(actions: &[(&str, &str)], host: &mut dyn Host, steps: &mut Vec<Step>) -> Result<()> {
    for (name, action) in actions {
        let (code, text) = host.action(action)?;
        steps.push(Step {
            name: (*name).to_owned(),
            code,
            text,
        });
    }
    Ok(())
}

/// The state when it has come to rest: children of what was stopped may end a moment later.
fn seen(name: &str, case: &Case) -> Result<Step> {
    let mut text = shell(case.state)?;
    loop {
        std::thread::sleep(SETTLES);
        let again = shell(case.state)?;
        if again == text {
            break;
        }
        text = again;
    }
    Ok(Step {
        name: name.into(),
        code: None,
        text: text.trim().to_owned(),
    })
}

/// Runs shell text, and returns what it printed.
fn shell(text: &str) -> Result<String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let out = Command::new("sh")
        .args(["-c", &format!("{PRELUDE}{text}")])
        .stdin(Stdio::null())
        .output()?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr);
        bail!("{text:?} ended with {}: {}", out.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A view of the file system that nobody else shares.
fn isolate() -> Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none)?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none)?;
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=755"),
    )?;
    for path in COPIED {
        let upper = format!("/run/.copy{path}/upper");
        let work = format!("/run/.copy{path}/work");
        fs::create_dir_all(&upper)?;
        fs::create_dir_all(&work)?;
        let options = format!("lowerdir={path},upperdir={upper},workdir={work}");
        mount(
            Some("overlay"),
            path,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .with_context(|| format!("a copy-on-write view of {path}"))?;
    }
    mount(
        Some("tmpfs"),
        "/tmp",
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=1777"),
    )?;
    for folder in [WORK, "/run/lock", "/run/resource-agents"] {
        fs::create_dir_all(folder)?;
    }
    if Path::new("/var/run").is_symlink() {
        return Ok(());
    }
    bail!("/var/run is no link to /run on this machine");
}

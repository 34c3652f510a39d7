//! A folder with an OCF agent of the test's own, and the ends of what a resource run by it tells.

#![allow(dead_code)] // Each test binary uses its part.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use holdfast_agents::agent::{AgentContext, AgentEvent, EventSink, PermitView, ResourceAgent};
use holdfast_agents::roles::{CopySink, RolesView};
use holdfast_agents::{clock, registry};
use holdfast_proto::time::Time;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, watch};

pub const HEAD: &str = r#"#!/bin/sh
dir=$OCF_RESKEY_dir
case $1 in meta-data) cat <<END
<?xml version="1.0"?><resource-agent name="try"><parameters>
<parameter name="dir" required="1"><content type="string"/></parameter>
<parameter name="port"><content type="integer" default="1"/></parameter>
<parameter name="password"><content type="string"/></parameter>
</parameters><actions><action name="start" timeout="20s"/><action name="stop" timeout="20s"/>
<action name="monitor" timeout="20s" interval="10s"/></actions></resource-agent>
END
exit 0;; esac
echo "$1" >> "$dir/calls"
env > "$dir/env.$1"
"#;

/// What a plain agent does: its state is a file.
pub const PLAIN: &str = r#"
case $1 in
start) touch "$dir/up";;
stop) rm -f "$dir/up";;
monitor) [ -e "$dir/code" ] && { echo "ocf-exit-reason:it said $OCF_RESKEY_password" >&2; exit $(cat "$dir/code"); }
    [ -e "$dir/up" ] && exit 0; exit 7;;
esac
"#;

/// A folder with an agent, and the ends of its events.
pub struct Stage {
    folder: tempfile::TempDir,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
    pub context: AgentContext,
}

impl Drop for Stage {
    fn drop(&mut self) {
        for name in ["daemon.pid", "child.pid"] {
            if let Some(pid) = self.pid(name).filter(|pid| lives(*pid)) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

impl Stage {
    pub fn new(body: &str, more: &[(&str, &str)]) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("root/resource.d/test");
        fs::create_dir_all(&home).unwrap();
        let agent = home.join("try");
        fs::write(&agent, format!("{HEAD}{body}")).unwrap();
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        let (sender, notes) = mpsc::channel(64);
        let (failed, failures) = mpsc::unbounded_channel();
        let own = folder.path().display().to_string();
        let mut params = BTreeMap::from([
            ("param.dir".to_owned(), own.clone()),
            ("ocf_root".to_owned(), format!("{own}/root")),
        ]);
        params.extend(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let context = AgentContext {
            group: "shop".into(),
            resource: "db".into(),
            params,
            lease: Duration::from_secs(1),
            permit: watch::channel(PermitView {
                epoch: 1,
                until: Time(u64::MAX),
            })
            .1,
            events: EventSink::new(0, sender, failed),
            saved: String::new(),
            state_dir: folder.path().to_owned(),
            roles: watch::channel(RolesView::default()).1,
            copy: CopySink::default(),
            gate: None,
        };
        Stage {
            folder,
            notes,
            failures,
            context,
        }
    }

    pub fn agent(&self) -> Box<dyn ResourceAgent> {
        registry::build("ocf:test:try", self.context.clone()).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn pid(&self, name: &str) -> Option<i32> {
        fs::read_to_string(self.path(name)).ok()?.trim().parse().ok()
    }

    pub fn environment(&self, action: &str) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.path(&format!("env.{action}"))).unwrap();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    pub async fn failure(&mut self) -> String {
        match self.failures.recv().await {
            Some((_, AgentEvent::Failed(reason))) => reason,
            other => panic!("{other:?}"),
        }
    }

    /// What comes before a failure: after one the agent looks no more, and says nothing.
    pub async fn note(&mut self, wanted: &str) -> String {
        loop {
            tokio::select! {
                biased;
                note = self.notes.recv() => match note {
                    Some((_, AgentEvent::Note { kind, text, .. })) if kind == wanted => return text,
                    Some(_) => {}
                    None => panic!("no note {wanted}"),
                },
                failure = self.failures.recv() => panic!("{failure:?} in the place of the note {wanted}"),
            }
        }
    }
}

pub fn lives(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z"))
}

pub async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn soon() -> Time {
    clock::now() + Duration::from_secs(30)
}

//! Probes: checks of a resource beside the events of its agent. Bad is what fails n of the last m times.

pub(crate) mod http;
mod tcp;

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use holdfast_proto::agent::ProbeSpec;
use tokio::time::timeout;

use crate::agent::{AgentError, EventSink};
use crate::program;

/// Pause before the second try while waiting for a resource to become ready; doubles up to the probe's interval.
const READY_PAUSE: Duration = Duration::from_millis(5);

/// Checks a definition. Touches nothing.
///
/// # Errors
/// What is wrong with it.
pub fn validate(spec: &ProbeSpec) -> Result<(), AgentError> {
    match spec.kind.as_str() {
        "tcp"
            if spec
                .target
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok()) =>
        {
            Ok(())
        }
        "tcp" => Err(AgentError(format!(
            "probe tcp {:?}: it takes host:port",
            spec.target
        ))),
        "http" => http::split_url(&spec.target).map(|_| ()),
        "exec" if spec.target.starts_with('/') => Ok(()),
        "exec" => Err(AgentError(format!(
            "probe exec {:?}: it takes the program's absolute path",
            spec.target
        ))),
        other => Err(AgentError(format!(
            "there is no probe {other:?}; there are tcp, http and exec"
        ))),
    }
}

/// Probes once.
///
/// # Errors
/// Why it counts as failed, in a few words.
pub async fn once(spec: &ProbeSpec) -> Result<(), String> {
    let limit = Duration::from_millis(spec.timeout_ms.max(1).into());
    let attempt = async {
        match spec.kind.as_str() {
            "tcp" => tcp::talk(&spec.target, &spec.send, &spec.expect).await,
            "http" => http::get(&spec.target).await,
            _ => run_program(&spec.target, limit).await,
        }
    };
    timeout(limit, attempt)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} ms", limit.as_millis())))
}

/// Runs a program without a shell. Dropping the future kills it with its children.
async fn run_program(target: &str, limit: Duration) -> Result<(), String> {
    let mut words = target.split('\n').map(str::to_owned);
    let program = words.next().unwrap_or_default();
    let args: Vec<String> = words.collect();
    let run = program::run(Path::new(&program), &args, "", limit)
        .await
        .map_err(|error| format!("{program} {error}"))?;
    let status = match run.code {
        Some(0) => return Ok(()),
        Some(code) => format!("exit status: {code}"),
        None => "ended by a signal".to_owned(),
    };
    let said = run.excerpt(&[""; 0]);
    Err(if said.is_empty() {
        status
    } else {
        format!("{status}: {said}")
    })
}

/// Waits until the probe passes: a resource is started when it answers, not when its process exists.
/// The caller bounds the wait.
pub async fn ready(spec: &ProbeSpec) {
    let interval = Duration::from_millis(spec.interval_ms.max(1).into());
    let mut pause = READY_PAUSE;
    while once(spec).await.is_err() {
        tokio::time::sleep(pause.min(interval)).await;
        pause *= 2;
    }
}

/// Probes for as long as it is polled; reports once when the window is bad.
pub async fn watch(spec: ProbeSpec, events: EventSink) {
    let mut window = Window::new(spec.failures, spec.of);
    loop {
        tokio::time::sleep(Duration::from_millis(spec.interval_ms.max(1).into())).await;
        let outcome = once(&spec).await;
        if window.push(outcome.is_ok()) {
            let reason = outcome.err().unwrap_or_default();
            let target = spec.target.replace('\n', " ");
            let (failed, of) = (window.failed(), window.results.len());
            events.failed(format!(
                "probe {} {target}: {failed} of the last {of} failed: {reason}",
                spec.kind
            ));
            return;
        }
    }
}

/// The last results of a probe.
pub(crate) struct Window {
    results: VecDeque<bool>,
    failures: usize,
    of: usize,
}

impl Window {
    pub(crate) fn new(failures: u32, of: u32) -> Self {
        let failures = failures.max(1) as usize;
        Window {
            results: VecDeque::new(),
            failures,
            of: failures.max(of as usize),
        }
    }

    fn failed(&self) -> usize {
        self.results.iter().filter(|passed| !**passed).count()
    }

    /// Adds a result; true when the window is bad.
    pub(crate) fn push(&mut self, passed: bool) -> bool {
        if self.results.len() == self.of {
            self.results.pop_front();
        }
        self.results.push_back(passed);
        self.failed() >= self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(kind: &str, target: String) -> ProbeSpec {
        ProbeSpec {
            kind: kind.into(),
            target,
            interval_ms: 1,
            timeout_ms: 5000,
            failures: 2,
            of: 4,
            ..ProbeSpec::default()
        }
    }

    #[test]
    fn n_of_m_counts_only_the_last_m() {
        let mut window = Window::new(3, 5);
        let bad: Vec<_> = [
            false, false, true, true, true, false, false, true, true, false, false, false,
        ]
        .into_iter()
        .map(|passed| window.push(passed))
        .collect();
        assert_eq!(bad.iter().position(|bad| *bad), Some(9));
    }

    #[tokio::test]
    async fn exec_probes_use_no_shell_and_report_the_status() {
        assert_eq!(once(&spec("exec", "/bin/true".into())).await, Ok(()));
        let failed = once(&spec("exec", "/bin/sh\n-c\nexit 3".into()))
            .await
            .unwrap_err();
        assert_eq!(failed, "exit status: 3");
        let loud = spec("exec", "/bin/sh\n-c\necho broken >&2; exit 1".into());
        assert_eq!(once(&loud).await.unwrap_err(), "exit status: 1: broken");
        let garbage = spec("exec", "/bin/sh\n-c\nhead -c 9000000 /dev/urandom; exit 1".into());
        let garbage = once(&garbage).await.unwrap_err();
        assert!(
            garbage.len() < 2000 && !garbage.contains(char::is_control),
            "{garbage}"
        );
        let absent = once(&spec("exec", "/nowhere/probe".into())).await.unwrap_err();
        assert!(absent.contains("/nowhere/probe"), "{absent}");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_killed_with_its_children_and_counts_as_failed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let mut hanging = spec("exec", format!("/bin/sh\n-c\n{script}"));
        hanging.timeout_ms = 1500;
        assert_eq!(once(&hanging).await.unwrap_err(), "no answer within 1500 ms");
        let child = std::fs::read_to_string(file).unwrap();
        let stat = format!("/proc/{}/stat", child.trim());
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
        while lives() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_closed_port_fails_and_the_watch_reports_once_with_the_count() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        assert_eq!(once(&spec("tcp", target.clone())).await, Ok(()));
        drop(listener);
        let (notes, _) = tokio::sync::mpsc::channel(1);
        let (failures, mut failed) = tokio::sync::mpsc::unbounded_channel();
        watch(spec("tcp", target), EventSink::new(0, notes, failures)).await;
        let (_, event) = failed.recv().await.unwrap();
        let crate::agent::AgentEvent::Failed(reason) = event else {
            panic!("not a failure")
        };
        assert!(reason.contains("2 of the last 2 failed"), "{reason}");
    }

    #[test]
    fn bad_definitions_are_refused() {
        for (kind, target) in [
            ("tcp", "host"),
            ("http", "https://x/"),
            ("exec", "probe"),
            ("icmp", "x"),
        ] {
            assert!(validate(&spec(kind, target.into())).is_err(), "{kind} {target}");
        }
        assert!(validate(&spec("tcp", "[::1]:80".into())).is_ok());
    }
}

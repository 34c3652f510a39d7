//! `drbdsetup events2`, for as long as the agent lives: when it ends it is started again.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::events::{Said, State};
use crate::fence::locate;
use crate::leftovers;

/// Pause before it is started again.
const AGAIN: Duration = Duration::from_secs(1);
/// Longest line; a longer one is cut and means nothing.
const LINE_BYTES_MAX: u64 = 4096;

/// Follows `resource`: the state goes to `states`, names of called handlers to `called`. Never returns.
pub async fn follow(resource: String, states: watch::Sender<State>, called: mpsc::UnboundedSender<String>) {
    loop {
        if let Ok(child) = launch(&resource) {
            read(child, &resource, &states, &called).await;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn launch(resource: &str) -> std::io::Result<Child> {
    let program = locate::program("drbdsetup").map_err(|error| std::io::Error::other(error.0))?;
    Command::new(program)
        .args(["events2", resource])
        .env_clear()
        .env("PATH", locate::SEARCH_PATH)
        .env("LC_ALL", "C.UTF-8")
        // The next had-agentd ends it if this one is killed.
        .env(leftovers::MARKER, leftovers::marker())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}

/// Until it ends. Begins with an empty picture, which is shown only when it is complete.
async fn read(
    mut child: Child,
    resource: &str,
    states: &watch::Sender<State>,
    called: &mpsc::UnboundedSender<String>,
) {
    let Some(stdout) = child.stdout.take() else { return };
    let mut lines = BufReader::new(stdout);
    let mut state = State::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines)
            .take(LINE_BYTES_MAX)
            .read_until(b'\n', &mut line)
            .await;
        if !matches!(read, Ok(1..)) {
            break;
        }
        match state.take(resource, &String::from_utf8_lossy(&line)) {
            Said::State if state.complete => drop(states.send_replace(state.clone())),
            Said::Called(helper) => drop(called.send(helper)),
            Said::State | Said::Nothing => {}
        }
    }
    let _ = child.kill().await;
}

//! Programs that an earlier had-agentd ran and did not live to see the end of: fence agents above all.
//!
//! A fence agent that goes on asking for its device when its had-agentd is gone may switch a node off long after anybody wanted
//! that, and then nobody reads the power state back or switches the node on again. So each program carries a mark in its
//! environment, which its children inherit, and the next had-agentd ends all that carry it before it does anything else.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exec::process;

/// The environment variable that marks programs, with the state folder as its value: two had-agentd of one machine (in a
/// test, or a demonstration) leave each other's alone.
pub const MARKER: &str = "HOLDFAST_RUN";

/// A program that the kernel does not let go of is not waited for longer than this.
const PATIENCE: Duration = Duration::from_secs(2);
/// Pause between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

static STATE_DIR: OnceLock<Vec<u8>> = OnceLock::new();

/// Says once, at the start, by which state folder the programs of this process are known.
pub fn mark(state_dir: &Path) {
    let _ = STATE_DIR.set(state_dir.as_os_str().as_bytes().to_vec());
}

/// Value of [`MARKER`]; empty before [`mark`].
pub fn marker() -> &'static std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(STATE_DIR.get().map_or(b"", Vec::as_slice))
}

/// Ends what an earlier had-agentd of this state folder left running, and returns how many programs that were.
pub fn end_all() -> usize {
    let wanted = [MARKER.as_bytes(), b"=", marker().as_bytes()].concat();
    let until = Instant::now() + PATIENCE;
    let mut ended = 0;
    loop {
        // One that is found may have forked meanwhile, so it ends with a look that finds none.
        let found = marked(&wanted);
        if found.is_empty() || Instant::now() > until {
            return ended;
        }
        ended = ended.max(found.len());
        for pid in found {
            // It may be gone already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(LOOK_AGAIN);
    }
}

/// Processes of this pid namespace with that variable: another had-agentd may live in a container here.
fn marked(wanted: &[u8]) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let is_ours = |pid: &i32| process::has_variable(*pid, wanted) && namespace(*pid) == own;
    process::all().filter(is_ours).collect()
}

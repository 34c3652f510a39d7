//! What the fuzz targets reach of this agent. Built with `--cfg fuzzing` only.

use super::output::Tail;
use super::process;

/// The last line of what a program printed in `pieces`.
#[must_use]
pub fn last_line<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> String {
    let tail = Tail::default();
    pieces.for_each(|piece| tail.push(piece));
    tail.last_line()
}

/// State, process group, session and start time in the text of /proc/PID/stat.
#[must_use]
pub fn stat(text: &str) -> Option<(char, i32, i32, u64)> {
    process::parse_stat(text).map(|stat| (stat.state, stat.group, stat.session, stat.start_ticks))
}

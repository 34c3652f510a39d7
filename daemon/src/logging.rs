//! Logs to standard error (journald captures it) through a bounded queue and a thread of its own, so that a
//! blocked terminal or journal never blocks the deciding thread.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::rt::STACK_BYTES;

/// Lines that may wait to be written.
const QUEUE_LINES: usize = 512;

#[derive(Clone)]
struct Queue {
    lines: SyncSender<Vec<u8>>,
    lost: Arc<AtomicU64>,
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line.to_vec()) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Queue;
    fn make_writer(&'a self) -> Queue {
        self.clone()
    }
}

/// Starts logging; `HAD_LOG` sets the filter (default `info`). Journald adds its own time stamps.
///
/// # Errors
/// When the thread cannot be started, or logging was started before.
pub fn start() -> anyhow::Result<()> {
    let (lines, queue) = sync_channel(QUEUE_LINES);
    let lost = Arc::new(AtomicU64::new(0));
    let writer = Queue {
        lines,
        lost: Arc::clone(&lost),
    };
    std::thread::Builder::new()
        .name("had-log".into())
        .stack_size(STACK_BYTES / 4)
        .spawn(move || write_out(&queue, &lost))
        .context("cannot start the log thread")?;
    let filter = EnvFilter::try_from_env("HAD_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let format = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(false)
        .with_target(false);
    let done = if std::env::var_os("JOURNAL_STREAM").is_some() {
        format.without_time().try_init()
    } else {
        format.try_init()
    };
    done.map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

fn write_out(queue: &Receiver<Vec<u8>>, lost: &AtomicU64) {
    let mut out = io::stderr();
    while let Ok(line) = queue.recv() {
        // Nobody to tell if standard error is gone.
        let _ = out.write_all(&line);
        let count = lost.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(
                out,
                "{count} log lines were lost because standard error was not read fast enough"
            );
        }
    }
}

/// Makes a panic of the deciding thread the end of the process: a core in an unknown state must not decide, and the
/// layers below (permits, watchdog) take over. Panics elsewhere end their task only.
pub fn abort_on_panic_of_this_thread() {
    let deciding = std::thread::current().id();
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        if std::thread::current().id() == deciding {
            let _ = writeln!(
                io::stderr(),
                "had: the deciding thread failed; the process ends, agents enforce permits"
            );
            std::process::abort();
        }
    }));
}

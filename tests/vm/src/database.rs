//! A client of the database at the virtual address: writes rows one after the other, and remembers which were acknowledged.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::net::{Net, VIP};
use crate::sh;

/// The account, which may do everything with the table and nothing else.
pub const USER: &str = "writer";
/// The table.
pub const TABLE: &str = "shop.orders";
/// A row without an acknowledgement within this time: the connection is given up.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the table may take to be read, of a machine that boots the other one on the same processors.
const READ: Duration = Duration::from_secs(400);
/// Pause between rows.
const PACE: Duration = Duration::from_millis(5);

/// What was acknowledged: each row, and when its acknowledgement came.
type Ledger = Vec<(u64, Instant)>;

/// A running writer; ends when dropped.
#[derive(Debug)]
pub struct Writer {
    net: Net,
    ledger: Arc<Mutex<Ledger>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// Starts writing.
    pub fn start(net: &Net) -> Result<Writer> {
        let (ledger, stop) = (Arc::<Mutex<Ledger>>::default(), Arc::new(AtomicBool::new(false)));
        let (lan, log, end) = (net.clone(), Arc::clone(&ledger), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("writer".into()).spawn(move || {
            let mut next = 1;
            while !end.load(Ordering::Relaxed) {
                // A connection that cannot be had is tried again.
                let _ = write_rows(&lan, &log, &end, &mut next);
                std::thread::sleep(PACE);
            }
        })?;
        Ok(Writer {
            net: net.clone(),
            ledger,
            stop,
            thread: Some(thread),
        })
    }

    /// Waits for a row that was acknowledged after `since`; when that was.
    pub fn acknowledged_after(&self, since: Instant, limit: Duration) -> Result<Instant> {
        sh::wait("a row to be acknowledged", limit, || {
            let ledger = self.lock();
            let after = ledger.partition_point(|(_, at)| *at <= since);
            ledger.get(after).map(|(_, at)| *at)
        })
    }

    /// Longest time from one acknowledgement to the next, of those that came after `since`.
    #[must_use]
    pub fn gap_after(&self, since: Instant) -> Duration {
        gap_after(&self.lock(), since)
    }

    /// Compares the table with what was acknowledged; how many rows that were.
    pub fn check(&self) -> Result<usize> {
        // What is acknowledged while the table is read may not be in what is read.
        let acknowledged: BTreeSet<u64> = self.lock().iter().map(|(id, _)| *id).collect();
        let (ask, mut said) = (format!("SELECT id FROM {TABLE}"), String::new());
        let text = sh::wait("the table to be read", READ, || {
            let patient = ["--connect-timeout=60", "-e", &ask];
            let output = client(&self.net, &patient).output().ok()?;
            said = String::from_utf8_lossy(&output.stderr).into_owned();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success().then_some(text)
        });
        let text = text.with_context(|| said)?;
        let rows: BTreeSet<u64> = text.lines().filter_map(|line| line.trim().parse().ok()).collect();
        let lost: Vec<&u64> = acknowledged.difference(&rows).collect();
        ensure!(
            lost.is_empty(),
            "{} acknowledged rows are lost, the first is {:?}",
            lost.len(),
            lost.first()
        );
        Ok(acknowledged.len())
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn gap_after(ledger: &Ledger, since: Instant) -> Duration {
    ledger
        .windows(2)
        .filter(|pair| pair[1].1 > since)
        .map(|pair| pair[1].1 - pair[0].1)
        .max()
        .unwrap_or_default()
}

/// The database's own client, in the network.
fn client(net: &Net, more: &[&str]) -> Command {
    let mut command = Command::new("ip");
    let words = [
        "netns",
        "exec",
        net.netns(),
        "mariadb",
        "--no-defaults",
        "--skip-ssl",
        "-h",
        VIP,
        "-u",
        USER,
    ];
    command
        .args(words)
        .args([
            "--connect-timeout=1",
            "--batch",
            "--skip-column-names",
            "--unbuffered",
        ])
        .args(more)
        .stdin(Stdio::null());
    command
}

/// Kills the client when the connection is given up.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes rows over one connection until one is not acknowledged.
fn write_rows(net: &Net, ledger: &Mutex<Ledger>, stop: &AtomicBool, next: &mut u64) -> Result<()> {
    let mut child = client(net, &[]);
    let child = child
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = Killed(child.spawn().context("the mariadb client")?);
    let mut input = child.0.stdin.take().context("its input")?;
    let output = child.0.stdout.take().context("its output")?;
    let lines = lines(output);
    while !stop.load(Ordering::Relaxed) {
        let id = *next;
        *next += 1;
        writeln!(input, "INSERT INTO {TABLE} VALUES ({id}); SELECT {id};")?;
        // The answer to the SELECT comes after the commit of the INSERT was acknowledged.
        let answer = lines.recv_timeout(PATIENCE)?;
        ensure!(answer.trim() == id.to_string(), "{answer}");
        let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.push((id, Instant::now()));
        drop(ledger);
        std::thread::sleep(PACE);
    }
    Ok(())
}

/// Lines as they come; the thread ends with the client.
fn lines(output: std::process::ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outage_is_counted_from_the_last_acknowledgement_before_the_cut() {
        let zero = Instant::now();
        let at = |ms| zero + Duration::from_millis(ms);
        let ledger = vec![
            (1, at(0)),
            (2, at(900)),
            (3, at(950)),
            (7, at(1750)),
            (8, at(1760)),
        ];
        assert_eq!(gap_after(&ledger, at(1000)), Duration::from_millis(800));
        assert_eq!(gap_after(&ledger, at(1760)), Duration::ZERO);
    }
}

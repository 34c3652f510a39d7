//! The reader's address and a replica that lags: it loses the address soon after its data is older than `max_lag`, and gets it back
//! when it has caught up. `lab reader-lag SERVICE` prints how long both took.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::judge;
use super::service::{self, Service};
use super::stage::{Stage, WHOLE};
use crate::machine::Machine;
use crate::net::Net;
use crate::sh;
use crate::torture::history::Clock;

/// The word on the command line.
pub const WORD: &str = "reader-lag";
/// Address of readers.
const READER_VIP: &str = "10.81.0.104";
/// How old the replica's data may be.
const MAX_LAG: Duration = Duration::from_secs(5);
/// Pause between the agent's looks at its service, unless it is told otherwise.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// The server says in whole seconds how old its data is.
const SECOND: Duration = Duration::from_secs(1);
/// How often the replica is made to lag.
const TIMES: usize = 5;
/// Pause between looks at where the address is, and between readers' connections.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long a reader's connection may take.
const CONNECT: Duration = Duration::from_millis(500);

/// What makes a replica of `service` lag until its standard input is closed.
fn lagging(service: &Service) -> Result<&'static str> {
    match service.name {
        // What comes from the primary is received, and waits for the lock.
        "mariadb" => {
            Ok("{ echo 'SELECT 1; FLUSH TABLES WITH READ LOCK; SELECT 2;'; cat; } | mariadb -N --unbuffered")
        }
        other => anyhow::bail!("how a replica of {other} is made to lag is not known; there is mariadb"),
    }
}

/// Runs it; true if each time the address went and came back in time.
pub fn run(words: &[String]) -> Result<bool> {
    let name = words.first().map_or("mariadb", String::as_str);
    let service = service::find(name).with_context(|| format!("there is no service {name}"))?;
    lagging(service)?;
    let stage = Stage::set(service).context("boot the nodes")?;
    let measured = measure(&stage);
    if measured.is_err() {
        stage.keep_report(WORD)?;
    }
    let (rounds, unread_ms) = measured?;
    let median =
        |of: fn(&Round) -> u64| judge::median(&rounds.iter().map(of).collect::<Vec<_>>()).unwrap_or(0);
    let worst = |of: fn(&Round) -> u64| rounds.iter().map(of).max().unwrap_or(0);
    println!(
        "{name}: {} times a replica lagged: its readers left it {} ms after max_lag in the median, {} ms at most (two probe \
         intervals are {} ms); they came back {} ms after it could go on, {} ms at most; no reader was answered for {unread_ms} ms at most",
        rounds.len(),
        median(|round| round.left_ms),
        worst(|round| round.left_ms),
        (2 * PROBE_INTERVAL).as_millis(),
        median(|round| round.back_ms),
        worst(|round| round.back_ms),
    );
    Ok(worst(|round| round.left_ms) <= millis(2 * PROBE_INTERVAL))
}

/// One time that the replica lagged.
struct Round {
    /// From when its data was older than `max_lag` until the address was gone.
    left_ms: u64,
    /// From when it could go on until the address was back.
    back_ms: u64,
}

fn measure(stage: &Stage) -> Result<(Vec<Round>, u64)> {
    stage.form().context("form the cluster")?;
    let reader = format!(
        "[[group]]\nname = \"reader\"\nfollows = \"{}\"\nrole = \"replica\"\nmax_lag = \"{}s\"\n\n[[group.resource]]\n\
         name = \"reader-vip\"\ntype = \"vip\"\naddress = \"{READER_VIP}/24\"\n",
        stage.service.name,
        MAX_LAG.as_secs()
    );
    stage.add(&reader)?;
    let replica = stage.cluster.other(&stage.primary()?);
    sh::wait("the readers to go to the replica", WHOLE, || {
        has_address(replica).then_some(())
    })?;
    let _writer = stage.writing(Clock::start())?;
    let readers = Readers::start(
        SocketAddr::new(READER_VIP.parse()?, stage.service.port),
        &stage.lab.net,
    );
    let rounds: Result<Vec<Round>> = (0..TIMES).map(|_| round(stage, replica)).collect();
    Ok((rounds?, readers.finish()))
}

fn round(stage: &Stage, replica: &Machine) -> Result<Round> {
    let mut held = replica.hold(lagging(stage.service)?)?;
    // Two lines: it is about to lock, and the lock is there. The replica lags from somewhere between them on.
    let mut said = BufReader::new(held.stdout.take().context("its output")?).lines();
    let mut line = || said.next().context("the lock ended")?.context("what it says");
    line()?;
    let lags_since = Instant::now();
    line()?;
    let left = sh::wait("the readers to leave the replica", WHOLE, || {
        (!has_address(replica)).then(Instant::now)
    })?;
    drop(held.stdin.take());
    let goes_on = Instant::now();
    let ended = held.wait().context("the end of the lock")?;
    anyhow::ensure!(ended.success(), "the lock ended with {ended}");
    let back = sh::wait("the readers to come back", WHOLE, || {
        has_address(replica).then(Instant::now)
    })?;
    let round = Round {
        left_ms: millis((left - lags_since).saturating_sub(MAX_LAG)),
        back_ms: millis(back - goes_on),
    };
    let early = MAX_LAG.saturating_sub(left - lags_since);
    anyhow::ensure!(
        early < SECOND,
        "the readers left it {} ms before max_lag",
        early.as_millis()
    );
    eprintln!(
        "lab: the readers left the replica {} ms after max_lag, and came back after {} ms",
        round.left_ms, round.back_ms
    );
    Ok(round)
}

fn has_address(machine: &Machine) -> bool {
    machine
        .look(&format!("sleep {}; ip -o addr show", LOOK_AGAIN.as_secs_f64()))
        .contains(&format!("inet {READER_VIP}/"))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Connects again and again at the address of readers; ends when dropped.
struct Readers {
    longest: Arc<Mutex<Duration>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    fn start(at: SocketAddr, net: &Net) -> Readers {
        let (longest, stop) = (
            Arc::new(Mutex::new(Duration::ZERO)),
            Arc::new(AtomicBool::new(false)),
        );
        let (gap, end, net) = (Arc::clone(&longest), Arc::clone(&stop), net.clone());
        let thread = std::thread::spawn(move || {
            if let Err(error) = net.enter() {
                eprintln!("lab: a reader cannot enter the network: {error:#}");
                return;
            }
            let mut last = None;
            while !end.load(Ordering::Relaxed) {
                if TcpStream::connect_timeout(&at, CONNECT).is_ok() {
                    let now = Instant::now();
                    let before = last.replace(now).unwrap_or(now);
                    let mut longest = gap.lock().unwrap_or_else(PoisonError::into_inner);
                    *longest = longest.max(now - before);
                }
                std::thread::sleep(LOOK_AGAIN);
            }
        });
        Readers {
            longest,
            stop,
            thread: Some(thread),
        }
    }

    /// The longest time between two answers.
    fn finish(&self) -> u64 {
        millis(*self.longest.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

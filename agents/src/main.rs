//! had-agentd: runs resource and fence agents, holds the watchdog, and enforces permits.

use std::fs;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use holdfast_agents::fence::Fencer;
use holdfast_agents::group::{Occupied, Surroundings, store};
use holdfast_agents::guard::{self, Command, Parts};
use holdfast_agents::sbd::end::Kernel;
use holdfast_agents::sbd::keeper::{Around, Keeper};
use holdfast_agents::supervisor::{self, Supervisor};
use holdfast_agents::vip::gate::{self, Gate};
use holdfast_agents::watchdog::{self, Device, Watchdog};
use holdfast_agents::{clock, exec, leftovers, ocf, permits, registry, rt, service_config};
use nix::fcntl::{Flock, FlockArg};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

/// How long systemd may take to close the watchdog that an earlier had-agentd had it keep.
const CLOSING: Duration = Duration::from_secs(1);

/// Runs resource and fence agents for had, and stops them by itself when a permit lapses.
///
/// Resources keep running when it ends; the next had-agentd takes them over.
#[derive(Parser)]
#[command(name = "had-agentd", version)]
struct Args {
    /// Socket that had connects to.
    #[arg(long, default_value = "/run/holdfast/agentd.sock")]
    socket: PathBuf,
    /// Folder for state that a restart needs, but not a reboot.
    #[arg(long, default_value = "/run/holdfast-agentd")]
    state_dir: PathBuf,
    /// Watchdog to hold: a device (/dev/watchdog), or a part of the name that its driver has for it, as in
    /// /sys/class/watchdog/*/identity ("i6300ESB"). Without it none is opened.
    #[arg(long, value_name = "DEVICE|IDENTITY")]
    watchdog: Option<String>,
    /// Do without the nftables tables `holdfast`, which silence the virtual addresses of groups that only require a lease
    /// in the instant that their permit ends, even if all of Holdfast hangs. Their lifetime, in whole seconds, stays.
    #[arg(long)]
    no_lease_filter: bool,
    /// Remove the nftables tables that an earlier had-agentd left, and end.
    #[arg(long)]
    remove_lease_filter: bool,
    /// Files with the configuration of the cluster, the first that holds counts: whose services' own configuration (my.cnf,
    /// redis.conf, ...) is checked.
    #[arg(
        long,
        value_name = "FILE",
        value_delimiter = ',',
        default_value = "/var/lib/holdfast/config.toml,/etc/holdfast/holdfast.toml"
    )]
    config: Vec<PathBuf>,
    /// Keep one run of a job: what had-agentd starts for each.
    #[arg(long, value_name = "FILE", hide = true)]
    keep_job: Option<PathBuf>,
    /// Timeout asked of the watchdog, in milliseconds; devices count whole seconds.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1000..))]
    watchdog_timeout_ms: u32,
}

fn main() -> anyhow::Result<()> {
    // OCF agents call this program by the names of Pacemaker's tools.
    ocf::tools::run_if_called();
    // Pacemaker calls it as an OCF agent: `had-agentd ocf TYPE ACTION`.
    ocf::provide::run_if_called();
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    if let Some(file) = &args.keep_job {
        return holdfast_agents::jobs::keep(file);
    }
    if let Ok(own) = std::env::current_exe() {
        ocf::tools::set_program(own);
    }
    let kept = watchdog::kept::take();
    rt::narrow_capabilities();
    if args.remove_lease_filter {
        let _lock = lock_state_dir(&args.state_dir)?;
        return gate::remove_tables(&args.state_dir).map_err(|error| anyhow::anyhow!(error));
    }
    rt::lock_memory();
    // The kernel gives it back when the last thread is gone, and not before: one that hangs in a write to a shared disk must
    // have ended before the next had-agentd writes there.
    let _lock = ManuallyDrop::new(lock_state_dir(&args.state_dir)?);
    leftovers::mark(&args.state_dir);
    match leftovers::end_all() {
        0 => {}
        ended => tracing::warn!(
            ended,
            "ended programs (fence agents, probes) of an earlier had-agentd"
        ),
    }
    exec::remove_empty_cgroups();
    let (commands, command_receiver) = mpsc::unbounded_channel();
    let mut disks = watch_disks(&args.state_dir, commands.clone());
    // Opening the watchdog pets it, and so does going on with the one that systemd kept. So if an earlier had-agentd of this
    // boot promised to watch shared disks, they are read before; and while a group may run beyond its permit it is left alone.
    let promised = disks.resume()?;
    let loaded = store::load_all(&args.state_dir).context("cannot read the state folder")?;
    let maintenance = supervisor::saved_maintenance(&args.state_dir);
    let left_alone = args.watchdog.is_some() && !maintenance && is_overdue(&loaded, &args.state_dir);
    let asked = promised.unwrap_or(Duration::from_millis(args.watchdog_timeout_ms.into()));
    let wanted = args.watchdog.as_deref().filter(|_| !left_alone);
    let runs = !supervisor::first_report(&loaded).is_empty();
    let hold = |path: &str| hold_watchdog(path, asked, kept, runs);
    let watchdog = wanted.map(hold).transpose()?;
    let timeout = watchdog.as_ref().map(|device| device.timeout());
    disks.armed(timeout.or(promised));
    let listener =
        guard::listen(&args.socket).with_context(|| format!("cannot listen on {}", args.socket.display()))?;
    let (request_sender, requests) = mpsc::channel(guard::REQUESTS_MAX);
    let gate = open_gate(&args, &loaded, maintenance)?;
    let notes = commands.clone();
    let around = Surroundings {
        guard: commands,
        fencer: Fencer::new(move |note| drop(notes.send(guard::Command::Note(note)))),
        occupied: Occupied::default(),
        state_dir: args.state_dir.clone(),
        maintenance,
        watchdog: timeout.or(left_alone.then_some(asked)),
        gate: gate.clone(),
    };
    let guard = guard::spawn(Parts {
        listener,
        admission: guard::Admission::read(),
        commands: command_receiver,
        requests: request_sender,
        watchdog,
        left_alone,
        end: Arc::new(Kernel),
        kinds: registry::AGENTS.iter().map(|meta| meta.kind.to_owned()).collect(),
        maintenance,
        groups: supervisor::first_report(&loaded),
        state_dir: args.state_dir,
        disks: disks.watch(),
        gate,
    })?;
    rt::prefer_agents();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let places = service_config::Places {
        configs: args.config,
        root: PathBuf::from("/"),
    };
    runtime.block_on(serve(around, loaded, disks, requests, places))?;
    match guard.join() {
        Ok(outcome) => outcome.context("the thread that enforces permits failed"),
        Err(_) => bail!("the thread that enforces permits panicked"),
    }
}

/// The gate, unless it is not wanted: then no tables are left behind either.
fn open_gate(args: &Args, loaded: &[store::Loaded], maintenance: bool) -> anyhow::Result<Option<Gate>> {
    if args.no_lease_filter {
        if let Err(error) = gate::remove_tables(&args.state_dir) {
            tracing::error!("the nftables tables `holdfast` cannot be removed: {error}");
        }
        return Ok(None);
    }
    let inherited = gate::inherit(loaded, &args.state_dir, maintenance);
    Ok(Some(Gate::start(&args.state_dir, inherited)?))
}

/// Runs agents until a signal or the end of the guard.
async fn serve(
    around: Surroundings,
    loaded: Vec<store::Loaded>,
    disks: Keeper,
    mut requests: mpsc::Receiver<guard::Request>,
    places: service_config::Places,
) -> anyhow::Result<()> {
    let guard = around.guard.clone();
    let notes = guard.clone();
    tokio::spawn(service_config::follow(places, move |note| {
        drop(notes.send(Command::Note(note)));
    }));
    let mut supervisor = Supervisor::new(around, loaded, disks);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let period = sd_notify::watchdog_enabled().map_or(Duration::from_secs(3600), |timeout| timeout / 3);
    let mut pets = tokio::time::interval(period);
    notify(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            request = requests.recv() => match request {
                Some(request) => supervisor.obey(request),
                // The guard is gone, and with it the enforcement: end, so that systemd starts us anew.
                None => bail!("the thread that enforces permits ended"),
            },
            // Both threads have to live for systemd to hear of it.
            _ = pets.tick() => if ping(&guard).await { notify(&[NotifyState::Watchdog]) },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    notify(&[NotifyState::Stopping]);
    tracing::info!("ending; resources keep running for the next had-agentd");
    supervisor.finish();
    let (done, ended) = oneshot::channel();
    if guard.send(Command::Shutdown(done)).is_ok() {
        let _ = ended.await;
    }
    Ok(())
}

async fn ping(guard: &mpsc::UnboundedSender<Command>) -> bool {
    let (answer, answered) = oneshot::channel();
    guard.send(Command::Ping(answer)).is_ok() && answered.await.is_ok()
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("systemd cannot be notified: {error}");
    }
}

fn watch_disks(state_dir: &Path, guard: mpsc::UnboundedSender<Command>) -> Keeper {
    Keeper::new(Around {
        state_dir: state_dir.to_path_buf(),
        kernel_boot: store::boot_id(),
        end: Arc::new(Kernel),
        notes: Arc::new(move |note| drop(guard.send(Command::Note(note)))),
    })
}

/// Makes the folder, and sees to it that only one had-agentd uses it.
fn lock_state_dir(path: &Path) -> anyhow::Result<Flock<fs::File>> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the state folder {}", path.display()))?;
    let file =
        fs::File::create(path.join("lock")).with_context(|| format!("cannot write to {}", path.display()))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, error)| anyhow::anyhow!("another had-agentd uses {}: {error}", path.display()))
}

/// True when something may run here beyond its permit. Whoever takes it over counts on a watchdog that nobody pets from the
/// end of that permit on.
fn is_overdue(loaded: &[store::Loaded], state_dir: &Path) -> bool {
    let overdue = permits::saved::overdue(loaded, state_dir, clock::now());
    if let Some(group) = overdue {
        tracing::warn!(
            "{group} may run although its permit is over: the watchdog is left alone until it is stopped"
        );
    }
    overdue.is_some()
}

/// Holds the watchdog that `wanted` names, `kept` if an earlier had-agentd has armed it, and tells what an operator should
/// know about it. While something `runs`, others count on the timeout that it has.
fn hold_watchdog(
    wanted: &str,
    asked: Duration,
    kept: Option<fs::File>,
    runs: bool,
) -> anyhow::Result<Box<dyn Watchdog>> {
    let path = watchdog::choose(wanted).map_err(|error| anyhow::anyhow!(error))?;
    let is_kept = kept.is_some();
    let device = match kept {
        Some(file) => Device::adopt(file, &path, asked, runs),
        None => open_when_free(&path, asked),
    };
    let device = device.with_context(|| {
        let path = path.display();
        format!("cannot hold the watchdog {path}: is it there, and is systemd's RuntimeWatchdogSec off?")
    })?;
    if !is_kept && let Err(error) = device.outlive() {
        tracing::warn!(
            "nobody keeps the watchdog open when had-agentd dies ({error}): the kernel then begins its count anew, later \
             than others count"
        );
    }
    let (path, facts, timeout) = (path.display(), device.facts(), device.timeout());
    tracing::info!(
        "watchdog {path} ({}) armed, {} ms",
        facts.identity,
        timeout.as_millis()
    );
    if timeout.as_secs() != asked.as_secs().max(1) {
        tracing::warn!(
            "watchdog {path} was asked for {} ms and takes {} ms",
            asked.as_millis(),
            timeout.as_millis()
        );
    }
    if facts.no_way_out {
        tracing::warn!(
            "watchdog {path} cannot be disarmed (nowayout): ending had-agentd for good resets the machine"
        );
    }
    if facts.has_reset {
        tracing::warn!("this boot began because the watchdog reset the machine");
    }
    Ok(Box::new(device))
}

/// Opens the device; systemd may be about to close the one that was disarmed a moment ago.
fn open_when_free(path: &Path, asked: Duration) -> std::io::Result<Device> {
    let deadline = Instant::now() + CLOSING;
    loop {
        match Device::open(path, asked) {
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(CLOSING / 20);
            }
            opened => return opened,
        }
    }
}

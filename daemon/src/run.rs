//! Puts the daemon together and runs it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use holdfast_core::durable::Durable;
use holdfast_core::event::Identity;
use holdfast_core::node::{Node, Start};
use holdfast_core::witness::Proxy;
use holdfast_proto::config::Config;
use holdfast_proto::ids::BootId;
use holdfast_proto::time::Time;
use nix::fcntl::{Flock, FlockArg};
use tokio::sync::{mpsc, watch};

use crate::agentd_link::{AgentdLink, translate};
use crate::args::{self, Places};
use crate::control::{self, Control};
use crate::join::JoinTokens;
use crate::journal::{Journal, Record};
use crate::keys::NodeKeys;
use crate::net::{self, NetConfig};
use crate::notify::Notifier;
use crate::office::{self, Office};
use crate::register::RegisterLink;
use crate::rt::{self, Scheduling};
use crate::shell::api::{Ask, Chore};
use crate::shell::{Parts, Shell};
use crate::store::{self, Loaded, Store, StoreWriter};
use crate::tokens::ForceTokens;
use crate::{clock, in_force, logging};

/// Questions that may wait for the deciding thread.
const ASKS: usize = 64;
/// Chores that may wait for the ordinary thread.
const CHORES: usize = 1024;

/// What was found on disk before anything runs.
struct Found {
    identity: Identity,
    config: Arc<Config>,
    durable: Option<Durable>,
    synced: bool,
    keys: Arc<NodeKeys>,
    store: Store,
    /// For the journal, once there is one.
    remarks: Vec<Record>,
    /// Held as long as the process lives.
    lock: Flock<std::fs::File>,
}

/// Runs the daemon until SIGTERM.
///
/// # Errors
/// When something that it needs is missing; the sentence says what to do.
pub fn run(places: &Places) -> anyhow::Result<()> {
    check_dir(
        &places.state_dir,
        "state",
        "run `hactl cluster init` or `had init`, which make it, or give --state-dir DIR",
    )?;
    check_dir(
        &places.run_dir,
        "run",
        "systemd-tmpfiles makes it at boot (`systemd-tmpfiles --create`), or give --run-dir DIR",
    )?;
    let scheduling = rt::prepare()?;
    logging::abort_on_panic_of_this_thread();
    let found = find(places)?;
    let socket = places.run_dir.join("had.sock");
    let listener = control::bind(&socket)?;
    logging::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_stack_size(rt::STACK_BYTES)
        .build()
        .context("cannot start the deciding runtime")?;
    let result = runtime.block_on(assemble(places, found, scheduling, socket.clone(), listener));
    // The next run replaces it anyway; a client now gets "no such file" rather than "refused".
    let _ = std::fs::remove_file(&socket);
    result
}

async fn assemble(
    places: &Places,
    found: Found,
    scheduling: Scheduling,
    socket: std::path::PathBuf,
    listener: std::os::unix::net::UnixListener,
) -> anyhow::Result<()> {
    let Found {
        identity,
        config,
        durable,
        synced,
        keys,
        store,
        remarks,
        lock,
    } = found;
    let name = config.name_of(identity.node);
    let (asks, ask_queue) = mpsc::channel::<Ask>(ASKS);
    let (chores, chore_queue) = mpsc::channel::<Chore>(CHORES);
    let (changed, changes) = watch::channel(0);
    let joins = Arc::new(JoinTokens::default());
    // The queue is empty and long enough.
    let _ = chores.try_send(Chore::Record(started(&name, &config, &scheduling)));
    let _ = chores.try_send(Chore::RecordRun(identity.incarnation));
    for remark in remarks {
        let _ = chores.try_send(Chore::Record(remark));
    }
    let control = Arc::new(Control {
        asks,
        journal: Arc::new(Mutex::new(Journal::new(&places.state_dir, &name))),
        changed: changes,
        force: Mutex::new(ForceTokens::default()),
        joins: Arc::clone(&joins),
        followers: control::followers(),
    });
    let (state_dir, run_dir) = (places.state_dir.clone(), places.run_dir.clone());
    office::start(Office {
        control,
        listener,
        socket,
        chores: chore_queue,
        state_dir,
        run_dir,
    })?;
    let (net, net_events) = net::start(NetConfig {
        me: identity,
        config: Arc::clone(&config),
        keys,
        joins,
    })?;
    let (store, store_reports) =
        StoreWriter::start(store).context("cannot start the thread that writes the state file")?;
    let attach = translate::attach(&config, identity.node, identity.boot);
    let link = (!identity.node.is_witness()).then(|| AgentdLink::start(places.agentd(), attach));
    let register = register(identity, &config)?;
    let node = Node::new(
        clock::now(),
        Start {
            identity,
            durable,
            synced_this_boot: synced,
            // CLOCK_BOOTTIME counts from then.
            booted_at: Time::ZERO,
            config,
        },
    );
    let parts = Parts {
        node,
        identity,
        net,
        net_events,
        store,
        store_reports,
        link,
        register,
        asks: ask_queue,
        chores,
        changed,
        notifier: Notifier::from_env(),
        scheduling,
    };
    let result = Shell::new(parts).run().await;
    drop(lock);
    result
}

/// A data node may have a witness that is kept in a register, now or after a change of the configuration.
fn register(identity: Identity, config: &Config) -> anyhow::Result<Option<(Proxy, RegisterLink)>> {
    if identity.node.is_witness() {
        return Ok(None);
    }
    let proxy = Proxy::new(identity, config.timers());
    Ok(Some((proxy, RegisterLink::start()?)))
}

fn started(name: &str, config: &Config, scheduling: &Scheduling) -> Record {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!(
        "had {version} started as {name} of cluster {}: {}",
        config.cluster.name, scheduling.sentence
    );
    Record::new("had-started", if scheduling.full { "info" } else { "warn" }, text)
}

fn check_dir(dir: &Path, what: &str, remedy: &str) -> anyhow::Result<()> {
    match dir.metadata() {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => bail!("the {what} directory {} is not a directory", dir.display()),
        Err(error) => bail!(
            "the {what} directory {} cannot be used ({error}): {remedy}",
            dir.display()
        ),
    }
}

/// Reads everything that the disk holds.
fn find(places: &Places) -> anyhow::Result<Found> {
    let lock = lock(&places.state_dir)?;
    let keys = Arc::new(NodeKeys::load_or_create(&places.state_dir)?);
    let (store, loaded) = Store::open(&places.state_dir)?;
    let mut remarks = Vec::new();
    let durable = match loaded {
        Loaded::Fresh(durable) => Some(durable),
        Loaded::Blank => None,
        Loaded::Damaged { why, .. } => {
            remarks.push(Record::new("state-damaged", "alert", why));
            None
        }
    };
    let config = in_force::choose(places, durable.as_ref(), &mut remarks)?;
    let name = places.node_name()?;
    let node = args::find_node(&config, &name)?;
    in_force::remark_on_key(&config, node, &name, &keys, &mut remarks);
    let boot = boot_id(&places.boot_id_file)?;
    let incarnation = store::next_incarnation(&places.state_dir, clock::wall_us());
    let synced = store::synced_in(&places.run_dir, boot);
    let identity = Identity {
        node,
        boot,
        incarnation,
    };
    Ok(Found {
        identity,
        config,
        durable,
        synced,
        keys,
        store,
        remarks,
        lock,
    })
}

/// One daemon per state directory: two with one identity would vote twice.
fn lock(state_dir: &Path) -> anyhow::Result<Flock<std::fs::File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let path = state_dir.join("lock");
    let mut options = std::fs::OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .with_context(|| {
            format!(
                "cannot write in the state directory {}: it must belong to the user that had runs as",
                state_dir.display()
            )
        })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| {
        anyhow::anyhow!(
            "another had uses the state directory {} ({error}): stop it first",
            state_dir.display()
        )
    })
}

/// The kernel's boot id.
fn boot_id(path: &Path) -> anyhow::Result<BootId> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the boot id from {}", path.display()))?;
    let digits: String = text.trim().chars().filter(|letter| *letter != '-').collect();
    let number = u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|number| *number != 0);
    Ok(BootId(number.with_context(|| {
        format!("{} holds no boot id: {:?}", path.display(), text.trim())
    })?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_id_is_read_or_refused() {
        assert_ne!(
            boot_id(Path::new("/proc/sys/kernel/random/boot_id")).expect("boot id"),
            BootId(0)
        );
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("boot");
        std::fs::write(&path, "not an id\n").expect("written");
        assert!(
            boot_id(&path)
                .expect_err("refused")
                .to_string()
                .contains("holds no boot id")
        );
    }

    #[test]
    fn a_state_directory_serves_one_daemon() {
        let folder = tempfile::tempdir().expect("folder");
        let first = lock(folder.path()).expect("locked");
        let error = lock(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("another had"), "{error}");
        drop(first);
        lock(folder.path()).expect("free again");
    }
}

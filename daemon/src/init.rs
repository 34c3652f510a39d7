//! `had init` and `had keygen`: what is done once, before the daemon runs for the first time.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use holdfast_core::durable::Durable;
use holdfast_proto::config::KeyPin;
use nix::unistd::{Gid, Uid, User, setgid, setgroups, setuid};

use crate::args::{self, Places};
use crate::keys::NodeKeys;
use crate::store::{Loaded, Store};

/// The daemon's user, where it is installed as a service.
const USER: &str = "had";

/// Forms a new cluster: this node is its only voter. Returns what to tell the operator.
///
/// # Errors
/// When this node has a state already, or something is missing.
pub fn init(places: &Places) -> anyhow::Result<String> {
    let config = args::read_config(&places.config)?;
    let name = places.node_name()?;
    let node = args::find_node(&config, &name)?;
    if node.is_witness() {
        bail!("{name} is the witness: run `had init` on a data node, the witness is then brought in by it");
    }
    prepare_dir(&places.state_dir)?;
    let keys = NodeKeys::load_or_create(&places.state_dir)?;
    let mut store = refuse_state(&places.state_dir, "init")?;
    let pinned = config
        .node(node)
        .is_some_and(|section| section.keys.contains(&keys.pin()));
    let cluster = config.cluster.name.clone();
    let state = holdfast_proto::state::genesis(Arc::new(config), node);
    store.write(&Durable::initial(state))?;
    let mut text =
        format!("cluster {cluster} is formed, {name} is its first voter; start had on every member now");
    if !pinned {
        text += &format!(
            "\nwarning: the key of {name} is not pinned in {}; other members will refuse it until its section has\n  \
             keys = [\"{}\"]",
            places.config.display(),
            keys.pin()
        );
    }
    Ok(text)
}

/// The store in `dir`, which must be empty: what a member of a cluster holds is never mixed with another one's.
pub(crate) fn refuse_state(dir: &Path, command: &str) -> anyhow::Result<Store> {
    let (store, loaded) = Store::open(dir)?;
    match loaded {
        Loaded::Blank => Ok(store),
        Loaded::Fresh(durable) => bail!(
            "{} holds the state of cluster {} at version {} already, and `had {command}` is for a machine that is in no \
             cluster. If that one is given up, move the directory away first",
            dir.display(),
            durable.committed.config.cluster.name,
            durable.committed.version
        ),
        Loaded::Damaged { file, why } => {
            bail!(
                "{} holds a damaged state ({}): {why}",
                dir.display(),
                file.display()
            )
        }
    }
}

/// Makes the keys if they are missing.
///
/// # Errors
/// When they cannot be made or read.
pub fn keygen(places: &Places) -> anyhow::Result<KeyPin> {
    prepare_dir(&places.state_dir)?;
    Ok(NodeKeys::load_or_create(&places.state_dir)?.pin())
}

/// Makes the state directory if it is missing. Run by root, everything after this happens as the user that owns the
/// directory, so that the daemon can read what is made there.
///
/// # Errors
/// When the directory cannot be had, or the user cannot be changed to.
pub fn prepare_dir(dir: &Path) -> anyhow::Result<()> {
    let root = Uid::effective().is_root();
    if !dir.exists() {
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).with_context(|| {
            format!(
                "cannot create the state directory {}: run this as root, or give --state-dir DIR",
                dir.display()
            )
        })?;
        if root && let Ok(Some(user)) = User::from_name(USER) {
            nix::unistd::chown(dir, Some(user.uid), Some(user.gid))
                .with_context(|| format!("cannot give {} to user {USER}", dir.display()))?;
        }
    }
    let owner = dir
        .metadata()
        .with_context(|| format!("cannot look at {}", dir.display()))?;
    if root && owner.uid() != 0 {
        setgroups(&[]).context("cannot drop supplementary groups")?;
        setgid(Gid::from_raw(owner.gid())).context("cannot change to the group of the state directory")?;
        setuid(Uid::from_raw(owner.uid())).context("cannot change to the owner of the state directory")?;
    }
    Ok(())
}

//! `hactl sbd create-witness`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_proto::config::{self, Config, SBD_IO_TIMEOUT_MS};
use holdfast_sbd::Disk;
use holdfast_sbd::register::Region;
use holdfast_sbd::register::layout::Header;

use super::message::ask_for;
use super::{Disks, create, each};
use crate::cli::{CreateWitnessArgs, DiskArgs};
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::pad;

/// Makes the register on all disks.
pub fn run(args: &DiskArgs, create: &CreateWitnessArgs, ui: &Ui) -> anyhow::Result<()> {
    let config = load(&args.config)?;
    let disks = Disks {
        paths: paths(args, &config)?,
        io_timeout: Duration::from_millis(
            config
                .sbd
                .as_ref()
                .map_or(SBD_IO_TIMEOUT_MS, |sbd| sbd.io_timeout_ms)
                .into(),
        ),
        timeouts: config.sbd.as_ref().map(|sbd| sbd.timeouts).unwrap_or_default(),
    };
    let most = config.nodes.iter().map(|node| node.id.0).max().unwrap_or(0);
    let header = Header {
        cluster: config.cluster.id.0,
        register: holdfast_sbd::random_id()?,
        nodes: create.nodes.unwrap_or(most.max(2)),
    };
    if header.nodes < most {
        let text = format!(
            "the configuration has a node {most}: --nodes {} leaves it out",
            header.nodes
        );
        return Err(Failure::new(Exit::Usage, text).into());
    }
    if !create.yes {
        for path in &disks.paths {
            ask(path, disks.io_timeout, ui)?;
        }
    }
    let found = each(&disks, |path| {
        let region = Region::create(Disk::open(path, disks.io_timeout)?, header)?;
        Ok(format!(
            "for {} nodes, register {:032x}",
            region.header().nodes,
            region.header().register
        ))
    });
    create::tell(&found, "witness made", ui)
}

fn load(file: &Path) -> anyhow::Result<Config> {
    let text = crate::commands::config::read(file)?;
    config::parse(&text, &file.display().to_string()).map_err(|_| {
        let at = file.display();
        Failure::new(Exit::InvalidConfig, format!("{at} is invalid"))
            .hint(format!("`hactl config check {at}` says where"))
            .into()
    })
}

/// Those named, else those of `[witness]`.
fn paths(args: &DiskArgs, config: &Config) -> anyhow::Result<Vec<PathBuf>> {
    let configured = || config.witness_disks().iter().map(PathBuf::from).collect();
    let paths: Vec<PathBuf> = if args.devices.is_empty() {
        configured()
    } else {
        args.devices.clone()
    };
    match paths.len() {
        1 | 3 => Ok(paths),
        0 => Err(Failure::new(Exit::Usage, "on which disks?")
            .hint("name them: -d /dev/disk/by-id/...")
            .hint("or write `disks` into [witness] of the configuration")
            .into()),
        count => {
            let text = format!("the witness is kept on one disk or on three, not on {count}");
            Err(Failure::new(Exit::Usage, text).into())
        }
    }
}

/// What would be lost, and the disk's name typed out.
fn ask(path: &Path, io_timeout: Duration, ui: &Ui) -> anyhow::Result<()> {
    let name = path.display().to_string();
    let disk = Disk::open(path, io_timeout).map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
    let there = match Region::open(disk) {
        Ok(_) => "A witness is kept there: it loses its vote until it is filled again.".to_string(),
        Err(error) => format!("No witness is kept there ({error})."),
    };
    let begins_mib = holdfast_sbd::register::layout::BEGINS_AT >> 20;
    let warning = format!(
        "what stands on {} from {begins_mib} MiB on is overwritten. {there}",
        pad(&name, 0)
    );
    ask_for(&name, &warning, "hactl sbd create-witness --yes", ui)
}

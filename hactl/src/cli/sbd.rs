//! `hactl sbd`: the shared disks, by the words that SBD's own program uses.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `hactl sbd`.
#[derive(Args, Debug)]
pub struct SbdArgs {
    /// Which disks.
    #[command(flatten)]
    pub disks: DiskArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: SbdCommand,
}

/// Which disks, and how long one may take.
#[derive(Args, Clone, Debug)]
pub struct DiskArgs {
    /// A disk; up to three times. Left out: those of [sbd] in the configuration, else SBD_DEVICE of /etc/default/sbd
    #[arg(long = "device", short = 'd', value_name = "PATH", global = true)]
    pub devices: Vec<PathBuf>,
    /// Where [sbd] is looked up
    #[arg(
        long,
        value_name = "FILE",
        global = true,
        default_value = "/etc/holdfast/holdfast.toml"
    )]
    pub config: PathBuf,
}

/// The commands of `hactl sbd`.
#[derive(Subcommand, Debug)]
pub enum SbdCommand {
    /// The nodes that have a slot, and what is in their mailboxes
    #[command(after_help = "Examples:
  hactl sbd list
  hactl sbd list -d /dev/sdb1 --json | jq -r '.disks[].slots[] | \"\\(.node) \\(.message)\"'")]
    List,
    /// What the header of each disk says
    #[command(after_help = "Example:
  hactl sbd dump -d /dev/sdb1")]
    Dump,
    /// Make disks ready for SBD. OVERWRITES what is on them.
    #[command(after_help = "Examples:
  hactl sbd create -d /dev/disk/by-id/scsi-lun1
  hactl sbd create -d /dev/sdb1 -1 15 -4 30      with the timeouts of slow storage

Timeouts that are not given are those of [sbd] in the configuration, or SBD's own.")]
    Create(CreateArgs),
    /// Make a place for the witness of a cluster on disks of SBD. A witness that is kept there LOSES its vote.
    #[command(after_help = "Examples:
  hactl sbd create-witness                     on the disks that [witness] of the configuration names
  hactl sbd create-witness -d /dev/sdb1 --nodes 3

All disks of one witness are made in one go: one, or three. It takes nothing of what SBD uses. Holdfast may run
meanwhile: the witness is then blank, and is voted out, filled and voted in again.")]
    CreateWitness(CreateWitnessArgs),
    /// Claim a slot for a node
    #[command(after_help = "Example:
  hactl sbd allocate db1")]
    Allocate {
        /// The node
        node: String,
    },
    /// Write a message into a node's mailbox, and read it back
    #[command(after_help = "Examples:
  hactl sbd message db1 test       does db1 read its mailbox? It answers within seconds
  hactl sbd message db1 clear      takes back what is in it
  hactl sbd message db1 reset      resets db1, if its watcher runs

It has to be read back from a majority of the disks. That db1 is down after `reset` is no proof for the
cluster: `hactl fence db1` makes one.")]
    Message(MessageArgs),
}

/// `hactl sbd create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// Watchdog timeout in seconds
    #[arg(short = '1', long, value_name = "SECONDS")]
    pub watchdog_timeout: Option<u32>,
    /// Slot allocation timeout in seconds
    #[arg(short = '2', long, value_name = "SECONDS")]
    pub allocate_timeout: Option<u32>,
    /// Loop timeout in seconds
    #[arg(short = '3', long, value_name = "SECONDS")]
    pub loop_timeout: Option<u32>,
    /// Msgwait timeout in seconds; twice the watchdog timeout if only that is given
    #[arg(short = '4', long, value_name = "SECONDS")]
    pub msgwait_timeout: Option<u32>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `hactl sbd create-witness`.
#[derive(Args, Debug)]
pub struct CreateWitnessArgs {
    /// Highest number of a data node that is to have room; those of the configuration, and 2 at least, if left out
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub nodes: Option<u8>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
}

/// `hactl sbd message`.
#[derive(Args, Debug)]
pub struct MessageArgs {
    /// The node
    pub node: String,
    /// test, reset, off, exit, crashdump or clear
    pub message: String,
    /// Do not ask, where the message ends the node
    #[arg(long)]
    pub yes: bool,
    /// Return once it was read back; do not wait until it is carried out
    #[arg(long)]
    pub no_wait: bool,
}

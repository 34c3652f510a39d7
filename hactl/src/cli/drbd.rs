//! `hactl drbd`: what DRBD's handlers call, and the word on a split brain.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `hactl drbd`.
#[derive(Args, Debug)]
pub struct DrbdArgs {
    /// had-agentd's state folder
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        default_value = holdfast_proto::drbd::STATE_DIR_DEFAULT
    )]
    pub state_dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: DrbdCommand,
}

/// The commands of `hactl drbd`.
#[derive(Subcommand, Debug)]
pub enum DrbdCommand {
    /// Called by DRBD when it lost its peer; waits until the cluster has decided, and exits as DRBD wants it
    #[command(after_help = "In the DRBD resource:
  handlers { fence-peer \"/usr/bin/hactl drbd fence-peer\"; unfence-peer \"/usr/bin/hactl drbd unfence-peer\"; }

Exit 4: the cluster goes on without the peer's copy. 6: the peer is the primary. 1: neither; writes stay frozen.")]
    FencePeer,
    /// Called by DRBD when its peer is whole again
    UnfencePeer,
    /// After a split brain: give up what one node wrote, and take the other's data. Run it on that node
    #[command(after_help = "Example:
  hactl drbd resolve r0 --discard db2      on db2

What is given up is recorded: how much differs, the generations, who and when.")]
    Resolve(ResolveArgs),
}

/// `hactl drbd resolve`.
#[derive(Args, Debug)]
pub struct ResolveArgs {
    /// The DRBD resource
    pub resource: String,
    /// The node whose data is given up: this one
    #[arg(long, value_name = "NODE")]
    pub discard: String,
    /// Even if the cluster agreed that this copy has everything
    #[arg(long)]
    pub accept_loss: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Folder of the records
    #[arg(long, value_name = "DIR", default_value = "/var/lib/holdfast-drbd")]
    pub records: PathBuf,
}

//! `hactl galera`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Wait;

/// What is done with a Galera cluster.
#[derive(Subcommand, Debug)]
pub enum GaleraCommand {
    /// The position of this node's data, from its state file; needs no cluster
    #[command(after_help = "Example:
  hactl galera position

After a crash it is not in the file: `hactl status` shows what the agent's recovery found.")]
    Position {
        /// The data directory
        #[arg(long, value_name = "DIR", default_value = "/var/lib/mysql")]
        datadir: PathBuf,
    },
    /// Found the cluster once, from the node that is furthest
    #[command(after_help = "Examples:
  hactl galera bootstrap              shows every node's position, and asks
  hactl galera bootstrap --yes
  hactl galera bootstrap --node db2   from db2, whatever the others have

It has the group promoted on that node: the cluster commits it first, so exactly one founds. Where
the group is promoted already it does nothing.")]
    Bootstrap(BootstrapArgs),
}

/// `hactl galera bootstrap`.
#[derive(Args, Clone, Debug)]
pub struct BootstrapArgs {
    /// The group; needed only if there are several with Galera
    pub group: Option<String>,
    /// From this node, whatever the others have
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
    /// What only other copies have may be lost
    #[arg(long)]
    pub accept_loss: bool,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

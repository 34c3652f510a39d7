//! `hactl mysqld`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What is done with the copies of MariaDB and MySQL.
#[derive(Subcommand, Debug)]
pub enum MysqldCommand {
    /// Fetch this node's data anew from the primary, with progress. Run it on that node, as root
    #[command(after_help = "Examples:
  hactl mysqld seed mysql db2          on db2; shows what would be replaced, and asks
  hactl mysqld seed mysql db2 --yes

Refused while the cluster counts on the copy on that node, and where the group is not promoted elsewhere.
MariaDB: what is there is moved aside and kept in its data directory. MySQL: CLONE replaces it.")]
    Seed(SeedArgs),
}

/// `hactl mysqld seed`.
#[derive(Args, Clone, Debug)]
pub struct SeedArgs {
    /// The group
    pub group: String,
    /// The node whose data is replaced: this one
    pub node: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
    /// Return when it has begun
    #[arg(long)]
    pub no_wait: bool,
    /// had-agentd's state folder
    #[arg(long, value_name = "DIR", default_value = holdfast_proto::mysqld::STATE_DIR_DEFAULT)]
    pub state_dir: PathBuf,
}

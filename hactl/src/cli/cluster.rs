//! `hactl cluster`: how a cluster is made and joined.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Wait;

/// `hactl cluster`.
#[derive(Subcommand, Debug)]
pub enum ClusterCommand {
    /// Make a cluster with this machine as its first node
    #[command(after_help = "Examples:
  hactl cluster init --name shop-db --node db1 --links 10.0.0.1,192.168.7.1
  hactl cluster init --name shop-db --node db1 --config my-holdfast.toml

Then, on the other machines: hactl cluster join TOKEN")]
    Init(InitArgs),
    /// Join this machine to a cluster
    #[command(after_help = "Examples:
  hactl cluster join TOKEN
  ssh db1 hactl cluster token | hactl cluster join -
  hactl cluster join --witness -

The token is used up by the first join and is good for one hour. With `-` (or none) it is read from
standard input, where no other user of this machine sees it.")]
    Join(JoinArgs),
    /// Make a join token, on a node of the cluster
    #[command(after_help = "Examples:
  hactl cluster token
  hactl cluster token --witness")]
    Token {
        /// For a witness
        #[arg(long)]
        witness: bool,
    },
}

/// Where things are on this machine.
#[derive(Args, Clone, Debug)]
pub struct Places {
    /// Folder of the configuration
    #[arg(long, value_name = "DIR", default_value = "/etc/holdfast")]
    pub config_dir: PathBuf,
    /// Folder of had's state
    #[arg(long, value_name = "DIR", default_value = "/var/lib/holdfast")]
    pub state_dir: PathBuf,
    /// Write the files, but leave the services alone
    #[arg(long)]
    pub no_start: bool,
}

/// `hactl cluster init`.
#[derive(Args, Clone, Debug)]
pub struct InitArgs {
    /// Name of the cluster
    #[arg(long)]
    pub name: Option<String>,
    /// Name of this node; the host name if left out
    #[arg(long)]
    pub node: Option<String>,
    /// Addresses of this node, one per link, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,...")]
    pub links: Vec<std::net::IpAddr>,
    /// How fast silence counts as a failure
    #[arg(long, value_enum, default_value_t = ProfileName::Balanced)]
    pub profile: ProfileName,
    /// Begin with this configuration
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// `hactl cluster join`.
#[derive(Args, Clone, Debug)]
pub struct JoinArgs {
    /// The token, or - to read it from standard input
    #[arg(default_value = "-", hide_default_value = true)]
    pub token: String,
    /// Join as the witness
    #[arg(long)]
    pub witness: bool,
    /// Name of this node; the host name if left out
    #[arg(long)]
    pub node: Option<String>,
    /// Addresses of this node, one per link, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS,...")]
    pub links: Vec<std::net::IpAddr>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

/// Detection profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProfileName {
    /// 300 ms
    Fast,
    /// 1 s
    Balanced,
    /// 5 s
    Wan,
}

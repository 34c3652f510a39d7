//! The command line of `had`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use holdfast_proto::config::{self, Config};
use holdfast_proto::ids::NodeId;

use crate::join::JoinArgs;

/// Holdfast's daemon: keeps services up on a pair of servers. Operators use `hactl`.
#[derive(Debug, Parser)]
#[command(name = "had", version, about)]
pub struct Cli {
    /// What to do (default: run).
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    Run,
    /// Form a new cluster whose first and only voter is this node; others are brought in by it.
    Init,
    /// Make this node's keys if they are missing, and print the pin for the configuration.
    Keygen,
    /// Join a cluster with the token that `hactl cluster token` printed, given on standard input.
    Join(JoinArgs),
    /// Print the version.
    Version,
}

/// Where things are.
#[derive(Clone, Debug, Args)]
pub struct Places {
    /// Cluster configuration.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/etc/holdfast/holdfast.toml"
    )]
    pub config: PathBuf,
    /// Name of this node (default: the content of /etc/holdfast/node, else the host name).
    #[arg(long, global = true, value_name = "NAME")]
    pub node: Option<String>,
    /// State that must survive a reboot: votes, keys, events.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/lib/holdfast")]
    pub state_dir: PathBuf,
    /// Sockets, and what must not survive a reboot.
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/holdfast")]
    pub run_dir: PathBuf,
    /// Socket of had-agentd (default: agentd.sock in the run directory).
    #[arg(long, global = true, value_name = "PATH")]
    pub agentd_socket: Option<PathBuf>,
    /// Where the id of the machine's boot is read.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "/proc/sys/kernel/random/boot_id",
        hide = true
    )]
    pub boot_id_file: PathBuf,
}

/// File that names this node.
const NODE_FILE: &str = "/etc/holdfast/node";

impl Places {
    /// This node's name.
    ///
    /// # Errors
    /// When neither file nor host name tell.
    pub fn node_name(&self) -> anyhow::Result<String> {
        if let Some(name) = &self.node {
            return Ok(name.clone());
        }
        if let Ok(text) = std::fs::read_to_string(NODE_FILE)
            && let Some(name) = name_in(&text)
        {
            return Ok(name.to_owned());
        }
        let host = nix::unistd::gethostname().context("cannot read the host name: give --node NAME")?;
        let host = host.to_string_lossy();
        Ok(host.split('.').next().unwrap_or(&host).to_owned())
    }

    /// Path of the agent process's socket.
    #[must_use]
    pub fn agentd(&self) -> PathBuf {
        self.agentd_socket
            .clone()
            .unwrap_or_else(|| self.run_dir.join("agentd.sock"))
    }
}

/// The name in the text of the node's file; none if it is blank.
pub(crate) fn name_in(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|name| !name.is_empty())
}

/// Reads and validates a configuration file.
///
/// # Errors
/// When it cannot be read, or the diagnostics of what is wrong in it.
pub fn read_config(path: &Path) -> anyhow::Result<Config> {
    let text = std::fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the configuration {}: give another with --config FILE",
            path.display()
        )
    })?;
    config::parse(&text, &path.display().to_string())
        .map_err(|wrong| anyhow::anyhow!("{}", wrong.render(false)))
}

/// The number of the node called `name`.
///
/// # Errors
/// When the configuration has no such node.
pub fn find_node(config: &Config, name: &str) -> anyhow::Result<NodeId> {
    if let Some(register) = config.register.as_ref().filter(|register| register.name == name) {
        anyhow::bail!(
            "{} is the name of the witness, which is kept {}: no had runs for it",
            register.name,
            register.place
        );
    }
    config.node_by_name(name).with_context(|| {
        let known = config.members().map(|member| config.name_of(member)).collect::<Vec<_>>().join(", ");
        format!(
            "this node is called {}, and the configuration of cluster {} has no such member (it has {known}): give \
             --node NAME, write the name to {NODE_FILE}, or correct the configuration",
            name.escape_debug(),
            config.cluster.name
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_may_follow_the_command() {
        let cli = Cli::try_parse_from(["had", "run", "--node", "db1", "--state-dir", "/s"]).expect("parsed");
        assert!(matches!(cli.command, Some(Command::Run)));
        assert_eq!(cli.places.node_name().expect("name"), "db1");
        assert_eq!(cli.places.state_dir, Path::new("/s"));
        assert_eq!(cli.places.agentd(), Path::new("/run/holdfast/agentd.sock"));
        assert!(Cli::try_parse_from(["had"]).expect("parsed").command.is_none());
    }

    #[test]
    fn a_stranger_is_told_who_is_known() {
        let config = crate::status::fixture::config();
        assert_eq!(find_node(&config, "db2").expect("known"), NodeId(2));
        assert_eq!(find_node(&config, "witness").expect("known"), NodeId::WITNESS);
        let error = find_node(&config, "db9").expect_err("unknown").to_string();
        assert!(
            error.contains("witness, db1, db2") && error.contains("--node"),
            "{error}"
        );
        let error = find_node(&config, "db\u{1b}[2J9")
            .expect_err("unknown")
            .to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }
}

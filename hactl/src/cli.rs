//! Commands and options.

mod cluster;
mod drbd;
mod galera;
mod job;
mod mysqld;
mod sbd;
mod window;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use self::cluster::{ClusterCommand, InitArgs, JoinArgs, Places, ProfileName};
pub use self::drbd::{DrbdArgs, DrbdCommand, ResolveArgs};
pub use self::galera::{BootstrapArgs, GaleraCommand};
pub use self::job::JobCommand;
pub use self::mysqld::{MysqldCommand, SeedArgs};
pub use self::sbd::{CreateArgs, CreateWitnessArgs, DiskArgs, MessageArgs, SbdArgs, SbdCommand};
pub use self::window::Window;
use crate::demo::DemoArgs;
use crate::outcome::EXIT_CODES;

/// Keeps services up on a pair of servers: look at the cluster, change it, understand it.
#[derive(Parser, Debug)]
#[command(name = "hactl", version, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
#[command(infer_long_args = true, disable_help_subcommand = true, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
pub struct Global {
    /// Print JSON: one document, or one per line for what goes on
    #[arg(long, global = true)]
    pub json: bool,
    /// Socket of had
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "HACTL_SOCKET",
        default_value = "/run/holdfast/had.sock",
        hide_env_values = true
    )]
    pub socket: PathBuf,
}

/// For commands that wait until the cluster has done it.
#[derive(Args, Clone, Debug)]
pub struct Wait {
    /// Longest time to wait, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Return as soon as the cluster has agreed to do it
    #[arg(long)]
    pub no_wait: bool,
}

/// All commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a cluster, join one
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// How the cluster is
    #[command(after_help = "Examples:
  hactl status
  hactl status --watch
  hactl status --json | jq -r '.groups[] | \"\\(.name) \\(.node)\"'
  hactl status --check > /dev/null || echo 'look at the cluster'")]
    Status(StatusArgs),
    /// Move a group to another node
    #[command(after_help = "Examples:
  hactl move mysql db2        to db2
  hactl move mysql            to the best other node

A move is an event, not a rule: nothing stays behind that would pin the group.")]
    Move(MoveArgs),
    /// Move a group to the best other node
    #[command(after_help = "Example:
  hactl failover mysql")]
    Failover(FailoverArgs),
    /// Take a node out of service: its groups move away
    #[command(after_help = "Examples:
  hactl standby db1           before work on db1
  hactl online db1            afterwards")]
    Standby(NodeWaitArgs),
    /// Let a node run groups again
    #[command(after_help = "Example:
  hactl online db1

Groups do not move back by themselves: `hactl move GROUP db1` does.")]
    Online(NodeWaitArgs),
    /// Leave all resources alone, or manage them again
    #[command(after_help = "Examples:
  hactl maintenance on        nothing is started, stopped or fenced from now on
  hactl maintenance off")]
    Maintenance(MaintenanceArgs),
    /// Restart, clean up, disable or enable a group
    #[command(subcommand)]
    Resource(ResourceCommand),
    /// Fence a node, or vouch that one is off
    #[command(
        args_conflicts_with_subcommands = true,
        subcommand_negates_reqs = true,
        after_help = "Examples:
  hactl fence test db1        would it work? Changes nothing
  hactl fence db1             power db1 off by its fence devices, with proof
  hactl fence confirm db1     db1 is off: I looked
  hactl fence history         what was fenced, how it was proven, who said what"
    )]
    Fence(FenceArgs),
    /// Fence the passive node for real, to see that it works, and measure it
    #[command(after_help = "Examples:
  hactl drill db2
  hactl drill db2 --window 02:00-04:00 --yes      waits for the window, then does it

Refused unless db2 runs nothing and all is well. It loses power without warning; no group is touched.
The times until it was proven off, heard again, and all was well are reported; `hactl fence history`
keeps them.")]
    Drill(DrillArgs),
    /// Bring a cluster without a majority back
    #[command(subcommand)]
    Quorum(QuorumCommand),
    /// Programs that run at set times: what is due, what became of it, run one now
    #[command(subcommand)]
    Job(JobCommand),
    /// Look at shared disks in the format of SBD, make them, write messages; needs root, but no cluster
    Sbd(SbdArgs),
    /// What DRBD calls when it lost or found its peer, and the word on a split brain; needs root
    Drbd(DrbdArgs),
    /// Where the copies of a Galera cluster are, and founding it once
    #[command(subcommand)]
    Galera(GaleraCommand),
    /// Fetch a replica of MariaDB or MySQL anew from its primary
    #[command(subcommand)]
    Mysqld(MysqldCommand),
    /// Check, show and change the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Why a group is where it is
    #[command(after_help = "Example:
  hactl why mysql")]
    Why(WhyArgs),
    /// What happened
    #[command(after_help = "Examples:
  hactl events --last 50
  hactl events --follow
  hactl events --json --last 1000 | jq 'select(.level == \"alert\")'")]
    Events(EventsArgs),
    /// See a cluster fail over on this machine; needs no root
    #[command(after_help = "Examples:
  hactl demo
  hactl demo --fault cut --verbose
  hactl demo --fault all --runs 10 --profile balanced
  hactl demo --fault all --json > figures.json

Ctrl-C ends it at any time; it leaves nothing behind. The exit code is 0 if every run recovered and
the service was never on two nodes at once, else 1.")]
    Demo(DemoArgs),
    /// Completions for a shell, on standard output
    #[command(after_help = "Example:
  hactl completions bash > /usr/share/bash-completion/completions/hactl")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        dir: PathBuf,
    },
}

/// `hactl status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    /// Go on and show every change
    #[arg(long, short)]
    pub watch: bool,
    /// Exit 1 when degraded or down, 4 without quorum
    #[arg(long, conflicts_with = "watch")]
    pub check: bool,
}

/// `hactl move`.
#[derive(Args, Clone, Debug)]
pub struct MoveArgs {
    /// The group
    pub group: String,
    /// Where to; the best other node if left out
    pub node: Option<String>,
    /// What that node's copy of the data lacks may be lost; recorded with your name
    #[arg(long, requires = "node")]
    pub accept_loss: bool,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

/// `hactl failover`.
#[derive(Args, Clone, Debug)]
pub struct FailoverArgs {
    /// The group
    pub group: String,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

/// `hactl standby` and `hactl online`.
#[derive(Args, Clone, Debug)]
pub struct NodeWaitArgs {
    /// The node
    pub node: String,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

/// `hactl maintenance`.
#[derive(Args, Clone, Debug)]
pub struct MaintenanceArgs {
    /// on or off
    #[arg(value_enum)]
    pub switch: OnOff,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// From now on
    On,
    /// No longer
    Off,
}

/// `hactl resource`.
#[derive(Subcommand, Debug)]
pub enum ResourceCommand {
    /// Stop and start a group, or one resource and what comes after it, in place
    #[command(after_help = "Examples:
  hactl resource restart mysql
  hactl resource restart mysql/db")]
    Restart {
        /// GROUP or GROUP/RESOURCE
        target: String,
        /// Waiting.
        #[command(flatten)]
        wait: Wait,
    },
    /// Forget failures, so that nodes become eligible again
    #[command(after_help = "Examples:
  hactl resource cleanup mysql
  hactl resource cleanup          all groups")]
    Cleanup {
        /// The group; all of them if left out
        group: Option<String>,
    },
    /// Stop a group and keep it stopped
    #[command(after_help = "Example:
  hactl resource disable mysql")]
    Disable {
        /// The group
        group: String,
        /// Waiting.
        #[command(flatten)]
        wait: Wait,
    },
    /// Let a disabled group run again
    #[command(after_help = "Example:
  hactl resource enable mysql")]
    Enable {
        /// The group
        group: String,
        /// Waiting.
        #[command(flatten)]
        wait: Wait,
    },
}

/// `hactl fence`.
#[derive(Args, Debug)]
pub struct FenceArgs {
    /// `confirm`.
    #[command(subcommand)]
    pub command: Option<FenceCommand>,
    /// The node to fence
    #[arg(required = true)]
    pub node: Option<String>,
    /// Waiting.
    #[command(flatten)]
    pub wait: Wait,
}

/// Below `hactl fence`.
#[derive(Subcommand, Debug)]
pub enum FenceCommand {
    /// Try the fence devices of a node from this one: login, right machine, power state. Changes nothing.
    #[command(after_help = "Examples:
  hactl fence test db2
  hactl fence test db2 --json | jq .ok

Run it on the node that would fence: on db1 for db2. had does the same by itself every
`fence_test_interval`, and `hactl status` shows when it last succeeded. Exit code 1 if a device fails.")]
    Test {
        /// The node whose devices are tried
        node: String,
    },
    /// The ledger: every fencing, what was seen, and which takeover rests on it
    #[command(after_help = "Examples:
  hactl fence history
  hactl fence history db1 --last 5
  hactl fence history --json | jq 'select(.proof.kind == \"operator\")'

Each node keeps its own: what it did itself, and every proof that the cluster's state rests on.")]
    History {
        /// Only what is about this node
        node: Option<String>,
        /// Number of past entries
        #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
        last: u32,
    },
    /// Give your word that a node is off. If it is not, data is lost.
    #[command(after_help = "Examples:
  hactl fence confirm db1
  hactl fence confirm db1 --reason 'unplugged, stands beside me' --yes

Only after you saw that the machine is off or unplugged. It is recorded with your name and reason, and
counts for the boot that is over: when db1 boots again it has to be confirmed anew.")]
    Confirm {
        /// The node
        node: String,
        /// How you know; asked for if left out
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        /// Do not ask
        #[arg(long, requires = "reason")]
        yes: bool,
    },
}

/// `hactl drill`.
#[derive(Args, Clone, Debug)]
pub struct DrillArgs {
    /// The node to fence
    pub node: String,
    /// Only between these times of day, by this machine's clock; waits for them
    #[arg(long, value_name = "HH:MM-HH:MM")]
    pub window: Option<Window>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Longest time for the node to come back, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

/// `hactl quorum`.
#[derive(Subcommand, Debug)]
pub enum QuorumCommand {
    /// Let this node go on alone. Shows first what could be lost.
    #[command(after_help = "Examples:
  hactl quorum force                  shows what could be lost, and a token
  hactl quorum force TOKEN            does it

Only when the other members are off for certain and will not come back by themselves.")]
    Force {
        /// The token that `quorum force` showed
        token: Option<String>,
        /// The same, as an option
        #[arg(long = "token", value_name = "TOKEN", conflicts_with = "token")]
        token_option: Option<String>,
    },
}

/// `hactl config`.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Check a file; changes nothing and needs no cluster
    #[command(after_help = "Examples:
  hactl config check /etc/holdfast/holdfast.toml
  hactl config check holdfast.toml --root /srv/image      the services' files of an image or a backup

On a node that the file names, the services' own configuration (my.cnf, redis.conf, ...) is checked too:
run it as root there.")]
    Check {
        /// The file
        file: PathBuf,
        /// Check the services' files below this folder, instead of this node's
        #[arg(long, value_name = "DIR")]
        root: Option<PathBuf>,
    },
    /// The configuration in force
    #[command(after_help = "Example:
  hactl config show > holdfast.toml")]
    Show,
    /// All timers, and how they fit what was measured
    #[command(after_help = "Examples:
  hactl config timers              of the running cluster
  hactl config timers FILE         of a file, without a cluster")]
    Timers {
        /// A file to derive them from
        file: Option<PathBuf>,
    },
    /// Check a file, show the plan, and make it the configuration of every node
    #[command(after_help = "Examples:
  hactl config apply holdfast.toml --dry-run
  hactl config apply holdfast.toml")]
    Apply {
        /// The file
        file: PathBuf,
        /// Show the plan only
        #[arg(long)]
        dry_run: bool,
        /// Waiting.
        #[command(flatten)]
        wait: Wait,
    },
}

/// `hactl why`.
#[derive(Args, Clone, Debug)]
pub struct WhyArgs {
    /// The group
    pub group: String,
}

/// `hactl events`.
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Go on with new ones as they happen
    #[arg(long, short)]
    pub follow: bool,
    /// Number of past events
    #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
    pub last: u32,
}

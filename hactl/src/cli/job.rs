//! `hactl job`.

use clap::Subcommand;

/// `hactl job`.
#[derive(Subcommand, Debug)]
pub enum JobCommand {
    /// All jobs: when each is due next, and how its latest run went
    #[command(after_help = "Examples:
  hactl job list
  hactl job list --json | jq -r '.jobs[] | \"\\(.name) \\(.latest.state) \\(.next)\"'

Times are this machine's; a job's own zone is in its calendar. Exit code 0, whatever became of the jobs.")]
    List,
    /// What became of each run
    #[command(after_help = "Examples:
  hactl job history
  hactl job history backup --last 5
  hactl job history --json | jq 'select(.job.state == \"failed\")'

Each node keeps its own copy (jobs.jsonl in its state folder), as it heard of the runs. What a program
printed is in the journal of the node that ran it: journalctl -u had-agentd -g 'job backup'")]
    History {
        /// Only this job
        job: Option<String>,
        /// Number of past entries
        #[arg(long, short = 'n', default_value_t = 20, value_name = "N")]
        last: u32,
    },
    /// Run a job now, beside its calendar
    #[command(after_help = "Examples:
  hactl job run backup
  hactl job run backup && hactl job history backup --last 1

It begins on the node that its calendar would choose, and is refused while a run goes on. The command
returns when the cluster has agreed to it; `hactl job list` shows how it goes.")]
    Run {
        /// The job
        job: String,
    },
}

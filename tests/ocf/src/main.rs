//! Real OCF agents of the distribution, each under Holdfast's host and under Pacemaker's own executor (`crm_resource
//! --force-*` on a CIB in a file): the same exit codes, the same state.
//!
//! Each run has namespaces of its own (processes, network, mounts) and a copy-on-write view of `/etc`, `/var` and `/srv`, so
//! the machine is left as it was.

mod cases;
mod compare;
mod holdfast;
mod inside;
mod pacemaker;

use anyhow::Result;
use clap::Parser;

/// Runs OCF agents under Holdfast and under Pacemaker's executor, and compares.
#[derive(Parser)]
#[command(name = "holdfast-ocf")]
struct Args {
    /// Only cases whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Print the table for the documentation.
    #[arg(long)]
    markdown: bool,
    /// Show every step of both.
    #[arg(long)]
    verbose: bool,
    /// One run, inside its namespaces.
    #[arg(long, hide = true, requires = "executor")]
    case: Option<String>,
    /// Who runs it.
    #[arg(long, hide = true)]
    executor: Option<inside::Executor>,
}

fn main() -> Result<std::process::ExitCode> {
    // Both executors' agents get the same stand-ins for the tools of a cluster that is not there.
    holdfast_agents::ocf::tools::run_if_called();
    holdfast_agents::ocf::tools::set_program(std::env::current_exe()?);
    let args = Args::parse();
    if let (Some(case), Some(executor)) = (&args.case, args.executor) {
        return inside::run(case, executor).map(|()| std::process::ExitCode::SUCCESS);
    }
    compare::run(args.only.as_deref(), args.markdown, args.verbose)
}

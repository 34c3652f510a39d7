//! `holdfast-bench`, run by `cargo xtask bench`: Holdfast beside keepalived and Pacemaker, and the core alone.
//!
//! - [`cli`]: what to measure. [`report`], [`render`]: figures as JSON and as tables.
//! - [`theatre`], [`stage`]: clusters in namespaces, one stage each, ordered about by JSON lines ([`order`]).
//! - [`contender`], [`peers`]: who takes part, and how the others are configured.
//! - [`outages`], [`costs`]: what is measured on stages. [`decisions`], [`scheduler`], [`simulator`]: what needs none.

mod cli;
mod contender;
mod costs;
mod decisions;
mod machine;
mod order;
mod outages;
mod peers;
mod render;
mod report;
mod scheduler;
mod simulator;
mod stage;
mod stats;
mod theatre;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let done = match words.split_first() {
        Some((first, rest)) if first == "--internal" => {
            let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
            stage::internal(&rest)
        }
        _ => cli::run(&cli::Args::parse()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("holdfast-bench: {error:#}");
        ExitCode::from(2)
    })
}

//! `holdfast-sim`: see `cargo xtask sim --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    ExitCode::from(holdfast_sim::cli(&args) as u8)
}

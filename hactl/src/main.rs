//! `hactl`: the Holdfast command line.

fn main() -> std::process::ExitCode {
    holdfast_hactl::run(std::env::args_os())
}

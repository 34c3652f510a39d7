//! `seeds`: writes the first corpus of each target, made of real encodings, below the folder given.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(corpus) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: seeds FOLDER");
        return ExitCode::from(2);
    };
    match holdfast_fuzz::seeds::write(&corpus) {
        Ok(count) => {
            println!("{count} seeds in {}", corpus.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("seeds: {}: {error}", corpus.display());
            ExitCode::FAILURE
        }
    }
}

//! `holdfast-model`: see [`holdfast_model::cli`].

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    std::process::exit(holdfast_model::cli::cli(&args));
}

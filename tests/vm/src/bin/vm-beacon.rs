//! The service that the machines run; a program of its own, so that a saved cluster outlives changes of the harness.

fn main() -> anyhow::Result<()> {
    holdfast_vm::beacon::run()
}

//! Where `had` and `had-agentd` are: beside hactl, built by cargo when it runs us, or installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use super::Service;

/// Where the programs of a node are looked for.
pub const NODE_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// The programs the demo runs.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `had`.
    pub had: PathBuf,
    /// `had-agentd`.
    pub agentd: PathBuf,
}

impl Binaries {
    /// Finds the daemons, and builds them first under `cargo run`; makes sure that `service` is there too.
    pub fn find(service: Service) -> anyhow::Result<Binaries> {
        if service == Service::Redis {
            let mut folders = std::env::split_paths(NODE_PATH);
            anyhow::ensure!(
                folders.any(|folder| folder.join("redis-server").is_file()),
                "redis-server is not installed: install it, or leave `--service redis` out"
            );
        }
        let hactl = std::env::current_exe().context("cannot tell where hactl itself is")?;
        let beside = hactl.parent().map(Path::to_path_buf).unwrap_or_default();
        build(&beside)?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut folders = vec![beside];
        folders.extend(std::env::split_paths(&path));
        folders.extend(["/usr/sbin".into(), "/usr/libexec/holdfast".into()]);
        let find = |name: &str| {
            let found = folders
                .iter()
                .map(|folder| folder.join(name))
                .find(|file| file.is_file());
            found.with_context(|| {
                format!("{name} is neither beside hactl nor in PATH nor in /usr/sbin: install the holdfast package")
            })
        };
        Ok(Binaries {
            had: find("had")?,
            agentd: find("had-agentd")?,
        })
    }
}

/// `cargo run --bin hactl` builds hactl alone: builds the daemons of the same profile into the same folder.
fn build(beside: &Path) -> anyhow::Result<()> {
    // Set by `cargo run` for the package it runs; another package's cargo has nothing to build for us.
    let ours = std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == env!("CARGO_PKG_NAME"));
    let (true, Some(cargo), Some(manifest)) = (
        ours,
        std::env::var_os("CARGO"),
        std::env::var_os("CARGO_MANIFEST_DIR"),
    ) else {
        return Ok(());
    };
    let profile = match beside.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(other) => other,
    };
    let mut command = Command::new(cargo);
    command.args([
        "build",
        "--profile",
        profile,
        "-p",
        "holdfast-daemon",
        "-p",
        "holdfast-agents",
        "--bins",
    ]);
    // Cargo's own progress goes to standard error, so that standard output stays the demo's.
    command
        .current_dir(manifest)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = command
        .status()
        .context("cannot run cargo to build the daemons")?;
    anyhow::ensure!(
        status.success(),
        "cargo could not build had and had-agentd: see its messages above"
    );
    Ok(())
}

//! `cargo xtask vm`: scenarios on two virtual machines, and those of them that belong to `test`.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::leftovers::Before;
use crate::tally::Tally;
use crate::tiers::{is_clean, scenarios};
use crate::{deb, packages, run};

/// Where the machines' packages are made; the harness looks there by itself.
const PACKAGES: &str = "target/vm";
/// What `test` runs: each way a node ends on a real machine, and each proof of that, once.
const TEST: [&str; 4] = ["hung-stop", "hung-stop-crashes", "board-dead-with-server", "ipmi"];
/// What the machines' network cards are made of.
const TAPS: &str = "/dev/net/tun";
/// How long that may take, with an image to be made first, on a machine with other work.
const LIMIT: Duration = Duration::from_secs(1200);

/// Runs the scenarios named, or all, with the harness' own options; the exit code.
pub fn run(args: &[String]) -> Result<u8> {
    if args.iter().any(|arg| arg == "--list" || arg == "--help") {
        return run::run_bin("vm", args);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("the machines' network needs root");
    }
    packages::ensure(packages::VM)?;
    deb::build(Path::new(PACKAGES), "", deb::Purpose::Lab)?;
    let before = Before::look()?;
    let code = run::run_bin("vm", args)?;
    Ok(if is_clean(&before)? { code } else { code.max(1) })
}

/// A few scenarios, in the order of [`TEST`].
pub fn tier() -> Result<Tally> {
    if let Some(why) = lacking()? {
        println!("{why}: skipped");
        return Ok(Tally::skip());
    }
    packages::ensure(packages::VM)?;
    deb::build(Path::new(PACKAGES), "", deb::Purpose::Lab)?;
    scenarios(run::release_bin("vm").args(TEST), LIMIT)
}

/// What this machine does not have and the virtual machines need.
fn lacking() -> Result<Option<&'static str>> {
    if !nix::unistd::geteuid().is_root() {
        return Ok(Some("the machines' network needs root"));
    }
    if !Path::new(TAPS).exists() {
        return Ok(Some("the machines' network needs /dev/net/tun"));
    }
    run::build_release()?;
    let made = run::bounded(
        run::release_bin("vm").arg("--has-image"),
        Duration::from_secs(60),
        |_| {},
    )?;
    let complete = made.success && packages::are_there(packages::VM);
    Ok((!complete && !packages::archive_answers())
        .then_some("the machines' disk is not made yet, and Debian's archive cannot be reached"))
}

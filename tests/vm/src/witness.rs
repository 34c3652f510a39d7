//! The witness: the packaged `had`, in a network namespace of its own on the host.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::net::{Net, WITNESS, address};
use crate::place::{Cgroup, Place};
use crate::sh;

/// Its name, and that of the folder with all its files.
const NAME: &str = "witness";

/// The witness; gone when dropped.
#[derive(Debug)]
pub struct Witness {
    process: Option<Child>,
    had: PathBuf,
    dir: PathBuf,
    cgroup: Cgroup,
    netns: String,
}

impl Witness {
    /// A witness that does not run yet, with the program in `package`.
    pub fn new(place: &Place, net: &Net, package: &Path) -> Result<Witness> {
        let dir = place.dir().join(NAME);
        let unpacked = place.dir().join("witness-package");
        if !unpacked.exists() {
            let (from, to) = (package.display().to_string(), unpacked.display().to_string());
            sh::run("dpkg-deb", &["-x", &from, &to])?;
        }
        lay(&dir)?;
        Ok(Witness {
            process: None,
            had: unpacked.join("usr/bin/had"),
            dir,
            cgroup: place.cgroup(NAME)?,
            netns: net.witness().into(),
        })
    }

    /// Joins the cluster with `token`, and runs.
    pub fn join(&mut self, token: &str) -> Result<()> {
        let links = address(0, WITNESS);
        let mut joining = self
            .command()
            .args(["join", "--witness", "--links", &links])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("could not run had join")?;
        if let Some(mut stdin) = joining.stdin.take() {
            writeln!(stdin, "{}", token.trim())?;
        }
        sh::text(joining.wait_with_output()?, || "the witness' had join".into())?;
        self.run()
    }

    /// Goes on from what [`Witness::save`] wrote to `dir`.
    pub fn restore(&mut self, dir: &Path) -> Result<()> {
        self.kill()?;
        fs::remove_dir_all(&self.dir)?;
        sh::run(
            "cp",
            &[
                "-a",
                &dir.join(NAME).display().to_string(),
                &self.dir.display().to_string(),
            ],
        )?;
        self.run()
    }

    /// Ends it and writes its files to `dir`.
    pub fn save(&mut self, dir: &Path) -> Result<()> {
        self.kill()?;
        let to = dir.join(NAME).display().to_string();
        sh::run("cp", &["-a", &self.dir.display().to_string(), &to]).map(|_| ())
    }

    /// Runs it.
    pub fn run(&mut self) -> Result<()> {
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log())?;
        let mut command = self.command();
        command.arg("run").stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().context("could not run the witness")?);
        Ok(())
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            self.cgroup.kill()?;
            process.wait().context("wait for the witness")?;
        }
        Ok(())
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn said(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(120)..].join("\n")
    }

    fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    fn command(&self) -> Command {
        let mut command = self.cgroup.command(&self.netns, &self.had.display().to_string());
        command
            .args(["--node", NAME, "--config"])
            .arg(self.dir.join("holdfast.toml"));
        command.arg("--state-dir").arg(self.dir.join("state"));
        command.arg("--run-dir").arg(self.dir.join("run"));
        command
    }
}

/// Makes `dir` the folders of a witness that never ran. The witness of the scenario before had the same place, and what
/// it kept there is of another cluster, whose keys the nodes do not have.
fn lay(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    for part in ["state", "run"] {
        fs::create_dir_all(dir.join(part))?;
    }
    Ok(())
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Err(error) = self.kill().and_then(|()| self.cgroup.remove()) {
            eprintln!("vm: the witness did not go away: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_witness_knows_nothing_of_the_one_before() {
        let dir = std::env::temp_dir().join(format!("holdfast-vm-witness-{}", std::process::id()));
        lay(&dir).unwrap();
        fs::write(dir.join("state/register"), "of another cluster").unwrap();
        fs::write(dir.join("holdfast.toml"), "of another cluster").unwrap();
        lay(&dir).unwrap();
        let left: Vec<_> = fs::read_dir(dir.join("state")).unwrap().flatten().collect();
        let config = dir.join("holdfast.toml").exists();
        fs::remove_dir_all(&dir).unwrap();
        assert!(left.is_empty() && !config, "{left:?}, {config}");
    }
}

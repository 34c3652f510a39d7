//! A node shared between the scenario and the power controller.

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Result;
use holdfast_proto::control::StatusView;

use crate::node::Node;
use crate::sh;

/// A node behind a lock that is held only to switch power or to build a command, never while a command runs: the
/// power controller must be able to cut a node in which something hangs.
#[derive(Debug)]
pub struct Machine {
    /// Its name.
    pub name: String,
    node: Mutex<Node>,
}

impl Machine {
    /// Wraps `node`.
    #[must_use]
    pub fn new(node: Node) -> Machine {
        Machine {
            name: node.name.clone(),
            node: Mutex::new(node),
        }
    }

    /// The node itself.
    pub fn node(&self) -> MutexGuard<'_, Node> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A command that enters the node.
    fn command(&self, script: &str) -> Result<Command> {
        let node = self.node();
        anyhow::ensure!(node.is_on(), "{} has no power", self.name);
        Ok(node.command(script))
    }

    /// Runs a shell command in the node, which must succeed; its standard output.
    pub fn sh(&self, script: &str) -> Result<String> {
        let output = self.command(script)?.output()?;
        sh::text(output, || format!("{}: {script}", self.name))
    }

    /// The same with `input` on its standard input.
    pub fn sh_with(&self, script: &str, input: &str) -> Result<String> {
        use std::io::Write;
        let mut command = self.command(script)?;
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        let mut child = command.stderr(std::process::Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that does not read its input says why by its exit.
            let _ = stdin.write_all(input.as_bytes());
        }
        sh::text(child.wait_with_output()?, || format!("{}: {script}", self.name))
    }

    /// Starts a shell command that goes on until its standard input is closed.
    pub fn hold(&self, script: &str) -> Result<std::process::Child> {
        let mut command = self.command(script)?;
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped());
        Ok(command.spawn()?)
    }

    /// All output of a shell command, whether it succeeded or not.
    pub fn look(&self, script: &str) -> String {
        let output = self.command(script).and_then(|mut command| Ok(command.output()?));
        output.map_or_else(
            |error| format!("{error:#}\n"),
            |output| String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    }

    /// What `hactl status` says there, if it answers.
    pub fn status(&self) -> Option<StatusView> {
        serde_json::from_str(&self.sh("hactl status --json").ok()?).ok()
    }

    /// Waits for a status that fulfils `wanted`.
    pub fn wait_status(
        &self,
        what: &str,
        limit: Duration,
        wanted: impl Fn(&StatusView) -> bool,
    ) -> Result<StatusView> {
        sh::wait(&format!("{what} ({})", self.name), limit, || {
            self.status().filter(&wanted)
        })
    }
}

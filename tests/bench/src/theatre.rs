//! The stages as the bench sees them: processes that take orders and answer.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::contender::Contender;
use crate::order::Order;

/// A stage. It ends, and everything on it, when this is dropped.
pub struct Stage {
    /// Who is on it.
    pub contender: Contender,
    process: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Stage {
    /// Opens a stage for `contender`. The programs of Holdfast are looked for beside this one.
    pub fn open(contender: Contender) -> anyhow::Result<Stage> {
        let bench = std::env::current_exe().context("cannot tell where holdfast-bench itself is")?;
        let bin: PathBuf = bench.parent().map(Into::into).unwrap_or_default();
        let mut process = Command::new(&bench)
            .args([
                "--internal",
                "stage",
                contender.name,
                &std::process::id().to_string(),
            ])
            .arg(bin)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a stage")?;
        let orders = process.stdin.take();
        let answers = process.stdout.take().context("a stage without an output")?;
        Ok(Stage {
            contender,
            process,
            orders,
            answers: BufReader::new(answers),
        })
    }

    /// Gives an order and does not wait for the answer.
    pub fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(order)?;
        let orders = self.orders.as_mut().context("the stage is closed")?;
        writeln!(orders, "{line}").with_context(|| format!("the stage of {} has ended", self.contender))
    }

    /// The answer to the oldest order that has none yet.
    pub fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let mut line = String::new();
        let length = self.answers.read_line(&mut line)?;
        anyhow::ensure!(length > 0, "the stage of {} has ended", self.contender);
        let value: Value = serde_json::from_str(&line).with_context(|| format!("the stage said: {line}"))?;
        if let Some(error) = value["error"].as_str() {
            anyhow::bail!("{}: {error}", self.contender);
        }
        Ok(serde_json::from_value(value)?)
    }

    /// Gives an order and waits for the answer.
    pub fn ask<T: DeserializeOwned>(&mut self, order: &Order) -> anyhow::Result<T> {
        self.tell(order)?;
        self.answer()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // The end of its input is the end of the stage.
        drop(self.orders.take());
        let _ = self.process.wait();
    }
}

/// Opens a stage for each of `contenders`, all at once, and waits until every cluster is whole.
pub fn open_all(contenders: &[Contender]) -> anyhow::Result<Vec<Stage>> {
    let mut stages = Vec::new();
    for contender in contenders {
        eprintln!("bench: {contender} is set up");
        let mut stage = Stage::open(*contender)?;
        stage.tell(&Order::Ready)?;
        stages.push(stage);
    }
    for stage in &mut stages {
        stage.answer::<Value>()?;
    }
    Ok(stages)
}

//! Pacemaker's scheduler on the tasks of [`crate::decisions`]: `crm_simulate --profile` over CIBs that say the same.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::decisions::{SIZES, Task};
use crate::stats::Spread;

/// How long the scheduler took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// Number of resources.
    pub resources: usize,
    /// What was to be decided.
    pub task: Task,
    /// From the parsed CIB to the transition graph, by its own count.
    pub schedule_ms: Spread,
    /// Starts, moves and fencings in it: that the task was the same.
    pub actions: usize,
}

/// Measures every task at every size, `repeats` times.
pub fn measure(repeats: u32) -> anyhow::Result<Vec<Schedule>> {
    let folder = Folder::make()?;
    let mut all = Vec::new();
    for resources in SIZES {
        for task in Task::ALL {
            eprintln!(
                "bench: Pacemaker's scheduler, {resources} resources, {}",
                task.words()
            );
            let file = folder.0.join("bench.xml");
            fs::write(&file, cib(resources, task))?;
            let times: Vec<f64> = (0..repeats)
                .map(|_| profile(&folder.0))
                .collect::<anyhow::Result<_>>()?;
            all.push(Schedule {
                resources,
                task,
                schedule_ms: Spread::of(&times),
                actions: actions(&file)?,
            });
        }
    }
    Ok(all)
}

/// One pass of the scheduler over the CIB in `folder`, in milliseconds.
fn profile(folder: &Path) -> anyhow::Result<f64> {
    let output = run(Command::new("crm_simulate")
        .arg("--profile")
        .arg(folder)
        .args(["--repeat", "1"]))?;
    // "* Testing bench.xml ... 0.02 secs"; the XML output has more digits.
    let seconds = output
        .split("secs")
        .next()
        .and_then(|before| before.split_whitespace().last())
        .and_then(|word| word.parse::<f64>().ok());
    let seconds = seconds.with_context(|| format!("crm_simulate told no time: {output}"))?;
    Ok(seconds * 1000.0)
}

/// Starts, moves and fencings that the scheduler orders.
fn actions(cib: &Path) -> anyhow::Result<usize> {
    let output = run(Command::new("crm_simulate")
        .arg("--xml-file")
        .arg(cib)
        .arg("--run"))?;
    let summary = output.split("Transition Summary:").nth(1).unwrap_or_default();
    let ordered = summary.lines().filter(|line| line.trim_start().starts_with('*'));
    Ok(ordered.count())
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .context("cannot run crm_simulate: install pacemaker-cli-utils")?;
    anyhow::ensure!(
        output.status.success(),
        "crm_simulate failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Two nodes with a fence device each, and as many primitives as there are groups in [`crate::decisions`].
fn cib(resources: usize, task: Task) -> String {
    let mut text = String::from(
        "<cib crm_feature_set=\"3.16.2\" validate-with=\"pacemaker-3.9\" epoch=\"1\" num_updates=\"0\" admin_epoch=\"0\" \
         have-quorum=\"1\" dc-uuid=\"1\"><configuration><crm_config><cluster_property_set id=\"o\">\
         <nvpair id=\"o-s\" name=\"stonith-enabled\" value=\"true\"/></cluster_property_set></crm_config><nodes>\
         <node id=\"1\" uname=\"db1\"/><node id=\"2\" uname=\"db2\"/></nodes><resources>",
    );
    for node in 1..=2 {
        let _ = write!(
            text,
            "<primitive id=\"fence-{node}\" class=\"stonith\" type=\"fence_outlet\"><instance_attributes id=\"f{node}\">\
             <nvpair id=\"f{node}-h\" name=\"pcmk_host_list\" value=\"db{node}\"/></instance_attributes></primitive>"
        );
    }
    for number in 1..=resources {
        let _ = write!(
            text,
            "<primitive id=\"{}\" class=\"ocf\" provider=\"pacemaker\" type=\"Dummy\"/>",
            name(number)
        );
    }
    text += "</resources><constraints/></configuration><status>";
    for node in 1..=2 {
        text += &node_state(node, resources, task);
    }
    text + "</status></cib>"
}

fn name(number: usize) -> String {
    format!("service-{number:04}")
}

fn node_state(node: usize, resources: usize, task: Task) -> String {
    let lost = task == Task::NodeLost && node == 2;
    let (member, peer, join) = if lost {
        ("false", "offline", "down")
    } else {
        ("true", "online", "member")
    };
    let mut text = format!(
        "<node_state id=\"{node}\" uname=\"db{node}\" in_ccm=\"{member}\" crmd=\"{peer}\" join=\"{join}\" \
         expected=\"member\"><lrm id=\"{node}\"><lrm_resources>"
    );
    // Fence devices are watched by the other node, and stay out of the way of the task.
    for device in 1..=2 {
        let here = device != node;
        text += &history(&format!("fence-{device}"), "stonith", "", "fence_outlet", here);
    }
    for number in 1..=resources {
        let here = task != Task::StartAll && number % 2 == node % 2;
        text += &history(&name(number), "ocf", " provider=\"pacemaker\"", "Dummy", here);
    }
    text + "</lrm_resources></lrm></node_state>"
}

/// What the executor remembers: a probe that found nothing, and a start where it runs.
fn history(id: &str, class: &str, provider: &str, kind: &str, runs: bool) -> String {
    let digest = if class == "ocf" {
        " op-digest=\"f2317cad3d54cec5d7d7aa7d0bf35cf8\""
    } else {
        ""
    };
    let operation = |action: &str, call: u8, code: u8| {
        format!(
            "<lrm_rsc_op id=\"{id}_{action}_0\" operation=\"{action}\" crm-debug-origin=\"bench\" \
             crm_feature_set=\"3.16.2\" transition-key=\"1:1:{code}:00000000-0000-0000-0000-000000000000\" \
             transition-magic=\"0:{code};1:1:{code}:00000000-0000-0000-0000-000000000000\" call-id=\"{call}\" \
             rc-code=\"{code}\" op-status=\"0\" interval=\"0\"{digest}/>"
        )
    };
    let start = if runs {
        operation("start", 2, 0)
    } else {
        String::new()
    };
    format!(
        "<lrm_resource id=\"{id}\" type=\"{kind}\" class=\"{class}\"{provider}>{start}{}</lrm_resource>",
        operation("monitor", 1, 7)
    )
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Folder> {
        let path = std::env::temp_dir().join(format!("holdfast-bench-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_resources_run_on_each_node() {
        let cib = cib(10, Task::Nothing);
        assert_eq!(cib.matches("_start_0\"").count(), 10 + 2);
        assert_eq!(cib.matches("crmd=\"online\"").count(), 2);
        assert_eq!(super::cib(10, Task::StartAll).matches("_start_0\"").count(), 2);
        assert_eq!(
            super::cib(10, Task::NodeLost).matches("crmd=\"offline\"").count(),
            1
        );
    }
}

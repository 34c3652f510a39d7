//! The running cluster: set up, watched, waited for.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use holdfast_proto::control::StatusView;

use super::client::Client;
use super::clock::now_us;
use super::eyes::Eyes;
use super::outlet::Outlets;
use super::paths::Paths;
use super::stage::TRUTH_SOCKET;
use super::story::Story;
use super::truth::Truth;
use super::{DemoArgs, FaultChoice, Service, config, control, power, switch};

/// The data nodes.
pub const NODES: [&str; 2] = ["n1", "n2"];
/// All machines.
pub const MACHINES: [&str; 3] = ["n1", "n2", "witness"];

/// Everything that runs.
pub struct Cluster {
    /// Where things are.
    pub paths: Paths,
    /// What happened.
    pub story: Arc<Story>,
    /// What is active where.
    pub truth: Arc<Truth>,
    /// The power outlets.
    pub outlets: Arc<Outlets>,
    /// The client.
    pub client: Arc<Client>,
    /// The eyes, for a fault after which the address stays where nobody may answer.
    pub eyes: Option<Arc<Eyes>>,
    /// The lease length.
    pub lease: Duration,
    service: Service,
}

impl Cluster {
    /// Builds the switches, makes keys and configuration, and powers everything on.
    pub fn start(args: &DemoArgs, paths: &Paths) -> anyhow::Result<Cluster> {
        let story = Arc::new(Story::default());
        switch::build().context("cannot build the switches (is the kernel's bridge module there?)")?;
        let truth = Truth::start(TRUTH_SOCKET.as_ref(), Arc::clone(&story))?;
        let outlets = Outlets::new(
            config::machines(),
            Arc::new(paths.clone()),
            Arc::clone(&truth),
            Arc::clone(&story),
        );
        power::serve(Arc::clone(&outlets), Arc::clone(&story))?;
        prepare(args, paths)?;
        for machine in MACHINES {
            outlets
                .on(machine)
                .with_context(|| format!("cannot power {machine} on"))?;
        }
        for node in MACHINES {
            control::follow(paths, node, Arc::clone(&story))?;
        }
        let client = Client::start(switch::client()?, args.service)?;
        let eyes = (args.fault == Some(FaultChoice::HangAll))
            .then(Eyes::open)
            .transpose()?;
        Ok(Cluster {
            paths: paths.clone(),
            story,
            truth,
            outlets,
            client,
            eyes,
            lease: args.profile.lease(),
            service: args.service,
        })
    }

    /// Waits until every member is back in its place and the client is answered. Returns the active node.
    pub fn wait_healthy(&self, longest: Duration) -> anyhow::Result<String> {
        let deadline = Instant::now() + longest;
        let mut told = String::new();
        loop {
            let trouble = match self.unhealthy() {
                Ok(active) => return Ok(active),
                Err(trouble) => trouble,
            };
            if told != trouble {
                self.story.now("demo", "not-whole", trouble.as_str());
                told.clone_from(&trouble);
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the cluster is not healthy after {} s: {trouble}",
                longest.as_secs()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The active node if all is well, else what is not.
    ///
    /// # Errors
    /// When something is not as it should be; the text says what.
    pub fn unhealthy(&self) -> Result<String, String> {
        let active = self.truth.vip_owner().ok_or("no node has the virtual IP")?;
        if self.service != Service::None && self.truth.service_pid(&active).is_none() {
            return Err(format!("{active} has the virtual IP but no service"));
        }
        for node in NODES {
            let view = control::status(&self.paths, node).ok_or(format!("had on {node} does not answer"))?;
            trouble_in(&view)?;
        }
        let recent = self.client.since(now_us().saturating_sub(300_000));
        let (asked, answered) = (
            recent.len(),
            recent.iter().filter(|ask| ask.answered_us.is_some()).count(),
        );
        if asked < 50 || answered < asked {
            return Err(format!(
                "the client got {answered} answers to its last {asked} asks"
            ));
        }
        Ok(active)
    }

    /// The other data node.
    pub fn other(node: &str) -> &'static str {
        if node == NODES[0] { NODES[1] } else { NODES[0] }
    }
}

fn trouble_in(view: &StatusView) -> Result<(), String> {
    if view.leader.is_empty() {
        return Err(format!("{} knows no leader: {}", view.node, view.quorum));
    }
    if view.voters.len() < MACHINES.len() {
        return Err(format!(
            "{} sees only the voters {}",
            view.node,
            view.voters.join(", ")
        ));
    }
    for member in &view.nodes {
        let witness = member.role == "witness";
        let synced = member.synced || witness;
        let up = member.links.iter().filter(|link| link.state == "up").count();
        // The witness has one address; which of a node's links reach it is a matter of routing.
        let linked = up == member.links.len() || (witness && up > 0);
        if member.state != "online" || !synced || !linked {
            return Err(format!(
                "{} sees {} as {}, with {up} of {} links up. {}",
                view.node,
                member.name,
                member.state,
                member.links.len(),
                member.detail
            ));
        }
    }
    match view.groups.iter().find(|group| group.state != "running") {
        Some(group) => Err(format!(
            "{} sees group {} as {}: {}",
            view.node, group.name, group.state, group.reason
        )),
        None => Ok(()),
    }
}

/// Keys, configuration files, and the first node's initial state.
fn prepare(args: &DemoArgs, paths: &Paths) -> anyhow::Result<()> {
    let mut pins = Vec::new();
    for machine in MACHINES {
        paths.make_disk(machine)?;
        if args.idle.is_some() {
            paths.copy_programs(machine)?;
        }
        let output = had(paths, machine, &["keygen"], &[])?;
        let is_pin = |word: &&str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
        let pin = output.split_whitespace().find(is_pin);
        pins.push(
            pin.with_context(|| format!("`had keygen` printed no key pin: {output}"))?
                .to_string(),
        );
    }
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid")?.replace('-', "");
    let requires = args.fault.map_or("fencing", FaultChoice::requires);
    let text = config::text(&uuid[..16], &pins, args.profile, args.service, requires, paths);
    for machine in MACHINES {
        fs::write(paths.config(machine), &text)?;
    }
    for node in NODES {
        paths.write_programs(node)?;
    }
    had(
        paths,
        NODES[0],
        &["init", "--node", NODES[0]],
        &[("--config", paths.config(NODES[0]))],
    )?;
    Ok(())
}

fn had(
    paths: &Paths,
    machine: &str,
    words: &[&str],
    files: &[(&str, std::path::PathBuf)],
) -> anyhow::Result<String> {
    let mut command = Command::new(paths.had_program(machine));
    command.args(words).arg("--state-dir").arg(paths.state(machine));
    for (option, file) in files {
        command.arg(option).arg(file);
    }
    let output = command.stdin(Stdio::null()).output().context("cannot run had")?;
    let error = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "`had {}` failed: {}",
        words[0],
        error.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

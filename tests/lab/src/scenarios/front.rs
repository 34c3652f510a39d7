//! Front services: nginx with gunicorn behind it, HAProxy and memcached, on every node and on one node, with addresses that
//! only go where the probe passes.
//!
//! - `services`: their configuration, and what a client asks them; `faults`: what is done to them

mod faults;
mod services;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_proto::control::StatusView;

use crate::client::{Client, Question};
use crate::cluster::{Cluster, SETTLE, Shape};
use crate::lab::Lab;
use crate::sh;
use faults::{FAULTS, Fault, Kind, mended, spoil};
use services::{EVERYWHERE, FRONTS, Front, PATIENCE, on_every_node, on_one_node};

/// How often each fault is done, to one node after the other.
const ROUNDS: usize = 2;
/// How long clients ask before a strike.
const CALM: Duration = Duration::from_millis(300);

/// A cluster with front services, and a client of each.
struct Stage<'a> {
    cluster: &'a Cluster,
    clients: Vec<Client>,
    /// The configuration without them.
    base: String,
    /// Outages as the clients saw them, by what was done.
    figures: BTreeMap<String, Vec<u64>>,
}

/// Each service hangs, is killed, gets a broken configuration: on every node its address leaves at once and the service comes
/// back; on one node it is restarted, or the group moves. Then power loss, and a service that is broken everywhere.
pub fn front(lab: &mut Lab) -> Result<String> {
    let net = lab.net.clone();
    let script = lab.source.join("tests/lab/files/front");
    let cluster = lab.cluster(Shape::Trio)?;
    for machine in cluster.data() {
        machine.node().put(&script, "/root/front")?;
        machine.sh("sh /root/front")?;
    }
    let clients = FRONTS.iter().map(|front| {
        let question = Question {
            at: front.at(),
            patience: PATIENCE,
            ask: front.ask,
        };
        Client::asking(&net, question)
    });
    let mut stage = Stage {
        cluster,
        clients: clients.collect::<Result<_>>()?,
        base: cluster.machines[0].sh("hactl config show")?,
        figures: BTreeMap::new(),
    };
    stage.every_node().context("on every node")?;
    stage.one_node().context("on one node")?;
    let told = stage.told();
    drop(stage);
    // The groups of this scenario are not the next one's business.
    lab.discard();
    Ok(told)
}

impl Stage<'_> {
    /// Makes these groups, and no others of this scenario, the configuration.
    fn apply(&self, groups: &str) -> Result<()> {
        let script = "set -e; new=$(mktemp); cat >$new; hactl config check $new; hactl config apply $new";
        // Faults follow each other here as nowhere else.
        let base = self
            .base
            .replacen("[cluster]\n", "[cluster]\nflap_budget = 1000\n", 1);
        self.cluster.machines[0]
            .sh_with(script, &format!("{base}\n{groups}"))
            .map(drop)
    }

    fn every_node(&mut self) -> Result<()> {
        self.apply(&on_every_node())?;
        self.well()?;
        for fault in FAULTS.iter().cycle().take(FAULTS.len() * ROUNDS) {
            let (from, struck) = self.strike(fault)?;
            ensure!(
                struck != from || fault.may_stay(),
                "{}: the address stayed on {from}, where the service does not answer",
                fault.name()
            );
            self.note(&format!("every node: {}", fault.name()), fault.front);
            fault.mend(self.cluster.machine(&from))?;
            self.well()
                .with_context(|| format!("after {} on {from}", fault.name()))?;
        }
        for _ in 0..ROUNDS {
            self.power_loss("every node")?;
        }
        self.nowhere()
    }

    fn one_node(&mut self) -> Result<()> {
        // First without them: a group that ran on every node has to be stopped everywhere before it is another one.
        self.apply("")?;
        self.apply(&on_one_node())?;
        self.well()?;
        for fault in FAULTS.iter().cycle().take(FAULTS.len() * ROUNDS) {
            let (from, now) = self.strike(fault)?;
            ensure!(
                fault.kind != Kind::Config || now != from,
                "{}: the group stayed on {from}, where the service cannot start",
                fault.name()
            );
            self.note(&format!("one node: {}", fault.name()), fault.front);
            fault.mend(self.cluster.machine(&from))?;
            // As whoever mended it does: what failed does not count any more.
            self.cluster.machines[0].sh(&format!("hactl resource cleanup {}", fault.front.group))?;
            self.well()
                .with_context(|| format!("after {} on {from}", fault.name()))?;
        }
        for _ in 0..ROUNDS {
            self.power_loss("one node")?;
        }
        Ok(())
    }

    /// Strikes the service where its address is, and waits until a client has an answer to a request of afterwards that the
    /// struck service cannot have given. Where the address was, and where it is then.
    fn strike(&self, fault: &Fault) -> Result<(String, String)> {
        let client = self.client(fault.front);
        let from = self.place(fault.front)?;
        client.answered(SETTLE)?;
        client.begin();
        sleep(CALM);
        let failed = client.seen().failed;
        ensure!(failed == 0, "{failed} requests failed before anything was done");
        fault.strike(self.cluster.machine(&from))?;
        sh::wait(&format!("{} on {from} to be felt", fault.name()), SETTLE, || {
            let moved = self.place(fault.front).is_ok_and(|now| now != from);
            (moved || client.seen().failed > 0).then_some(())
        })?;
        client
            .answered(SETTLE)
            .with_context(|| format!("{} on {from}", fault.name()))?;
        Ok((from, self.settled(fault.front)?))
    }

    /// The node that loses its power has all addresses.
    fn power_loss(&mut self, way: &str) -> Result<()> {
        let owner = self.place(&FRONTS[0])?;
        let other = self.cluster.other(&owner);
        for front in &FRONTS {
            if self.place(front)? != owner {
                other.sh(&format!("hactl move {} {owner}", front.group))?;
            }
        }
        self.well()?;
        self.clients.iter().for_each(Client::begin);
        sleep(CALM);
        self.cluster.machine(&owner).node().power_off()?;
        for (front, client) in FRONTS.iter().zip(&self.clients) {
            sh::wait("the power loss to be felt", SETTLE, || {
                (client.seen().failed > 0).then_some(())
            })?;
            client
                .answered(SETTLE)
                .with_context(|| format!("{} after {owner} lost its power", front.name))?;
        }
        for front in &FRONTS {
            let now = self.settled(front)?;
            ensure!(now != owner, "{} is on {owner}, which has no power", front.name);
            self.note(&format!("{way}: power loss ({})", front.name), front);
        }
        self.cluster.machine(&owner).node().power_on()?;
        self.well()
    }

    /// The service is broken on both nodes: the address stays, because no place is better; it is served again once it is mended.
    fn nowhere(&self) -> Result<()> {
        let front = &FRONTS[0];
        let client = self.client(front);
        let owner = self.place(front)?;
        for machine in [self.cluster.other(&owner), self.cluster.machine(&owner)] {
            machine.sh(&format!("{}; systemctl restart nginx || true", spoil("nginx")))?;
        }
        let both_fail = |view: &StatusView| running(view, front.name).is_empty();
        let watcher = &self.cluster.machines[0];
        watcher.wait_status("nginx to fail on both nodes", SETTLE, both_fail)?;
        for machine in self.cluster.data() {
            machine.sh(mended("nginx"))?;
        }
        client
            .answered(SETTLE)
            .context("after nginx was mended on both nodes")?;
        self.well()
    }

    /// Waits until all is well: members, services, addresses, and answers from each.
    fn well(&self) -> Result<()> {
        self.cluster.whole(SETTLE)?;
        for machine in self.cluster.data() {
            machine.wait_status("all services to run", SETTLE, |view| {
                let is_everywhere = view.groups.iter().any(|group| group.name == EVERYWHERE[0]);
                let services_run =
                    !is_everywhere || EVERYWHERE.iter().all(|name| running(view, name).len() == 2);
                services_run && FRONTS.iter().all(|front| !owner(view, front).is_empty())
            })?;
        }
        for (front, client) in FRONTS.iter().zip(&self.clients) {
            client.answered(SETTLE).with_context(|| front.name)?;
            self.single(front)?;
        }
        Ok(())
    }

    /// Fails if an address is on two nodes.
    fn single(&self, front: &Front) -> Result<()> {
        let holds = |name: &&str| {
            let addresses = self.cluster.machine(name).look("ip -o addr show");
            addresses.contains(&format!("inet {}/", front.vip))
        };
        let nodes: Vec<&str> = ["n1", "n2"].into_iter().filter(holds).collect();
        ensure!(nodes.len() <= 1, "{} is on {}", front.vip, nodes.join(" and "));
        Ok(())
    }

    /// Where the address is.
    fn place(&self, front: &Front) -> Result<String> {
        let view = self.cluster.data().iter().find_map(|machine| machine.status());
        let owner = owner(&view.context("no node answers hactl")?, front);
        ensure!(!owner.is_empty(), "{} does not run", front.group);
        Ok(owner)
    }

    /// The same, as soon as it is somewhere.
    fn settled(&self, front: &Front) -> Result<String> {
        sh::wait("the address to be somewhere", SETTLE, || self.place(front).ok())
    }

    fn client(&self, front: &Front) -> &Client {
        let place = FRONTS.iter().position(|other| other.name == front.name);
        &self.clients[place.unwrap_or_default()]
    }

    /// Writes the outage down.
    fn note(&mut self, what: &str, front: &Front) {
        let gap = self.client(front).seen().gap.as_millis();
        eprintln!("lab: {what}: {gap} ms");
        let gaps = self.figures.entry(what.to_string()).or_default();
        gaps.push(u64::try_from(gap).unwrap_or(u64::MAX));
    }

    /// The shortest and the longest of each.
    fn told(&mut self) -> String {
        let mut text = format!("outage in ms, shortest and longest of {ROUNDS}");
        for (what, gaps) in &mut self.figures {
            gaps.sort_unstable();
            let (shortest, longest) = (gaps[0], gaps[gaps.len() - 1]);
            text.push_str(&format!("\n        {what}: {shortest}, {longest}"));
        }
        text
    }
}

/// The node on which the address is according to `view`; empty if on none.
fn owner(view: &StatusView, front: &Front) -> String {
    let mut groups = view.groups.iter();
    let group = groups.find(|group| group.name == front.group && group.state == "running");
    group.map(|group| group.node.clone()).unwrap_or_default()
}

/// The nodes on which the group `name` runs, one that runs on every node.
fn running<'a>(view: &'a StatusView, name: &str) -> Vec<&'a str> {
    let groups = view.groups.iter().filter(|group| group.name == name);
    groups
        .flat_map(|group| &group.members)
        .filter(|member| member.state == "running")
        .map(|member| member.node.as_str())
        .collect()
}

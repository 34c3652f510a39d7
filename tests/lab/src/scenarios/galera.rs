//! Galera: a pair of members, and the incident that it once split by. Then the same pair with an arbitrator on the witness.
//!
//! A client writes at the writer's address all the time; at the end both copies are the same and hold every write that was
//! acknowledged.

use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use holdfast_proto::control::{GroupView, MemberView, StatusView};

use crate::cluster::{Cluster, Shape, fences};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::sh;
use crate::torture::history::Clock;
use crate::torture::workloads::attempt::{Attempt, Outcome};
use crate::torture::workloads::client::Client;
use crate::torture::workloads::mariadb::MariaDb;

/// The group.
const GROUP: &str = "galera";
/// The writer's address.
const VIP: &str = "10.81.0.120";
/// The unit of the arbitrator on the witness.
const ARBITRATOR: &str = "lab-garbd";
/// How long a state transfer, a recovery or a takeover may take on a busy machine.
const WHOLE: Duration = Duration::from_secs(150);
/// How long the client writes before a fault, and after it.
const CALM: Duration = Duration::from_millis(700);
/// What the client writes to.
const TABLE: &str = "CREATE DATABASE torture; \
     CREATE TABLE torture.writes (number BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, id BIGINT UNSIGNED NOT NULL) ENGINE=InnoDB; \
     CREATE USER torture@'%' IDENTIFIED BY ''; GRANT ALL ON torture.* TO torture@'%'";
/// What the incident leaves behind: each node has founded a cluster, and has data that the other has not.
const SPLIT: &str = "set -e; install -d -o mysql /run/mysqld
mariadbd --user=mysql --wsrep-new-cluster & server=$!
until mariadb -e 'SELECT 1' >/dev/null 2>&1; do kill -0 $server; sleep 0.2; done
mariadb -e \"CREATE DATABASE of_$(hostname)\"
kill $server; wait $server";
/// Where a configuration push writes to.
const PUSHED: &str = "/etc/mysql/mariadb.conf.d/99-pushed.cnf";

/// A run under way.
struct Stage<'a> {
    cluster: &'a Cluster,
    client: Client,
    clock: Clock,
    told: Vec<String>,
}

/// The incident, power loss of one node and of both, founding by hand; then with an arbitrator.
pub fn galera(lab: &mut Lab) -> Result<String> {
    lab.discard();
    let dir = lab.place.dir().join("galera");
    std::fs::create_dir_all(&dir)?;
    let lab = &*lab;
    let cluster = Cluster::boot(lab, Shape::Trio)?;
    let done = form(lab, &cluster).and_then(|()| run(lab, &cluster, &dir));
    lab.power.wire(&[]);
    if done.is_err() {
        let log = |machine: &Arc<Machine>| machine.look("tail -n 120 /var/lib/mysql/server.log");
        let said: String = cluster.data().iter().map(log).collect();
        lab.log("galera-nodes", &(cluster.report() + &said))?;
    }
    done
}

fn form(lab: &Lab, cluster: &Cluster) -> Result<()> {
    cluster.provision(lab)?;
    cluster.join()?;
    let script = lab.source.join("tests/lab/files/galera");
    for machine in cluster.data() {
        machine.node().put(&script, "/root/galera")?;
        machine.sh("sh /root/galera")?;
        machine.sh(SPLIT).context("a cluster of its own on each node")?;
    }
    let groups = format!(
        "{}[[group]]\nname = \"{GROUP}\"\nprefer = [\"n1\"]\n\n\
         [[group.resource]]\nname = \"member\"\ntype = \"galera\"\nlink = 2\nstart_timeout = \"2m\"\nstop_timeout = \"1m\"\n\n\
         [[group]]\nname = \"writer\"\nfollows = \"{GROUP}\"\nrole = \"primary\"\n\n\
         [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{VIP}/24\"\n",
        fences()
    );
    // Faults follow each other here as nowhere else.
    let script = "set -e; new=$(mktemp); \
                  { hactl config show | sed 's/^\\[cluster\\]$/[cluster]\\nflap_budget = 1000/'; echo; cat; } >$new; \
                  hactl config check $new; hactl config apply $new";
    cluster.machines[0].sh_with(script, &groups).map(drop)
}

fn run(lab: &Lab, cluster: &Cluster, dir: &std::path::Path) -> Result<String> {
    let reunited = reunite(cluster).context("two clusters become one")?;
    let primary = primary(cluster)?;
    cluster.machine(&primary).sh(&format!("mariadb -e \"{TABLE}\""))?;
    let clock = Clock::start();
    let at = format!("{VIP}:3306").parse().context("the writer's address")?;
    let client = Client::start(GROUP, Box::new(MariaDb::new(at)), &lab.net, dir, clock)?;
    let mut stage = Stage {
        cluster,
        client,
        clock,
        told: vec![reunited],
    };
    stage.incident().context("an empty gcomm:// is pushed")?;
    stage.one_loses_power("a pair")?;
    stage.both_lose_power().context("both nodes lose their power")?;
    stage.founded_by_hand().context("hactl galera bootstrap")?;
    stage.arbitrator().context("an arbitrator on the witness")?;
    stage.one_loses_power("with an arbitrator")?;
    let Stage { client, mut told, .. } = stage;
    client.finish()?;
    told.push(account(cluster, dir)?);
    Ok(told.join("; "))
}

/// Of two clusters nobody but the operator knows which one to keep: neither is gone on from, and the reason is told. Then the
/// other node's data is given up, as it was said, and is the same.
fn reunite(cluster: &Cluster) -> Result<String> {
    let n1 = cluster.machine("n1");
    n1.wait_status("both positions to be known", WHOLE, |view| {
        let known = |node: &str| member(view, node).is_some_and(|member| member.position.contains(':'));
        known("n1") && known("n2")
    })?;
    let refused = n1.look("hactl galera bootstrap --yes; echo status $?");
    ensure!(
        refused.contains("different histories") && refused.contains("status 3"),
        "hactl galera bootstrap between two clusters: {refused}"
    );
    n1.sh("hactl galera bootstrap --node n2 --yes")?;
    whole(cluster)?;
    ensure!(primary(cluster)? == "n2", "it was to be founded from n2");
    for machine in cluster.data() {
        let databases = machine.sh("mariadb -N -B -e 'SHOW DATABASES'")?;
        ensure!(
            databases.contains("of_n2") && !databases.contains("of_n1"),
            "{} has {databases}",
            machine.name
        );
    }
    Ok("two clusters: refused for their different histories, founded from n2 by hand".into())
}

impl Stage<'_> {
    /// A push empties the list of addresses on the node that does not lead, and restarts the server by every means: the node
    /// is refused with file and line, founds nothing, and joins again when the file is mended.
    fn incident(&mut self) -> Result<()> {
        let primary = primary(self.cluster)?;
        let victim = self.cluster.other(&primary);
        let uuid = uuid(self.cluster.machine(&primary))?;
        let begun = self.writes()?;
        victim.sh(&format!(
            "printf '[galera]\\nwsrep_cluster_address = gcomm://\\n' >{PUSHED}"
        ))?;
        // As the push does it; the unit is masked.
        let restart = victim.look("systemctl restart mariadb; echo status $?");
        ensure!(
            restart.contains("masked") && !restart.contains("status 0"),
            "systemctl restart mariadb: {restart}"
        );
        // And as it is when the server ends for whatever reason.
        victim.sh("kill -KILL $(pidof -s mariadbd)")?;
        let refused = |view: &StatusView| {
            let detail = member(view, &victim.name).map(|member| member.detail.clone());
            detail.is_some_and(|detail| detail.contains("refused: ") && detail.contains(PUSHED))
        };
        let view = self.cluster.machine(&primary).wait_status(
            "the refusal to be told with its file",
            WHOLE,
            refused,
        )?;
        // It stays so for several attempts, and the unit stays masked: no server runs on it, so no second cluster does.
        for _ in 0..10 {
            let said = victim.look("systemctl start mariadb 2>/dev/null; pidof mariadbd");
            ensure!(said.trim().is_empty(), "a server runs on {}: {said}", victim.name);
            sleep(CALM);
        }
        ensure!(
            self.writes()? > begun,
            "the other node takes no writes while {} is refused",
            victim.name
        );
        victim.sh(&format!("rm {PUSHED}"))?;
        whole(self.cluster).context("after the file was mended")?;
        for machine in self.cluster.data() {
            ensure!(
                self::uuid(machine)? == uuid,
                "{} is in another cluster",
                machine.name
            );
        }
        let detail = member(&view, &victim.name).map_or("", |member| &member.detail);
        let reason = detail.split(": write the addresses").next().unwrap_or_default();
        self.told.push(format!("{}: \"{reason}\"", victim.name));
        Ok(())
    }

    /// The node that is written to loses its power: the other goes on, and it joins again.
    fn one_loses_power(&mut self, what: &str) -> Result<()> {
        let primary = primary(self.cluster)?;
        self.writes()?;
        sleep(CALM);
        let machine = self.cluster.machine(&primary);
        let struck = self.clock.now_ms();
        machine.node().power_off()?;
        self.goes_on(struck)
            .with_context(|| format!("{what}: after {primary} lost its power"))?;
        let outage = self.clock.now_ms().saturating_sub(struck);
        let now = self::primary(self.cluster)?;
        ensure!(now != primary, "{primary} has no power and is promoted");
        machine.node().power_on()?;
        whole(self.cluster).with_context(|| format!("{what}: {primary} joins again"))?;
        self.told
            .push(format!("{what}: writes went on {outage} ms after the power loss"));
        Ok(())
    }

    /// Both lose their power at once: the furthest copy founds the cluster, once, and with nobody's help.
    fn both_lose_power(&mut self) -> Result<()> {
        let before = uuid(self.cluster.machine("n1"))?;
        sleep(CALM);
        for machine in self.cluster.data() {
            machine.node().power_off()?;
        }
        let dark = self.clock.now_ms();
        for machine in self.cluster.data() {
            machine.node().power_on()?;
        }
        self.goes_on(dark)?;
        let seconds = self.clock.now_ms().saturating_sub(dark) / 1000;
        whole(self.cluster)?;
        self.founded_once(&before)?;
        self.told.push(format!(
            "both: written again {seconds} s after both had their power back"
        ));
        Ok(())
    }

    /// The group is disabled as by an operator who looks first, one node lags behind the other, and then both lose their power.
    /// The command finds the furthest copy, founds from it, and once: the second one is refused.
    fn founded_by_hand(&mut self) -> Result<()> {
        let before = uuid(self.cluster.machine("n1"))?;
        let primary = primary(self.cluster)?;
        let behind = self.cluster.other(&primary);
        behind.node().power_off()?;
        self.goes_on(self.clock.now_ms())?;
        sleep(CALM * 3);
        let ahead = self.cluster.machine(&primary);
        ahead.node().power_off()?;
        // The one that lags is there first. It must not found a cluster.
        behind.node().power_on()?;
        behind.wait_status("what is known of its copy", WHOLE, |view| {
            let own = member(view, &behind.name);
            own.is_some_and(|member| member.position.contains(':')) && group(view).is_some()
        })?;
        let early = behind.look("hactl galera bootstrap --yes; echo status $?");
        ensure!(
            early.contains("nothing ") && !early.contains("status 0"),
            "founded from the copy that lags: {early}"
        );
        ahead.node().power_on()?;
        // Whoever is first: the register by itself, or the operator's word. Either way it is that copy.
        let said = sh::wait("hactl galera bootstrap to find the furthest copy", WHOLE, || {
            let said = behind.look("hactl galera bootstrap --yes; echo status $?");
            let founded = said.contains("status 0") || self::primary(self.cluster).is_ok();
            founded.then_some(said)
        })?;
        self.goes_on(self.clock.now_ms())?;
        ensure!(
            self::primary(self.cluster)? == primary,
            "founded from {}: {said}",
            behind.name
        );
        whole(self.cluster)?;
        self.founded_once(&before)?;
        let again = behind.look("hactl galera bootstrap --yes; echo status $?");
        ensure!(
            again.contains("nothing is founded") && again.contains("status 3"),
            "a second bootstrap: {again}"
        );
        self.told.push(format!(
            "founded from {primary}, the furthest ({})",
            if said.contains("status 0") {
                "by hand"
            } else {
                "the register was faster than the operator"
            }
        ));
        Ok(())
    }

    /// The group's data is one cluster still, the one of before.
    fn founded_once(&self, before: &str) -> Result<()> {
        for machine in self.cluster.data() {
            let now = uuid(machine)?;
            ensure!(now == before, "{} is in {now}, it was in {before}", machine.name);
            let size = value(machine, "wsrep_cluster_size")?;
            ensure!(size == "2", "{} sees {size} members", machine.name);
        }
        Ok(())
    }

    /// Galera's arbitrator joins on the witness.
    fn arbitrator(&self) -> Result<()> {
        self.cluster.machines[2].sh(&format!(
            "systemd-run --quiet --unit={ARBITRATOR} --property=Restart=always --property=RestartSec=1 \
             garbd --address gcomm://10.81.0.1,10.81.0.2 --group shop --options 'gmcast.listen_addr=tcp://0.0.0.0:4567'"
        ))?;
        let primary = primary(self.cluster)?;
        sh::wait("the arbitrator to be a member", WHOLE, || {
            (value(self.cluster.machine(&primary), "wsrep_cluster_size").ok()? == "3").then_some(())
        })
    }

    /// Waits until a write that was sent from now on is acknowledged; when that was sent.
    fn writes(&self) -> Result<u64> {
        self.goes_on(self.clock.now_ms())
    }

    fn goes_on(&self, since_ms: u64) -> Result<u64> {
        sh::wait("a write to be acknowledged", WHOLE, || {
            self.client.last_ack_ms().filter(|at| *at > since_ms)
        })
    }
}

fn group(view: &StatusView) -> Option<&GroupView> {
    view.groups.iter().find(|group| group.name == GROUP)
}

fn member<'a>(view: &'a StatusView, node: &str) -> Option<&'a MemberView> {
    group(view)?.members.iter().find(|member| member.node == node)
}

/// The node on which the group is promoted.
fn primary(cluster: &Cluster) -> Result<String> {
    let view = cluster.data().iter().find_map(|machine| machine.status());
    let view = view.context("no node answers hactl")?;
    let group = group(&view).context("the group is not configured")?;
    ensure!(
        group.state == "running",
        "the group is {}: {}",
        group.state,
        group.reason
    );
    Ok(group.node.clone())
}

/// Waits until both members run and hold everything.
fn whole(cluster: &Cluster) -> Result<()> {
    cluster.whole(WHOLE)?;
    for machine in cluster.data() {
        machine.wait_status("both members to hold everything", WHOLE, |view| {
            let well = |group: &GroupView| {
                let members = group.members.iter();
                let whole =
                    members.filter(|member| member.in_sync && member.readable && member.state == "running");
                group.state == "running" && whole.count() == 2
            };
            group(view).is_some_and(well)
        })?;
    }
    Ok(())
}

fn value(machine: &Machine, name: &str) -> Result<String> {
    let said = machine.sh(&format!("mariadb -N -B -e \"SHOW GLOBAL STATUS LIKE '{name}'\""))?;
    Ok(said.split_whitespace().nth(1).unwrap_or_default().to_string())
}

/// Which cluster the node's data belongs to.
fn uuid(machine: &Machine) -> Result<String> {
    value(machine, "wsrep_cluster_state_uuid")
}

/// That every acknowledged write is there on both nodes, and nothing else differs.
fn account(cluster: &Cluster, dir: &std::path::Path) -> Result<String> {
    let attempts = std::fs::read_to_string(crate::torture::workloads::attempt::attempts_file(dir, GROUP))?;
    let mut acknowledged = Vec::new();
    for line in attempts.lines() {
        let attempt: Attempt = serde_json::from_str(line)?;
        if attempt.outcome == Outcome::Acknowledged {
            acknowledged.push(attempt.id);
        }
    }
    let read = |machine: &Arc<Machine>| -> Result<std::collections::BTreeSet<u64>> {
        let text = machine.sh("mariadb -N -B -e 'SELECT id FROM torture.writes'")?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    };
    let copies = cluster.data().iter().map(read).collect::<Result<Vec<_>>>()?;
    ensure!(copies[0] == copies[1], "the copies differ");
    let lost: Vec<_> = acknowledged.iter().filter(|id| !copies[0].contains(id)).collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    Ok(format!(
        "{} acknowledged writes, all there on both nodes",
        acknowledged.len()
    ))
}

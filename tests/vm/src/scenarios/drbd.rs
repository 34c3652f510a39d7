//! MariaDB on DRBD, and the power of the active node cut again and again under a write load.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::boards::equip;
use super::phases::{self, Moment, Phases};
use super::takeover::Active;
use crate::cluster::{Cluster, GROUP, SETTLE};
use crate::database::{TABLE, USER, Writer};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::address;
use crate::sh;

/// How long the client may be without an answer.
const OUTAGE: Duration = Duration::from_secs(240);

/// No acknowledged row is lost, and DRBD never splits.
pub fn mariadb(lab: &mut Lab) -> Result<Outcome> {
    equip(lab, "ipmi")?;
    install(lab)?;
    let writer = Writer::start(&lab.net)?;
    let mut total = Outcome::default();
    let mut rounds = Vec::new();
    for cut in 1..=lab.cuts {
        let (outcome, phases, lost) =
            round(lab, &writer).with_context(|| format!("cut {cut} of {}", lab.cuts))?;
        let rows = writer.check().with_context(|| format!("after cut {cut}"))?;
        eprintln!("vm: cut {cut} ({lost}): {rows} rows acknowledged, none lost; {phases}");
        total.dual_active_ms = total.dual_active_ms.max(outcome.dual_active_ms);
        total.proof = outcome.proof;
        rounds.push(phases);
    }
    total.outage_ms = rounds.iter().map(|round| round.outage.as_millis()).max();
    total.seen = format!(
        "{} power cuts, {} acknowledged rows, none lost, never split; {}",
        lab.cuts,
        writer.check()?,
        phases::summary(&rounds)
    );
    Ok(total)
}

/// The power of the active node is cut under the writes, and given back when the other one has taken over.
fn round(lab: &Lab, writer: &Writer) -> Result<(Outcome, Phases, String)> {
    let cluster = lab.cluster()?;
    writer.acknowledged_after(Instant::now(), OUTAGE)?;
    let active = Active::find(lab)?;
    let survivor = cluster.other(&active.name);
    let struck = Moment::now()?;
    active.machine(cluster).vm().power_off()?;
    // The client gives up what hangs after a second; what was under way at the cut is over by then.
    let begins = struck.at + Duration::from_secs(2);
    writer.acknowledged_after(begins, OUTAGE)?;
    let outage = writer.gap_after(struck.at);
    let (outcome, _) = active.taken_over(lab, &["power"])?;
    writer.check().context("before the lost node is back")?;
    let alone = links(survivor)?;
    ensure!(
        alone.starts_with("Primary/Unknown"),
        "{} is {alone}",
        survivor.name
    );
    let mut phases = Phases::read(survivor, struck)?;
    phases.outage = outage;
    let asked = Instant::now();
    active.back(lab)?;
    replicated(cluster)?;
    // The survivor has it switched on by its board, if it was first.
    let on = format!("on {}", active.name);
    let orders = lab.power.orders();
    let ordered = orders
        .iter()
        .rfind(|order| order.text == on && order.at > struck.at);
    phases.whole = ordered.map_or(asked, |order| order.at).elapsed();
    phases.add_resync(survivor, struck)?;
    Ok((outcome, phases, active.name))
}

/// Puts the database on a replicated disk, and both below the service of the group.
pub(super) fn install(lab: &Lab) -> Result<()> {
    let cluster = lab.cluster()?;
    let [first, second] = cluster.data();
    for machine in [first, second] {
        machine.put(resource().into_bytes(), "/etc/drbd.d/r0.res", "644")?;
        machine.put(SERVER.into(), "/etc/mysql/mariadb.conf.d/99-vm.cnf", "644")?;
        machine.put(
            UNIT.into(),
            "/etc/systemd/system/mariadb.service.d/vm.conf",
            "644",
        )?;
        machine.sh(
            "echo drbd > /etc/modules-load.d/drbd.conf && modprobe drbd && mv /var/lib/mysql /var/lib/mysql.before && \
             mkdir /var/lib/mysql && systemctl daemon-reload && drbdadm create-md --force r0 && drbdadm up r0",
        )?;
    }
    sh::wait("DRBD to be connected", SETTLE, || {
        (first.sh("drbdadm cstate r0").ok()?.trim() == "Connected").then_some(())
    })?;
    first.sh(
        "drbdadm new-current-uuid --clear-bitmap r0/0 && drbdadm primary r0 && mkfs.ext4 -q /dev/drbd0 && \
         mount /dev/drbd0 /var/lib/mysql && cp -a /var/lib/mysql.before/. /var/lib/mysql/ && \
         chown mysql:mysql /var/lib/mysql && umount /var/lib/mysql && drbdadm secondary r0",
    )?;
    // What a group is made of takes effect when it starts next.
    first.sh(&format!("hactl resource disable {GROUP} --timeout 200"))?;
    cluster.configure(|config| {
        config.replacen(
            "\n[[group.resource]]\n",
            &format!("\n{RESOURCES}[[group.resource]]\n"),
            1,
        )
    })?;
    first.sh(&format!("hactl resource enable {GROUP} --timeout 200"))?;
    cluster.healthy()?;
    let owner = cluster.machine(&cluster.owner()?).name.clone();
    let table = format!(
        "CREATE DATABASE shop; CREATE TABLE {TABLE} (id BIGINT PRIMARY KEY) ENGINE=InnoDB; CREATE USER {USER}@'%'; \
         GRANT ALL ON shop.* TO {USER}@'%'"
    );
    cluster.machine(&owner).sh_with("mariadb --skip-ssl", &table)?;
    replicated(cluster)
}

/// Roles, connection and disks, as DRBD on `machine` sees its own side and the other one.
pub(super) fn links(machine: &Machine) -> Result<String> {
    let said = machine.sh("drbdadm role r0; drbdadm cstate r0; drbdadm dstate r0")?;
    Ok(said.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Waits until both copies are whole, one of them is promoted, and the cluster has agreed on that; DRBD has not split meanwhile.
fn replicated(cluster: &Cluster) -> Result<()> {
    whole(cluster)?;
    for machine in cluster.data() {
        ensure!(!has_split(machine)?, "DRBD has split on {}", machine.name);
    }
    Ok(())
}

/// Waits until both copies are whole, one of them is promoted, and the cluster has agreed on that.
pub(super) fn whole(cluster: &Cluster) -> Result<()> {
    let (owner, mut last) = (cluster.owner()?, String::new());
    let (primary, secondary) = (cluster.machine(&owner), cluster.other(&owner));
    let whole = sh::wait("both copies to be whole", SETTLE, || {
        last = format!("{}; {}", links(primary).ok()?, links(secondary).ok()?);
        let wanted =
            "Primary/Secondary Connected UpToDate/UpToDate; Secondary/Primary Connected UpToDate/UpToDate";
        (last == wanted).then_some(())
    });
    whole.with_context(|| last)?;
    primary.wait_status("both copies to be agreed on as whole", SETTLE, |view| {
        let members = view.groups.iter().flat_map(|group| &group.members);
        members.filter(|member| member.in_sync).count() == 2
    })?;
    Ok(())
}

/// Whether the kernel of `machine` found since its boot that both sides were written to.
pub(super) fn has_split(machine: &Machine) -> Result<bool> {
    let found = machine.sh("journalctl -k -b --no-pager | grep -ci 'split-brain detected' || true")?;
    Ok(found.trim() != "0")
}

/// The server writes what it acknowledges, and fits into the machine. Without TLS, because since 11.4 it makes itself a key of
/// 4096 bits at each start, for which an emulated processor takes a minute.
const SERVER: &str = "[mariadbd]\nbind-address = 0.0.0.0\nskip-name-resolve\nskip-ssl\ninnodb_flush_log_at_trx_commit = 1\n\
                      innodb_log_file_size = 16M\ninnodb_buffer_pool_size = 32M\nperformance_schema = OFF\n";

/// Without the scripts around it, which look for a Galera cluster and for tables to upgrade: there are none, and they take as
/// long as the server.
const UNIT: &str = "[Service]\nExecStartPre=\nExecStartPost=\n";

/// What stands below the service in its group.
const RESOURCES: &str = r#"[[group.resource]]
name = "data"
type = "drbd"
resource = "r0"
start_timeout = "60s"
stop_timeout = "60s"

[[group.resource]]
name = "fs"
type = "filesystem"
device = "/dev/drbd0"
path = "/var/lib/mysql"
start_timeout = "60s"
stop_timeout = "60s"

[[group.resource]]
name = "db"
type = "mysqld"
unit = "mariadb.service"
probe_timeout = "20s"
start_timeout = "120s"
stop_timeout = "60s"

"#;

/// DRBD's side.
fn resource() -> String {
    format!(
        "resource r0 {{\n  net {{ protocol C; ping-int 3; ping-timeout 5; after-sb-0pri disconnect; after-sb-1pri disconnect; \
         after-sb-2pri disconnect; }}\n  disk {{ fencing resource-and-stonith; on-io-error detach; c-plan-ahead 0; resync-rate 100M; \
         }}\n  handlers {{ fence-peer \"/usr/bin/hactl drbd fence-peer\"; unfence-peer \"/usr/bin/hactl drbd unfence-peer\"; }}\n  \
         device /dev/drbd0; disk /dev/vdb; meta-disk internal;\n  on n1 {{ address {}:7789; }}\n  on n2 {{ address {}:7789; }}\n}}\n",
        address(1, 1),
        address(1, 2)
    )
}

//! MariaDB on DRBD, and the power of the active node cut again and again under a write load.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::boards::equip;
use super::takeover::Active;
use crate::cluster::{Cluster, SETTLE};
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
    let mut outages = Vec::new();
    for cut in 1..=lab.cuts {
        writer.acknowledged_after(Instant::now(), OUTAGE)?;
        let active = Active::find(lab)?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        active.machine(lab.cluster()?).vm().power_off()?;
        let struck = Instant::now();
        let (outcome, _) = active.taken_over(lab, &["power"])?;
        // The client gives up what hangs after a second; what was under way at the cut is over by then.
        let begins = struck + Duration::from_secs(2);
        let again = writer.acknowledged_after(begins, OUTAGE)?;
        let outage = again.saturating_duration_since(struck);
        let rows = writer.check().with_context(|| format!("after cut {cut}"))?;
        let survivor = lab.cluster()?.other(&active.name);
        eprintln!(
            "vm: cut {cut} ({}): {rows} rows acknowledged, none lost; answered again after {:.1} s; {}",
            active.name,
            outage.as_secs_f64(),
            phases(survivor, at)
        );
        outages.push(outage);
        active.back(lab)?;
        replicated(lab.cluster()?)?;
        total.dual_active_ms = total.dual_active_ms.max(outcome.dual_active_ms);
        total.proof = outcome.proof;
    }
    outages.sort();
    total.outage_ms = outages.last().map(Duration::as_millis);
    let median = outages.get(outages.len() / 2).copied().unwrap_or_default();
    total.seen = format!(
        "{} power cuts, {} acknowledged rows, none lost, never split; median {:.1} s without an answer",
        lab.cuts,
        writer.check()?,
        median.as_secs_f64()
    );
    Ok(total)
}

/// Puts the database on a replicated disk, and both below the service of the group.
fn install(lab: &Lab) -> Result<()> {
    let cluster = lab.cluster()?;
    let [first, second] = cluster.data();
    for machine in [first, second] {
        machine.put(resource().into_bytes(), "/etc/drbd.d/r0.res", "644")?;
        machine.put(SERVER.into(), "/etc/mysql/mariadb.conf.d/99-vm.cnf", "644")?;
        machine.sh(
            "echo drbd > /etc/modules-load.d/drbd.conf && modprobe drbd && mv /var/lib/mysql /var/lib/mysql.before && \
             mkdir /var/lib/mysql && drbdadm create-md --force r0 && drbdadm up r0",
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
    cluster.configure(|config| {
        config.replacen(
            "[[group.resource]]\n",
            &format!("{RESOURCES}[[group.resource]]\n"),
            1,
        )
    })?;
    cluster.healthy()?;
    let owner = cluster.machine(&cluster.owner()?).name.clone();
    let table = format!(
        "CREATE DATABASE shop; CREATE TABLE {TABLE} (id BIGINT PRIMARY KEY) ENGINE=InnoDB; CREATE USER {USER}@'%'; \
         GRANT ALL ON shop.* TO {USER}@'%'"
    );
    cluster.machine(&owner).sh_with("mariadb", &table)?;
    replicated(cluster)
}

/// Waits until both copies are whole and the cluster has agreed on that; DRBD has not split meanwhile.
fn replicated(cluster: &Cluster) -> Result<()> {
    let [first, second] = cluster.data();
    sh::wait("both copies to be whole", SETTLE, || {
        let whole = |machine: &Machine| {
            let disks = machine.sh("drbdadm dstate r0").ok()?;
            (disks.trim() == "UpToDate/UpToDate").then_some(())
        };
        whole(first)?;
        whole(second)?;
        let said = first
            .sh("hactl events --last 200 | grep 'whole copies are on' | tail -n 1")
            .ok()?;
        (said.contains("n1") && said.contains("n2")).then_some(())
    })?;
    for machine in [first, second] {
        let split = machine.sh("journalctl -k -b --no-pager | grep -ci 'split-brain detected' || true")?;
        ensure!(split.trim() == "0", "DRBD has split on {}", machine.name);
    }
    Ok(())
}

/// When the kernel and the database of `survivor` got how far, after the cut at `at` (seconds since 1970).
fn phases(survivor: &Machine, at: f64) -> String {
    let since = at as u64;
    let said = survivor.look(&format!(
        "journalctl --no-pager -o short-unix --since @{since} | grep -E 'was not heard|is fenced|Secondary -> Primary|\
         drbd0.: mounted|ready for connections' | cut -c1-300"
    ));
    let first = |word: &str| {
        let line = said.lines().find(|line| line.contains(word))?;
        let time: f64 = line.split_whitespace().next()?.parse().ok()?;
        Some(format!("{:.1} s", time - at))
    };
    [
        ("detected", "was not heard"),
        ("proven", "is fenced"),
        ("promoted", "Secondary -> Primary"),
        ("mounted", "mounted"),
        ("serving", "ready for connections"),
    ]
    .map(|(name, word)| format!("{name} {}", first(word).unwrap_or_else(|| "?".into())))
    .join(", ")
}

/// The server writes what it acknowledges, and fits into the machine.
const SERVER: &str = "[mariadbd]\nbind-address = 0.0.0.0\nskip-name-resolve\ninnodb_flush_log_at_trx_commit = 1\n\
                      innodb_log_file_size = 16M\ninnodb_buffer_pool_size = 32M\nperformance_schema = OFF\n";

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

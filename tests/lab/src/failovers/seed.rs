//! A replica's data anew by `hactl mysqld seed`: a server that never was part of this cluster, with data of its own, is put in the
//! place of the replica while a client writes. `lab seed SERVICE` prints how long it took.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::judge;
use super::service::{self, Service};
use super::stage::{Stage, WHOLE};
use crate::machine::Machine;
use crate::sh;
use crate::torture::history::Clock;

/// The word on the command line.
pub const WORD: &str = "seed";
/// Exit code of what was refused, as docs/hactl.md has it.
const REFUSED: &str = "3";

/// What makes the node's server another one: fresh data, and a database of its own that the primary never had. The server is
/// stopped before and after.
const STRANGER: &str = "set -e; find /var/lib/mysql -mindepth 1 -delete; sh /root/prepare; systemctl start UNIT; \
                        mariadb -e \"WRITABLE CREATE DATABASE elsewhere; CREATE TABLE elsewhere.t (n INT PRIMARY KEY); \
                        INSERT INTO elsewhere.t VALUES (1)\"; systemctl stop UNIT";

/// The unit of the server of `service`, and what lets root write there under an identity of its own.
fn words(service: &Service) -> Result<(&'static str, &'static str)> {
    match service.name {
        "mariadb" => Ok((
            "mariadb",
            "SET GLOBAL read_only = 0; SET SESSION gtid_domain_id = 7, server_id = 77;",
        )),
        "mysql" => Ok((
            "mysql",
            "SET GLOBAL super_read_only = 0; SET GLOBAL read_only = 0;",
        )),
        other => anyhow::bail!("nothing of {other} is seeded; there are mariadb, mysql"),
    }
}

/// Runs it; true if the copy is whole, and nothing that was acknowledged meanwhile is missing.
pub fn run(args: &[String]) -> Result<bool> {
    let name = args.first().map_or("mariadb", String::as_str);
    let service = service::find(name).with_context(|| format!("there is no service {name}"))?;
    let words = words(service)?;
    let stage = Stage::set(service).context("boot the nodes")?;
    let played = play(&stage, words);
    if played.is_err() {
        stage.keep_report(WORD)?;
    }
    println!("{name}: {}", played?);
    Ok(true)
}

fn play(stage: &Stage, words: (&str, &str)) -> Result<String> {
    stage.form().context("form the cluster")?;
    let group = stage.service.name;
    // The other one was primary too: what both of them wrote has to be in the copy.
    let first = stage.primary()?;
    let replica = stage.cluster.machine(&first);
    let next = &stage.cluster.other(&first).name;
    replica.sh(&format!("hactl move {group} {next}"))?;
    stage.whole()?;
    // Of a copy that the cluster counts on nothing is replaced, whoever asks.
    let asked = format!("hactl mysqld seed {group} {0} --yes", replica.name);
    let refused = replica.look(&format!("{asked}; echo exit $?"));
    ensure!(
        refused.contains("counts on it") && refused.contains(&format!("exit {REFUSED}")),
        "a whole copy was to be kept: {refused}"
    );
    let writer = stage.writing(Clock::start())?;
    put_a_stranger(replica, words)?;
    let said = obstacle(stage, replica)?;
    eprintln!("lab: the replica says: {said}");
    let begun = Instant::now();
    let told = replica.sh(&format!("{asked} 2>&1"))?;
    let took = begun.elapsed();
    told.lines().for_each(|line| eprintln!("lab: hactl: {line}"));
    stage.whole()?;
    let attempts = writer.finish();
    let found: BTreeSet<u64> = stage.read_back()?.into_iter().collect();
    let lost = judge::lost(&attempts, &found, stage.service.binds);
    ensure!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let databases = replica.sh("mariadb -N -e 'SHOW DATABASES'")?;
    ensure!(
        !databases.contains("elsewhere"),
        "the stranger's data is still there"
    );
    Ok(format!(
        "a server with other data was seeded by one command in {:.1} s, while {} writes were acknowledged (none lost, none of them \
         waited longer than {} ms)",
        took.as_secs_f64(),
        judge::acknowledged(&attempts),
        judge::outage_ms(&attempts).unwrap_or(0)
    ))
}

/// As an operator replaces a server: the node in standby, its disk emptied, a server installed there by itself.
fn put_a_stranger(replica: &Machine, (unit, writable): (&str, &str)) -> Result<()> {
    replica.sh(&format!("hactl standby {}", replica.name))?;
    sh::wait("the replica's server to end", WHOLE, || {
        let state = replica.look(&format!("systemctl is-active {unit}"));
        ["inactive", "failed"].contains(&state.trim()).then_some(())
    })?;
    let script = STRANGER.replace("UNIT", unit).replace("WRITABLE", writable);
    replica.sh(&script).context("put another server there")?;
    replica.sh(&format!("hactl online {}", replica.name)).map(drop)
}

/// Waits until the agent says why the copy cannot follow.
fn obstacle(stage: &Stage, replica: &Machine) -> Result<String> {
    let limit = WHOLE + Duration::from_secs(30);
    let mut said = String::new();
    let seen = replica.wait_status("the other data to be noticed", limit, |view| {
        let groups = view
            .groups
            .iter()
            .filter(|group| group.name == stage.service.name);
        let members = groups.flat_map(|group| &group.members);
        members
            .filter(|member| member.node == replica.name)
            .any(|member| member.obstacle.contains("never had anything in common"))
    });
    let view = match seen {
        Ok(view) => view,
        Err(error) => return Err(error.context(replica.look("hactl status"))),
    };
    for member in view.groups.iter().flat_map(|group| &group.members) {
        if member.node == replica.name {
            said.clone_from(&member.obstacle);
        }
    }
    Ok(said)
}

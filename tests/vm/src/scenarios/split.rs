//! A split brain of DRBD, made as people make it: the link of replication is down, and somebody who needs the data on the other
//! node promotes it there by hand. The handler refuses that, so it is forced.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::Outcome;
use super::boards::equip;
use super::drbd::{has_split, install, links, whole};
use crate::cluster::{Cluster, GROUP, SETTLE};
use crate::database::Writer;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::net::MANAGEMENT;
use crate::sh;

/// The network that DRBD replicates over.
const REPLICATION: u8 = MANAGEMENT - 1;
/// Exit code of what was refused, as docs/hactl.md has it.
const REFUSED: &str = "exit 3";
/// The handler says that the other side is the primary. DRBD goes over that when it is told to ("Forced into split brain situation!").
const FORCED: &str = "drbdadm primary --force r0 && mount /dev/drbd0 /mnt && echo theirs >/mnt/stray && sync && umount /mnt && \
                      drbdadm secondary r0";
/// How long the client may be without an answer.
const OUTAGE: Duration = Duration::from_secs(60);

/// The node that the cluster agreed on goes on, nothing is thrown away by itself, and an operator's word ends it.
pub fn forced_up(lab: &mut Lab) -> Result<Outcome> {
    equip(lab, "ipmi")?;
    install(lab)?;
    let writer = Writer::start(&lab.net)?;
    let cluster = lab.cluster()?;
    let owner = cluster.owner()?;
    let (primary, other) = (cluster.machine(&owner), cluster.other(&owner));
    other.vm().cable(REPLICATION, false)?;
    sh::wait("the cluster to go on with one copy", SETTLE, || {
        counted_on(primary)
            .filter(|nodes| *nodes == [owner.clone()])
            .map(drop)
    })?;
    writer.acknowledged_after(Instant::now(), OUTAGE)?;
    sh::wait("the other side to miss the primary", SETTLE, || {
        (other.sh("drbdadm cstate r0").ok()?.trim() == "WFConnection").then_some(())
    })?;
    let refused = other.look("drbdadm primary r0; echo exit $?");
    ensure!(
        !refused.contains("exit 0"),
        "the handler was to refuse it: {refused}"
    );
    other.sh(FORCED).context("force the other copy up")?;
    other.vm().cable(REPLICATION, true)?;
    let said = noticed(cluster, other)?;
    // DRBD is told to connect again and again. Whatever it does then, neither side gives anything up.
    writer.acknowledged_after(Instant::now() + Duration::from_secs(20), OUTAGE)?;
    let apart = [links(primary)?, links(other)?];
    ensure!(
        apart[0].starts_with("Primary/Unknown") && apart[1].starts_with("Secondary/Unknown"),
        "they are {apart:?}"
    );
    ensure!(cluster.owner()? == owner, "the group moved");
    for machine in cluster.data() {
        ensure!(has_split(machine)?, "DRBD on {} saw no split brain", machine.name);
    }
    let rows = writer.check().context("while DRBD is split")?;
    let wrong_side = primary.look(&format!(
        "hactl drbd resolve r0 --discard {owner} --yes; echo exit $?"
    ));
    ensure!(
        wrong_side.contains("promoted here") && wrong_side.contains(REFUSED),
        "the primary's data was to be kept: {wrong_side}"
    );
    let record = other.sh(&format!("hactl drbd resolve r0 --discard {} --yes", other.name))?;
    whole(cluster).with_context(|| record.clone())?;
    let kept = other.sh("cat /var/lib/holdfast-drbd/*.txt")?;
    ensure!(kept.contains("given up by"), "the record says: {kept}");
    let all = writer.check()?;
    Ok(Outcome::new(
        format!(
            "{rows} rows while it was split and {all} at the end, none lost; {} said: {said}; the record: {}",
            other.name,
            kept.trim()
        ),
        Duration::ZERO,
    ))
}

/// The nodes whose copy the cluster counts on, as `machine` knows them.
fn counted_on(machine: &Machine) -> Option<Vec<String>> {
    let view = machine.status()?;
    let group = view.groups.into_iter().find(|group| group.name == GROUP)?;
    let whole = group.members.into_iter().filter(|member| member.in_sync);
    Some(whole.map(|member| member.node).collect())
}

/// Waits until the node that was forced up says what happened; in its words.
fn noticed(cluster: &Cluster, other: &Machine) -> Result<String> {
    let mut said = String::new();
    let seen = sh::wait("the split brain to be noticed", SETTLE, || {
        let view = cluster.machine(&cluster.owner().ok()?).status()?;
        let members = view.groups.into_iter().flat_map(|group| group.members);
        said = members
            .filter(|member| member.node == other.name)
            .map(|member| format!("{} {}", member.obstacle, member.detail))
            .collect();
        said.contains("split brain").then_some(())
    });
    seen.with_context(|| {
        format!(
            "{} says: {said}; {}",
            other.name,
            other.look("hactl events --last 40")
        )
    })?;
    Ok(said.trim().to_owned())
}

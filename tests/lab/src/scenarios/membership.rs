//! Who belongs to the cluster and who does not.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::client::Client;
use crate::cluster::{Cluster, SETTLE, Shape};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::sh;

/// Two nodes and a witness become a cluster by `init` and `join`, and run redis behind an address.
pub fn form(lab: &mut Lab) -> Result<String> {
    lab.discard();
    let net = lab.net.clone();
    let cluster = lab.cluster(Shape::Trio)?;
    let client = Client::start(&net)?;
    client.answered(SETTLE)?;
    cluster.single()?;
    let view = cluster.machine("n1").status().unwrap_or_default();
    Ok(format!(
        "voters {}, redis on {}",
        view.voters.join(" "),
        cluster.owner()?
    ))
}

/// A node with a key that is not in the configuration is refused, and both sides say so.
pub fn wrong_key(lab: &mut Lab) -> Result<String> {
    let cluster = lab.cluster(Shape::Trio)?;
    let stranger = cluster.other(&cluster.owner()?).name.clone();
    let damage = "mv /var/lib/holdfast/node.key /root/node.key";
    let repair = "mv /root/node.key /var/lib/holdfast/node.key";
    refused(cluster, &stranger, damage, repair, &["refused", "key"])
}

/// A node of another cluster is refused, and both sides say so.
pub fn wrong_cluster(lab: &mut Lab) -> Result<String> {
    let cluster = lab.cluster(Shape::Trio)?;
    let stranger = cluster.other(&cluster.owner()?).name.clone();
    // The file of the first node knows only that node: the others joined later, and are in the copy of what is in force.
    let damage = "cp -a /etc/holdfast/holdfast.toml /var/lib/holdfast /root/ && \
                  cp /var/lib/holdfast/config.toml /etc/holdfast/holdfast.toml && \
                  rm /var/lib/holdfast/state.* /var/lib/holdfast/config.toml && \
                  sed -i 's/^id .*/id = \"00000000deadbeef\"/' /etc/holdfast/holdfast.toml";
    let repair = "rm -rf /var/lib/holdfast && cp -a /root/holdfast /var/lib/ && cp -a /root/holdfast.toml /etc/holdfast/";
    refused(cluster, &stranger, damage, repair, &["refused", "cluster"])
}

/// A node whose `had` speaks another version of the protocol is refused, and both sides say what to do. It is the real
/// program with the version's name changed in it, on the wire the same as a release that dropped ours.
pub fn wrong_version(lab: &mut Lab) -> Result<String> {
    let cluster = lab.cluster(Shape::Trio)?;
    let stranger = cluster.other(&cluster.owner()?).name.clone();
    let damage = "cp -a /usr/bin/had /root/had && LC_ALL=C sed -i 's#holdfast/1#holdfast/9#g' /usr/bin/had && \
                  ! cmp -s /root/had /usr/bin/had";
    let repair = "cp -a --remove-destination /root/had /usr/bin/had";
    refused(cluster, &stranger, damage, repair, &["version", "upgrade"])
}

/// Breaks the identity of `stranger`, waits until both sides tell of it in words, and mends it again.
fn refused(cluster: &Cluster, stranger: &str, damage: &str, repair: &str, words: &[&str]) -> Result<String> {
    let machine = cluster.machine(stranger);
    let watcher = cluster.other(stranger);
    let sides = [(watcher, said(watcher)), (machine, said(machine))];
    machine.sh(&format!(
        "systemctl stop had && {damage} && systemctl start had --no-block"
    ))?;
    let told = sides.map(|(side, before)| {
        let what = format!("{} to refuse {stranger} in words, or to be told", side.name);
        sh::wait(&what, SETTLE, || {
            let lines = said(side);
            let mut new = lines.difference(&before);
            new.find(|line| words.iter().all(|word| line.contains(word)))
                .cloned()
        })
    });
    machine.sh(&format!("systemctl stop had; {repair} && systemctl start had"))?;
    cluster.healthy()?;
    let [at_watcher, at_stranger] = told;
    at_stranger?;
    let line = at_watcher?;
    // Without time stamp and unit.
    Ok(line
        .split_once("]: ")
        .map_or(line.as_str(), |(_, text)| text)
        .to_string())
}

/// What `had` on `machine` wrote into the journal since the boot, each line with its time.
fn said(machine: &Machine) -> BTreeSet<String> {
    let text = machine.look("journalctl -b --no-pager -o short-precise -u had");
    text.lines().map(str::to_string).collect()
}

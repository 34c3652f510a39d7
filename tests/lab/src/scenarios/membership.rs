//! Who belongs to the cluster and who does not.

use anyhow::Result;

use crate::client::Client;
use crate::cluster::{Cluster, SETTLE, Shape};
use crate::lab::Lab;
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
    refused(cluster, &stranger, damage, repair, &["key"])
}

/// A node of another cluster is refused, and both sides say so.
pub fn wrong_cluster(lab: &mut Lab) -> Result<String> {
    let cluster = lab.cluster(Shape::Trio)?;
    let stranger = cluster.other(&cluster.owner()?).name.clone();
    let damage = "cp -a /etc/holdfast/holdfast.toml /var/lib/holdfast /root/ && \
                  find /var/lib/holdfast -name 'state*' -delete && \
                  sed -i 's/^id .*/id = \"00000000deadbeef\"/' /etc/holdfast/holdfast.toml";
    let repair = "rm -rf /var/lib/holdfast && cp -a /root/holdfast /var/lib/ && cp -a /root/holdfast.toml /etc/holdfast/";
    refused(cluster, &stranger, damage, repair, &["cluster"])
}

/// Breaks the identity of `stranger`, waits until the others tell of it in words, and mends it again.
fn refused(cluster: &Cluster, stranger: &str, damage: &str, repair: &str, words: &[&str]) -> Result<String> {
    let machine = cluster.machine(stranger);
    let watcher = cluster.other(stranger);
    machine.sh(&format!(
        "systemctl stop had && {damage} && systemctl start had --no-block"
    ))?;
    let said = sh::wait(
        &format!("{} to refuse {stranger} in words", watcher.name),
        SETTLE,
        || {
            let said = watcher.look("hactl events --last 60; journalctl -b --no-pager -o cat -n 60 -u had");
            said.lines()
                .find(|line| line.contains("refused") && words.iter().all(|word| line.contains(word)))
                .map(str::to_string)
        },
    )?;
    machine.sh(&format!("systemctl stop had; {repair} && systemctl start had"))?;
    cluster.healthy()?;
    Ok(said.trim().to_string())
}

//! What the load needs on the nodes, and the groups that run it.

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::torture::{MARIADB_VIP, REDIS_VIP, SHARED};

/// Where this program is put on a data node.
const LAB: &str = "/usr/local/lib/holdfast-lab/lab";
/// How often a group may be restarted in place: so often that killed services never end in need of an operator.
const MAX_RESTARTS: u32 = 1000;

/// Puts what the workloads need on a data node; called once per data node after Holdfast's package is installed and
/// before the groups are configured. [`SHARED`] is mounted there already.
pub fn install(machine: &Machine) -> Result<()> {
    let files = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("files");
    {
        let node = machine.node();
        node.put(&std::env::current_exe()?, LAB)?;
        for unit in ["torture-redis.service", "torture-mariadb.service"] {
            node.put(&files.join(unit), &format!("/etc/systemd/system/{unit}"))?;
        }
        node.put(&files.join("torture-install"), "/root/torture-install")?;
    }
    machine.sh("/root/torture-install").context("prepare the load")?;
    Ok(())
}

/// What `pgrep -f` finds the service of `group` by; empty for a group that is none of ours.
#[must_use]
pub fn process(group: &str) -> &'static str {
    match group {
        "ledger" => "lab ledger",
        "redis" => "redis-server",
        "mariadb" => "mariadbd",
        _ => "",
    }
}

/// The groups, as TOML sections of the cluster's configuration.
#[must_use]
pub fn groups() -> String {
    let mut text = String::new();
    let ledger = format!("type = \"exec\"\ncommand = [\"{LAB}\", \"ledger\", \"{SHARED}/ledger\"]\n");
    let fresh = format!("\"{LAB}\", \"fresh\", \"{SHARED}/ledger\"");
    group(&mut text, "ledger", "n1", &ledger, &fresh);
    let ask = "\"/usr/bin/redis-cli\", \"ping\"";
    group(&mut text, "redis", "n2", &unit("torture-redis"), ask);
    address(&mut text, REDIS_VIP);
    let ask = "\"/usr/bin/mariadb\", \"--no-defaults\", \"--user=torture\", \"--host=127.0.0.1\", \"--execute=SELECT 1\"";
    group(&mut text, "mariadb", "n1", &unit("torture-mariadb"), ask);
    address(&mut text, MARIADB_VIP);
    text
}

fn unit(name: &str) -> String {
    // Recovery after a crash takes a while on a busy machine.
    format!("type = \"systemd\"\nunit = \"{name}.service\"\nstart_timeout = \"40s\"\n")
}

/// A group with its service, which `probe` asks whether it does its work.
fn group(text: &mut String, name: &str, prefer: &str, service: &str, probe: &str) {
    text.push_str(&format!(
        "[[group]]\nname = \"{name}\"\nprefer = [\"{prefer}\"]\nrequires = \"fencing\"\nmax_restarts = {MAX_RESTARTS}\n\n\
         [[group.resource]]\nname = \"server\"\n{service}\n\
         [[group.resource.probe]]\nexec = [{probe}]\ninterval = \"1s\"\ntimeout = \"2s\"\nfailures = 3\nof = 4\n\n"
    ));
}

/// Puts a virtual address behind the service of the last group.
fn address(text: &mut String, address: &str) {
    text.push_str(&format!(
        "[[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{address}/24\"\n\n"
    ));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_is_there_and_needs_fencing() {
        let text = groups();
        for name in crate::torture::GROUPS {
            assert!(text.contains(&format!("name = \"{name}\"")), "{name}");
            assert!(!process(name).is_empty(), "{name}");
        }
        assert_eq!(text.matches("requires = \"fencing\"").count(), 3);
    }
}

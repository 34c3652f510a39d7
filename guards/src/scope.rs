//! Which services are managed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use holdfast_proto::config::{Config, GroupSection, ResourceSection, RunOn};

/// Software whose configuration is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Software {
    /// MariaDB, MySQL; Galera too.
    Database,
    /// Redis, Valkey.
    Redis,
    /// RabbitMQ.
    RabbitMq,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

/// A managed resource that is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its group.
    pub group: String,
    /// Its name.
    pub resource: String,
    /// `type` in the configuration.
    pub kind: String,
    /// What it is, when that is known.
    pub software: Option<Software>,
    /// The unit that is started, if it is one.
    pub unit: Option<String>,
    /// Its program and arguments, if it is one.
    pub command: Vec<String>,
    /// The parameters.
    pub params: BTreeMap<String, String>,
    /// It runs on several nodes at once: a copy of the data is on each.
    pub has_copies: bool,
    /// Virtual addresses that are on the node before it starts, because they stand before it in its group.
    pub addresses_before: BTreeSet<IpAddr>,
    /// Clients reach it by a virtual address: one in its group, or in one that goes with it.
    pub is_addressed: bool,
}

/// Everything that is managed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// How many nodes run resources.
    pub nodes: usize,
    /// First addresses of the nodes, for what to write.
    pub node_addresses: Vec<IpAddr>,
    /// The services.
    pub services: Vec<Service>,
    /// All virtual addresses.
    pub addresses: BTreeSet<IpAddr>,
}

impl Scope {
    /// What a configuration manages.
    #[must_use]
    pub fn of(config: &Config) -> Scope {
        let mut scope = Scope {
            nodes: config.nodes.len(),
            node_addresses: config
                .nodes
                .iter()
                .filter_map(|node| node.links.first().copied())
                .collect(),
            ..Scope::default()
        };
        for group in &config.groups {
            let mut before = BTreeSet::new();
            let is_addressed = is_addressed(config, group);
            for resource in &group.resources {
                if resource.kind == "vip" {
                    before.extend(virtual_addresses(resource));
                    continue;
                }
                let mut service = Service::of(&group.name, resource);
                // Not because another resource of the group has: a database on DRBD is in one place.
                service.has_copies = group.run == RunOn::EveryNode || resource.has_roles();
                service.addresses_before.clone_from(&before);
                service.is_addressed = is_addressed;
                scope.services.push(service);
            }
            scope.addresses.extend(before);
        }
        scope
    }

    /// The nodes' addresses as Galera wants them.
    #[must_use]
    pub fn gcomm(&self) -> String {
        let bracketed = |address: &IpAddr| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        };
        let all: Vec<String> = self.node_addresses.iter().map(bracketed).collect();
        format!("gcomm://{}", all.join(","))
    }
}

impl Service {
    /// A resource, as it stands by itself.
    #[must_use]
    pub fn of(group: &str, resource: &ResourceSection) -> Service {
        let unit = resource.params.get("unit").cloned();
        let command = resource
            .params
            .get("command")
            .map(String::as_str)
            .unwrap_or_default();
        let command: Vec<String> = command.lines().map(str::to_owned).collect();
        let program = command.first().and_then(|path| path.rsplit('/').next());
        let stem = unit.as_deref().map(stem);
        let agent = resource.kind.rsplit(':').next();
        let software = [agent, stem, program].into_iter().flatten().find_map(software);
        Service {
            group: group.into(),
            resource: resource.name.clone(),
            kind: resource.kind.clone(),
            software,
            unit,
            command,
            params: resource.params.clone(),
            has_copies: false,
            addresses_before: BTreeSet::new(),
            is_addressed: false,
        }
    }

    /// The word after one of these options, or glued to it with `=`, in the command.
    #[must_use]
    pub fn argument(&self, options: &[&str]) -> Option<&str> {
        let mut words = self.command.iter().skip(1);
        while let Some(word) = words.next() {
            for option in options {
                if word == option {
                    return words.next().map(String::as_str);
                }
                if let Some(value) = word.strip_prefix(option).and_then(|rest| rest.strip_prefix('=')) {
                    return Some(value);
                }
            }
        }
        None
    }
}

/// A unit's name without its ending and its instance.
fn stem(unit: &str) -> &str {
    let name = unit.rsplit_once('.').map_or(unit, |(name, _)| name);
    name.split('@').next().unwrap_or(name)
}

fn software(name: &str) -> Option<Software> {
    Some(match name {
        "mysqld" | "mariadbd" | "mysql" | "mariadb" | "galera" | "mysqld_safe" | "mariadbd-safe" => {
            Software::Database
        }
        "redis" | "redis-server" | "valkey" | "valkey-server" => Software::Redis,
        "rabbitmq" | "rabbitmq-server" | "rabbitmq-cluster" => Software::RabbitMq,
        "nginx" => Software::Nginx,
        "haproxy" => Software::Haproxy,
        _ => return None,
    })
}

fn virtual_addresses(resource: &ResourceSection) -> impl Iterator<Item = IpAddr> {
    let listed = resource
        .params
        .get("address")
        .map(String::as_str)
        .unwrap_or_default();
    listed
        .lines()
        .filter_map(|text| text.split('/').next()?.trim().parse().ok())
}

/// Whether a virtual address goes where the group is.
fn is_addressed(config: &Config, group: &GroupSection) -> bool {
    let goes_along = |other: &GroupSection| {
        let follows = other
            .follows
            .as_ref()
            .is_some_and(|follows| follows.group == group.name);
        other.name == group.name
            || follows
            || other.with.contains(&group.name)
            || group.with.contains(&other.name)
    };
    let mut along = config.groups.iter().filter(|other| goes_along(other));
    along.any(|other| other.resources.iter().any(|resource| resource.kind == "vip"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A pair with these groups.
    pub(crate) fn scope(groups: &str) -> Scope {
        let head = "[cluster]\nname = \"shop\"\nid = \"00000000000000ff\"\n\
                    [[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n[[node]]\nname = \"db2\"\nlinks = [\"10.0.0.2\"]\n\
                    [witness]\naddress = \"10.0.0.3\"\n";
        let text = format!("{head}{groups}");
        let config = holdfast_proto::config::parse(&text, "test").unwrap_or_else(|found| panic!("{found}"));
        Scope::of(&config)
    }

    /// A group of one unit, and an address after it.
    pub(crate) fn unit(unit: &str) -> String {
        format!(
            "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"svc\"\ntype = \"systemd\"\nunit = \"{unit}\"\n\
             [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"\n"
        )
    }

    #[test]
    fn services_are_known_by_unit_program_and_kind() {
        for (resource, expected) in [
            ("type = \"systemd\"\nunit = \"mariadb\"", Some(Software::Database)),
            (
                "type = \"systemd\"\nunit = \"redis-server@6380.service\"",
                Some(Software::Redis),
            ),
            (
                "type = \"exec\"\ncommand = [\"/usr/sbin/haproxy\", \"-W\", \"-f\", \"/x.cfg\"]",
                Some(Software::Haproxy),
            ),
            ("type = \"systemd\"\nunit = \"nginx\"", Some(Software::Nginx)),
            ("type = \"systemd\"\nunit = \"gunicorn\"", None),
        ] {
            let scope = scope(&format!(
                "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"s\"\n{resource}\n"
            ));
            assert_eq!(scope.services[0].software, expected, "{resource}");
        }
    }

    #[test]
    fn addresses_before_a_service_and_those_that_follow_it_are_known() {
        let vip = "[[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"\n";
        let web = "[[group.resource]]\nname = \"web\"\ntype = \"systemd\"\nunit = \"nginx\"\n";
        let first = scope(&format!("[[group]]\nname = \"g\"\n{vip}{web}"));
        assert_eq!(first.services[0].addresses_before.len(), 1);
        assert!(first.services[0].is_addressed);
        let everywhere = scope(&format!(
            "[[group]]\nname = \"web\"\nrun = \"every-node\"\n{web}\
             [[group]]\nname = \"a\"\nfollows = \"web\"\nrole = \"any\"\n{vip}"
        ));
        let service = &everywhere.services[0];
        assert!(service.is_addressed && service.has_copies && service.addresses_before.is_empty());
        assert_eq!(everywhere.gcomm(), "gcomm://10.0.0.1,10.0.0.2");
    }

    #[test]
    fn a_database_on_a_replicated_disk_has_no_copy_of_its_own() {
        let disk = "[[group.resource]]\nname = \"disk\"\ntype = \"drbd\"\nresource = \"r0\"\n";
        let database = "[[group.resource]]\nname = \"db\"\ntype = \"mysqld\"\n";
        let group = "[[group]]\nname = \"g\"\n";
        let has_copies = |text: &str| scope(text).services.last().map(|service| service.has_copies);
        assert_eq!(has_copies(&format!("{group}{disk}{database}")), Some(false));
        let replicated = "mode = \"replication\"\nprivate_link = true\n";
        assert_eq!(has_copies(&format!("{group}{database}{replicated}")), Some(true));
    }

    #[test]
    fn arguments_are_found_in_both_forms() {
        let command = "command = [\"/usr/sbin/mariadbd\", \"--defaults-file=/a.cnf\", \"--port\", \"1\"]";
        let scope = scope(&format!(
            "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"s\"\ntype = \"exec\"\n{command}\n"
        ));
        let service = &scope.services[0];
        assert_eq!(service.argument(&["--defaults-file"]), Some("/a.cnf"));
        assert_eq!(service.argument(&["--port", "-P"]), Some("1"));
        assert_eq!(service.argument(&["--user"]), None);
    }
}

//! Guards: read the configuration of the services that Holdfast manages, and warn in words of what does not go with a pair.
//!
//! Everything here reads and nothing changes. [`check`] takes what is managed ([`Scope`]) and the files of a node
//! ([`Node`]), and gives [`Finding`]s. The parsers take any bytes, are bounded, and never fail: a line that is not
//! understood is left to the service itself.
//!
//! - [`scope`]: which services are managed, from the configuration of the cluster.
//! - [`node`]: files, bounded, with a record of what was read.
//! - [`options`]: option files of MariaDB and MySQL; [`database`] and [`galera`] judge them.
//! - [`redis`], [`rabbitmq`], [`front`] (nginx, HAProxy), [`units`] (what systemd starts at boot).

pub mod database;
pub mod finding;
pub mod front;
pub mod galera;
pub mod node;
pub mod options;
pub mod pattern;
pub mod rabbitmq;
pub mod redis;
pub mod scope;
pub mod units;

pub use finding::Finding;
pub use node::{Disk, Files, Memory, Node};
pub use scope::{Scope, Service, Software};

/// Judges the configuration of every managed service, as it is on this node. The same place is named once.
#[must_use]
pub fn check(scope: &Scope, node: &Node<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for service in &scope.services {
        match service.software {
            Some(Software::Database) => database::check(scope, service, node, &mut findings),
            Some(Software::Redis) => redis::check(scope, service, node, &mut findings),
            Some(Software::RabbitMq) => rabbitmq::check(scope, service, node, &mut findings),
            Some(Software::Nginx) => front::check_nginx(scope, service, node, &mut findings),
            Some(Software::Haproxy) => front::check_haproxy(scope, service, node, &mut findings),
            None => {}
        }
        units::check(service, node, &mut findings);
    }
    findings.extend(node.unreadable());
    let mut known = std::collections::BTreeSet::new();
    findings.retain(|finding| known.insert(finding.clone()));
    findings
}

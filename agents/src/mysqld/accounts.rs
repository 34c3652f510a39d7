//! The account of replication: no password. It is known by the certificate it shows (REQUIRE X509) and by the nodes'
//! addresses; on a private link by these alone.

use super::client::{Client, SqlError, quote};
use super::site::Site;
use crate::roles::RolesView;

/// Makes the account for every node's addresses where it is missing or not as it should be. On the primary; with
/// `replicated` the others get it too.
///
/// # Errors
/// It cannot be made.
pub async fn ensure(
    client: &mut Client,
    site: &Site,
    view: &RolesView,
    replicated: bool,
) -> Result<(), SqlError> {
    let user = &site.params.replication_user;
    let wanted = if site.tls.is_some() { "X509" } else { "" };
    let known = client
        .rows(&format!(
            "SELECT host, ssl_type FROM mysql.user WHERE user={}",
            quote(user)
        ))
        .await?;
    let nodes = view.others.iter().chain([&view.own]);
    let missing: Vec<String> = nodes
        .flat_map(|node| node.addresses.iter().map(ToString::to_string))
        .filter(|host| !known.iter().any(|row| row.at(0) == host && row.at(1) == wanted))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !replicated {
        client.run("SET SESSION sql_log_bin=0").await?;
    }
    let made = make(client, user, &missing, wanted).await;
    if !replicated {
        client.run("SET SESSION sql_log_bin=1").await?;
    }
    made
}

async fn make(client: &mut Client, user: &str, hosts: &[String], ssl: &str) -> Result<(), SqlError> {
    let require = if ssl.is_empty() {
        "REQUIRE NONE"
    } else {
        "REQUIRE X509"
    };
    let rights = if client.server().mariadb {
        "REPLICATION SLAVE, BINLOG MONITOR"
    } else {
        // BACKUP_ADMIN is what a donor of CLONE asks for.
        "REPLICATION SLAVE, REPLICATION CLIENT, BACKUP_ADMIN"
    };
    for host in hosts {
        let account = format!("{}@{}", quote(user), quote(host));
        client
            .run(&format!("CREATE USER IF NOT EXISTS {account} {require}"))
            .await?;
        client.run(&format!("ALTER USER {account} {require}")).await?;
        client.run(&format!("GRANT {rights} ON *.* TO {account}")).await?;
    }
    Ok(())
}

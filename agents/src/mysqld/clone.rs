//! A MySQL server's data anew from the primary, by CLONE.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use super::attach::Attached;
use super::client::{Client, SqlError, quote};
use super::gtid::Extra;
use super::mark;
use super::site::Site;
use super::status::Status;
use crate::clock;
use crate::roles::Peer;

/// A clone may take so long.
const CLONE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// What is thrown away is written down within this time.
const KEEP_LIMIT: Duration = Duration::from_secs(60);
/// Pause between words on the progress.
const PROGRESS: Duration = Duration::from_secs(1);
/// The tool that reads binary logs, in the server's own installation first.
const TOOL: &str = "bin/mysqlbinlog";

/// Replaces the data with the primary's. The caller has the proof that nobody counts on this copy. The server ends at the end
/// of it, which the runner hears of, and is started anew.
///
/// # Errors
/// The own server did not answer.
pub async fn clone(
    site: &Arc<Site>,
    client: &mut Client,
    primary: &Peer,
    what: &str,
    extra: Option<&Extra>,
) -> Result<Attached, SqlError> {
    let kept = match extra {
        Some(extra) => keep(site, client, extra).await,
        None => "nothing is thrown away that the primary lacks".into(),
    };
    let text = format!("{what}; the data is cloned anew from {}; {kept}", primary.name);
    site.events.note("warn", "mysqld-reclone", text);
    let Some(address) = site.address(primary) else {
        return Ok(Attached::Waits(format!("{} has no address", primary.name)));
    };
    if Status::read(client).await?.is_some() {
        client.run("STOP REPLICA").await?;
    }
    let port = site.params.port;
    let tls = match &site.params.tls {
        Some(files) => {
            for (name, file) in [("ca", &files.ca), ("cert", &files.cert), ("key", &files.key)] {
                let file = quote(&file.display().to_string());
                client.run(&format!("SET GLOBAL clone_ssl_{name}={file}")).await?;
            }
            "REQUIRE SSL"
        }
        None => "REQUIRE NO SSL",
    };
    let donor = quote(&format!("{address}:{port}"));
    client
        .run(&format!("SET GLOBAL clone_valid_donor_list={donor}"))
        .await?;
    // A clone is refused while administrators may not write; clients still may not.
    client.run("SET GLOBAL super_read_only=OFF").await?;
    client.run("SET GLOBAL read_only=ON").await?;
    mark::clear(&site.params);
    let statement = format!(
        "CLONE INSTANCE FROM {}@{}:{port} IDENTIFIED BY '' {tls}",
        quote(&site.params.replication_user),
        quote(&address.to_string())
    );
    let mut worker = Client::local(&site.params.socket, site.params.probing.timeout).await?;
    let outcome = {
        let mut cloning = std::pin::pin!(worker.run_within(&statement, CLONE_LIMIT));
        loop {
            tokio::select! {
                done = &mut cloning => break done,
                () = tokio::time::sleep(PROGRESS) => progress(site, client, primary).await,
            }
        }
    };
    match outcome {
        // 3707: nobody restarts it but us. A connection that broke: it ended already.
        Err(SqlError::Server(error)) if error.code != 3707 => {
            client.run("SET GLOBAL super_read_only=ON").await?;
            Ok(Attached::Diverged(format!(
                "{what}; it could not be cloned from {}: error {}: {}",
                primary.name, error.code, error.text
            )))
        }
        _ => {
            let text = format!(
                "the data was cloned from {}; the server is started anew",
                primary.name
            );
            site.events.note("info", "mysqld-cloned", text);
            ended(client).await;
            Ok(Attached::Waits("the data was cloned, the server ends".into()))
        }
    }
}

/// Waits until the server answers no more.
async fn ended(client: &mut Client) {
    let until = clock::now() + Duration::from_secs(30);
    while clock::now() < until && client.run("SELECT 1").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn progress(site: &Site, client: &mut Client, primary: &Peer) {
    let query = "SELECT COALESCE(SUM(data), 0) AS done, COALESCE(SUM(estimate), 0) AS whole FROM performance_schema.clone_progress";
    if let Ok(rows) = client.rows(query).await
        && let Some(row) = rows.first()
    {
        let (done, whole) = (row.number(&["done"]), row.number(&["whole"]));
        site.seen.say(&format!(
            "cloning from {}: {} of {} bytes",
            primary.name,
            done.unwrap_or(0),
            whole.unwrap_or(0)
        ));
    }
}

/// Writes what is thrown away into a file, and says where, or why not.
async fn keep(site: &Site, client: &mut Client, extra: &Extra) -> String {
    let base = client.value("SELECT @@GLOBAL.basedir").await.unwrap_or_default();
    let tools = [base.as_str(), "/usr"].map(|folder| Path::new(folder).join(TOOL));
    let Some(tool) = tools.into_iter().find(|tool| tool.exists()) else {
        return "what is thrown away is not kept, because mysqlbinlog is not installed".into();
    };
    let Ok((folder, logs)) = logs(client).await else {
        return "what is thrown away is not kept, because the server does not say where its binary logs are"
            .into();
    };
    let at = clock::now().as_millis();
    let file = site.params.datadir.join(format!("holdfast.discarded-{at}.sql"));
    let run = tokio::process::Command::new(&tool)
        .arg(format!("--include-gtids={}", extra.as_set()))
        .arg(format!("--result-file={}", file.display()))
        .args(logs.iter().map(|log| folder.join(log)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match tokio::time::timeout(KEEP_LIMIT, run).await {
        Ok(Ok(status)) if status.success() => format!("what is thrown away is kept in {}", file.display()),
        Ok(Ok(status)) => format!("what is thrown away is not kept: mysqlbinlog ended with {status}"),
        Ok(Err(error)) => format!("what is thrown away is not kept: {}: {error}", tool.display()),
        Err(_) => "what is thrown away is not kept: mysqlbinlog took too long".into(),
    }
}

async fn logs(client: &mut Client) -> Result<(PathBuf, Vec<String>), SqlError> {
    let base = client.value("SELECT @@GLOBAL.log_bin_basename").await?;
    let folder = PathBuf::from(base)
        .parent()
        .map(PathBuf::from)
        .unwrap_or_default();
    let rows = client.rows("SHOW BINARY LOGS").await?;
    Ok((folder, rows.iter().map(|row| row.at(0).to_owned()).collect()))
}

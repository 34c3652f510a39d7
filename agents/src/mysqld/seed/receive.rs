//! The replica's side: fetches the primary's data into a folder beside its own, and prepares it there. Nothing of the old data
//! is touched, and the old server runs on.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use holdfast_proto::time::Time;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::donor::{BACKUP, defaults, last_words};
use super::frames::{self, Frame};
use super::progress;
use super::swap::{self, Note};
use crate::clock;
use crate::leftovers;
use crate::mysqld::client::{Client, SqlError};
use crate::mysqld::gtid::Gtids;
use crate::mysqld::server::Server;
use crate::mysqld::site::{self, Site};
use crate::roles::Peer;
use crate::room;

/// Unpacks the stream.
const UNPACK: &str = "/usr/bin/mbstream";
/// Connecting, with the handshake, may take so long.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// The donor may be silent for so long: it waits for statements of clients.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);
/// Preparing may take so long.
const PREPARE_LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Pause between words on the progress.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Room beside the data, for what preparing it needs.
const SPARE_BYTES: u64 = 64 << 20;
/// Where a prepared backup says its position; the second is the name of before 11.
const POSITIONS: [&str; 2] = ["mariadb_backup_binlog_info", "xtrabackup_binlog_info"];
/// Folders that a server may have elsewhere: a backup would not find back there.
const FOLDERS: [&str; 4] = [
    "log_bin_basename",
    "innodb_data_home_dir",
    "innodb_log_group_home_dir",
    "innodb_undo_directory",
];

/// Fetches it. When this returns, the next start moves it in.
///
/// # Errors
/// Why it is not there, in words.
pub async fn fetch(site: &Site, client: &mut Client, primary: &Peer) -> Result<(), String> {
    let datadir = site.params.datadir.as_path();
    is_in_one_folder(client, datadir).await?;
    for program in [BACKUP, UNPACK] {
        if !Path::new(program).exists() {
            return Err(format!(
                "{program} is missing: install the package mariadb-backup"
            ));
        }
    }
    let epoch = site.view().epoch;
    let name = &primary.name;
    let known = origins(site, primary).await?;
    progress(site, &format!("its data is fetched anew from {name}"));
    let address = site
        .address(primary)
        .ok_or_else(|| format!("{name} has no address"))?;
    let at = SocketAddr::new(address, site.params.seed_port);
    let broken = |error: io::Error| format!("the connection to {at}: {error}");
    let connect = async {
        let stream = TcpStream::connect(at).await?;
        let stream: Box<dyn AsyncRead + Unpin + Send> = match &site.tls {
            Some(tls) => Box::new(tls.wrap(stream).await?),
            None => Box::new(stream),
        };
        Ok(stream)
    };
    let connected = timeout(CONNECT_LIMIT, connect).await;
    let mut stream = connected
        .map_err(io::Error::from)
        .and_then(|done| done)
        .map_err(broken)?;
    let whole = match next(&mut stream).await.map_err(broken)? {
        Frame::Begin(bytes) => bytes,
        Frame::Failed(why) => return Err(why),
        Frame::Data(_) | Frame::End => {
            return Err(format!("{name} does not begin with the size of its data"));
        }
    };
    has_room(datadir, whole).await?;
    let owner = prepare_folder(datadir).map_err(|error| format!("{}: {error}", datadir.display()))?;
    unpack(site, &mut stream, (name, whole), owner).await?;
    progress(
        site,
        &format!("its data was fetched from {name} and is being prepared"),
    );
    prepare(site, owner).await?;
    let gtid = position(&swap::fetched(datadir), client.server(), known)?;
    on_disk().await?;
    // The proof of before may be old: what is here may count again.
    let view = site.view();
    if !site.is_dispensable() || view.primary.as_ref() != Some(name) || view.epoch != epoch {
        let _ = swap::discard(datadir);
        return Err("the primary, or the set of whole copies, changed meanwhile".into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let note = Note {
        primary: name.clone(),
        epoch,
        at_s: now.unwrap_or_default().as_secs(),
        gtid,
    };
    swap::ready(datadir, &note).map_err(|error| format!("{}: {error}", datadir.display()))
}

/// A backup is moved into the data directory: everything that the server has must be there.
async fn is_in_one_folder(client: &mut Client, datadir: &Path) -> Result<(), String> {
    for name in FOLDERS {
        let Ok(value) = client.value(&format!("SELECT @@GLOBAL.{name}")).await else {
            continue;
        };
        let path = Path::new(&value);
        let inside = path.is_relative() || path.starts_with(datadir);
        if !inside || path.components().any(|part| part.as_os_str() == "..") {
            return Err(format!(
                "{name} = {value} is outside of {}: seed this node by hand (docs/agents/mysqld.md)",
                datadir.display()
            ));
        }
    }
    Ok(())
}

async fn has_room(datadir: &Path, whole: u64) -> Result<(), String> {
    // What an earlier attempt left is removed first.
    let folder = datadir.to_owned();
    let removed = tokio::task::spawn_blocking(move || swap::discard(&folder)).await;
    if let Ok(Err(error)) = removed {
        return Err(format!("{}: {error}", swap::fetched(datadir).display()));
    }
    let needed = whole.saturating_add(whole / 10).saturating_add(SPARE_BYTES);
    match room::left(datadir).await {
        Some((left, _)) if left < needed => Err(format!(
            "the data has about {whole} bytes, which needs {needed} beside what is here, and {left} are left on the disk of {}{}",
            datadir.display(),
            swap::kept(datadir)
        )),
        _ => Ok(()),
    }
}

/// Who the data belongs to.
type Owner = (u32, u32);

fn prepare_folder(datadir: &Path) -> io::Result<Owner> {
    let data = fs::metadata(datadir)?;
    let folder = swap::fetched(datadir);
    fs::DirBuilder::new().mode(0o700).create(&folder)?;
    chown(&folder, Some(data.uid()), Some(data.gid()))?;
    Ok((data.uid(), data.gid()))
}

/// As the data's owner: so what it writes belongs to the server.
fn program(path: &str, args: &[String], (uid, gid): Owner) -> io::Result<Child> {
    Command::new(path)
        .args(args)
        .env(leftovers::MARKER, leftovers::marker())
        .current_dir("/")
        .uid(uid)
        .gid(gid)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

async fn next(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    timeout(SILENCE_LIMIT, frames::receive(stream)).await?
}

async fn unpack(
    site: &Site,
    stream: &mut (impl AsyncRead + Unpin),
    (name, whole): (&str, u64),
    owner: Owner,
) -> Result<(), String> {
    let folder = swap::fetched(&site.params.datadir).display().to_string();
    let wrong = |error: io::Error| format!("{UNPACK}: {error}");
    let mut child = program(UNPACK, &["-x".into(), "-C".into(), folder], owner).map_err(wrong)?;
    let said = tokio::spawn(last_words(child.stderr.take()));
    let mut stdin = child.stdin.take();
    let (mut done, mut told) = (0u64, Time(0));
    loop {
        match next(stream)
            .await
            .map_err(|error| format!("the connection to {name}: {error}"))?
        {
            Frame::Data(bytes) => {
                let Some(stdin) = &mut stdin else { continue };
                if stdin.write_all(&bytes).await.is_err() {
                    break;
                }
                done += bytes.len() as u64;
                if told.until(clock::now()) >= TELL_EVERY {
                    told = clock::now();
                    let text = format!("its data is fetched anew from {name}: {done} of about {whole} bytes");
                    progress(site, &text);
                }
            }
            Frame::End => break,
            Frame::Failed(why) => return Err(format!("{name}: {why}")),
            Frame::Begin(_) => return Err(format!("{name} begins twice")),
        }
    }
    if let Some(mut stdin) = stdin.take() {
        let _ = stdin.shutdown().await;
    }
    ended(UNPACK, child, said).await
}

async fn ended(path: &str, mut child: Child, said: tokio::task::JoinHandle<String>) -> Result<(), String> {
    let status = timeout(PREPARE_LIMIT, child.wait()).await;
    let status = status.map_err(|_| format!("{path} does not end"))?;
    let status = status.map_err(|error| format!("{path}: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "{path} ended with {status}: {}",
        said.await.unwrap_or_default()
    ))
}

async fn prepare(site: &Site, owner: Owner) -> Result<(), String> {
    let mut words = defaults(&site.params);
    let folder = swap::fetched(&site.params.datadir).display().to_string();
    words.extend(["--prepare".into(), format!("--target-dir={folder}")]);
    let mut child = program(BACKUP, &words, owner).map_err(|error| format!("{BACKUP}: {error}"))?;
    drop(child.stdin.take());
    let said = tokio::spawn(last_words(child.stderr.take()));
    ended(BACKUP, child, said).await
}

/// The position in a prepared backup: file, offset, GTIDs.
/// What the primary has from each server, itself and those that were primary before it, before the backup begins: all of it is in the
/// backup, which only says the last transaction of each domain. Without the rest this copy would seem to lack for ever what the
/// primaries of before wrote.
async fn origins(site: &Site, primary: &Peer) -> Result<Gtids, String> {
    let asked = async { site::applied(&mut site.connect(primary).await?).await };
    let asked: Result<_, SqlError> = asked.await;
    asked.map_err(|error| format!("cannot ask {} what it has: {error}", primary.name))
}

/// What is in a prepared backup, of a server that had `known` when it began.
fn position(folder: &Path, server: Server, known: Gtids) -> Result<String, String> {
    let found = POSITIONS
        .iter()
        .find_map(|name| fs::read_to_string(folder.join(name)).ok());
    let text = found.ok_or("the backup does not say its position: does the primary write a binary log?")?;
    let last = text.split_whitespace().nth(2).unwrap_or_default();
    let last = Gtids::parse(server, last)
        .map_err(|_| format!("the position {last:?} of the backup makes no sense"))?;
    Ok(known.with(last).as_binlog_state())
}

/// Before it is said to be ready: a loss of power must not take it back.
async fn on_disk() -> Result<(), String> {
    let synced = tokio::task::spawn_blocking(nix::unistd::sync).await;
    synced.map_err(|error| error.to_string())
}

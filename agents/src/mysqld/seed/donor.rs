//! The primary's side: sends the stream of `mariadb-backup` to a node whose copy nobody counts on.
//!
//! **When it listens**: only while the committed set names this node and leaves another one out. **To whom it sends**: to an
//! address of a node that is left out, which with TLS also shows a certificate of the authority of replication. That is the same
//! proof with which that node's server may read everything here anyway. It reads nothing from the other side.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::time::timeout;

use super::frames::{self, Frame};
use crate::leftovers;
use crate::mysqld::params::{Params, Runner};
use crate::mysqld::site::Site;
use crate::roles::Peer;

/// Makes and prepares backups.
pub const BACKUP: &str = "/usr/bin/mariadb-backup";
/// Bytes of a frame.
const CHUNK_BYTES: usize = 32 << 10;
/// A handshake may take so long.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
/// A frame that is not taken within this time never is.
const SEND_LIMIT: Duration = Duration::from_secs(120);
/// Pause before the port is tried again.
const BIND_AGAIN: Duration = Duration::from_secs(5);
/// Bytes of the program's last words that are kept.
const WORDS_BYTES: usize = 2048;

/// Listens whenever that is needed, until it is dropped.
pub async fn run(site: Arc<Site>) {
    let mut told = false;
    loop {
        until(&site, true).await;
        let Some(address) = site.address(&site.view().own) else {
            return std::future::pending().await;
        };
        let at = SocketAddr::new(address, site.params.seed_port);
        match TcpListener::bind(at).await {
            Ok(listener) => {
                tokio::select! {
                    () = serve(&site, &listener) => {}
                    () = until(&site, false) => {}
                }
            }
            Err(error) => {
                if !told {
                    told = true;
                    let text = format!("cannot listen on {at} for a node that is to be seeded: {error}");
                    site.events.note("warn", "mysqld-donor", text);
                }
                tokio::time::sleep(BIND_AGAIN).await;
            }
        }
    }
}

/// Waits until somebody is left out of the committed set, or nobody.
async fn until(site: &Site, wanted: bool) {
    let mut roles = site.roles.clone();
    loop {
        roles.mark_unchanged();
        let is_anybody = !left_out(site).is_empty();
        if is_anybody == wanted {
            return;
        }
        if roles.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// The nodes whose copies nobody counts on, while this one is the primary and counted on. MariaDB only.
fn left_out(site: &Site) -> Vec<Peer> {
    let view = site.view();
    let own = &view.own.name;
    let leads = view.primary.as_ref() == Some(own) && view.in_sync.nodes.contains(own);
    if !leads || !is_mariadb(&site.params) {
        return Vec::new();
    }
    let out = |peer: &Peer| !view.in_sync.nodes.contains(&peer.name);
    view.others.into_iter().filter(out).collect()
}

/// By its data.
fn is_mariadb(params: &Params) -> bool {
    params.datadir.join("aria_log_control").exists()
}

async fn serve(site: &Site, listener: &TcpListener) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(BIND_AGAIN).await;
            continue;
        };
        let out = left_out(site);
        let Some(peer) = out.iter().find(|peer| peer.addresses.contains(&from.ip())) else {
            continue;
        };
        let text = format!("the data is sent to {}", peer.name);
        site.events.note("info", "mysqld-donor", text);
        let text = match send_to(site, stream).await {
            Ok(bytes) => format!("{bytes} bytes of data were sent to {}", peer.name),
            Err(error) => format!("the data could not be sent to {}: {error}", peer.name),
        };
        site.events.note("info", "mysqld-donor", text);
    }
}

async fn send_to(site: &Site, stream: TcpStream) -> io::Result<u64> {
    match &site.tls {
        Some(tls) => {
            let mut stream = timeout(HANDSHAKE_LIMIT, tls.accept(stream)).await??;
            backup(site, &mut stream).await
        }
        None => backup(site, &mut { stream }).await,
    }
}

async fn backup(site: &Site, stream: &mut (impl AsyncWrite + Unpin)) -> io::Result<u64> {
    let folder = site.params.datadir.clone();
    let size = tokio::task::spawn_blocking(move || size_of(&folder, 0)).await;
    deliver(stream, &Frame::Begin(size.unwrap_or(0))).await?;
    let mut words = defaults(&site.params);
    words.extend([
        "--backup".into(),
        "--stream=mbstream".into(),
        "--user=root".into(),
        format!("--socket={}", site.params.socket.display()),
        format!("--datadir={}", site.params.datadir.display()),
        format!("--target-dir={}", site.scratch.display()),
    ]);
    let mut child = Command::new(BACKUP)
        .args(words)
        .env(leftovers::MARKER, leftovers::marker())
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io::Error::other(format!("{BACKUP} (package mariadb-backup): {error}")));
    let child = match &mut child {
        Ok(child) => child,
        Err(error) => {
            deliver(stream, &Frame::Failed(error.to_string())).await?;
            return Err(io::Error::other(error.to_string()));
        }
    };
    let said = tokio::spawn(last_words(child.stderr.take()));
    let mut sent = 0;
    if let Some(mut stdout) = child.stdout.take() {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let length = stdout.read(&mut chunk).await?;
            if length == 0 {
                break;
            }
            deliver(stream, &Frame::Data(chunk[..length].to_vec())).await?;
            sent += length as u64;
        }
    }
    let status = child.wait().await?;
    if status.success() {
        deliver(stream, &Frame::End).await?;
        return Ok(sent);
    }
    let said = said.await.unwrap_or_default();
    let text = format!("mariadb-backup ended with {status}: {said}");
    deliver(stream, &Frame::Failed(text.clone())).await?;
    Err(io::Error::other(text))
}

async fn deliver(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    timeout(SEND_LIMIT, frames::send(stream, frame)).await?
}

/// What the server itself was told about its option files: encryption of tables may stand there.
pub fn defaults(params: &Params) -> Vec<String> {
    let Runner::Command(words, _) = &params.runner else {
        return Vec::new();
    };
    let is_one = |word: &&String| *word == "--no-defaults" || word.starts_with("--defaults-");
    words.iter().filter(is_one).cloned().collect()
}

/// The last line that a program says.
pub async fn last_words(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut kept = Vec::new();
    let mut chunk = vec![0; WORDS_BYTES];
    if let Some(mut stream) = stream {
        while let Ok(length @ 1..) = stream.read(&mut chunk).await {
            kept.extend_from_slice(&chunk[..length]);
            let surplus = kept.len().saturating_sub(WORDS_BYTES);
            kept.drain(..surplus);
        }
    }
    let text = String::from_utf8_lossy(&kept);
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("it said nothing").trim().to_owned()
}

/// Bytes of the files in `folder` and the folders in it, without binary logs and what the agent keeps there. For people and for
/// the look at the room, so what vanishes meanwhile does not matter.
fn size_of(folder: &Path, depth: u32) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let size = |path: PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let digits = path
            .extension()
            .is_some_and(|end| end.len() == 6 && end.to_string_lossy().parse::<u32>().is_ok());
        if digits || name.starts_with("holdfast.") {
            return 0;
        }
        match std::fs::symlink_metadata(&path) {
            Ok(data) if data.is_dir() && depth < 2 => size_of(&path, depth + 1),
            Ok(data) if data.is_file() => data.len(),
            _ => 0,
        }
    };
    entries.flatten().map(|entry| size(entry.path())).sum()
}

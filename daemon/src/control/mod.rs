//! The operators' socket: length-delimited prost messages, one request per connection.
//!
//! Runs on the ordinary thread. A request reaches the core through a bounded queue to the deciding thread, and every
//! wait has an end: a client that does not read is dropped, a question that is not answered ends with a sentence.

mod admit;
mod answer;
mod apply;
mod credentials;
mod fence_test;
mod force;
pub(crate) mod operate;
mod watch;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use holdfast_proto::control::{ControlReply, ControlRequest, ErrorView, control_reply};
use holdfast_proto::stream::{Deframer, frame_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot, watch as changes};

use crate::join::JoinTokens;
use crate::journal::Journal;
use crate::shell::api::{Ask, Snapshot};
use crate::tokens::ForceTokens;

pub use admit::admit;

/// Connections served at a time; further ones are turned away in words.
const CONNECTIONS: usize = 64;
/// Of these, connections that follow the status or the events, which may last for ever.
const FOLLOWERS: usize = 32;
/// Time for a request to arrive, and for a reply to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// Time for the deciding thread to give a picture.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(3);

/// What the control socket works with.
pub struct Control {
    /// To the deciding thread.
    pub asks: mpsc::Sender<Ask>,
    /// The journal.
    pub journal: Arc<Mutex<Journal>>,
    /// Counts changes worth another look.
    pub changed: changes::Receiver<u64>,
    /// Tokens of `quorum force`.
    pub force: Mutex<ForceTokens>,
    /// Tokens of `cluster join`.
    pub joins: Arc<JoinTokens>,
    /// Places for those who follow.
    pub followers: Semaphore,
}

/// Places for clients that follow the status or the events.
#[must_use]
pub fn followers() -> Semaphore {
    Semaphore::new(FOLLOWERS)
}

/// A refusal in the making.
pub type Refusal = ErrorView;

/// An [`ErrorView`].
#[must_use]
pub fn refusal(code: &str, message: impl Into<String>) -> Refusal {
    ErrorView {
        code: code.into(),
        message: message.into(),
    }
}

impl Control {
    /// A picture of everything.
    ///
    /// # Errors
    /// When the deciding thread does not answer in time.
    pub async fn snapshot(&self) -> Result<Snapshot, Refusal> {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.asks.send(Ask::Snapshot(reply)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(SNAPSHOT_PATIENCE, ask).await {
            Ok(Some(snapshot)) => Ok(snapshot),
            Ok(None) => Err(refusal("internal", "had is ending")),
            Err(_) => Err(refusal(
                "internal",
                format!(
                    "the deciding thread of had did not answer for {} s; if this lasts, systemd restarts had, and running \
                     resources are not touched by that",
                    SNAPSHOT_PATIENCE.as_secs()
                ),
            )),
        }
    }

    /// A place for a client that follows.
    ///
    /// # Errors
    /// When all are taken.
    fn follower(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.followers.try_acquire().map_err(|_| {
            refusal(
                "refused",
                format!("{FOLLOWERS} clients follow this node already: end one of them, or ask once and not for ever"),
            )
        })
    }

    /// The journal; a panic in another task that held it spoils nothing.
    pub fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Binds the socket. A socket left over from an earlier run is replaced, one that answers is not.
///
/// # Errors
/// When another `had` listens there, or the directory does not allow it.
pub fn bind(path: &Path) -> anyhow::Result<std::os::unix::net::UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!(
            "another had answers on {}: stop it first, or give this one a --run-dir of its own",
            path.display()
        );
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove the old socket {}", path.display()));
        }
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path).with_context(|| {
        format!(
            "cannot create the control socket {}: the run directory must exist and belong to this user",
            path.display()
        )
    })?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))
        .with_context(|| format!("cannot set the mode of {}", path.display()))?;
    if let Some(group) = credentials::operators()
        && let Err(error) = nix::unistd::chown(path, None, Some(group))
    {
        // Not a reason to be down: root still gets in.
        tracing::warn!(path = %path.display(), %error, "the control socket cannot be given to group holdfast; only root \
            and had's own user can use it");
    }
    listener
        .set_nonblocking(true)
        .context("cannot make the control socket non-blocking")?;
    Ok(listener)
}

/// Serves until the process ends.
pub async fn serve(listener: UnixListener, control: Arc<Control>, path: PathBuf) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                match Arc::clone(&slots).try_acquire_owned() {
                    Ok(slot) => drop(tokio::spawn(async move {
                        converse(stream, &control).await;
                        drop(slot);
                    })),
                    Err(_) => turn_away(&stream),
                }
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot accept a control connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// Says that there is no place, without waiting for anybody.
fn turn_away(stream: &UnixStream) {
    let busy = refusal(
        "refused",
        format!("{CONNECTIONS} clients are being answered: try again in a moment"),
    );
    let reply = ControlReply {
        body: Some(control_reply::Body::Error(busy)),
    };
    // The buffer of a fresh connection holds it.
    let _ = stream.try_write(&frame_message(&reply));
}

async fn converse(stream: UnixStream, control: &Control) {
    let who = credentials::check(&stream);
    let mut client = Client {
        stream,
        broken: false,
    };
    let result = match who {
        Err(refused) => Err(refused),
        Ok(who) => match client.request().await {
            Ok(request) => answer::answer(control, &mut client, &who, request).await,
            Err(refused) => Err(refused),
        },
    };
    let last = match result {
        Ok(sentence) => control_reply::Body::Done(sentence),
        Err(refused) => control_reply::Body::Error(refused),
    };
    client.send(last).await;
}

/// The other end of one connection.
pub struct Client {
    stream: UnixStream,
    broken: bool,
}

impl Client {
    /// The request.
    async fn request(&mut self) -> Result<ControlRequest, Refusal> {
        let mut deframer = Deframer::new();
        let mut piece = vec![0u8; 4096];
        let read = async {
            loop {
                match deframer.next::<ControlRequest>() {
                    Ok(Some(request)) => return Ok(request),
                    Ok(None) => {}
                    Err(error) => {
                        return Err(refusal("invalid", format!("the request cannot be read: {error}")));
                    }
                }
                match self.stream.read(&mut piece).await {
                    Ok(length) if length > 0 => deframer.push(&piece[..length]),
                    _ => {
                        return Err(refusal(
                            "invalid",
                            "the connection ended before the request was complete",
                        ));
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| {
            Err(refusal(
                "invalid",
                format!("no complete request arrived within {} s", PATIENCE.as_secs()),
            ))
        })
    }

    /// Sends one reply; false once the client is gone or takes nothing.
    pub async fn send(&mut self, body: control_reply::Body) -> bool {
        if self.broken {
            return false;
        }
        let bytes = frame_message(&ControlReply { body: Some(body) });
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(&bytes)).await;
        self.broken = !matches!(written, Ok(Ok(())));
        !self.broken
    }

    /// Returns when the client closes. What it sends meanwhile is ignored.
    pub async fn closed(&mut self) {
        let mut ignored = [0u8; 256];
        while matches!(self.stream.read(&mut ignored).await, Ok(length) if length > 0) {}
    }
}

#[cfg(test)]
mod tests;

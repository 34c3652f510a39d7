//! The connection with `had`: one at a time, the newest wins, since a `had` that was restarted connects anew.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use bytes::{Buf, BytesMut};
use holdfast_proto::agent::AgentRequest;
use holdfast_proto::stream::{Deframer, frame_message};
use nix::unistd::{Uid, User};
use tokio::net::{UnixListener, UnixStream};

use super::book::Book;

/// Encoded reports kept for a `had` that does not read.
const OUT_BYTES_MAX: usize = 64 << 10;
/// Read in one go.
const PIECE_BYTES: usize = 16 << 10;

/// User that `had` runs as.
const HAD_USER: &str = "had";

/// Who may connect: root, the user `had`, and whoever runs this had-agentd.
#[derive(Clone, Debug)]
pub struct Admission {
    uids: Vec<u32>,
}

impl Admission {
    /// Reads the ids once: nothing is looked up later, on a thread that must not block.
    #[must_use]
    pub fn read() -> Admission {
        let had = User::from_name(HAD_USER)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw());
        Admission {
            uids: [0, Uid::effective().as_raw()].into_iter().chain(had).collect(),
        }
    }

    fn allows(&self, uid: u32) -> bool {
        self.uids.contains(&uid)
    }
}

/// Makes the socket. A stale one is replaced, one that is in use is an error.
///
/// # Errors
/// When another had-agentd listens there, or the folder cannot be written to.
pub fn listen(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::os::unix::net::{UnixListener, UnixStream};
    if UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another had-agentd listens there",
        ));
    }
    if std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket()) {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    // The folder and the check of credentials guard it; the mode must let the user `had` connect.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

struct Connection {
    stream: UnixStream,
    deframer: Deframer,
    out: BytesMut,
    /// Nothing is reported before `had` attached: the answer to that comes first.
    attached: bool,
}

/// The listener and the connection.
pub struct Link {
    listener: UnixListener,
    admission: Admission,
    connection: Option<Connection>,
    requests: VecDeque<AgentRequest>,
}

impl Link {
    pub fn new(listener: UnixListener, admission: Admission) -> Link {
        Link {
            listener,
            admission,
            connection: None,
            requests: VecDeque::new(),
        }
    }

    /// Moves reports from the book to the buffer while there is room.
    pub fn fill(&mut self, book: &mut Book) {
        let Some(connection) = self.connection.as_mut().filter(|connection| connection.attached) else {
            return;
        };
        while connection.out.len() < OUT_BYTES_MAX
            && let Some(report) = book.next()
        {
            connection.out.extend_from_slice(&frame_message(&report));
        }
    }

    /// Does one piece of I/O. Safe to drop at any point.
    pub async fn turn(&mut self) {
        let Some(connection) = &mut self.connection else {
            let accepted = self.listener.accept().await;
            return self.admit(accepted.map(|(stream, _)| stream)).await;
        };
        let wants_write = !connection.out.is_empty();
        let stream = &connection.stream;
        let outcome = tokio::select! {
            biased;
            ready = stream.readable() => ready.and_then(|()| receive(connection, &mut self.requests)),
            ready = stream.writable(), if wants_write => ready.and_then(|()| send(connection)),
            accepted = self.listener.accept() => {
                let stream = accepted.map(|(stream, _)| stream);
                return self.admit(stream).await;
            }
        };
        if let Err(error) = outcome {
            tracing::warn!("the connection with had ended: {error}; permits run on until they lapse");
            self.close();
        }
    }

    async fn admit(&mut self, accepted: io::Result<UnixStream>) {
        let admitted = accepted.and_then(|stream| {
            let peer = stream.peer_cred()?;
            if self.admission.allows(peer.uid()) {
                return Ok(stream);
            }
            Err(io::Error::other(format!(
                "user {} may not control resources",
                peer.uid()
            )))
        });
        match admitted {
            Ok(stream) => {
                self.requests.clear();
                let (deframer, out) = (Deframer::new(), BytesMut::new());
                self.connection = Some(Connection {
                    stream,
                    deframer,
                    out,
                    attached: false,
                });
            }
            Err(error) => {
                tracing::warn!("a connection was refused: {error}");
                // Out of descriptors, accept fails at once, again and again: let the other events have their turn.
                tokio::task::yield_now().await;
            }
        }
    }

    pub fn next_request(&mut self) -> Option<AgentRequest> {
        self.requests.pop_front()
    }

    /// `had` said who it is: from now on reports go out.
    pub fn attached(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.attached = true;
        }
    }

    pub fn close(&mut self) {
        self.connection = None;
        self.requests.clear();
    }
}

fn receive(connection: &mut Connection, requests: &mut VecDeque<AgentRequest>) -> io::Result<()> {
    let mut piece = [0; PIECE_BYTES];
    match connection.stream.try_read(&mut piece) {
        Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "had closed it")),
        Ok(bytes) => connection.deframer.push(&piece[..bytes]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
        Err(error) => return Err(error),
    }
    while let Some(request) = connection.deframer.next().map_err(io::Error::other)? {
        requests.push_back(request);
    }
    Ok(())
}

fn send(connection: &mut Connection) -> io::Result<()> {
    match connection.stream.try_write(&connection.out) {
        Ok(bytes) => connection.out.advance(bytes),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

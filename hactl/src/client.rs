//! The control socket of `had`: one request per connection, then replies until the end.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{ControlReply, ControlRequest, Empty, StatusView};
use holdfast_proto::stream::{Deframer, frame_message};

use crate::outcome::{Exit, Failure};

/// How long a plain question may take.
pub const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// Where `had` listens.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The socket.
    pub socket: PathBuf,
}

/// Replies to one request.
#[derive(Debug)]
pub struct Replies {
    socket: PathBuf,
    stream: UnixStream,
    deframer: Deframer,
}

/// What came on a stream of replies.
#[derive(Debug)]
pub enum Next {
    /// A reply.
    Reply(Box<Reply>),
    /// Nothing until the time given.
    Quiet,
    /// `had` closed the connection.
    Ended,
}

impl Endpoint {
    /// At `socket`.
    #[must_use]
    pub fn new(socket: &Path) -> Endpoint {
        Endpoint {
            socket: socket.to_path_buf(),
        }
    }

    /// Sends `request`.
    ///
    /// # Errors
    /// When `had` cannot be reached.
    pub fn send(&self, request: Request) -> anyhow::Result<Replies> {
        let mut stream =
            UnixStream::connect(&self.socket).map_err(|error| unreachable(&self.socket, &error))?;
        stream.set_write_timeout(Some(ASK_TIMEOUT))?;
        let framed = frame_message(&ControlRequest { body: Some(request) });
        stream
            .write_all(&framed)
            .map_err(|error| broken(&self.socket, &error))?;
        Ok(Replies {
            socket: self.socket.clone(),
            stream,
            deframer: Deframer::new(),
        })
    }

    /// Sends `request` and returns the text of `Done`, telling `progress` what is waited for meanwhile.
    ///
    /// # Errors
    /// When `had` cannot be reached, refuses, fails, or needs longer than until `deadline`.
    pub fn ask_until(
        &self,
        request: Request,
        deadline: Instant,
        mut progress: impl FnMut(&str),
    ) -> anyhow::Result<String> {
        let mut replies = self.send(request)?;
        loop {
            match replies.next(Some(deadline))? {
                Some(Reply::Done(text)) => return Ok(text),
                Some(Reply::Progress(text)) => progress(&text),
                Some(_) => {}
                None => return Err(replies.ended().into()),
            }
        }
    }

    /// Sends `request` and returns the text of `Done`.
    ///
    /// # Errors
    /// As [`Endpoint::ask_until`].
    pub fn ask(&self, request: Request) -> anyhow::Result<String> {
        self.ask_until(request, Instant::now() + ASK_TIMEOUT, |_| {})
    }

    /// Sends `request` and returns the first reply that `pick` takes.
    ///
    /// # Errors
    /// When `had` cannot be reached, refuses, fails or does not answer in time.
    pub fn fetch<T>(&self, request: Request, pick: impl Fn(Reply) -> Option<T>) -> anyhow::Result<T> {
        let deadline = Instant::now() + ASK_TIMEOUT;
        let mut replies = self.send(request)?;
        while let Some(reply) = replies.next(Some(deadline))? {
            if let Some(found) = pick(reply) {
                return Ok(found);
            }
        }
        Err(replies.ended().into())
    }

    /// The status now.
    ///
    /// # Errors
    /// As [`Endpoint::fetch`].
    pub fn status(&self) -> anyhow::Result<StatusView> {
        self.fetch(Request::Status(Empty {}), |reply| match reply {
            Reply::Status(view) => Some(view),
            _ => None,
        })
    }
}

impl Replies {
    /// The next reply; none when `had` closed the connection.
    ///
    /// # Errors
    /// An error reply, a broken connection, garbage, or nothing until `deadline`.
    pub fn next(&mut self, deadline: Option<Instant>) -> anyhow::Result<Option<Reply>> {
        match self.poll(deadline)? {
            Next::Reply(reply) => Ok(Some(*reply)),
            Next::Ended => Ok(None),
            Next::Quiet => Err(timeout(&self.socket).into()),
        }
    }

    /// The next reply, or that there was none until `deadline`.
    ///
    /// # Errors
    /// An error reply, a broken connection, garbage.
    pub fn poll(&mut self, deadline: Option<Instant>) -> anyhow::Result<Next> {
        loop {
            if let Some(ControlReply { body }) = self.deframer.next().map_err(|error| self.garbage(&error))? {
                match body {
                    Some(Reply::Error(view)) => return Err(Failure::from(view).into()),
                    Some(reply) => return Ok(Next::Reply(Box::new(reply))),
                    // A kind of reply that a newer had knows and we do not.
                    None => continue,
                }
            }
            match self.fill(deadline)? {
                Some(0) => return Ok(Next::Ended),
                Some(_) => {}
                None => return Ok(Next::Quiet),
            }
        }
    }

    /// Reads once: the bytes read, 0 at the end of the stream, none when nothing came until `deadline`.
    fn fill(&mut self, deadline: Option<Instant>) -> anyhow::Result<Option<usize>> {
        let mut piece = [0u8; 16 << 10];
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(None);
            }
            self.stream.set_read_timeout(left)?;
            match self.stream.read(&mut piece) {
                Ok(bytes) => {
                    self.deframer.push(&piece[..bytes]);
                    return Ok(Some(bytes));
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                    ) => {}
                Err(error) => return Err(broken(&self.socket, &error).into()),
            }
        }
    }

    /// The failure of a stream that ended before its answer.
    #[must_use]
    pub fn ended(&self) -> Failure {
        Failure::new(
            Exit::Unreachable,
            format!("had closed {} before it had answered", self.socket.display()),
        )
        .hint("it may have been restarted: try again")
        .hint("if it keeps happening: journalctl -u had -n 50")
    }

    fn garbage(&self, error: &holdfast_proto::stream::StreamError) -> Failure {
        Failure::new(
            Exit::Failed,
            format!(
                "what listens on {} does not speak had's language: {error}",
                self.socket.display()
            ),
        )
        .hint("compare `hactl --version` with `had --version`")
    }
}

/// The failure of a connection that was refused.
fn unreachable(socket: &Path, error: &io::Error) -> Failure {
    let at = socket.display();
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(
            Exit::Unreachable,
            format!("you may not talk to had on {at}: {error}"),
        )
        .hint("run it as root (sudo hactl ...)")
        .hint("or join the group: sudo usermod -aG holdfast $USER, then log in again"),
        io::ErrorKind::NotFound => Failure::new(
            Exit::Unreachable,
            format!("had is not running on this node: there is no {at}"),
        )
        .hint("look at it:  systemctl status had; journalctl -u had -n 50")
        .hint("start it:    systemctl start had-agentd had")
        .hint("no cluster here yet?  hactl cluster init --help, hactl cluster join --help"),
        io::ErrorKind::ConnectionRefused => Failure::new(
            Exit::Unreachable,
            format!("had is not running on this node: nothing listens on {at}"),
        )
        .hint("look at it:  systemctl status had; journalctl -u had -n 50")
        .hint("start it:    systemctl start had-agentd had"),
        _ => Failure::new(
            Exit::Unreachable,
            format!("had cannot be reached on {at}: {error}"),
        )
        .hint("look at it:  systemctl status had; journalctl -u had -n 50"),
    }
}

/// The failure of a connection that broke.
fn broken(socket: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format!("the connection to had on {} broke: {error}", socket.display()),
    )
    .hint("look at it:  systemctl status had; journalctl -u had -n 50")
}

/// The failure of an answer that did not come.
fn timeout(socket: &Path) -> Failure {
    Failure::new(
        Exit::Timeout,
        format!("had on {} did not answer in time", socket.display()),
    )
    .hint("look at it:  systemctl status had; journalctl -u had -n 50")
}

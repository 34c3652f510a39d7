//! What a program prints: read all the time so that it never blocks, kept only as its last line.
//!
//! The pipe is a named one, which the program's end holds open for reading too: when had-agentd is killed, the program
//! gets no SIGPIPE, and a restarted had-agentd reads on.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// Longest line kept.
const LINE_BYTES: usize = 300;
/// Room for what is printed while had-agentd restarts.
const PIPE_BYTES: i32 = 256 << 10;

/// The last line that was printed.
#[derive(Clone, Default)]
pub struct Tail(Arc<Mutex<Lines>>);

#[derive(Default)]
struct Lines {
    last: Vec<u8>,
    open: Vec<u8>,
}

impl Tail {
    /// The last line that is not blank, cleaned of control characters.
    pub fn last_line(&self) -> String {
        let lines = super::lock(&self.0);
        let line = if lines.open.is_empty() {
            &lines.last
        } else {
            &lines.open
        };
        String::from_utf8_lossy(line)
            .chars()
            .filter(|c| !c.is_control())
            .collect()
    }

    pub(super) fn push(&self, bytes: &[u8]) {
        let mut lines = super::lock(&self.0);
        // Only the end of a flood matters: two lines at most are looked at.
        let recent = &bytes[bytes.len().saturating_sub(2 * LINE_BYTES)..];
        for byte in recent {
            if *byte == b'\n' {
                let line = std::mem::take(&mut lines.open);
                if !line.iter().all(u8::is_ascii_whitespace) {
                    lines.last = line;
                }
            } else if lines.open.len() < LINE_BYTES {
                lines.open.push(*byte);
            }
        }
    }
}

/// The named pipe of one program.
pub struct Output {
    path: PathBuf,
    tail: Tail,
    reader: Option<JoinHandle<()>>,
}

impl Output {
    /// Nothing is made before [`Output::open`].
    pub fn new(path: PathBuf) -> Output {
        Output {
            path,
            tail: Tail::default(),
            reader: None,
        }
    }

    /// See [`Tail`].
    pub fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// Makes the pipe if it is not there, begins to read it, and returns the end to write to.
    pub fn open(&mut self) -> io::Result<File> {
        match mkfifo(&self.path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(nix::errno::Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let mut receiver = pipe::OpenOptions::new()
            .read_write(true)
            .open_receiver(&self.path)?;
        let _ = fcntl(&receiver, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        let write_end = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&self.path)?;
        let tail = self.tail.clone();
        let read = async move {
            let mut piece = vec![0; 4096];
            while let Ok(bytes) = receiver.read(&mut piece).await {
                tail.push(&piece[..bytes]);
            }
        };
        if let Some(old) = self.reader.replace(tokio::spawn(read)) {
            old.abort();
        }
        Ok(write_end)
    }

    /// Ends reading and removes the pipe.
    pub fn close(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_line_is_kept_and_it_is_bounded() {
        let tail = Tail::default();
        tail.push(b"first\nsec");
        assert_eq!(tail.last_line(), "sec");
        tail.push(b"ond\n\n  \n");
        assert_eq!(tail.last_line(), "second");
        tail.push(&vec![b'x'; 1 << 20]);
        assert_eq!(tail.last_line().len(), LINE_BYTES);
        tail.push(b"\n\x1b[31mred\n");
        assert_eq!(tail.last_line(), "[31mred");
    }
}

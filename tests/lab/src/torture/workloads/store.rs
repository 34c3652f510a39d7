//! What the clients write to.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

/// A connection that is not made within this time is not made. A kernel on the same bridge answers within a millisecond, however busy
/// its service is; a longer time would only be found again in the outages that are measured.
pub const CONNECT: Duration = Duration::from_millis(100);
/// An answer that is not there within this time does not come.
pub const ANSWER: Duration = Duration::from_millis(1000);

/// What became of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server said that it is done, and the number that it counts it by.
    Acknowledged(u64),
    /// It cannot have happened: it was never sent, or the server refused it.
    Failed(String),
    /// It was sent, and there was no answer.
    Unknown(String),
}

/// A server that remembers numbers.
pub trait Store: Debug + Send {
    /// Writes `id`.
    fn write(&mut self, id: u64) -> Outcome;

    /// Everything that it remembers, in the order of its own count.
    fn read_all(&mut self) -> io::Result<Vec<u64>>;
}

/// The error of a server that says what it should not.
pub fn odd(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

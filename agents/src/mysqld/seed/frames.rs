//! What the donor says: frames of a kind, a length and so many bytes. The end of the connection says nothing: only a frame
//! says that all was sent.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest payload.
const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// Longest text that is told.
const TEXT_CHARS: usize = 300;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// First: about so many bytes follow.
    Begin(u64),
    /// A part of the stream.
    Data(Vec<u8>),
    /// All was sent, and the backup is whole.
    End,
    /// It is not, and why.
    Failed(String),
}

/// Writes one.
///
/// # Errors
/// The connection broke.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let (kind, payload) = match frame {
        Frame::Begin(bytes) => (b'b', bytes.to_be_bytes().to_vec()),
        Frame::Data(bytes) => (b'd', bytes.clone()),
        Frame::End => (b'e', Vec::new()),
        Frame::Failed(text) => (
            b'f',
            text.chars().take(TEXT_CHARS).collect::<String>().into_bytes(),
        ),
    };
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    stream
        .write_all(&[&[kind], &length[..], &payload].concat())
        .await?;
    stream.flush().await
}

/// Reads one.
///
/// # Errors
/// The connection broke, or it is none.
pub async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "the donor says what makes no sense");
    let mut head = [0; 5];
    stream.read_exact(&mut head).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(odd());
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    match head[0] {
        b'b' => Ok(Frame::Begin(u64::from_be_bytes(
            payload.try_into().map_err(|_| odd())?,
        ))),
        b'd' => Ok(Frame::Data(payload)),
        b'e' if payload.is_empty() => Ok(Frame::End),
        b'f' => {
            let text = String::from_utf8_lossy(&payload);
            let plain = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS);
            Ok(Frame::Failed(plain.collect()))
        }
        _ => Err(odd()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_are_read_as_they_were_written() {
        let frames = [
            Frame::Begin(7 << 40),
            Frame::Data(vec![1, 2]),
            Frame::End,
            Frame::Failed("no\u{7} room".into()),
        ];
        let mut wire = Vec::new();
        for frame in &frames {
            send(&mut wire, frame).await.unwrap();
        }
        let mut rest = &wire[..];
        assert_eq!(receive(&mut rest).await.unwrap(), frames[0]);
        assert_eq!(receive(&mut rest).await.unwrap(), frames[1]);
        assert_eq!(receive(&mut rest).await.unwrap(), frames[2]);
        assert_eq!(receive(&mut rest).await.unwrap(), Frame::Failed("no room".into()));
        assert!(
            receive(&mut rest).await.is_err(),
            "the end of the connection is no end"
        );
    }

    #[tokio::test]
    async fn what_is_no_frame_is_an_error() {
        for bytes in [
            &b"d\xff\xff\xff\xff"[..],
            b"x\0\0\0\0",
            b"b\0\0\0\x01\0",
            b"e\0\0\0\x01\0",
            b"d\0\0\0\x02\0",
        ] {
            assert!(receive(&mut &bytes[..]).await.is_err(), "{bytes:?}");
        }
    }
}

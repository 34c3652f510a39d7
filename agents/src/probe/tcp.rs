//! A connection, and what is said on it: a service that hangs still has its connections accepted, by the kernel.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Longest answer looked at.
pub const EXPECT_BYTES_MAX: usize = 256;

/// Connects to `target`, says `send`, and wants an answer that begins with `expect`. Without either a connection is enough.
pub async fn talk(target: &str, send: &str, expect: &str) -> Result<(), String> {
    let mut stream = TcpStream::connect(target)
        .await
        .map_err(|error| error.to_string())?;
    stream
        .write_all(send.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let wanted = &expect.as_bytes()[..expect.len().min(EXPECT_BYTES_MAX)];
    let mut answer = vec![0; wanted.len()];
    let mut filled = 0;
    while filled < answer.len() {
        match stream.read(&mut answer[filled..]).await {
            Ok(0) => break,
            Ok(bytes) => filled += bytes,
            Err(error) => return Err(error.to_string()),
        }
        // What is wrong already will not become right.
        if !wanted.starts_with(&answer[..filled]) {
            break;
        }
    }
    if answer == wanted {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&answer[..filled]);
    Err(format!(
        "the answer begins with \"{}\" and not with \"{}\"",
        answer.escape_debug(),
        expect.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn serve(request: &'static [u8], answer: &'static [u8]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = vec![0; request.len()];
            stream.read_exact(&mut read).await.unwrap();
            assert_eq!(read, request);
            for piece in answer.chunks(3) {
                let _ = stream.write_all(piece).await;
                tokio::task::yield_now().await;
            }
        });
        target
    }

    #[tokio::test]
    async fn an_answer_passes_when_it_begins_as_it_should() {
        let memcached = serve(b"version\r\n", b"VERSION 1.6.38\r\n").await;
        assert_eq!(talk(&memcached, "version\r\n", "VERSION ").await, Ok(()));
        let banner = serve(b"", b"220 mail\r\n").await;
        assert_eq!(talk(&banner, "", "220 ").await, Ok(()));
        let plain = serve(b"", b"").await;
        assert_eq!(talk(&plain, "", "").await, Ok(()));
    }

    #[tokio::test]
    async fn another_answer_is_shown() {
        let other = serve(b"PING\r\n", b"-LOADING\r\n").await;
        let error = talk(&other, "PING\r\n", "+PONG").await.unwrap_err();
        assert!(error.ends_with("and not with \"+PONG\""), "{error}");
        assert!(error.starts_with("the answer begins with \"-"), "{error}");
        let closed = serve(b"PING\r\n", b"+PO").await;
        let error = talk(&closed, "PING\r\n", "+PONG\r\n").await.unwrap_err();
        assert_eq!(
            error,
            "the answer begins with \"+PO\" and not with \"+PONG\\r\\n\""
        );
    }
}

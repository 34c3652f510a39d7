//! The smallest HTTP client that can tell whether a service answers: HTTP/1.0, one GET, the status line.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::agent::AgentError;

/// Longest status line looked at.
const STATUS_LINE_BYTES: usize = 512;

/// Host with port to connect to, host as written, and path of `url`.
pub fn split_url(url: &str) -> Result<(String, &str, &str), AgentError> {
    let rest = url.strip_prefix("http://").ok_or_else(|| {
        AgentError(format!(
            "probe http {url:?}: it takes a URL that begins with http://"
        ))
    })?;
    let (host, path) = rest
        .find(['/', '?', '#'])
        .map_or((rest, "/"), |at| rest.split_at(at));
    if host.is_empty() || host.contains('@') || url.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err(AgentError(format!(
            "probe http {url:?}: the URL needs a host and no blanks or passwords"
        )));
    }
    let bare_v6 = host.starts_with('[') && host.ends_with(']');
    let has_port = !bare_v6
        && host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Ok((address, host, path))
}

/// One GET. Statuses 200 to 399 pass.
pub async fn get(url: &str) -> Result<(), String> {
    let (address, host, path) = split_url(url).map_err(|error| error.0)?;
    let mut stream = TcpStream::connect(&address)
        .await
        .map_err(|error| error.to_string())?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request = format!("GET {slash}{path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: holdfast\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let mut line = Vec::new();
    let mut piece = [0; 128];
    while !line.contains(&b'\n') && line.len() < STATUS_LINE_BYTES {
        match stream.read(&mut piece).await {
            Ok(0) => break,
            Ok(bytes) => line.extend_from_slice(&piece[..bytes]),
            Err(error) => return Err(error.to_string()),
        }
    }
    verdict(&line)
}

/// What an answer that begins with `line` means.
pub(crate) fn verdict(line: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(line);
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let status = words
        .next()
        .filter(|version| version.starts_with("HTTP/"))
        .and_then(|_| words.next());
    match status.and_then(|status| status.parse::<u16>().ok()) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("status {status}")),
        None => Err("the answer is not HTTP".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn serve(answer: &'static [u8]) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/health", listener.local_addr().unwrap());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 256];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer).await;
        });
        url
    }

    #[tokio::test]
    async fn only_good_statuses_pass() {
        assert_eq!(
            get(&serve(b"HTTP/1.1 204 No Content\r\n\r\n").await).await,
            Ok(())
        );
        assert_eq!(
            get(&serve(b"HTTP/1.1 503 Down\r\n\r\n").await).await,
            Err("status 503".into())
        );
        assert_eq!(
            get(&serve(b"SSH-2.0-x\r\n").await).await,
            Err("the answer is not HTTP".into())
        );
        assert_eq!(
            get(&serve(&[b'x'; 4096]).await).await,
            Err("the answer is not HTTP".into())
        );
    }

    #[test]
    fn urls_are_split() {
        assert_eq!(split_url("http://a").unwrap(), ("a:80".into(), "a", "/"));
        assert_eq!(
            split_url("http://[::1]/x?y").unwrap(),
            ("[::1]:80".into(), "[::1]", "/x?y")
        );
        assert_eq!(split_url("http://[::1]:81").unwrap().0, "[::1]:81");
        assert!(split_url("http://user:secret@a/").is_err());
        // Found by fuzzing: the configuration takes it, and it is no password.
        assert_eq!(split_url("http://h:80/p@/q").unwrap().2, "/p@/q");
    }
}

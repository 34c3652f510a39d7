//! How a connection to an Erlang node begins (erts, "Distribution Protocol"): epmd tells its port, and a challenge with the cookie
//! opens it.

use std::net::SocketAddr;
use std::path::Path;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::node::{Fault, Site, told};

/// Longest part of a handshake; names have at most 255 bytes.
const HANDSHAKE_BYTES_MAX: usize = 1024;
/// Longest cookie; Erlang's own limit.
const COOKIE_BYTES_MAX: u64 = 255;
/// What we can do: everything that nodes since OTP 23 ask for, and neither atom caches nor fragments. Without the first bit the
/// node is hidden: nobody connects back or tells others of it.
const FLAGS: u64 = 0x4 // extended references
    | 0x10 | 0x80 | 0x200 // funs
    | 0x100 // extended pids and ports
    | 0x400 | 0x800 // bits, new floats
    | 0x1_0000 | 0x2_0000 | 0x4_0000 // atoms in UTF-8, maps, big creations
    | 0x100_0000 // this handshake
    | 0x200_0000 // unlinking with a number
    | 0x4_0000_0000; // pids and ports of version 4

/// A connection that is let in, and the number that tells it from those of before.
///
/// # Errors
/// See [`Fault`].
pub async fn open(site: &Site) -> Result<(TcpStream, u32), Fault> {
    let absent = || Fault::Absent(site.name.clone());
    let (short, host) = site.name.split_once('@').ok_or_else(absent)?;
    let cookie = cookie(&site.cookie_file).await.map_err(Fault::Connection)?;
    let found = tokio::net::lookup_host((host, site.epmd_port)).await;
    let mut found = found.map_err(|error| Fault::Connection(format!("{host}: {error}")))?;
    let epmd = found.next().ok_or_else(absent)?;
    let port = ask_epmd(epmd, short).await?.ok_or_else(absent)?;
    let stream = TcpStream::connect((epmd.ip(), port)).await;
    let mut stream = stream.map_err(|_| absent())?;
    // Delays of the kernel would be added to every call.
    let _ = stream.set_nodelay(true);
    let creation = random()?.max(4);
    prove(&mut stream, site, &cookie, creation).await?;
    Ok((stream, creation))
}

/// The secret in `file`.
async fn cookie(file: &Path) -> Result<String, String> {
    let told = |error| format!("cannot read the cookie in {}: {error}", file.display());
    let found = tokio::fs::metadata(file).await.map_err(told)?;
    if !found.is_file() || found.len() > COOKIE_BYTES_MAX {
        return Err(format!("{} holds no cookie", file.display()));
    }
    let text = tokio::fs::read_to_string(file).await.map_err(told)?;
    Ok(text.trim_end().to_owned())
}

/// The port of the node `name` on this host; None if it does not run there.
async fn ask_epmd(epmd: SocketAddr, name: &str) -> Result<Option<u16>, Fault> {
    let Ok(mut stream) = TcpStream::connect(epmd).await else {
        return Ok(None);
    };
    let length = u16::try_from(name.len() + 1).map_err(|_| Fault::Malformed)?;
    let request = [&length.to_be_bytes(), &b"z"[..], name.as_bytes()].concat();
    stream.write_all(&request).await.map_err(told)?;
    port(&mut stream).await
}

/// epmd's answer.
pub(in crate::rabbitmq) async fn port(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<u16>, Fault> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await.map_err(told)?;
    match head {
        [119, 0] => stream.read_u16().await.map(Some).map_err(told),
        [119, _] => Ok(None),
        _ => Err(Fault::Malformed),
    }
}

/// Each side proves that it knows the cookie without saying it.
pub(in crate::rabbitmq) async fn prove(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    site: &Site,
    cookie: &str,
    creation: u32,
) -> Result<(), Fault> {
    let wrong = || Fault::Cookie {
        name: site.name.clone(),
        file: site.cookie_file.clone(),
    };
    let mut hello = vec![b'N'];
    hello.extend_from_slice(&FLAGS.to_be_bytes());
    hello.extend_from_slice(&creation.to_be_bytes());
    let name_bytes = u16::try_from(site.own_name.len()).map_err(|_| Fault::Malformed)?;
    hello.extend_from_slice(&name_bytes.to_be_bytes());
    hello.extend_from_slice(site.own_name.as_bytes());
    say(stream, &hello).await?;
    let status = hear(stream).await?;
    match status.as_slice() {
        b"sok" | b"sok_simultaneous" => {}
        // It still has our connection of before: it is to drop that.
        b"salive" => say(stream, b"strue").await?,
        [b's', why @ ..] => {
            let why = String::from_utf8_lossy(why).replace(char::is_control, " ");
            return Err(Fault::Connection(format!(
                "{} does not let us in: {why}",
                site.name
            )));
        }
        _ => return Err(Fault::Malformed),
    }
    let challenge = hear(stream).await?;
    let ([b'N', ..], Some(theirs)) = (challenge.as_slice(), challenge.get(9..13)) else {
        return Err(Fault::Malformed);
    };
    let theirs = theirs
        .iter()
        .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    let ours = random()?;
    let reply = [&b"r"[..], &ours.to_be_bytes(), &digest(cookie, theirs)].concat();
    say(stream, &reply).await?;
    // With another cookie it hangs up.
    let acknowledged = hear(stream).await.map_err(|_| wrong())?;
    if acknowledged.as_slice() == [&b"a"[..], &digest(cookie, ours)].concat() {
        Ok(())
    } else {
        Err(wrong())
    }
}

/// What shows that somebody who was asked with `challenge` knows the cookie. MD5 is the protocol's; it secures nothing else.
fn digest(cookie: &str, challenge: u32) -> [u8; 16] {
    md5::compute(format!("{cookie}{challenge}")).into()
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), part: &[u8]) -> Result<(), Fault> {
    let length = u16::try_from(part.len()).map_err(|_| Fault::Malformed)?;
    let bytes = [&length.to_be_bytes(), part].concat();
    stream.write_all(&bytes).await.map_err(told)
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Fault> {
    let length = usize::from(stream.read_u16().await.map_err(told)?);
    if length > HANDSHAKE_BYTES_MAX {
        return Err(Fault::Malformed);
    }
    let mut part = vec![0; length];
    stream.read_exact(&mut part).await.map_err(told)?;
    Ok(part)
}

fn random() -> Result<u32, Fault> {
    let mut bytes = [0; 4];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Fault::Connection("the kernel gives no random numbers".into()))?;
    Ok(u32::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_of_the_cookie_and_the_challenge_in_decimal() {
        // As `erlang:md5(["SECRET", integer_to_list(4294967295)])` has it.
        let hex: String = digest("SECRET", u32::MAX)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, "f335ffb3b43b205ab67645d9cbd55727");
    }

    #[tokio::test]
    async fn what_refuses_us_cannot_move_the_cursor() {
        let site = Site {
            name: "shop@localhost".into(),
            own_name: "holdfast-shop@localhost".into(),
            epmd_port: 0,
            cookie_file: "/nonexistent".into(),
            limit: std::time::Duration::from_secs(60),
        };
        let status = b"\0\x10snot \x1b[2Jallowed";
        let mut stream = tokio::io::join(&status[..], tokio::io::sink());
        let fault = prove(&mut stream, &site, "SECRET", 4).await.unwrap_err();
        assert_eq!(
            fault.to_string(),
            "shop@localhost does not let us in: not  [2Jallowed"
        );
    }
}

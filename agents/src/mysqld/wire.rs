//! The client's side of the MySQL protocol, as far as the agent needs it: log in without a password, run a statement,
//! read its rows as text. Nothing here reads or writes; everything that comes from a server is bounded.

use bytes::{Buf, BufMut};

/// Longest packet that is read. Answers to the agent's statements are far shorter.
pub const PACKET_BYTES_MAX: usize = 8 << 20;
/// Most columns of a result.
pub const COLUMNS_MAX: u64 = 512;
/// Most rows of a result; more is an error of the statement.
pub const ROWS_MAX: usize = 65_536;

const LONG_PASSWORD: u32 = 1;
const PROTOCOL_41: u32 = 0x200;
/// The server offers, or the client asks for, TLS.
pub const SSL: u32 = 0x800;
const TRANSACTIONS: u32 = 0x2000;
const SECURE_CONNECTION: u32 = 0x8000;
const PLUGIN_AUTH: u32 = 0x8_0000;
/// utf8mb4_general_ci, which both servers have.
const CHARSET: u8 = 45;

/// What a server said that the protocol does not allow.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the server's answer cannot be understood: {0}")]
pub struct Malformed(pub &'static str);

/// An error packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// Number of the error.
    pub code: u16,
    /// Its text.
    pub text: String,
}

/// The first packet of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Version as the server tells it.
    pub version: String,
    /// Number of this connection, for KILL.
    pub connection: u32,
    /// What the server offers.
    pub capabilities: u32,
}

/// A packet of the log-in.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    /// We are in.
    Done,
    /// Another way of authentication is asked for.
    Switch(String),
    /// A step of caching_sha2_password.
    More(u8),
    /// Refused.
    Refused(ServerError),
}

/// The first packet of the answer to a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Done, without rows.
    Done,
    /// Rows of this many columns follow.
    Columns(u64),
    /// Refused.
    Refused(ServerError),
}

/// A packet after the columns.
#[derive(Debug, PartialEq, Eq)]
pub enum RowOrEnd {
    /// A row; NULL is None.
    Row(Vec<Option<String>>),
    /// No row follows.
    End,
    /// The statement failed on the way.
    Refused(ServerError),
}

fn zero_ended(bytes: &mut &[u8]) -> Result<String, Malformed> {
    let at = bytes.iter().position(|byte| *byte == 0);
    let at = at.ok_or(Malformed("a text has no end"))?;
    let text = String::from_utf8_lossy(&bytes[..at]).into_owned();
    bytes.advance(at + 1);
    Ok(text)
}

fn need(bytes: &[u8], count: usize) -> Result<(), Malformed> {
    if bytes.len() < count {
        return Err(Malformed("a packet is too short"));
    }
    Ok(())
}

/// A length in one to nine bytes. None: NULL.
fn length(bytes: &mut &[u8]) -> Result<Option<u64>, Malformed> {
    need(bytes, 1)?;
    let first = bytes.get_u8();
    let more = match first {
        0xfb => return Ok(None),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        0xff => return Err(Malformed("a length is none")),
        short => return Ok(Some(short.into())),
    };
    need(bytes, more)?;
    Ok(Some(bytes.get_uint_le(more)))
}

fn counted(bytes: &mut &[u8]) -> Result<Option<String>, Malformed> {
    let Some(length) = length(bytes)? else {
        return Ok(None);
    };
    let length = usize::try_from(length).map_err(|_| Malformed("a text is too long"))?;
    need(bytes, length)?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    bytes.advance(length);
    Ok(Some(text))
}

/// An error packet, after its first byte.
fn refusal(mut bytes: &[u8]) -> Result<ServerError, Malformed> {
    need(bytes, 2)?;
    let code = bytes.get_u16_le();
    if bytes.first() == Some(&b'#') && bytes.len() >= 6 {
        bytes.advance(6);
    }
    let text = plain(&String::from_utf8_lossy(bytes), 2000);
    Ok(ServerError { code, text })
}

/// What a server says for people: on one line, and not more than `chars` characters of it.
#[must_use]
pub fn plain(text: &str, chars: usize) -> String {
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    shown.take(chars).collect()
}

/// Reads the greeting. The inner error is a server that does not want us (too many connections, a blocked host).
///
/// # Errors
/// No greeting of this protocol.
pub fn greeting(mut bytes: &[u8]) -> Result<Result<Greeting, ServerError>, Malformed> {
    need(bytes, 1)?;
    match bytes.get_u8() {
        10 => {}
        0xff => return refusal(bytes).map(Err),
        _ => return Err(Malformed("its greeting has another version than 10")),
    }
    let version = zero_ended(&mut bytes)?;
    need(bytes, 4 + 8 + 1 + 2)?;
    let connection = bytes.get_u32_le();
    bytes.advance(9);
    let low = bytes.get_u16_le();
    need(bytes, 3 + 2)?;
    bytes.advance(3);
    let high = bytes.get_u16_le();
    Ok(Ok(Greeting {
        version,
        connection,
        capabilities: u32::from(low) | u32::from(high) << 16,
    }))
}

fn client_head(capabilities: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(128);
    packet.put_u32_le(
        capabilities | LONG_PASSWORD | PROTOCOL_41 | TRANSACTIONS | SECURE_CONNECTION | PLUGIN_AUTH,
    );
    packet.put_u32_le(u32::try_from(PACKET_BYTES_MAX).unwrap_or(u32::MAX));
    packet.put_u8(CHARSET);
    packet.put_bytes(0, 23);
    packet
}

/// Asks for TLS; the log-in follows inside of it.
#[must_use]
pub fn tls_request() -> Vec<u8> {
    client_head(SSL)
}

/// The log-in: a name, no password, and the way of authentication that such an account has.
#[must_use]
pub fn login(user: &str, plugin: &str, tls: bool) -> Vec<u8> {
    let mut packet = client_head(if tls { SSL } else { 0 });
    packet.put_slice(user.as_bytes());
    packet.put_u8(0);
    packet.put_u8(0);
    packet.put_slice(plugin.as_bytes());
    packet.put_u8(0);
    packet
}

/// The answer to [`Login::Switch`] of an account without a password. None: such an account cannot be used without one.
#[must_use]
pub fn without_password(plugin: &str) -> Option<&'static [u8]> {
    match plugin {
        "auth_socket" | "unix_socket" | "mysql_native_password" => Some(&[]),
        // These count the end of an empty text as the empty password.
        "caching_sha2_password" | "sha256_password" => Some(&[0]),
        _ => None,
    }
}

/// Reads a packet of the log-in.
///
/// # Errors
/// It is none.
pub fn login_answer(mut bytes: &[u8]) -> Result<Login, Malformed> {
    need(bytes, 1)?;
    match bytes.get_u8() {
        0 => Ok(Login::Done),
        1 => {
            need(bytes, 1)?;
            Ok(Login::More(bytes[0]))
        }
        0xfe => zero_ended(&mut bytes).map(Login::Switch),
        0xff => refusal(bytes).map(Login::Refused),
        _ => Err(Malformed("an unknown step of the log-in")),
    }
}

/// A statement.
#[must_use]
pub fn query(statement: &str) -> Vec<u8> {
    [&[3], statement.as_bytes()].concat()
}

/// Reads the first packet of an answer.
///
/// # Errors
/// It is none.
pub fn answer(mut bytes: &[u8]) -> Result<Answer, Malformed> {
    need(bytes, 1)?;
    match bytes[0] {
        0 => Ok(Answer::Done),
        0xfb => Err(Malformed("it asks for a file of ours")),
        0xff => refusal(&bytes[1..]).map(Answer::Refused),
        _ => match length(&mut bytes)? {
            Some(count @ 1..=COLUMNS_MAX) => Ok(Answer::Columns(count)),
            _ => Err(Malformed("a result has too many columns")),
        },
    }
}

/// The name out of the description of a column.
///
/// # Errors
/// It is none.
pub fn column_name(mut bytes: &[u8]) -> Result<String, Malformed> {
    // Catalog, schema, table, original table, and then the name.
    for _ in 0..4 {
        counted(&mut bytes)?;
    }
    counted(&mut bytes)?.ok_or(Malformed("a column has no name"))
}

/// True for the packet that ends the columns.
#[must_use]
pub fn is_end(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0xfe) && bytes.len() < 9
}

/// Reads a row of `columns` values, or the end.
///
/// # Errors
/// It is neither.
pub fn row(mut bytes: &[u8], columns: usize) -> Result<RowOrEnd, Malformed> {
    if is_end(bytes) {
        return Ok(RowOrEnd::End);
    }
    if bytes.first() == Some(&0xff) {
        return refusal(&bytes[1..]).map(RowOrEnd::Refused);
    }
    let mut values = Vec::with_capacity(columns);
    for _ in 0..columns {
        values.push(counted(&mut bytes)?);
    }
    Ok(RowOrEnd::Row(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The greeting of a MariaDB 10.11, as it was sent.
    fn sample() -> Vec<u8> {
        let mut packet = vec![10];
        packet.extend_from_slice(b"5.5.5-10.11.19-MariaDB-log\0");
        packet.put_u32_le(7);
        packet.extend_from_slice(b"12345678\0");
        packet.put_u16_le(0xfffe);
        packet.extend_from_slice(&[45, 2, 0]);
        packet.put_u16_le(0x81bf);
        packet.extend_from_slice(&[21, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        packet.extend_from_slice(b"123456789012\0mysql_native_password\0");
        packet
    }

    #[test]
    fn a_greeting_is_read_and_every_shorter_one_is_an_error_or_one_without_its_end() {
        let read = greeting(&sample()).unwrap().unwrap();
        assert_eq!(read.version, "5.5.5-10.11.19-MariaDB-log");
        assert_eq!(read.connection, 7);
        assert_eq!(read.capabilities & SSL, SSL);
        let packet = sample();
        for end in 0..48 {
            assert!(greeting(&packet[..end]).is_err(), "{end}");
        }
        let refused = [&[0xff, 0x10, 0x04][..], b"Too many connections"].concat();
        assert_eq!(
            greeting(&refused).unwrap().unwrap_err(),
            ServerError {
                code: 1040,
                text: "Too many connections".into()
            }
        );
    }

    #[test]
    fn rows_are_read_with_null_and_long_values() {
        let long = "x".repeat(300);
        let mut packet = vec![0xfb, 1, b'a', 0xfc];
        packet.put_u16_le(300);
        packet.extend_from_slice(long.as_bytes());
        assert_eq!(
            row(&packet, 3).unwrap(),
            RowOrEnd::Row(vec![None, Some("a".into()), Some(long)])
        );
        assert!(row(&packet, 4).is_err());
        assert_eq!(row(&[0xfe, 0, 0, 2, 0], 3).unwrap(), RowOrEnd::End);
    }

    #[test]
    fn lengths_beyond_the_packet_are_errors() {
        let mut packet = vec![0xfe];
        packet.put_u64_le(u64::MAX);
        assert!(row(&[packet.as_slice(), &[0; 9]].concat(), 1).is_err());
        assert!(answer(&[0xfd, 1, 0, 1]).is_err());
        assert!(answer(&[0xfb, b'/']).is_err());
        assert!(login_answer(&[0xfe, b'x']).is_err());
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        let refused = [
            &[0xff, 0x28, 0x04][..],
            "#42000near '\u{1b}[2J\n\u{9b}'".as_bytes(),
        ]
        .concat();
        let Answer::Refused(error) = answer(&refused).unwrap() else {
            panic!("not refused");
        };
        assert_eq!(error.text, "near ' [2J  '");
    }

    #[test]
    fn a_password_is_never_made_up() {
        assert_eq!(without_password("auth_socket"), Some(&[][..]));
        assert_eq!(without_password("caching_sha2_password"), Some(&[0][..]));
        assert_eq!(without_password("dialog"), None);
        assert_eq!(
            login_answer(b"\xfeunix_socket\0").unwrap(),
            Login::Switch("unix_socket".into())
        );
    }
}

//! As much of the protocol of MariaDB and MySQL as one table needs (mariadb.com/kb, "Client/Server Protocol"): login without a
//! password, statements as text, answers without the extensions of later versions.

use std::io;

use super::store::odd;

/// LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
const CAPABILITIES: u32 = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x8_0000;
const PACKET_MAX: u32 = 1 << 24;
/// utf8_general_ci.
const CHARSET: u8 = 33;

/// The server's answer to a statement.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is done; the number of the row that it made, if it made one.
    Done { row: u64 },
    /// It is not, and why.
    Error(String),
    /// Rows follow; so many columns.
    Columns(u64),
}

/// A payload with its head.
pub fn frame(number: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).ok();
    let length = length
        .filter(|length| *length < PACKET_MAX)
        .ok_or_else(|| odd("too long for a packet"))?;
    let [low, middle, high, _] = length.to_le_bytes();
    Ok([&[low, middle, high, number], payload].concat())
}

/// What a server says to a login.
#[derive(Debug, PartialEq, Eq)]
pub enum Login {
    /// We are in.
    Done,
    /// Say this instead: there is no password, in the words of another plugin.
    Say(&'static [u8]),
    /// Its next packet decides.
    Wait,
}

/// Checks that a server we can talk to greets.
pub fn greeting(payload: &[u8]) -> io::Result<()> {
    match payload.first() {
        Some(10) => Ok(()),
        Some(0xff) => Err(odd(error(payload))),
        _ => Err(odd("a greeting of an unknown protocol")),
    }
}

/// Logs `user` in without a password.
#[must_use]
pub fn login(user: &str, database: &str) -> Vec<u8> {
    let mut payload = CAPABILITIES.to_le_bytes().to_vec();
    payload.extend(PACKET_MAX.to_le_bytes());
    payload.push(CHARSET);
    payload.extend([0; 23]);
    payload.extend(user.as_bytes());
    // Its end, and a proof of a password of no length.
    payload.extend([0, 0]);
    payload.extend(database.as_bytes());
    payload.push(0);
    payload.extend(b"mysql_native_password\0");
    payload
}

/// Reads the answer to a login. MySQL 9 knows accounts by another plugin than the one that [`login`] names.
pub fn login_reply(payload: &[u8]) -> io::Result<Login> {
    match payload.split_first() {
        Some((0, _)) => Ok(Login::Done),
        Some((1, [3])) => Ok(Login::Wait),
        Some((0xfe, rest)) if rest.starts_with(b"caching_sha2_password\0") => Ok(Login::Say(&[0])),
        Some((0xfe, rest)) if rest.starts_with(b"mysql_native_password\0") => Ok(Login::Say(&[])),
        Some((0xff, _)) => Err(odd(format!("login: {}", error(payload)))),
        _ => Err(odd("login: the server wants a password")),
    }
}

/// A statement.
#[must_use]
pub fn query(statement: &str) -> Vec<u8> {
    [&[3], statement.as_bytes()].concat()
}

/// Reads the first packet of an answer.
pub fn reply(payload: &[u8]) -> io::Result<Reply> {
    match payload.split_first() {
        Some((0, rest)) => {
            let (_, rest) = number(rest)?;
            let (row, _) = number(rest)?;
            Ok(Reply::Done { row })
        }
        Some((0xff, _)) => Ok(Reply::Error(error(payload))),
        Some(_) => Ok(Reply::Columns(number(payload)?.0)),
        None => Err(odd("an empty packet")),
    }
}

/// The number in a row of one column; `None` after the last row.
pub fn row(payload: &[u8]) -> io::Result<Option<u64>> {
    match payload.first() {
        Some(0xfe) if payload.len() < 9 => Ok(None),
        Some(0xff) => Err(odd(error(payload))),
        _ => {
            let (length, rest) = number(payload)?;
            let length = usize::try_from(length).map_err(|_| odd("a row of that length"))?;
            let text = rest.get(..length).ok_or_else(|| odd("a row that is cut off"))?;
            let text = String::from_utf8_lossy(text);
            text.parse().map(Some).map_err(|_| odd(format!("row '{text}'")))
        }
    }
}

/// A length-encoded number, and what follows it.
fn number(bytes: &[u8]) -> io::Result<(u64, &[u8])> {
    let (first, rest) = bytes.split_first().ok_or_else(|| odd("a number is missing"))?;
    let width = match first {
        0..=0xfa => return Ok((u64::from(*first), rest)),
        0xfc => 2,
        0xfd => 3,
        0xfe => 8,
        _ => return Err(odd("no number")),
    };
    let digits = rest.get(..width).ok_or_else(|| odd("a number that is cut off"))?;
    let value = digits
        .iter()
        .rev()
        .fold(0, |value, digit| value << 8 | u64::from(*digit));
    Ok((value, &rest[width..]))
}

/// The code and the words of an error packet.
fn error(payload: &[u8]) -> String {
    let code = payload
        .get(1..3)
        .map_or(0, |code| u16::from_le_bytes([code[0], code[1]]));
    let text = payload.get(3..).unwrap_or_default();
    format!("error {code}: {}", String::from_utf8_lossy(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read() {
        assert_eq!(
            reply(&[0, 1, 0xfc, 0x10, 0x27, 2, 0]).unwrap(),
            Reply::Done { row: 10_000 }
        );
        assert_eq!(reply(&[1]).unwrap(), Reply::Columns(1));
        let refused = reply(b"\xff\x15\x04#28000no").unwrap();
        assert_eq!(refused, Reply::Error("error 1045: #28000no".into()));
        assert_eq!(row(b"\x0242").unwrap(), Some(42));
        assert_eq!(row(&[0xfe, 0, 0, 2, 0]).unwrap(), None);
    }

    #[test]
    fn a_login_without_a_password_goes_by_either_plugin() {
        assert_eq!(login_reply(&[0, 0, 0]).unwrap(), Login::Done);
        assert_eq!(
            login_reply(b"\xfecaching_sha2_password\0salt").unwrap(),
            Login::Say(&[0])
        );
        assert_eq!(login_reply(&[1, 3]).unwrap(), Login::Wait);
        for refused in [&b"\x01\x04"[..], b"\xfedialog\0", b"\xff\x15\x04no", b""] {
            assert!(login_reply(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn what_is_cut_off_is_an_error() {
        for bytes in [&b""[..], &[0], &[0, 0xfd, 1], &[0, 0xff]] {
            assert!(reply(bytes).is_err(), "{bytes:?}");
        }
        assert!(row(b"\x054").is_err());
        assert!(greeting(b"\x09").is_err());
    }

    #[test]
    fn a_frame_has_its_length_and_number() {
        assert_eq!(frame(7, b"ab").unwrap(), [2, 0, 0, 7, b'a', b'b']);
    }
}

//! As much of AMQP 0-9-1 as one queue needs (rabbitmq.com/amqp-0-9-1-reference): frames, methods, and the words of those that a
//! client with publisher confirms sends.

use std::io::{self, Read};

use super::store::odd;

/// What a client says first.
pub const GREETING: &[u8] = b"AMQP\x00\x00\x09\x01";
/// A method, with its class in the upper half.
pub type Id = u32;
pub const CONNECTION_START: Id = id(10, 10);
pub const CONNECTION_START_OK: Id = id(10, 11);
pub const CONNECTION_TUNE: Id = id(10, 30);
pub const CONNECTION_TUNE_OK: Id = id(10, 31);
pub const CONNECTION_OPEN: Id = id(10, 40);
pub const CONNECTION_OPEN_OK: Id = id(10, 41);
pub const CONNECTION_CLOSE: Id = id(10, 50);
pub const CHANNEL_OPEN: Id = id(20, 10);
pub const CHANNEL_OPEN_OK: Id = id(20, 11);
pub const CHANNEL_CLOSE: Id = id(20, 40);
pub const QUEUE_DECLARE: Id = id(50, 10);
pub const QUEUE_DECLARE_OK: Id = id(50, 11);
pub const BASIC_CONSUME: Id = id(60, 20);
pub const BASIC_CONSUME_OK: Id = id(60, 21);
pub const BASIC_PUBLISH: Id = id(60, 40);
pub const BASIC_RETURN: Id = id(60, 50);
pub const BASIC_DELIVER: Id = id(60, 60);
pub const BASIC_ACK: Id = id(60, 80);
pub const BASIC_NACK: Id = id(60, 120);
pub const CONFIRM_SELECT: Id = id(85, 10);
pub const CONFIRM_SELECT_OK: Id = id(85, 11);

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;
/// Longest frame that is read; ours are short, a broker's greeting has some hundred bytes.
const FRAME_MAX: u32 = 256 << 10;

const fn id(class: u32, method: u32) -> Id {
    class << 16 | method
}

/// What a broker sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// A method and its arguments.
    Method(Id, Vec<u8>),
    /// How long the message that follows is.
    Header(u64),
    /// A part of a message.
    Body(Vec<u8>),
}

/// Reads the next frame.
pub fn read(from: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; 7];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    if length > FRAME_MAX {
        return Err(odd(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; length as usize + 1];
    from.read_exact(&mut payload)?;
    if payload.pop() != Some(END) {
        return Err(odd("a frame without an end"));
    }
    match head[0] {
        METHOD => {
            let (id, arguments) = payload.split_at_checked(4).ok_or_else(|| odd("half a method"))?;
            let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
            Ok(Frame::Method(id, arguments.to_vec()))
        }
        HEADER => {
            let size = payload.get(4..12).ok_or_else(|| odd("half a header"))?;
            Ok(Frame::Header(
                size.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)),
            ))
        }
        BODY => Ok(Frame::Body(payload)),
        other => Err(odd(format!("a frame of type {other}"))),
    }
}

/// A method on `channel`.
#[must_use]
pub fn method(channel: u16, id: Id, arguments: &[u8]) -> Vec<u8> {
    frame(METHOD, channel, &[&id.to_be_bytes(), arguments].concat())
}

/// A persistent message for the queue `name`, which comes back if it cannot be put there.
#[must_use]
pub fn publish(channel: u16, name: &str, body: &[u8]) -> Vec<u8> {
    // No ticket, the default exchange, the queue's name as the key, mandatory.
    let place = [&[0, 0], short("").as_slice(), &short(name), &[1]].concat();
    let class = BASIC_PUBLISH.to_be_bytes();
    let length = (body.len() as u64).to_be_bytes();
    // Of the properties only the delivery mode: persistent.
    let header = [&class[..2], &[0, 0], &length, &[0x10, 0x00], &[2]].concat();
    [
        method(channel, BASIC_PUBLISH, &place),
        frame(HEADER, channel, &header),
        frame(BODY, channel, body),
    ]
    .concat()
}

/// A durable queue called `name`, of the type `kind`.
#[must_use]
pub fn queue(name: &str, kind: &str) -> Vec<u8> {
    let table = [short("x-queue-type").as_slice(), b"S", &long(kind.as_bytes())].concat();
    [&[0, 0], short(name).as_slice(), &[0b10], &long(&table)].concat()
}

/// Everything that is in the queue `name`, to be acknowledged.
#[must_use]
pub fn consume(name: &str) -> Vec<u8> {
    [
        &[0, 0],
        short(name).as_slice(),
        &short("reader"),
        &[0],
        &long(&[]),
    ]
    .concat()
}

/// The number of a delivered message on its channel.
pub fn tag(delivered: &[u8]) -> io::Result<u64> {
    let consumer = usize::from(*delivered.first().ok_or_else(|| odd("an empty delivery"))?);
    let tag = delivered.get(1 + consumer..9 + consumer);
    let tag = tag.ok_or_else(|| odd("half a delivery"))?;
    Ok(tag.iter().fold(0, |tag, byte| tag << 8 | u64::from(*byte)))
}

/// The message with that number is done with, and all before it.
#[must_use]
pub fn done(tag: u64) -> Vec<u8> {
    [&tag.to_be_bytes()[..], &[1]].concat()
}

/// Who one is.
#[must_use]
pub fn login(user: &str, password: &str) -> Vec<u8> {
    let secret = format!("\0{user}\0{password}");
    [long(&[]), short("PLAIN"), long(secret.as_bytes()), short("en_US")].concat()
}

/// How many messages are in the queue, in the answer to its declaration.
pub fn count(declared: &[u8]) -> io::Result<u32> {
    let name = usize::from(*declared.first().ok_or_else(|| odd("an empty answer"))?);
    let count = declared
        .get(1 + name..5 + name)
        .ok_or_else(|| odd("half an answer"))?;
    Ok(count.iter().fold(0, |count, byte| count << 8 | u32::from(*byte)))
}

/// What is said when a connection or channel is closed.
#[must_use]
pub fn closing(arguments: &[u8]) -> String {
    let length = arguments.get(2).copied().map_or(0, usize::from);
    let text = arguments.get(3..3 + length).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A text with its length in one byte.
#[must_use]
pub fn short(text: &str) -> Vec<u8> {
    let text = &text.as_bytes()[..text.len().min(255)];
    [&[u8::try_from(text.len()).unwrap_or(u8::MAX)], text].concat()
}

/// Bytes with their length in four.
fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), bytes].concat()
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let channel = channel.to_be_bytes();
    [
        &[kind],
        channel.as_slice(),
        &length.to_be_bytes(),
        payload,
        &[END],
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let bytes = publish(1, "torture", b"42");
        let mut from = bytes.as_slice();
        let Frame::Method(id, arguments) = read(&mut from).unwrap() else {
            panic!("no method");
        };
        assert_eq!(
            (id, &arguments[..4], arguments[11]),
            (BASIC_PUBLISH, &[0, 0, 0, 7][..], 1)
        );
        assert_eq!(read(&mut from).unwrap(), Frame::Header(2));
        assert_eq!(read(&mut from).unwrap(), Frame::Body(b"42".to_vec()));
        assert!(read(&mut from).is_err());
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        let frame = method(0, CONNECTION_OPEN_OK, &[0]);
        assert!(read(&mut &frame[..frame.len() - 1]).is_err());
        let mut damaged = frame.clone();
        *damaged.last_mut().unwrap() = 0;
        assert!(read(&mut damaged.as_slice()).is_err());
        assert!(read(&mut &[1, 0, 0, 0xff, 0xff, 0xff, 0xff][..]).is_err());
        assert!(read(&mut &b"AMQP\x00\x00\x09\x01"[..]).is_err());
        assert_eq!(count(&[1, b'q', 0, 0, 1, 0]).unwrap(), 256);
        assert!(count(&[9, 0]).is_err());
        assert_eq!(tag(&[1, b'r', 0, 0, 0, 0, 0, 0, 1, 0]).unwrap(), 256);
        assert!(tag(&[1, b'r', 0]).is_err());
        assert_eq!(closing(&[1, 2, 2, b'n', b'o']), "no");
    }
}

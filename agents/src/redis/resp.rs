//! RESP, the protocol of Redis and Valkey: what is read from a service, and commands to it.
//!
//! The bytes come from a service that may be of any version, or from whatever else listens on its port. So everything is
//! bounded: the size of an answer, its depth and its number of elements.

/// Longest answer that is read. The longest that is asked for, `INFO`, has some KB.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Elements of all arrays of an answer together.
const ELEMENTS_MAX: usize = 10_000;
/// Arrays within arrays. `ROLE` has two.
const DEPTH_MAX: usize = 8;
/// Digits of a length or a number, and the longest line of an error that is kept.
const LINE_BYTES_MAX: usize = 16 << 10;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `+OK`.
    Simple(String),
    /// `-ERR what is wrong`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// Bytes of any kind; None for null. What is no UTF-8 is replaced: nothing that is asked for has any.
    Bulk(Option<String>),
    /// Values; None for null.
    Array(Option<Vec<Value>>),
}

/// Why bytes are no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first byte of a value says its type; this is none.
    #[error("it does not speak the protocol of Redis (byte {0:#04x} where a type is expected)")]
    Type(u8),
    /// A length or number that is none.
    #[error("a length or number in its answer is none")]
    Number,
    /// A line that does not end.
    #[error("a line of its answer does not end")]
    Line,
    /// More than is taken.
    #[error("its answer is larger than anything that was asked for")]
    TooLarge,
}

/// Reads one value from the start of `bytes`: it and its length. None while it is not complete.
///
/// # Errors
/// The bytes are no value, or one beyond the bounds.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, Malformed> {
    let mut reader = Reader {
        bytes,
        at: 0,
        elements: 0,
    };
    let value = match reader.value(0) {
        Ok(value) => value,
        Err(Stop::Incomplete) if bytes.len() > ANSWER_BYTES_MAX => return Err(Malformed::TooLarge),
        Err(Stop::Incomplete) => return Ok(None),
        Err(Stop::Malformed(why)) => return Err(why),
    };
    Ok(Some((value, reader.at)))
}

/// A command as it is sent.
#[must_use]
pub fn encode(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

enum Stop {
    Incomplete,
    Malformed(Malformed),
}

impl From<Malformed> for Stop {
    fn from(why: Malformed) -> Stop {
        Stop::Malformed(why)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    elements: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let kind = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        self.at += 1;
        match kind {
            b'+' => Ok(Value::Simple(self.text()?)),
            b'-' => Ok(Value::Error(self.text()?)),
            b':' => Ok(Value::Integer(self.number()?)),
            b'$' => Ok(Value::Bulk(self.bulk()?)),
            b'*' => Ok(Value::Array(self.array(depth)?)),
            other => Err(Malformed::Type(other).into()),
        }
    }

    fn line(&mut self) -> Result<&[u8], Stop> {
        let rest = &self.bytes[self.at..];
        let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            return Err(match window.len() {
                LINE_BYTES_MAX => Malformed::Line.into(),
                _ => Stop::Incomplete,
            });
        };
        let line = rest[..end].strip_suffix(b"\r").ok_or(Malformed::Line)?;
        self.at += end + 1;
        Ok(line)
    }

    fn text(&mut self) -> Result<String, Stop> {
        Ok(String::from_utf8_lossy(self.line()?).into_owned())
    }

    fn number(&mut self) -> Result<i64, Stop> {
        let line = self.line()?;
        let text = std::str::from_utf8(line).map_err(|_| Malformed::Number)?;
        Ok(text.parse().map_err(|_| Malformed::Number)?)
    }

    /// The length before a bulk or an array; None for null.
    fn length(&mut self, most: usize) -> Result<Option<usize>, Stop> {
        match self.number()? {
            -1 => Ok(None),
            length => match usize::try_from(length) {
                Ok(length) if length <= most => Ok(Some(length)),
                Ok(_) => Err(Malformed::TooLarge.into()),
                Err(_) => Err(Malformed::Number.into()),
            },
        }
    }

    fn bulk(&mut self) -> Result<Option<String>, Stop> {
        let Some(length) = self.length(ANSWER_BYTES_MAX)? else {
            return Ok(None);
        };
        let rest = &self.bytes[self.at..];
        if rest.len() < length + 2 {
            return Err(Stop::Incomplete);
        }
        if &rest[length..length + 2] != b"\r\n" {
            return Err(Malformed::Line.into());
        }
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 2;
        Ok(Some(text))
    }

    fn array(&mut self, depth: usize) -> Result<Option<Vec<Value>>, Stop> {
        let Some(length) = self.length(ELEMENTS_MAX)? else {
            return Ok(None);
        };
        self.elements += length;
        if self.elements > ELEMENTS_MAX || depth >= DEPTH_MAX {
            return Err(Malformed::TooLarge.into());
        }
        // Not reserved by the length that was announced: it may lie.
        let mut values = Vec::new();
        for _ in 0..length {
            values.push(self.value(depth + 1)?);
        }
        Ok(Some(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8]) -> Value {
        let (value, length) = decode(bytes).unwrap().unwrap();
        assert_eq!(length, bytes.len());
        value
    }

    #[test]
    fn every_kind_is_read() {
        assert_eq!(whole(b"+OK\r\n"), Value::Simple("OK".into()));
        assert_eq!(whole(b"-ERR no\r\n"), Value::Error("ERR no".into()));
        assert_eq!(whole(b":-7\r\n"), Value::Integer(-7));
        assert_eq!(whole(b"$-1\r\n"), Value::Bulk(None));
        assert_eq!(whole(b"$4\r\na\r\nb\r\n"), Value::Bulk(Some("a\r\nb".into())));
        let array = whole(b"*3\r\n$6\r\nmaster\r\n:9\r\n*0\r\n");
        let Value::Array(Some(values)) = array else {
            panic!("no array")
        };
        assert_eq!(values.len(), 3);
    }

    #[test]
    fn a_part_is_no_answer_yet_wherever_it_ends() {
        let bytes = b"*2\r\n$3\r\nabc\r\n:12\r\n";
        for end in 0..bytes.len() {
            assert_eq!(decode(&bytes[..end]), Ok(None), "{end}");
        }
        // What follows belongs to the next answer.
        let (_, length) = decode(b"+OK\r\n+NEXT").unwrap().unwrap();
        assert_eq!(length, 5);
    }

    #[test]
    fn what_is_beyond_the_bounds_is_refused() {
        assert_eq!(decode(b"HTTP/1.1 400"), Err(Malformed::Type(b'H')));
        assert_eq!(decode(b"$99999999\r\n"), Err(Malformed::TooLarge));
        assert_eq!(decode(b"$-2\r\n"), Err(Malformed::Number));
        assert_eq!(decode(b"*100000\r\n"), Err(Malformed::TooLarge));
        assert_eq!(decode(&b"*1\r\n".repeat(20)), Err(Malformed::TooLarge));
        assert_eq!(decode(&[b'+'; LINE_BYTES_MAX + 1]), Err(Malformed::Line));
        assert_eq!(decode(b"$1\r\nabc"), Err(Malformed::Line));
    }

    #[test]
    fn commands_are_arrays_of_bulks() {
        assert_eq!(encode(&["GET", "k"]), b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    }
}

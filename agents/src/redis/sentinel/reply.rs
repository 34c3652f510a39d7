//! Answers in RESP2 and RESP3.

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// `+OK`.
    Simple(&'static str),
    /// `-ERR what is wrong`. One line.
    Error(String),
    /// A number.
    Integer(u64),
    /// A text.
    Bulk(String),
    /// No array.
    Null,
    /// Several.
    Array(Vec<Reply>),
    /// Named ones; RESP2 knows no maps, there names and values follow each other.
    Map(Vec<(&'static str, Reply)>),
    /// Not an answer: what was subscribed to. An array in RESP2.
    Push(Vec<Reply>),
}

impl Reply {
    /// A text.
    pub fn text(text: impl Into<String>) -> Reply {
        Reply::Bulk(text.into())
    }

    /// Adds it to `bytes`, in the form that the client asked for.
    pub fn write(&self, resp3: bool, bytes: &mut Vec<u8>) {
        match self {
            Reply::Simple(text) => line(bytes, '+', text),
            Reply::Error(text) => line(bytes, '-', &text.replace(['\r', '\n'], " ")),
            Reply::Integer(number) => line(bytes, ':', number),
            Reply::Bulk(text) => bulk(bytes, text),
            Reply::Null if resp3 => bytes.extend_from_slice(b"_\r\n"),
            Reply::Null => bytes.extend_from_slice(b"*-1\r\n"),
            Reply::Array(all) => sequence(bytes, '*', all, resp3),
            Reply::Push(all) => sequence(bytes, if resp3 { '>' } else { '*' }, all, resp3),
            Reply::Map(pairs) => {
                let (kind, length) = if resp3 {
                    ('%', pairs.len())
                } else {
                    ('*', 2 * pairs.len())
                };
                line(bytes, kind, &length);
                for (name, value) in pairs {
                    bulk(bytes, name);
                    value.write(resp3, bytes);
                }
            }
        }
    }
}

fn line(bytes: &mut Vec<u8>, kind: char, what: &(impl std::fmt::Display + ?Sized)) {
    bytes.extend_from_slice(format!("{kind}{what}\r\n").as_bytes());
}

fn bulk(bytes: &mut Vec<u8>, text: &str) {
    line(bytes, '$', &text.len());
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

fn sequence(bytes: &mut Vec<u8>, kind: char, all: &[Reply], resp3: bool) {
    line(bytes, kind, &all.len());
    for one in all {
        one.write(resp3, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(reply: &Reply, resp3: bool) -> String {
        let mut bytes = Vec::new();
        reply.write(resp3, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn both_forms_are_written() {
        let map = Reply::Map(vec![("a", Reply::Integer(1)), ("b", Reply::Null)]);
        assert_eq!(written(&map, false), "*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n*-1\r\n");
        assert_eq!(written(&map, true), "%2\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n_\r\n");
        let push = Reply::Push(vec![Reply::text("x")]);
        assert_eq!(written(&push, false), "*1\r\n$1\r\nx\r\n");
        assert_eq!(written(&push, true), ">1\r\n$1\r\nx\r\n");
        assert_eq!(
            written(&Reply::Error("ERR a\r\nb".into()), false),
            "-ERR a  b\r\n"
        );
        assert_eq!(
            written(&Reply::Array(vec![Reply::Simple("OK")]), true),
            "*1\r\n+OK\r\n"
        );
    }
}

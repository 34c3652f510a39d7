//! Erlang's external term format: as much as passes between a broker and us. Pids, references and what else nobody looks into
//! are kept as they came.

use std::fmt::Write as _;

/// Deepest nesting that is read. Parsed expressions nest, answers hardly.
const DEPTH_MAX: u32 = 512;
/// Most terms that are read at once: each takes more memory than the byte it may come as.
const TERMS_MAX: usize = 1 << 18;
/// Most characters of an atom; Erlang's own limit.
const ATOM_CHARS_MAX: usize = 255;
/// What a term begins with when it stands alone.
pub const VERSION: u8 = 131;

const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const ATOM_LATIN1: u8 = 100;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const SMALL_ATOM_LATIN1: u8 = 115;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

/// A term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Term {
    /// `ok`.
    Atom(String),
    /// A whole number.
    Int(i64),
    /// `<<"x">>`.
    Binary(Vec<u8>),
    /// `{a, b}`.
    Tuple(Vec<Term>),
    /// `[a, b]`; a string is a list of numbers.
    List(Vec<Term>),
    /// `#{a => b}`.
    Map(Vec<(Term, Term)>),
    /// Anything else, as it came.
    Other(Vec<u8>),
}

impl Term {
    /// An atom.
    #[must_use]
    pub fn atom(name: &str) -> Term {
        Term::Atom(name.into())
    }

    /// A string: a list of its bytes.
    #[must_use]
    pub fn text(text: &str) -> Term {
        Term::List(text.bytes().map(|byte| Term::Int(byte.into())).collect())
    }

    /// The name of an atom.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Term::Atom(name) => Some(name),
            _ => None,
        }
    }

    /// The elements of a tuple of this atom and `count` more.
    #[must_use]
    pub fn tagged(&self, tag: &str, count: usize) -> Option<&[Term]> {
        match self {
            Term::Tuple(parts) if parts.len() == count + 1 && parts[0].name() == Some(tag) => {
                Some(&parts[1..])
            }
            _ => None,
        }
    }

    /// The elements of a list.
    #[must_use]
    pub fn list(&self) -> Option<&[Term]> {
        match self {
            Term::List(list) => Some(list),
            _ => None,
        }
    }

    /// A whole number.
    #[must_use]
    pub fn int(&self) -> Option<i64> {
        match self {
            Term::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// `true` or `false`.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        match self.name()? {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// For people: as Erlang would print it, and not more than some hundred characters.
    #[must_use]
    pub fn shown(&self) -> String {
        let mut text = String::new();
        self.show(&mut text, 0);
        let short: String = text.chars().take(SHOWN_CHARS).collect();
        if short.len() < text.len() {
            format!("{short}...")
        } else {
            text
        }
    }

    fn show(&self, text: &mut String, depth: u32) {
        if text.len() > SHOWN_CHARS || depth > SHOWN_DEPTH {
            text.push('_');
            return;
        }
        let between = |text: &mut String, list: &[Term]| {
            for (place, term) in list.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                term.show(text, depth + 1);
                if text.len() > SHOWN_CHARS {
                    break;
                }
            }
        };
        match self {
            Term::Atom(name) => text.extend(name.chars().filter(|c| !c.is_control())),
            Term::Int(number) => {
                let _ = write!(text, "{number}");
            }
            Term::Binary(bytes) => push_printable(text, bytes),
            Term::List(list) => match printable(list) {
                Some(bytes) => push_printable(text, &bytes),
                None => {
                    text.push('[');
                    between(text, list);
                    text.push(']');
                }
            },
            Term::Tuple(parts) => {
                text.push('{');
                between(text, parts);
                text.push('}');
            }
            Term::Map(_) => text.push_str("#{_}"),
            Term::Other(_) => text.push('_'),
        }
    }
}

const SHOWN_CHARS: usize = 300;
const SHOWN_DEPTH: u32 = 12;

fn printable(list: &[Term]) -> Option<Vec<u8>> {
    let byte = |term: &Term| {
        let byte = u8::try_from(term.int()?).ok()?;
        (byte.is_ascii_graphic() || byte.is_ascii_whitespace()).then_some(byte)
    };
    if list.is_empty() {
        return None;
    }
    list.iter().map(byte).collect()
}

fn push_printable(text: &mut String, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    text.push('"');
    text.extend(
        shown
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(SHOWN_CHARS),
    );
    text.push('"');
}

/// Writes `term` behind `to`.
pub fn encode(to: &mut Vec<u8>, term: &Term) {
    match term {
        Term::Atom(name) => {
            match u8::try_from(name.len()) {
                Ok(count) => to.extend_from_slice(&[SMALL_ATOM_UTF8, count]),
                Err(_) => {
                    to.push(ATOM_UTF8);
                    to.extend_from_slice(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes());
                }
            }
            to.extend_from_slice(name.as_bytes());
        }
        Term::Int(number) => integer(to, *number),
        Term::Binary(bytes) => {
            to.push(BINARY);
            length(to, bytes.len());
            to.extend_from_slice(bytes);
        }
        Term::Tuple(parts) => {
            match u8::try_from(parts.len()) {
                Ok(count) => to.extend_from_slice(&[SMALL_TUPLE, count]),
                Err(_) => {
                    to.push(LARGE_TUPLE);
                    length(to, parts.len());
                }
            }
            parts.iter().for_each(|part| encode(to, part));
        }
        Term::List(list) => {
            if !list.is_empty() {
                to.push(LIST);
                length(to, list.len());
                list.iter().for_each(|part| encode(to, part));
            }
            to.push(NIL);
        }
        Term::Map(pairs) => {
            to.push(MAP);
            length(to, pairs.len());
            for (key, value) in pairs {
                encode(to, key);
                encode(to, value);
            }
        }
        Term::Other(bytes) => to.extend_from_slice(bytes),
    }
}

fn length(to: &mut Vec<u8>, length: usize) {
    to.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
}

fn integer(to: &mut Vec<u8>, number: i64) {
    if let Ok(byte) = u8::try_from(number) {
        to.extend_from_slice(&[SMALL_INTEGER, byte]);
    } else if let Ok(number) = i32::try_from(number) {
        to.push(INTEGER);
        to.extend_from_slice(&number.to_be_bytes());
    } else {
        to.extend_from_slice(&[SMALL_BIG, 8, u8::from(number < 0)]);
        to.extend_from_slice(&number.unsigned_abs().to_le_bytes());
    }
}

/// Reads one term from the start of `bytes`: it, and what follows it. None of what is none.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<(Term, &[u8])> {
    let mut reader = Reader {
        rest: bytes,
        left: TERMS_MAX,
    };
    let term = reader.term(DEPTH_MAX)?;
    Some((term, reader.rest))
}

struct Reader<'a> {
    rest: &'a [u8],
    /// So many more terms are read.
    left: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<usize> {
        let taken = self.take(bytes)?;
        Some(
            taken
                .iter()
                .fold(0, |number, byte| number << 8 | usize::from(*byte)),
        )
    }

    fn term(&mut self, depth: u32) -> Option<Term> {
        let depth = depth.checked_sub(1)?;
        self.left = self.left.checked_sub(1)?;
        let from = self.rest;
        Some(match self.take(1)?[0] {
            SMALL_INTEGER => Term::Int(i64::try_from(self.number(1)?).ok()?),
            INTEGER => Term::Int(i32::from_be_bytes(*self.take(4)?.first_chunk()?).into()),
            SMALL_BIG => self.big(from)?,
            tag @ (ATOM_LATIN1 | ATOM_UTF8 | SMALL_ATOM_LATIN1 | SMALL_ATOM_UTF8) => self.atom(tag)?,
            SMALL_TUPLE => {
                let count = self.number(1)?;
                Term::Tuple(self.terms(count, depth)?)
            }
            LARGE_TUPLE => {
                let count = self.number(4)?;
                Term::Tuple(self.terms(count, depth)?)
            }
            NIL => Term::List(Vec::new()),
            STRING => {
                let count = self.number(2)?;
                let bytes = self.take(count)?;
                self.left = self.left.checked_sub(count)?;
                Term::List(bytes.iter().map(|byte| Term::Int((*byte).into())).collect())
            }
            LIST => {
                let count = self.number(4)?;
                let list = self.terms(count, depth)?;
                // Whatever stands behind the last element: the empty list, but for lists that are none.
                self.term(depth)?;
                Term::List(list)
            }
            BINARY => {
                let count = self.number(4)?;
                Term::Binary(self.take(count)?.to_vec())
            }
            MAP => {
                let count = self.number(4)?;
                // Each pair takes two bytes at least.
                if count > self.rest.len() / 2 {
                    return None;
                }
                let pair = |_| Some((self.term(depth)?, self.term(depth)?));
                Term::Map((0..count).map(pair).collect::<Option<_>>()?)
            }
            tag => {
                self.skip(tag)?;
                Term::Other(from[..from.len() - self.rest.len()].to_vec())
            }
        })
    }

    fn terms(&mut self, count: usize, depth: u32) -> Option<Vec<Term>> {
        // Each takes a byte at least: a count beyond that is none, and reserves nothing.
        if count > self.rest.len() {
            return None;
        }
        (0..count).map(|_| self.term(depth)).collect()
    }

    /// The rest of an atom that began with `tag`.
    fn atom(&mut self, tag: u8) -> Option<Term> {
        let width = if matches!(tag, ATOM_LATIN1 | ATOM_UTF8) {
            2
        } else {
            1
        };
        let count = self.number(width)?;
        let name = self.take(count)?;
        let name: String = match tag {
            ATOM_UTF8 | SMALL_ATOM_UTF8 => str::from_utf8(name).ok()?.to_owned(),
            _ => name.iter().copied().map(char::from).collect(),
        };
        (name.chars().count() <= ATOM_CHARS_MAX).then_some(Term::Atom(name))
    }

    /// A number of more than four bytes; one of more than eight stays as it came.
    fn big(&mut self, from: &[u8]) -> Option<Term> {
        let count = self.number(1)?;
        let negative = self.number(1)? != 0;
        let digits = self.take(count)?;
        let value = (count <= 8).then(|| {
            digits
                .iter()
                .rev()
                .fold(0_u64, |value, digit| value << 8 | u64::from(*digit))
        });
        let signed = |value: u64| {
            if negative {
                -i128::from(value)
            } else {
                value.into()
            }
        };
        Some(match value.and_then(|value| i64::try_from(signed(value)).ok()) {
            Some(number) => Term::Int(number),
            None => Term::Other(from[..from.len() - self.rest.len()].to_vec()),
        })
    }

    /// Passes over what nobody looks into. No terms stand in it but atoms.
    fn skip(&mut self, tag: u8) -> Option<()> {
        let (atoms, bytes) = match tag {
            // A float; a number of any length.
            70 => (0, 8),
            111 => (0, self.number(4)?.checked_add(1)?),
            // Pids and ports, old and new.
            88 => (1, 12),
            103 => (1, 9),
            89 => (1, 8),
            102 => (1, 5),
            120 => (1, 12),
            // References: a count of words, a node, what tells its starts apart, the words.
            90 => {
                let words = self.number(2)?;
                (1, 4 + 4 * words)
            }
            114 => {
                let words = self.number(2)?;
                (1, 1 + 4 * words)
            }
            // Funs: their own length is part of them.
            112 => (0, self.number(4)?.checked_sub(4)?),
            113 => (2, 2),
            // Bits.
            77 => (0, self.number(4)?.checked_add(1)?),
            _ => return None,
        };
        for _ in 0..atoms {
            let tag = self.take(1)?[0];
            if !matches!(tag, ATOM_LATIN1 | ATOM_UTF8 | SMALL_ATOM_LATIN1 | SMALL_ATOM_UTF8) {
                return None;
            }
            self.atom(tag)?;
        }
        self.take(bytes).map(drop)
    }
}

#[cfg(test)]
mod tests;

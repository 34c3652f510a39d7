//! What is read is bounded by what there is to read, and never more than that is believed.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn encoded(term: &Term) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut bytes, term);
    bytes
}

#[test]
fn what_is_written_is_read_again() {
    let term = Term::Tuple(vec![
        Term::atom("call"),
        Term::Int(7),
        Term::Int(-300),
        Term::Int(1 << 40),
        Term::text("ab"),
        Term::Binary(b"x".to_vec()),
        Term::List(Vec::new()),
        Term::Map(vec![(Term::atom("k"), Term::Int(0))]),
    ]);
    let mut bytes = Vec::new();
    encode(&mut bytes, &term);
    for end in 0..bytes.len() {
        assert_eq!(decode(&bytes[..end]), None, "{end}");
    }
    bytes.push(9);
    assert_eq!(decode(&bytes), Some((term.clone(), &[9][..])));
    assert_eq!(term.shown(), "{call,7,-300,1099511627776,\"ab\",\"x\",[],#{_}}");
}

#[test]
fn pids_references_and_strings_of_erlang_are_read() {
    let pid = [88, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
    assert_eq!(decode(&pid), Some((Term::Other(pid.to_vec()), &[][..])));
    let reference = [90, 0, 1, 119, 1, b'n', 0, 0, 0, 1, 0, 0, 0, 9];
    assert_eq!(
        decode(&reference),
        Some((Term::Other(reference.to_vec()), &[][..]))
    );
    let string = [107, 0, 2, b'h', b'i'];
    assert_eq!(decode(&string).unwrap().0, Term::text("hi"));
}

#[test]
fn what_is_no_term_is_refused_and_reserves_nothing() {
    for bytes in [
        &[][..],
        &[1],
        &[108, 0xff, 0xff, 0xff, 0xff, 97, 1],
        &[116, 0xff, 0xff, 0xff, 0xff],
        &[105, 0xff, 0xff, 0xff, 0xff],
        &[112, 0, 0, 0, 1],
    ] {
        assert_eq!(decode(bytes), None, "{bytes:?}");
    }
    let deep = [104, 1].repeat(100_000);
    assert_eq!(decode(&deep), None);
}

/// Terms around an atom, as deep as they may be, and what begins each.
#[test]
fn what_nests_as_deep_as_may_be_is_read_and_what_nests_deeper_is_not() {
    let key = [MAP, 0, 0, 0, 1];
    let value = [MAP, 0, 0, 0, 1, NIL];
    let head = [LIST, 0, 0, 0, 1];
    let tail = [LIST, 0, 0, 0, 0];
    let begins = [
        (&[SMALL_TUPLE, 1][..], &[][..]),
        (&[LARGE_TUPLE, 0, 0, 0, 1], &[]),
        (&head, &[NIL]),
        (&tail, &[]),
        (&key, &[NIL]),
        (&value, &[]),
    ];
    for (begin, end) in begins {
        let nested = |depth: u32| {
            let depth = depth as usize;
            [&begin.repeat(depth), &[NIL][..], &end.repeat(depth)].concat()
        };
        assert_eq!(decode(&nested(DEPTH_MAX)), None, "{begin:?}");
        assert_eq!(decode(&nested(100_000)), None, "{begin:?}");
        let bytes = nested(DEPTH_MAX - 1);
        let (term, rest) = decode(&bytes).expect("a term");
        assert!(rest.is_empty() && term.clone() == term && term.shown().len() < 400);
        assert_eq!(decode(&encoded(&term)), Some((term, &[][..])));
    }
    // What nobody looks into is not looked into: no terms stand where an atom has to.
    let pids = [88].repeat(100_000);
    assert_eq!(decode(&pids), None);
    assert_eq!(decode(&[88, 106, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
}

#[test]
fn a_message_of_many_small_terms_is_refused() {
    let list = |count: usize| {
        let length = u32::try_from(count).unwrap().to_be_bytes();
        [&[LIST], &length[..], &[NIL].repeat(count + 1)].concat()
    };
    // The list, its elements, and what stands behind the last.
    assert!(decode(&list(TERMS_MAX - 2)).is_some());
    assert_eq!(decode(&list(TERMS_MAX - 1)), None);
    let string = [&[STRING, 0xff, 0xff][..], &[b'a'; 0xffff]].concat();
    let strings = |count: u8| [&[SMALL_TUPLE, count][..], &string.repeat(count.into())].concat();
    assert!(decode(&strings(3)).is_some());
    assert_eq!(decode(&strings(5)), None);
}

#[test]
fn atoms_of_all_lengths_and_alphabets_are_read() {
    assert_eq!(decode(&[SMALL_ATOM_LATIN1, 1, 0xe9]).unwrap().0, Term::atom("é"));
    assert_eq!(decode(&[SMALL_ATOM_UTF8, 1, 0xe9]), None);
    let long = "é".repeat(255);
    let atom = Term::atom(&long);
    assert_eq!(decode(&encoded(&atom)), Some((atom.clone(), &[][..])));
    // Found by fuzzing: one of 1020 bytes in Latin-1 was read, and as UTF-8 it is longer than what was read of that.
    for tag in [ATOM_LATIN1, ATOM_UTF8] {
        let longer = [&[tag, 1, 0][..], &[b'a'; ATOM_CHARS_MAX + 1]].concat();
        assert_eq!(decode(&longer), None);
    }
}

/// Bytes of which many are what terms begin with, or small numbers.
fn likely() -> impl Strategy<Value = Vec<u8>> {
    let tags = vec![
        70, 77, 88, 89, 90, 97, 98, 100, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114,
        115, 116, 118, 119, 120,
    ];
    let byte = prop_oneof![4 => proptest::sample::select(tags), 4 => 0..4_u8, 1 => any::<u8>()];
    vec(byte, 0..200)
}

fn terms() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![
        "\\PC{0,255}".prop_map(Term::Atom),
        any::<i64>().prop_map(Term::Int),
        Just(Term::Int(i64::MIN)),
        vec(any::<u8>(), 0..20).prop_map(Term::Binary),
        "[a-z]{0,20}".prop_map(|text| Term::text(&text)),
    ];
    leaf.prop_recursive(6, 100, 10, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..10).prop_map(Term::Tuple),
            vec(inner.clone(), 0..10).prop_map(Term::List),
            vec((inner.clone(), inner), 0..5).prop_map(Term::Map),
        ]
    })
}

proptest! {
    #[test]
    fn any_term_is_read_as_it_was_written(term in terms()) {
        let bytes = encoded(&term);
        prop_assert_eq!(decode(&bytes), Some((term, &[][..])));
    }

    #[test]
    fn whatever_is_read_can_be_written_and_shown(bytes in prop_oneof![likely(), vec(any::<u8>(), 0..200)]) {
        let Some((term, rest)) = decode(&bytes) else {
            return Ok(());
        };
        prop_assert!(bytes.ends_with(rest) && rest.len() < bytes.len());
        let again = encoded(&term);
        prop_assert_eq!(decode(&again), Some((term.clone(), &[][..])));
        let shown = term.shown();
        prop_assert!(shown.chars().count() <= SHOWN_CHARS + 3 && !shown.contains(char::is_control), "{}", shown);
    }
}

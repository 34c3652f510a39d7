//! The acceptor's record on disk: its layout, and the choice between its two generations.

use holdfast_daemon::fuzzing::{choose, generation, read_generation};

use crate::memory::bounded;
use crate::text::{head, one_line};

const HEADER_BYTES: usize = 36;

/// The first three bytes say which files there are, how long the first is and whether checksums are put right; the rest
/// is both files.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([which, split, mended], rest) = head(data);
    let (zero, one) = rest.split_at(rest.len() * usize::from(split) / 255);
    let [zero, one] = [(zero, mended & 1), (one, mended & 2)].map(|(file, mend)| {
        let mut file = file.to_vec();
        if mend != 0 {
            put_right(&mut file);
        }
        file
    });
    let read = [once(&zero), once(&one)];
    let files = [
        (which & 1 != 0).then_some(zero.as_slice()),
        (which & 2 != 0).then_some(one.as_slice()),
    ];
    match choose(files) {
        Ok(None) => assert_eq!(files, [None, None], "a file is there and was passed over"),
        Ok(Some(record)) => {
            // Never the older one while the newer one cannot be read: that would be a vote forgotten.
            let newest = [0, 1]
                .into_iter()
                .filter(|index| files[*index].is_some())
                .filter_map(|index| read[index].as_ref())
                .max_by_key(|(sequence, _)| *sequence);
            let (_, newest) = newest.expect("a record was chosen, so one decodes");
            assert_eq!(record, *newest);
        }
        Err((index, why)) => {
            assert!(index <= 1);
            one_line(&why);
        }
    }
}

/// One file: the sequence number and record in it.
fn once(file: &[u8]) -> Option<(u64, holdfast_core::durable::Durable)> {
    match bounded(file.len(), 256, || read_generation(file)) {
        Ok((sequence, record)) => {
            let written = generation(sequence, &record);
            let again = read_generation(&written).expect("what was written is read");
            assert_eq!(again, (sequence, record.clone()));
            assert_eq!(written, generation(sequence, &again.1));
            Some((sequence, record))
        }
        Err(why) => {
            one_line(&why);
            None
        }
    }
}

/// Makes length and checksums of a file right, so that the fuzzer reaches what lies behind them.
fn put_right(file: &mut [u8]) {
    if file.len() < HEADER_BYTES {
        return;
    }
    let (header, body) = file.split_at_mut(HEADER_BYTES);
    header[..8].copy_from_slice(b"HFSTATE\0");
    header[8..12].copy_from_slice(&1u32.to_le_bytes());
    header[20..28].copy_from_slice(&(body.len() as u64).to_le_bytes());
    header[28..32].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
    let crc = crc32fast::hash(&header[..32]);
    header[32..36].copy_from_slice(&crc.to_le_bytes());
}

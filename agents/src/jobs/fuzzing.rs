//! What the fuzz targets reach.

use super::saved::{Ended, Saved, Spec};

/// Reads the bytes as each file of a job; what is read is what is written.
pub fn files(bytes: &[u8]) {
    if let Ok(saved) = serde_json::from_slice::<Saved>(bytes) {
        let status = saved.status();
        let again: Saved = written(&saved);
        assert_eq!(again.status(), status);
    }
    if let Ok(spec) = serde_json::from_slice::<Spec>(bytes) {
        let again: Spec = written(&spec);
        assert_eq!((again.run, again.command), (spec.run, spec.command));
    }
    if let Ok(ended) = serde_json::from_slice::<Ended>(bytes) {
        let again: Ended = written(&ended);
        assert_eq!(again.sentence("too long", 1), ended.sentence("too long", 1));
    }
}

fn written<T: serde::Serialize, U: for<'a> serde::Deserialize<'a>>(value: &T) -> U {
    let bytes = serde_json::to_vec(value).expect("what is read can be written");
    serde_json::from_slice(&bytes).expect("what was written can be read")
}

//! The node's keys: who it is to its peers, and what lets a restart be recognised.
//!
//! `node.key` is an Ed25519 key (PKCS#8). `reset.key` and `cid.key` belong to QUIC: with both kept over a restart,
//! a peer that still sends to the previous run gets an answer that ends that connection in tens of milliseconds;
//! with either missing it waits for its idle timeout.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use holdfast_proto::config::KeyPin;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};

/// File of the node's key, in the state directory.
pub const NODE_KEY: &str = "node.key";
/// File of the key that signs stateless resets.
pub const RESET_KEY: &str = "reset.key";
/// File of the key that makes connection ids.
pub const CID_KEY: &str = "cid.key";

const RESET_KEY_BYTES: usize = 64;
const CID_KEY_BYTES: usize = 8;
/// Longest key file read: an Ed25519 key takes 83 bytes.
const FILE_BYTES_MAX: u64 = 4096;
/// DER of a SubjectPublicKeyInfo of Ed25519 up to the key itself (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Why a key file cannot be used. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system refused.
    #[error("cannot {action} the key file {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// Somebody else may have read it.
    #[error(
        "the key file {path} may be read by others (mode {mode:04o}): run 'chmod 600 {path}', and make a new key with \
         'had keygen' if somebody may have copied it"
    )]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It belongs to somebody else, who can replace it at will.
    #[error("the key file {path} belongs to uid {owner}, not to uid {uid} that runs this: 'chown' it")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who runs this process.
        uid: u32,
    },
    /// Not a key.
    #[error(
        "the key file {path} is damaged ({why}): restore it from a backup, or move it away and run 'had keygen', then \
         enter the new key pin in the configuration"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The kernel gave no random bytes.
    #[error("the kernel gave no random bytes for a new key")]
    Random,
}

/// All keys of a node.
pub struct NodeKeys {
    pkcs8: Vec<u8>,
    spki: Vec<u8>,
    reset: [u8; RESET_KEY_BYTES],
    cid: u64,
}

impl std::fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeKeys")
            .field("pin", &self.pin())
            .finish_non_exhaustive()
    }
}

impl NodeKeys {
    /// The keys in `state_dir`; makes those that are missing.
    ///
    /// # Errors
    /// When a file cannot be read or written, is readable by others, or is damaged.
    pub fn load_or_create(state_dir: &Path) -> Result<NodeKeys, KeyError> {
        let pkcs8 = load_or_create(&state_dir.join(NODE_KEY), || {
            let document =
                Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
            Ok(document.as_ref().to_vec())
        })?;
        let spki = spki_of(&pkcs8).map_err(|why| KeyError::Damaged {
            path: state_dir.join(NODE_KEY),
            why,
        })?;
        let reset = fixed::<RESET_KEY_BYTES>(&state_dir.join(RESET_KEY))?;
        let cid = fixed::<CID_KEY_BYTES>(&state_dir.join(CID_KEY))?;
        Ok(NodeKeys {
            pkcs8,
            spki,
            reset,
            cid: u64::from_le_bytes(cid),
        })
    }

    /// The private key, PKCS#8.
    #[must_use]
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The public key as SubjectPublicKeyInfo, which is what travels in the handshake.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The pin to enter in the configuration.
    #[must_use]
    pub fn pin(&self) -> KeyPin {
        pin_of(&self.spki)
    }

    /// Key that signs stateless resets.
    #[must_use]
    pub fn reset_key(&self) -> &[u8] {
        &self.reset
    }

    /// Key that makes connection ids.
    #[must_use]
    pub fn cid_key(&self) -> u64 {
        self.cid
    }
}

/// The pin of a SubjectPublicKeyInfo.
#[must_use]
pub fn pin_of(spki: &[u8]) -> KeyPin {
    let digest = ring::digest::digest(&ring::digest::SHA256, spki);
    let mut pin = [0u8; 32];
    pin.copy_from_slice(digest.as_ref());
    KeyPin(pin)
}

pub(crate) fn spki_of(pkcs8: &[u8]) -> Result<Vec<u8>, String> {
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8).map_err(|error| format!("not an Ed25519 key: {error}"))?;
    Ok([&SPKI_PREFIX, pair.public_key().as_ref()].concat())
}

fn fixed<const N: usize>(path: &Path) -> Result<[u8; N], KeyError> {
    let bytes = load_or_create(path, || {
        let mut bytes = [0u8; N];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| KeyError::Random)?;
        Ok(bytes.to_vec())
    })?;
    bytes.as_slice().try_into().map_err(|_| KeyError::Damaged {
        path: path.to_owned(),
        why: format!("it has {} bytes instead of {N}", bytes.len()),
    })
}

fn load_or_create(
    path: &Path,
    make: impl FnOnce() -> Result<Vec<u8>, KeyError>,
) -> Result<Vec<u8>, KeyError> {
    match File::open(path) {
        Ok(file) => read_private(path, file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let bytes = make()?;
            write_private(path, &bytes)?;
            Ok(bytes)
        }
        Err(source) => Err(KeyError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        }),
    }
}

fn read_private(path: &Path, file: File) -> Result<Vec<u8>, KeyError> {
    let io = |action, source| KeyError::Io {
        action,
        path: path.to_owned(),
        source,
    };
    let meta = file.metadata().map_err(|source| io("look at", source))?;
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyError::TooOpen {
            path: path.to_owned(),
            mode,
        });
    }
    let uid = nix::unistd::geteuid().as_raw();
    if meta.uid() != uid && uid != 0 {
        return Err(KeyError::Owner {
            path: path.to_owned(),
            owner: meta.uid(),
            uid,
        });
    }
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(|source| io("read", source))?;
    Ok(bytes)
}

/// Written beside and renamed, so that a power loss leaves a whole key or none.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyError> {
    let io = |action, source| KeyError::Io {
        action,
        path: path.to_owned(),
        source,
    };
    let beside = path.with_extension("key.new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io("replace", error)),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .map_err(|source| io("create", source))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|source| io("write", source))?;
    fs::rename(&beside, path).map_err(|source| io("rename", source))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|source| io("sync the directory of", source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_private() {
        let dir = tempfile::tempdir().expect("dir");
        let first = NodeKeys::load_or_create(dir.path()).expect("made");
        let again = NodeKeys::load_or_create(dir.path()).expect("loaded");
        assert_eq!(first.pin(), again.pin());
        assert_eq!(first.reset_key(), again.reset_key());
        assert_eq!(first.cid_key(), again.cid_key());
        for name in [NODE_KEY, RESET_KEY, CID_KEY] {
            let mode = fs::metadata(dir.path().join(name))
                .expect("there")
                .permissions()
                .mode();
            assert_eq!(mode & 0o7777, 0o600, "{name}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 3);
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().expect("dir");
        NodeKeys::load_or_create(dir.path()).expect("made");
        let path = dir.path().join(NODE_KEY);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
        let error = NodeKeys::load_or_create(dir.path())
            .expect_err("refused")
            .to_string();
        assert!(
            error.contains("mode 0640") && error.contains("chmod 600"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().expect("dir");
        NodeKeys::load_or_create(dir.path()).expect("made");
        for (name, bytes) in [(NODE_KEY, &b"not a key"[..]), (RESET_KEY, b"short")] {
            let path = dir.path().join(name);
            let whole = fs::read(&path).expect("read");
            fs::write(&path, bytes).expect("write");
            let error = NodeKeys::load_or_create(dir.path())
                .expect_err("refused")
                .to_string();
            assert!(error.contains("damaged") && error.contains(name), "{error}");
            assert_eq!(fs::read(&path).expect("read"), bytes);
            fs::write(&path, whole).expect("restore");
        }
    }

    #[test]
    fn debug_output_shows_the_pin_only() {
        let dir = tempfile::tempdir().expect("dir");
        let keys = NodeKeys::load_or_create(dir.path()).expect("made");
        assert_eq!(
            format!("{keys:?}"),
            format!("NodeKeys {{ pin: {}, .. }}", keys.pin())
        );
    }
}

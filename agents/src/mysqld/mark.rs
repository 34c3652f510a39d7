//! A mark in the data directory while the server follows a primary.
//!
//! What a replica has received and not applied stands in its relay log alone, which servers drop at their start (MariaDB
//! always, MySQL with relay_log_recovery) or may not have on disk. So a server that ended with this mark may lack what it
//! acknowledged to the primary, although the cluster counts on its copy: until it has caught up it is not promoted. An operator
//! who accepts the loss removes the mark.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::params::Params;
use super::site::Site;

/// What is said of a copy in doubt.
pub const DOUBT: &str = "its server ended before everything that it had received was applied, and has not caught up since: what it \
                         acknowledged may be missing; bring the other node back";

/// The mark.
pub fn path(params: &Params) -> PathBuf {
    params.datadir.join("holdfast.follows")
}

/// Set before replication starts, on disk when this returns.
pub fn set(params: &Params) -> io::Result<()> {
    let path = path(params);
    if path.exists() {
        return Ok(());
    }
    let file = fs::File::create(&path)?;
    file.sync_all()?;
    fs::File::open(&params.datadir)?.sync_all()
}

/// Removed when everything that was received is applied and nothing more is received.
pub fn clear(params: &Params) {
    // If it stays, a possible loss is told that is none: the safe side.
    let _ = fs::remove_file(path(params));
}

/// True when it is there.
pub fn is_set(params: &Params) -> bool {
    path(params).exists()
}

/// At the start of the server: is its copy in doubt?
///
/// # Errors
/// That cannot be written down.
pub fn begin(site: &Site) -> io::Result<bool> {
    let doubtful = is_set(&site.params);
    if doubtful {
        fs::write(&site.doubt, "")?;
    } else {
        settled(site);
    }
    Ok(doubtful)
}

/// True when the copy is in doubt since the server's start.
pub fn is_doubtful(site: &Site) -> bool {
    site.doubt.exists()
}

/// It has caught up.
pub fn settled(site: &Site) {
    let _ = fs::remove_file(&site.doubt);
}

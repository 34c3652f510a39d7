//! What `hactl mysqld` and the `mysqld` agent share: files in had-agentd's state folder, which only root can write to.

use std::path::{Path, PathBuf};

/// had-agentd's state folder, unless it was told another.
pub const STATE_DIR_DEFAULT: &str = "/run/holdfast-agentd";

/// The wish of an operator that the data of `group` on this node is fetched anew. The agent takes it away when it begins.
#[must_use]
pub fn seed_request(state_dir: &Path, group: &str) -> PathBuf {
    state_dir.join(format!("{group}.mysqld-seed"))
}

/// Why such a wish was not fulfilled, in a sentence.
#[must_use]
pub fn seed_refusal(state_dir: &Path, group: &str) -> PathBuf {
    state_dir.join(format!("{group}.mysqld-seed-refused"))
}

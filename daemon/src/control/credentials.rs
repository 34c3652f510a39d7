//! Who may use the control socket: root, had's own user, and members of group `holdfast`.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::net::UnixStream;

use super::{Refusal, refusal};

/// The operators' group.
const GROUP: &str = "holdfast";

/// The operators' group, if this machine has it.
#[must_use]
pub fn operators() -> Option<Gid> {
    Group::from_name(GROUP).ok().flatten().map(|group| group.gid)
}

/// Who is at the other end, for the record.
///
/// # Errors
/// When the kernel does not say, or that user is not an operator.
pub fn check(stream: &UnixStream) -> Result<String, Refusal> {
    let peer = stream.peer_cred().map_err(|error| {
        refusal(
            "denied",
            format!("the kernel does not say who is asking: {error}"),
        )
    })?;
    let uid = Uid::from_raw(peer.uid());
    let user = User::from_uid(uid).ok().flatten();
    let name = user
        .as_ref()
        .map_or_else(|| format!("uid {uid}"), |user| user.name.clone());
    let own = uid.is_root() || uid == Uid::effective();
    if own || is_operator(Gid::from_raw(peer.gid()), user.as_ref()) {
        return Ok(name);
    }
    Err(refusal(
        "denied",
        format!(
            "{name} may not use this cluster: run hactl as root, or add {name} to group {GROUP} and log in again"
        ),
    ))
}

fn is_operator(primary: Gid, user: Option<&User>) -> bool {
    let Some(operators) = operators() else {
        return false;
    };
    if primary == operators {
        return true;
    }
    let Some(user) = user else { return false };
    let Ok(name) = CString::new(user.name.as_str()) else {
        return false;
    };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&operators))
}

//! Checking and mounting.

use std::path::Path;
use std::time::Duration;

use super::mountinfo::{self, Mount};
use super::params::Params;
use super::source::{self, Content, Source};
use crate::agent::AgentError;
use crate::clock;
use crate::fence::locate;
use crate::program::{self, RunError};
use holdfast_proto::time::Time;

/// Kinds whose checker repairs what is safe to repair without asking. Others repair themselves when they are mounted
/// (xfs, btrfs), or must not be touched by a program.
const PREENED: [&str; 4] = ["ext2", "ext3", "ext4", "vfat"];
/// Exit codes of fsck: errors were corrected; and: the machine should be rebooted, for a root file system.
const FSCK_CORRECTED: i32 = 1;

/// Refuses a place or a device that is taken.
///
/// # Errors
/// Something else is mounted at `place`, or the device is mounted at another one or in use.
pub fn check_free(source: &Source, place: &Path, table: &[Mount]) -> Result<(), AgentError> {
    if let Some(other) = mountinfo::at(table, place) {
        return Err(AgentError(format!(
            "{} is taken: {} is mounted there; if it may go: umount {}",
            place.display(),
            other.named(),
            place.display()
        )));
    }
    if matches!(source, Source::Folder { .. }) {
        return Ok(());
    }
    if let Some(elsewhere) = table.iter().find(|mount| source.is_shown_by(mount)) {
        return Err(AgentError(format!(
            "{} is mounted already, at {}: two mounts of it are not managed; umount {}",
            source.path().display(),
            elsewhere.path.display(),
            elsewhere.path.display()
        )));
    }
    match source.hold() {
        Some(hold) => Err(AgentError(hold)),
        None => Ok(()),
    }
}

/// Refuses a file system that is not the one which was meant.
///
/// # Errors
/// Its UUID or kind is another, or there is none.
pub fn check_content(params: &Params, source: &Source, content: &Content) -> Result<(), AgentError> {
    let shown = source.path().display();
    let found = content.uuid.as_deref().unwrap_or("none");
    if let Some(wanted) = params
        .uuid
        .as_deref()
        .filter(|wanted| !wanted.eq_ignore_ascii_case(found))
    {
        return Err(AgentError(format!(
            "{shown} is not the right device: its file system has the UUID {found}, `uuid` says {wanted}"
        )));
    }
    match (params.fstype.as_deref(), content.fstype.as_deref()) {
        (None, None) => Err(AgentError(format!(
            "no file system is found on {shown}; mkfs makes one, if there should be none"
        ))),
        (Some(wanted), Some(found)) if wanted != found => Err(AgentError(format!(
            "{shown} holds {found}, `fstype` says {wanted}"
        ))),
        _ => Ok(()),
    }
}

/// Runs the checker. Says what it did, if it did something.
///
/// # Errors
/// It found what it may not repair by itself.
pub async fn preen(fstype: &str, path: &Path, deadline: Time) -> Result<Option<String>, AgentError> {
    if !PREENED.contains(&fstype) {
        return Ok(None);
    }
    let shown = path.display();
    let Ok(checker) = locate::program(&format!("fsck.{fstype}")) else {
        return Err(AgentError(format!(
            "fsck.{fstype} is not installed, so {shown} cannot be checked; install it, or set fsck = \"none\""
        )));
    };
    let args = ["-p".to_owned(), shown.to_string()];
    let run = run(&checker, &args, deadline).await?;
    match run.code {
        Some(0) => Ok(None),
        Some(FSCK_CORRECTED) => Ok(Some(format!(
            "fsck corrected errors on {shown}: {}",
            run.excerpt(&[""; 0])
        ))),
        code => Err(AgentError(format!(
            "{shown} has damage that fsck does not repair by itself (exit {}: {}); with the group stopped, look at it: \
             fsck.{fstype} {shown}",
            code.map_or_else(|| "by a signal".to_owned(), |code| code.to_string()),
            run.excerpt(&[""; 0])
        ))),
    }
}

async fn run(program: &Path, args: &[String], deadline: Time) -> Result<program::Run, AgentError> {
    let limit = clock::now().until(deadline).max(Duration::from_millis(100));
    let named = program
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    program::run(program, args, "", limit)
        .await
        .map_err(|error: RunError| AgentError(format!("{named} {error}")))
}

/// Mounts `source` at `place`.
///
/// # Errors
/// What mount says.
pub async fn mount(
    params: &Params,
    source: &Source,
    fstype: Option<&str>,
    place: &Path,
    deadline: Time,
) -> Result<(), AgentError> {
    let mut options: Vec<&str> = params.options().collect();
    // Without its own file of mounts: the kernel's is the truth, and nobody has to tidy up after an umount(2).
    let mut args = vec!["--no-mtab".to_owned()];
    match source {
        Source::Folder { .. } => args.push("--bind".into()),
        Source::Image { .. } => options.push("loop"),
        Source::Block { .. } => {}
    }
    if let Some(fstype) = fstype.filter(|_| !matches!(source, Source::Folder { .. })) {
        args.extend(["-t".to_owned(), fstype.to_owned()]);
        if !params.read_only() {
            // Never read-only instead, when the device does not take writes.
            args.push("--rw".into());
        }
    }
    if !options.is_empty() {
        args.extend(["-o".to_owned(), options.join(",")]);
    }
    args.extend([
        "--".to_owned(),
        source.path().display().to_string(),
        place.display().to_string(),
    ]);
    let run = run(&locate::program("mount")?, &args, deadline).await?;
    if run.code == Some(0) {
        return Ok(());
    }
    Err(AgentError(format!(
        "{} cannot be mounted at {}: {}",
        source.path().display(),
        place.display(),
        run.excerpt(&[""; 0])
    )))
}

/// Looks what is on `source`, refuses what is not meant, checks it as the policy says. The kind to mount it as, and what the
/// checker did.
///
/// # Errors
/// As the steps.
pub async fn prepare(
    params: &Params,
    source: &Source,
    deadline: Time,
) -> Result<(Option<String>, Option<String>), AgentError> {
    if matches!(source, Source::Folder { .. }) {
        return Ok((None, None));
    }
    let content = source::content(source.path()).await?;
    check_content(params, source, &content)?;
    let fstype = content.fstype.or_else(|| params.fstype.clone());
    let done = match &fstype {
        Some(fstype) if params.preen && !params.read_only() => preen(fstype, source.path(), deadline).await?,
        _ => None,
    };
    Ok((fstype, done))
}

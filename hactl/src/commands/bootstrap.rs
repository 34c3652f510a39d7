//! What `cluster init` and `cluster join` share: files with the right owner, the `had` program, the units.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use holdfast_proto::control::StatusView;
use nix::unistd::{Gid, Group, Uid, User, gethostname};

use crate::cli::Places;
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::Progress;

/// Mode of the configuration: fence parameters in it are nobody else's business.
const CONFIG_MODE: u32 = 0o640;
/// User that `had` runs as, and the group of operators.
const USER: &str = "had";
const GROUP: &str = "holdfast";
/// Pause between looks at a daemon that is starting.
const LOOK: Duration = Duration::from_millis(200);

/// This machine, as far as making a member of it goes.
#[derive(Debug)]
pub struct Host {
    /// Name of the node.
    pub node: String,
    /// The configuration.
    pub config: PathBuf,
    /// Folder of had's state.
    pub state_dir: PathBuf,
    config_dir: PathBuf,
    had: PathBuf,
    owner: Option<(Uid, Gid)>,
}

impl Host {
    /// Finds out about this machine.
    ///
    /// # Errors
    /// When `had` is not installed, the user may not do this, or the machine has no usable name.
    pub fn new(places: &Places, node: Option<&str>) -> anyhow::Result<Host> {
        let node = node.map_or_else(host_name, |node| Ok(node.to_string()))?;
        let owner = if Uid::effective().is_root() {
            daemon_user()
        } else {
            None
        };
        Ok(Host {
            node,
            config: places.config_dir.join("holdfast.toml"),
            state_dir: places.state_dir.clone(),
            config_dir: places.config_dir.clone(),
            had: find_had()?,
            owner,
        })
    }

    /// Refuses when this machine is a member already.
    ///
    /// # Errors
    /// When there is a configuration or state.
    pub fn refuse_if_member(&self) -> anyhow::Result<()> {
        let state = fs::read_dir(&self.state_dir).ok().and_then(|entries| {
            entries.flatten().map(|entry| entry.path()).find(|path| {
                path.file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with("state"))
            })
        });
        let found = if self.config.exists() {
            Some(self.config.clone())
        } else {
            state
        };
        let Some(found) = found else { return Ok(()) };
        Err(Failure::new(
            Exit::Refused,
            format!(
                "this machine belongs to a cluster already: there is {}",
                found.display()
            ),
        )
        .hint("look at it:           hactl status")
        .hint(format!(
            "to leave it for good: systemctl disable --now had had-agentd; rm -r {} {}/*",
            self.config.display(),
            self.state_dir.display()
        ))
        .into())
    }

    /// Makes the folders.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn prepare(&self) -> anyhow::Result<()> {
        for (dir, mode) in [(&self.config_dir, 0o750), (&self.state_dir, 0o700)] {
            if !dir.is_dir() {
                fs::DirBuilder::new()
                    .recursive(true)
                    .mode(mode)
                    .create(dir)
                    .map_err(|error| denied(dir, &error))?;
                self.give(dir)?;
            }
        }
        Ok(())
    }

    /// Writes a file of the daemon beside its place and renames it: never half a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path, text: &str) -> anyhow::Result<()> {
        let beside = path.with_extension("new");
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(CONFIG_MODE)
            .open(&beside)
            .and_then(|mut file| {
                file.set_permissions(fs::Permissions::from_mode(CONFIG_MODE))?;
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
        written.map_err(|error| denied(path, &error))?;
        self.give(&beside)?;
        fs::rename(&beside, path).map_err(|error| denied(path, &error).into())
    }

    /// Writes the name of this node.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_node_name(&self) -> anyhow::Result<()> {
        self.write(&self.config_dir.join("node"), &format!("{}\n", self.node))
    }

    /// Lets the operators' group read the configuration that `had join` wrote.
    ///
    /// # Errors
    /// When its mode cannot be changed.
    pub fn open_config(&self) -> anyhow::Result<()> {
        match fs::set_permissions(&self.config, fs::Permissions::from_mode(CONFIG_MODE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(denied(&self.config, &error).into())
            }
            _ => Ok(()),
        }
    }

    /// True when the name of this node is on file, as `had join` leaves it.
    #[must_use]
    pub fn node_name_written(&self) -> bool {
        fs::read_to_string(self.config_dir.join("node")).is_ok_and(|name| name.trim() == self.node)
    }

    fn give(&self, path: &Path) -> anyhow::Result<()> {
        if let Some((uid, gid)) = self.owner {
            chown(path, Some(uid.as_raw()), Some(gid.as_raw())).map_err(|error| denied(path, &error))?;
        }
        Ok(())
    }

    /// Runs `had WORDS...` as the daemon's user, with `input` on its standard input, and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started or fails; its own words are passed on.
    pub fn had(&self, words: &[&str], input: &str) -> anyhow::Result<String> {
        let mut command = Command::new(&self.had);
        command.args(words);
        command
            .arg("--config")
            .arg(&self.config)
            .arg("--state-dir")
            .arg(&self.state_dir);
        command.arg("--node").arg(&self.node);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid.as_raw()).gid(gid.as_raw());
        }
        let what = format!("had {}", words.first().copied().unwrap_or_default());
        let mut child = command.spawn().map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("{} cannot be run: {error}", self.had.display()),
            )
        })?;
        if let Some(mut stdin) = child.stdin.take() {
            // A child that does not read its input says why on its standard error.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        let stdout = String::from_utf8_lossy(&output.stdout).trim().to_string();
        if output.status.success() {
            return Ok(stdout);
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let said = stderr
            .trim()
            .trim_start_matches("error: ")
            .trim_start_matches("had: ");
        let said = if said.is_empty() {
            output.status.to_string()
        } else {
            said.to_string()
        };
        Err(Failure::new(Exit::Failed, format!("{what} failed: {said}")).into())
    }
}

/// The host name without its domain.
fn host_name() -> anyhow::Result<String> {
    let name = gethostname()?.to_string_lossy().into_owned();
    let short = name.split('.').next().unwrap_or_default().to_string();
    if short.is_empty() || short == "localhost" {
        return Err(Failure::new(
            Exit::Usage,
            format!("the host name `{name}` is no name for a node"),
        )
        .hint("give one: --node NAME")
        .into());
    }
    Ok(short)
}

/// User and group of the daemon, where the package has made them.
fn daemon_user() -> Option<(Uid, Gid)> {
    let user = User::from_name(USER).ok().flatten()?;
    let group = Group::from_name(GROUP)
        .ok()
        .flatten()
        .map_or(user.gid, |group| group.gid);
    Some((user.uid, group))
}

/// `had` beside this program, in PATH, or where the package puts it.
fn find_had() -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_path_buf));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside
        .into_iter()
        .chain(std::env::split_paths(&path))
        .chain(["/usr/bin", "/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders
        .map(|folder| folder.join("had"))
        .find(|had| had.is_file())
        .ok_or_else(|| {
            Failure::new(Exit::Failed, "had is not installed on this machine")
                .hint("install the package holdfast (or holdfast-witness for a witness)")
                .into()
        })
}

/// The failure of a file that cannot be written.
fn denied(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(
        Exit::Failed,
        format!("{} cannot be written: {error}", path.display()),
    );
    if error.kind() == std::io::ErrorKind::PermissionDenied {
        failure.hint("run it as root")
    } else {
        failure
    }
}

/// A random cluster id.
///
/// # Errors
/// When the kernel gives no random bytes.
pub fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0u8; 8];
    loop {
        fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        let id = u64::from_be_bytes(bytes);
        if id != 0 {
            return Ok(format!("{id:016x}"));
        }
    }
}

/// Enables and starts the units of a member.
///
/// # Errors
/// When systemd refuses.
pub fn start_units(witness: bool) -> anyhow::Result<()> {
    let units: &[&str] = if witness {
        &["had-witness.service"]
    } else {
        &["had-agentd.service", "had.service"]
    };
    let output = Command::new("systemctl")
        .args(["enable", "--now"])
        .args(units)
        .stdin(Stdio::null())
        .output();
    let output = output.map_err(|error| {
        Failure::new(Exit::Failed, format!("systemctl cannot be run: {error}"))
            .hint("without systemd: --no-start, then start had-agentd and had yourself")
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(Failure::new(
        Exit::Failed,
        format!("{} did not start: {said}", units.join(" and ")),
    )
    .hint("look at it:  journalctl -u had -u had-agentd -u had-witness -n 50")
    .hint("the files are in place; after mending it: systemctl enable --now UNIT")
    .into())
}

/// Waits until `ready` says yes about the status, showing what is waited for.
///
/// # Errors
/// When the time is over; the last state of things is in the message.
pub fn wait_for_had(
    had: &Endpoint,
    longest: Duration,
    progress: &mut Progress,
    ready: impl Fn(&StatusView) -> Result<(), String>,
) -> anyhow::Result<StatusView> {
    let deadline = Instant::now() + longest;
    loop {
        let missing = match had.status() {
            Ok(view) => match ready(&view) {
                Ok(()) => return Ok(view),
                Err(missing) => missing,
            },
            Err(error) => format!("had to answer ({error})"),
        };
        if Instant::now() >= deadline {
            return Err(Failure::new(
                Exit::Timeout,
                format!("still waiting for {missing} after {} s", longest.as_secs()),
            )
            .hint("look at it:  hactl status; journalctl -u had -u had-agentd -u had-witness -n 50")
            .into());
        }
        progress.show(&format!("waiting for {missing}"));
        std::thread::sleep(LOOK);
    }
}

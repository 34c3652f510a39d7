//! Devices, mounts and processes of one test, and an agent with the ends of its channels.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use holdfast_agents::agent::{AgentContext, AgentEvent, EventSink, PermitView, ResourceAgent};
use holdfast_agents::filesystem::{self, mountinfo};
use holdfast_agents::{clock, roles};
use holdfast_proto::time::Time;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use tokio::sync::{mpsc, watch};

const IMAGE_MB: u64 = 64;
const XFS_IMAGE_MB: u64 = 320;
/// For waits that end by themselves when all is well.
pub const LONG: Duration = Duration::from_secs(60);
pub const SHORT: Duration = Duration::from_millis(300);

/// Devices, mounts, processes and files of one test, gone when it is.
pub struct Lab {
    pub dir: PathBuf,
    loops: Vec<String>,
    children: Vec<Child>,
}

impl Lab {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    pub fn image(&self, name: &str, fstype: &str) -> PathBuf {
        let path = self.path(name);
        let size = if fstype == "xfs" { XFS_IMAGE_MB } else { IMAGE_MB };
        fs::File::create(&path).unwrap().set_len(size << 20).unwrap();
        run(&format!("mkfs.{fstype} -q {}", path.display()));
        path
    }

    /// A block device with a file system on it.
    pub fn device(&mut self, name: &str, fstype: &str) -> String {
        let image = self.image(name, fstype);
        let device = run(&format!("losetup -f --show {}", image.display()));
        self.loops.push(device.clone());
        device
    }

    /// A process that sits in `dir`.
    pub fn sitter(&mut self, script: &str, dir: &Path) -> i32 {
        let child = Command::new("sh")
            .args(["-c", script])
            .current_dir(dir)
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let pid = child.id() as i32;
        self.children.push(child);
        pid
    }

    /// Waits until the newest child has written a line.
    pub fn ready(&mut self) {
        let child = self.children.last_mut().unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).unwrap();
    }

    pub fn ended(&mut self, index: usize) -> bool {
        self.children[index].try_wait().unwrap().is_some()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = nix::sys::signal::killpg(
                nix::unistd::Pid::from_raw(child.id() as i32),
                nix::sys::signal::Signal::SIGKILL,
            );
            let _ = child.wait();
        }
        let mounts = mountinfo::read().unwrap_or_default();
        for mount in mountinfo::below(&mounts, &self.dir) {
            let _ = umount2(&mount.path, MntFlags::MNT_DETACH);
        }
        for device in &self.loops {
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

pub fn run(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Runs `test` where its mounts are seen by nobody else.
pub fn in_namespace(name: &'static str, needs: &[&str], test: impl AsyncFnOnce(&mut Lab) + Send + 'static) {
    let missing: Vec<_> = needs
        .iter()
        .chain(&["losetup", "blkid", "mount"])
        .filter(|program| {
            !Path::new("/sbin").join(program).exists() && !Path::new("/bin").join(program).exists()
        })
        .collect();
    if !nix::unistd::geteuid().is_root() || !Path::new("/dev/loop-control").exists() || !missing.is_empty() {
        eprintln!(
            "not run: needs root, loop devices{}",
            missing.iter().map(|name| format!(", {name}")).collect::<String>()
        );
        return;
    }
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
            eprintln!("not run: no mount namespace: {error}");
            return;
        }
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_PRIVATE | MsFlags::MS_REC,
            None::<&str>,
        )
        .unwrap();
        let dir = std::env::temp_dir().join(format!("holdfast-filesystem-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let mut lab = Lab {
            dir: dir.canonicalize().unwrap(),
            loops: Vec::new(),
            children: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(&mut lab));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// An agent with the ends of its channels.
pub struct Rig {
    pub agent: Box<dyn ResourceAgent>,
    _permit: watch::Sender<PermitView>,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
}

impl Rig {
    pub fn new(params: &[(&str, &str)]) -> Rig {
        Rig::resumed(params, String::new())
    }

    pub fn resumed(params: &[(&str, &str)], saved: String) -> Rig {
        let (permit, view) = watch::channel(PermitView {
            epoch: 1,
            until: Time(u64::MAX),
        });
        let (note_sender, notes) = mpsc::channel(64);
        let (failure_sender, failures) = mpsc::unbounded_channel();
        let params: BTreeMap<String, String> =
            params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let context = AgentContext {
            group: "db".into(),
            resource: "fs".into(),
            params,
            lease: Duration::from_secs(1),
            permit: view,
            events: EventSink::new(0, note_sender, failure_sender),
            saved,
            state_dir: std::env::temp_dir(),
            roles: watch::channel(roles::RolesView::default()).1,
            copy: roles::CopySink::default(),
            gate: None,
        };
        Rig {
            agent: filesystem::build(context).unwrap(),
            _permit: permit,
            notes,
            failures,
        }
    }

    pub async fn start(&mut self) -> Result<(), String> {
        self.agent
            .start(clock::now() + LONG)
            .await
            .map_err(|error| error.0)
    }

    pub async fn stop(&mut self, within: Duration) -> Result<(), String> {
        self.agent
            .stop(clock::now() + within)
            .await
            .map_err(|error| error.0)
    }

    pub async fn kill(&mut self, within: Duration) -> Result<(), String> {
        self.agent
            .kill(clock::now() + within)
            .await
            .map_err(|error| error.0)
    }

    pub async fn failure(&mut self) -> String {
        match tokio::time::timeout(LONG, self.failures.recv())
            .await
            .unwrap()
            .unwrap()
        {
            (_, AgentEvent::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    pub fn notes(&mut self) -> String {
        let mut said = String::new();
        while let Ok((_, event)) = self.notes.try_recv() {
            said += &format!("{event:?}\n");
        }
        said
    }
}

pub fn is_mounted(path: &Path) -> bool {
    mountinfo::at(&mountinfo::read().unwrap(), path).is_some()
}

#[track_caller]
pub fn says(error: Result<(), String>, parts: &[&str]) {
    let error = error.unwrap_err();
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

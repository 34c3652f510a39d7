//! Real servers for the tests: which there are, their data, their processes.

use std::net::{IpAddr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User};

/// The user that servers run as.
pub const USER: &str = "nobody";
/// A Debian root with MySQL, which Debian 12 and 13 do not have; `cargo xtask test unit` unpacks it.
const MYSQL_ROOT: &str = "/var/tmp/holdfast/mysql-sid";

/// A kind of server that is there.
#[derive(Clone, Debug)]
pub struct Kind {
    pub name: &'static str,
    pub mariadb: bool,
    /// The program with what it needs to run.
    program: Vec<String>,
}

/// The kinds that are there; says which are not.
pub fn kinds() -> Vec<Kind> {
    let mut found = Vec::new();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: the tests of mysqld need root, because servers let root in by its uid");
        return found;
    }
    if Path::new("/usr/sbin/mariadbd").exists() {
        found.push(Kind {
            name: "MariaDB",
            mariadb: true,
            program: vec!["/usr/sbin/mariadbd".into()],
        });
    } else {
        eprintln!("not run with MariaDB: /usr/sbin/mariadbd is missing (package mariadb-server-core)");
    }
    let root = Path::new(MYSQL_ROOT);
    let mysqld = root.join("usr/sbin/mysqld");
    if mysqld.exists() {
        let text = |path: &str| root.join(path).display().to_string();
        found.push(Kind {
            name: "MySQL",
            mariadb: false,
            program: vec![
                text("usr/lib64/ld-linux-x86-64.so.2"),
                "--library-path".into(),
                text("usr/lib/x86_64-linux-gnu"),
                mysqld.display().to_string(),
                "--no-defaults".into(),
                format!("--basedir={}", text("usr")),
                format!("--lc-messages-dir={}", text("usr/share/mysql")),
                format!("--plugin-dir={}", text("usr/lib/mysql/plugin")),
                format!("--character-sets-dir={}", text("usr/share/mysql/charsets")),
            ],
        });
    } else {
        eprintln!("not run with MySQL: {} is missing", mysqld.display());
    }
    found
}

/// A server's folder and command line. Its process is killed when the test ends.
pub struct Instance {
    pub kind: Kind,
    folder: tempfile::TempDir,
    pub address: IpAddr,
    pub port: u16,
    extra: Vec<String>,
}

/// A port that is free on all of `addresses`.
pub fn free_port(addresses: &[IpAddr]) -> u16 {
    loop {
        let first = TcpListener::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let others = addresses[1..]
            .iter()
            .map(|address| TcpListener::bind((*address, port)));
        if others.collect::<Result<Vec<_>, _>>().is_ok() {
            return port;
        }
    }
}

fn run(words: &[String]) {
    let output = Command::new(&words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}");
}

/// Data of a server that never ran, made once and kept with what else the project's tests keep.
fn template(kind: &Kind) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let version = Command::new(&kind.program[0])
        .args(&kind.program[1..])
        .arg("--version")
        .output()
        .unwrap();
    let version = String::from_utf8_lossy(&version.stdout);
    let version: String = version.chars().filter(char::is_ascii_digit).collect();
    // The servers' user must get there, whatever the rights of the build folder are.
    let home = Path::new("/var/tmp/holdfast/mysqld-data");
    std::fs::create_dir_all(home).unwrap();
    let made = home.join(format!("{}-{version}", kind.name));
    if made.exists() {
        return made;
    }
    let making = made.with_extension("part");
    let _ = std::fs::remove_dir_all(&making);
    let data = making.display().to_string();
    if kind.mariadb {
        let words = [
            "/usr/bin/mariadb-install-db",
            "--no-defaults",
            "--skip-test-db",
            "--auth-root-authentication-method=socket",
            "--auth-root-socket-user=root",
            "--skip-name-resolve",
        ];
        let mut words: Vec<String> = words.map(str::to_owned).to_vec();
        words.extend([format!("--datadir={data}"), format!("--user={USER}")]);
        run(&words);
    } else {
        let mut words = kind.program.clone();
        words.extend(["--secure-file-priv=NULL", "--initialize-insecure"].map(str::to_owned));
        words.extend([format!("--datadir={data}"), format!("--user={USER}")]);
        run(&words);
        // Each server gives itself an identity of its own.
        let _ = std::fs::remove_file(making.join("auto.cnf"));
    }
    std::fs::rename(&making, &made).unwrap();
    made
}

impl Instance {
    pub fn new(kind: &Kind, address: IpAddr, port: u16, extra: &[String]) -> Instance {
        let folder = tempfile::Builder::new()
            .prefix("holdfast-mysqld-")
            .tempdir()
            .unwrap();
        let user = User::from_name(USER).unwrap().unwrap();
        let own = |path: &Path| {
            chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).unwrap();
        };
        own(folder.path());
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let instance = Instance {
            kind: kind.clone(),
            folder,
            address,
            port,
            extra: extra.to_vec(),
        };
        instance.install();
        instance
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// New data: a copy of what was installed once. The servers' installers take seconds.
    fn install(&self) {
        let made = template(&self.kind);
        let words = ["cp", "-a", "--reflink=auto"].map(str::to_owned);
        run(&[&words[..], &[made.display().to_string(), self.text("data")]].concat());
    }

    /// The command line, for the agent.
    pub fn command(&self) -> Vec<String> {
        let mut words = self.kind.program.clone();
        if self.kind.mariadb {
            words.extend(["--no-defaults", "--innodb-log-file-size=16M"].map(str::to_owned));
        } else {
            words.push("--innodb-redo-log-capacity=16M".into());
            words.extend(["--mysqlx=OFF".into(), "--secure-file-priv=NULL".into()]);
        }
        words.extend([
            format!("--datadir={}", self.text("data")),
            format!("--socket={}", self.text("sock")),
            format!("--pid-file={}", self.text("pid")),
            format!("--log-error={}", self.text("data/server.err")),
            format!("--bind-address={}", self.address),
            format!("--port={}", self.port),
            "--skip-name-resolve".into(),
            "--innodb-buffer-pool-size=32M".into(),
        ]);
        words.extend(self.extra.iter().cloned());
        words
    }

    pub fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.file("pid")).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid().expect("it runs"), signal).unwrap();
    }

    /// The end of its error log, for failures.
    pub fn log(&self) -> String {
        let text = std::fs::read_to_string(self.file("data/server.err")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let marker = self.folder.path().display().to_string();
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            // The number may be another process' by now.
            if String::from_utf8_lossy(&line).contains(&marker) {
                let _ = kill(pid, Signal::SIGKILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("--- {} on {}\n{}", self.kind.name, self.address, self.log());
        }
    }
}

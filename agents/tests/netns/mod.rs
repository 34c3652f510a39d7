//! Two network namespaces joined by a veth pair. Each is held by a `sleep` of its own and vanishes with it.

#![allow(dead_code)] // Each test binary uses its part.

pub mod echo;

use std::fs::File;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sched::{CloneFlags, setns, unshare};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::unix::AsyncFd;

/// A process that keeps a namespace alive.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Holder {
    /// A new network namespace.
    fn new() -> Option<Self> {
        let child = Command::new("unshare")
            .args(["--net", "--", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .ok()?;
        let mut holder = Holder(child);
        let own = std::fs::read_link("/proc/self/ns/net").ok()?;
        // unshare runs, then becomes sleep: wait for the namespace to differ from ours.
        for _ in 0..2000 {
            if holder.0.try_wait().ok()?.is_some() {
                return None;
            }
            let theirs = std::fs::read_link(holder.namespace());
            if theirs.is_ok_and(|theirs| theirs != own) {
                return Some(holder);
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        None
    }

    fn namespace(&self) -> std::path::PathBuf {
        format!("/proc/{}/ns/net", self.0.id()).into()
    }

    fn run(&self, command: &str) -> String {
        let mut words = command.split_whitespace();
        let mut inner = vec![
            "--net=".to_owned() + &self.namespace().to_string_lossy(),
            "--".to_owned(),
        ];
        inner.extend(words.by_ref().map(str::to_owned));
        let output = Command::new("nsenter")
            .args(&inner)
            .output()
            .expect("nsenter is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

/// `left` with 10.77.0.1/24 and fd77::1/64, `right` with 10.77.0.2/24 and fd77::2/64.
pub struct Pair {
    left: Holder,
    right: Holder,
}

impl Pair {
    /// Makes the pair; None, with the reason printed, where that is not allowed.
    pub fn new() -> Option<Self> {
        let made = Holder::new().zip(Holder::new());
        let Some((left, right)) = made else {
            eprintln!("skipped: network namespaces need root (run as root, or under `unshare -Urn`)");
            return None;
        };
        left.run(&format!(
            "ip link add left type veth peer name right netns {}",
            right.0.id()
        ));
        for (side, name, host) in [(&left, "left", 1), (&right, "right", 2)] {
            side.run("ip link set lo up");
            side.run(&format!("ip link set {name} up"));
            side.run(&format!("ip addr add 10.77.0.{host}/24 dev {name}"));
            side.run(&format!("ip addr add fd77::{host}/64 dev {name} nodad"));
        }
        let pair = Pair { left, right };
        // The carrier comes up a moment after both ends are up.
        while !pair.run_left("ip link show dev left").contains("LOWER_UP") {
            std::thread::yield_now();
        }
        Some(pair)
    }

    /// Runs `test` on a thread in the left namespace.
    pub fn enter_left_and(self, test: impl FnOnce(Pair) + Send + 'static) {
        let thread = std::thread::spawn(move || {
            enter(&self.left.namespace());
            test(self);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    }

    /// Runs a command in the left namespace and returns its output.
    pub fn run_left(&self, command: &str) -> String {
        self.left.run(command)
    }

    /// Runs a command in the right namespace and returns its output.
    pub fn run_right(&self, command: &str) -> String {
        self.right.run(command)
    }

    /// Does `work` in the right namespace. Sockets that it makes stay there.
    pub fn in_right<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = self.right.namespace();
        let thread = std::thread::spawn(move || {
            enter(&namespace);
            work()
        });
        thread.join().unwrap()
    }

    /// Connects to `address` from the right namespace.
    pub fn connect_right(&self, address: SocketAddr) {
        let patience = std::time::Duration::from_secs(10);
        self.in_right(move || TcpStream::connect_timeout(&address, patience).map(|_| ()))
            .unwrap();
    }

    /// MAC of the left end.
    pub fn left_mac(&self) -> String {
        mac(&self.run_left("ip -o link show dev left"))
    }

    /// MAC of the right end.
    pub fn right_mac(&self) -> String {
        mac(&self.run_right("ip -o link show dev right"))
    }

    /// Hears everything that arrives at the right end from now on.
    pub fn listen_right(&self) -> Ears {
        let namespace = self.right.namespace();
        let socket = std::thread::spawn(move || {
            enter(&namespace);
            // The right end is the only Ethernet in this namespace; all Ethernet types.
            let protocol = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(protocol)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        Ears(holdfast_agents::sys::watch_readable(socket.join().unwrap().into()).unwrap())
    }
}

fn enter(namespace: &Path) {
    // A thread may change its namespace by itself, once its file system state is its own too.
    unshare(CloneFlags::CLONE_FS).unwrap();
    setns(File::open(namespace).unwrap(), CloneFlags::CLONE_NEWNET).unwrap();
}

fn mac(line: &str) -> String {
    line.split("link/ether ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap()
        .to_owned()
}

/// Frames arriving at the right end.
pub struct Ears(AsyncFd<OwnedFd>);

impl Ears {
    /// Waits for a frame that claims `ip` and returns who sent it.
    pub async fn claim_of(&mut self, ip: IpAddr) -> String {
        let mut buffer = [0; 4096];
        loop {
            let mut ready = self.0.readable().await.unwrap();
            let read = ready.try_io(|socket| Ok(nix::unistd::read(socket.get_ref(), &mut buffer)?));
            let Ok(length) = read else { continue };
            let claim = holdfast_agents::vip::packet::claim(&buffer[..length.unwrap()]);
            if let Some((mac, _)) = claim.filter(|(_, claimed)| *claimed == ip) {
                return mac.to_string();
            }
        }
    }
}

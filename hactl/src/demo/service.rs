//! The service behind the virtual IP: a TCP and UDP responder, or redis-server.
//!
//! Either keeps a connection to the truth monitor open for as long as its process lives: the kernel closes it when
//! the process is gone, whatever ended it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use nix::unistd::gethostname;

use super::clock::now_us;
use super::paths::Paths;
use super::stage::TRUTH_SOCKET;
use super::switch::VIP;

/// Port of either service.
pub const PORT: u16 = 7777;
/// A client that connected and says nothing is dropped after this, because one thread serves all.
const PATIENCE: Duration = Duration::from_millis(20);

/// Runs service `kind` until it is stopped.
pub fn serve(kind: &str) -> anyhow::Result<ExitCode> {
    let node = gethostname()?.to_string_lossy().into_owned();
    let node = node.as_str();
    let mut witness = UnixStream::connect(TRUTH_SOCKET).context("cannot reach the demo's monitor")?;
    witness.write_all(node.as_bytes())?;
    match kind {
        "builtin" => respond(node),
        "redis" => redis(node, &witness),
        other => anyhow::bail!("there is no service `{other}`"),
    }
}

/// Answers each connection with the node's name and a counter.
fn respond(node: &str) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)).context("the service's port is taken")?;
    let datagrams = bind_datagrams().context("the service's UDP port is taken")?;
    let name = node.to_owned();
    std::thread::Builder::new()
        .name("datagrams".into())
        .spawn(move || respond_to_datagrams(&name, &datagrams))?;
    let mut counter = 0u64;
    for stream in listener.incoming().flatten() {
        counter += 1;
        // A client that went away in the meantime is its own affair.
        let _ = reply(stream, node, counter);
    }
    Ok(ExitCode::SUCCESS)
}

/// A socket on the virtual IP, which may come later than the service: answers come from the address that was asked.
fn bind_datagrams() -> anyhow::Result<UdpSocket> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    let [a, b, c, d] = VIP.octets();
    bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, PORT))?;
    Ok(socket.into())
}

/// Answers each datagram with the node's name and the instant of the answer.
fn respond_to_datagrams(node: &str, socket: &UdpSocket) {
    let mut request = [0; 64];
    loop {
        // Neither a failed answer nor the news that an earlier one was refused is the service's affair.
        if let Ok((_, from)) = socket.recv_from(&mut request) {
            let _ = socket.send_to(format!("{node} {}", now_us()).as_bytes(), from);
        }
    }
}

fn reply(mut stream: TcpStream, node: &str, counter: u64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut request = [0; 64];
    if stream.read(&mut request)? > 0 {
        stream.write_all(format!("{node} {counter}\n").as_bytes())?;
    }
    Ok(())
}

/// Becomes redis-server, which inherits the connection to the monitor.
fn redis(node: &str, witness: &UnixStream) -> anyhow::Result<ExitCode> {
    fcntl(witness.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    let folder = Paths::in_stage().redis(node);
    std::fs::create_dir_all(&folder)?;
    let error = Command::new("redis-server")
        .args([
            "--port",
            &PORT.to_string(),
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--daemonize",
            "no",
        ])
        .args(["--save", "", "--appendonly", "no", "--dir"])
        .arg(folder)
        .exec();
    Err(error).context("cannot run redis-server")
}

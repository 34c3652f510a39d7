//! The service under test, inside the machines: it says all the time that it runs, and where, and answers whoever asks.
//!
//! Its word goes out over the management network, which no scenario cuts, so the observer hears two of them if there
//! are two.

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::net::{HARNESS, MANAGEMENT, address};

/// Name of its program, beside the harness' own.
pub const PROGRAM: &str = "vm-beacon";
/// UDP port of the observer.
pub const OBSERVER: u16 = 7901;
/// TCP port of the service.
pub const SERVICE: u16 = 7902;
/// Time between two words.
pub const PACE: Duration = Duration::from_millis(20);

/// Runs the service until it is killed.
pub fn run() -> Result<()> {
    let node = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let epoch = std::env::var("HOLDFAST_EPOCH").unwrap_or_else(|_| "0".into());
    let word = format!("{node} {} {epoch}", boot.trim());
    let listener = TcpListener::bind(("0.0.0.0", SERVICE)).context("the service's port")?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Whoever went away before the answer asks again.
            let _ = stream.write_all(node.as_bytes());
        }
    });
    let observer = (address(MANAGEMENT, HARNESS), OBSERVER);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    loop {
        // A network that is not there yet is no reason to end.
        let _ = socket.send_to(word.as_bytes(), (observer.0.as_str(), observer.1));
        std::thread::sleep(PACE);
    }
}

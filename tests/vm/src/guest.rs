//! Commands into a machine, by the guest agent on a serial line: they work while every network is cut.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long the agent may take for one answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a command may take, unless told otherwise.
pub const COMMAND: Duration = Duration::from_secs(400);

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its exit status; 128 and more for a signal.
    pub code: i64,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// The agent of one machine.
#[derive(Debug)]
pub struct Guest {
    socket: PathBuf,
    /// It talks with one at a time.
    turn: Mutex<()>,
}

impl Guest {
    /// The agent behind `socket`.
    #[must_use]
    pub fn new(socket: PathBuf) -> Guest {
        Guest {
            socket,
            turn: Mutex::new(()),
        }
    }

    /// True if it answers at once.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.ask_within("guest-ping", Value::Null, Duration::from_secs(2))
            .is_ok()
    }

    /// Runs a shell command as root.
    pub fn sh(&self, script: &str, stdin: &str, limit: Duration) -> Result<Ended> {
        let begun = Instant::now();
        let mut arguments = json!({ "path": "/bin/sh", "arg": ["-c", script], "capture-output": true });
        if !stdin.is_empty() {
            arguments["input-data"] = base64(stdin.as_bytes()).into();
        }
        let started = self.ask("guest-exec", arguments)?;
        let mut nap = Duration::from_millis(10);
        loop {
            let status = self.ask("guest-exec-status", json!({ "pid": started["pid"] }))?;
            if status["exited"] == true {
                return Ok(ended(&status));
            }
            if begun.elapsed() > limit {
                bail!("no end after {} s: {script}", limit.as_secs());
            }
            std::thread::sleep(nap);
            nap = (nap * 3 / 2).min(Duration::from_millis(200));
        }
    }

    /// How far its wall clock is ahead of ours, in seconds; to within the time of one question.
    pub fn clock_ahead(&self) -> Result<f64> {
        let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let there = self.ask("guest-get-time", Value::Null)?;
        let after = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let there = there.as_f64().context("no time")? / 1e9;
        Ok(there - f64::midpoint(before, after))
    }

    /// Starts a shell command and does not wait for it.
    pub fn start(&self, script: &str, limit: Duration) -> Result<()> {
        let arguments = json!({ "path": "/bin/sh", "arg": ["-c", script] });
        self.ask_within("guest-exec", arguments, limit).map(|_| ())
    }

    fn ask(&self, command: &str, arguments: Value) -> Result<Value> {
        self.ask_within(command, arguments, PATIENCE)
    }

    fn ask_within(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = UnixStream::connect(&self.socket).context("no guest agent")?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        // Answers to whoever was here before us end with the one to this number.
        let sync = u64::from(std::process::id()) << 16 | u64::from(rand16());
        let mut text = String::new();
        let _ = writeln!(
            text,
            "{}",
            json!({ "execute": "guest-sync-delimited", "arguments": { "id": sync } })
        );
        let request = match arguments {
            Value::Null => json!({ "execute": command }),
            arguments => json!({ "execute": command, "arguments": arguments }),
        };
        let _ = writeln!(text, "{request}");
        stream.write_all(b"\xff")?;
        stream.write_all(text.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut synced = false;
        loop {
            let mut line = Vec::new();
            if reader
                .read_until(b'\n', &mut line)
                .context("the guest agent does not answer")?
                == 0
            {
                bail!("the guest agent is gone");
            }
            let from = line.iter().rposition(|byte| *byte == 0xff).map_or(0, |at| at + 1);
            let Ok(mut message) = serde_json::from_slice::<Value>(&line[from..]) else {
                continue;
            };
            if !synced {
                synced = message["return"] == sync;
                continue;
            }
            if let Some(error) = message["error"]["desc"].as_str() {
                bail!("{command}: {error}");
            }
            return Ok(message["return"].take());
        }
    }
}

/// A number that differs from call to call.
fn rand16() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn ended(status: &Value) -> Ended {
    let text = |key: &str| {
        let data = status[key].as_str().and_then(unbase64).unwrap_or_default();
        String::from_utf8_lossy(&data).into_owned()
    };
    let signal = status["signal"].as_i64().map_or(0, |signal| 128 + signal);
    Ended {
        code: status["exitcode"].as_i64().unwrap_or(signal),
        stdout: text("out-data"),
        stderr: text("err-data"),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The agent takes and gives bytes in base64.
fn base64(data: &[u8]) -> String {
    let mut text = String::with_capacity(data.len().div_ceil(3) * 4);
    for three in data.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at)) as usize & 63;
            text.push(if at > three.len() {
                '='
            } else {
                char::from(ALPHABET[six])
            });
        }
    }
    text
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut data = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut have) = (0u32, 0);
    for byte in text.bytes().filter(|byte| *byte != b'=') {
        let six = ALPHABET.iter().position(|known| *known == byte)?;
        bits = bits << 6 | u32::try_from(six).ok()?;
        have += 6;
        if have >= 8 {
            have -= 8;
            data.push((bits >> have) as u8);
        }
    }
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_back() {
        assert_eq!(base64(b"Holdfast"), "SG9sZGZhc3Q=");
        for length in 0..20u8 {
            let data: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(37)).collect();
            assert_eq!(unbase64(&base64(&data)).unwrap(), data);
        }
    }

    #[test]
    fn a_command_that_a_signal_ended_says_which() {
        let status = json!({ "exited": true, "signal": 9, "err-data": "bm8=" });
        let ended = ended(&status);
        assert_eq!((ended.code, ended.stderr.as_str()), (137, "no"));
    }
}

//! QEMU's monitor: one command at a time, each on a connection of its own.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Carries out `command`; what it returned.
pub fn ask(socket: &Path, command: &str, arguments: Value) -> Result<Value> {
    let mut stream = UnixStream::connect(socket).with_context(|| socket.display().to_string())?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    greet(&mut stream, &mut reader)?;
    send(&mut stream, command, arguments)?;
    answer(&mut reader).with_context(|| command.to_string())
}

/// Takes QEMU's greeting and asks for no more than the plain protocol.
pub fn greet(stream: &mut UnixStream, reader: &mut BufReader<UnixStream>) -> Result<()> {
    reader.read_line(&mut String::new())?;
    send(stream, "qmp_capabilities", Value::Null)?;
    answer(reader).map(|_| ())
}

fn send(stream: &mut UnixStream, command: &str, arguments: Value) -> Result<()> {
    let request = match arguments {
        Value::Null => json!({ "execute": command }),
        arguments => json!({ "execute": command, "arguments": arguments }),
    };
    writeln!(stream, "{request}")?;
    Ok(())
}

/// The next answer; events in between are somebody else's.
fn answer(reader: &mut BufReader<UnixStream>) -> Result<Value> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            bail!("QEMU closed its monitor");
        }
        let mut message: Value = serde_json::from_str(&line)?;
        if let Some(error) = message["error"]["desc"].as_str() {
            bail!("{error}");
        }
        if message.get("return").is_some() {
            return Ok(message["return"].take());
        }
    }
}

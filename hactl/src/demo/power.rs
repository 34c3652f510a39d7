//! The power controller: what a management board is elsewhere. It listens on a unix socket that every node can
//! reach; the fence device of a node is hactl itself (`ask`), called by had-agentd.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::outlet::Outlets;
use super::stage::POWER_SOCKET;
use super::story::Story;

/// Longest wait for the controller's answer.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Exit code of a fence agent's `status` for a node that is off.
const STATUS_OFF: u8 = 2;

/// Serves orders for `outlets`.
pub fn serve(outlets: Arc<Outlets>, story: Arc<Story>) -> anyhow::Result<()> {
    let listener = UnixListener::bind(POWER_SOCKET)?;
    std::thread::Builder::new().name("power".into()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let (outlets, story) = (Arc::clone(&outlets), Arc::clone(&story));
            let served = std::thread::Builder::new()
                .name("power-order".into())
                .spawn(move || {
                    if let Err(error) = answer(&stream, &outlets, &story) {
                        story.now("demo", "power-failed", format!("a power order failed: {error:#}"));
                    }
                });
            // Without a thread the order is not answered, and the fence agent reports that.
            drop(served);
        }
    })?;
    Ok(())
}

fn answer(mut stream: &UnixStream, outlets: &Arc<Outlets>, story: &Story) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let mut line = String::new();
    BufReader::new(stream.take(256)).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (action, node) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let state = |on: bool| if on { "on" } else { "off" };
    let result = match action {
        "off" => {
            story.now(
                "power",
                "power-order",
                format!("order to cut the power of {node}"),
            );
            outlets.off(node).and_then(|()| outlets.is_on(node))
        }
        "on" => outlets.on(node).and_then(|()| outlets.is_on(node)),
        "reboot" => outlets
            .off(node)
            .and_then(|()| outlets.on(node))
            .and_then(|()| outlets.is_on(node)),
        "status" => outlets.is_on(node),
        other => Err(anyhow::anyhow!("unknown order `{other}`")),
    };
    let reply = result.map_or_else(
        |error| format!("error {error:#}\n"),
        |on| format!("{}\n", state(on)),
    );
    stream.write_all(reply.as_bytes())?;
    Ok(())
}

/// The fence agent of `node`: reads `action=` from standard input as every fence agent does, and `plug=` unless `node`
/// is given.
///
/// # Errors
/// When the power controller cannot be asked.
pub fn ask(node: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut input = String::new();
    std::io::stdin()
        .take(65536)
        .read_to_string(&mut input)
        .context("cannot read the fence agent's input")?;
    let params: BTreeMap<&str, &str> = input.lines().filter_map(|line| line.split_once('=')).collect();
    let action = params.get("action").copied().unwrap_or("reboot");
    if matches!(action, "metadata" | "validate-all") {
        return Ok(ExitCode::SUCCESS);
    }
    let node = node.or_else(|| params.get("plug").copied());
    let node = node.context("the fence agent was not told which node: it wants plug=NODE")?;
    let order = if action == "monitor" { "status" } else { action };
    let mut stream = UnixStream::connect(POWER_SOCKET).context("the power controller does not listen")?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    stream.write_all(format!("{order} {node}\n").as_bytes())?;
    let mut reply = String::new();
    BufReader::new(&stream)
        .read_line(&mut reply)
        .context("the power controller does not answer")?;
    let reply = reply.trim();
    println!("{node} is {reply}");
    Ok(match (action, reply) {
        ("status", "off") => ExitCode::from(STATUS_OFF),
        (_, "on" | "off") => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

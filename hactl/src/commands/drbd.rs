//! `hactl drbd`: what DRBD's handlers call, and the word on a split brain. It speaks to the agent of the resource in had-agentd.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast_proto::config::Config;
use holdfast_proto::drbd::options::{self, DUMP_BYTES_MAX};
use holdfast_proto::drbd::{Answer, LINE_BYTES_MAX, Request, exit, is_resource_name, socket};

use super::fence::ask_for_name;
use crate::cli::{DrbdArgs, DrbdCommand, ResolveArgs};
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;

/// How long a handler tries to reach an agent that is not there: had-agentd may just be restarted.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between attempts.
const AGAIN: Duration = Duration::from_millis(100);

/// Runs the command. Handlers end with the exit code that DRBD wants, and with no other.
///
/// # Errors
/// A split brain cannot be resolved so.
pub fn run(args: DrbdArgs, ui: &Ui) -> anyhow::Result<ExitCode> {
    match args.command {
        DrbdCommand::FencePeer => {
            let peer = std::env::var("DRBD_PEER").unwrap_or_default();
            let answer = handle(&args.state_dir, &Request::FencePeer { peer });
            // 5 and 7 are DRBD's words for things that nobody here says; nothing else than these two lets it go on.
            let known = [exit::OUTDATED, exit::PEER_IS_PRIMARY];
            Ok(ExitCode::from(
                known
                    .into_iter()
                    .find(|code| *code == answer.code)
                    .unwrap_or(exit::REFUSED),
            ))
        }
        DrbdCommand::UnfencePeer => {
            handle(&args.state_dir, &Request::UnfencePeer);
            Ok(ExitCode::SUCCESS)
        }
        DrbdCommand::Resolve(resolve) => {
            self::resolve(&args.state_dir, &resolve, ui).map(|()| Exit::Ok.into())
        }
    }
}

/// Asks until somebody answers. The kernel waits meanwhile, with writes frozen.
fn handle(state_dir: &Path, request: &Request) -> Answer {
    let resource = std::env::var("DRBD_RESOURCE").unwrap_or_default();
    if !is_resource_name(&resource) {
        eprintln!("hactl drbd: DRBD calls this with the name of a resource in DRBD_RESOURCE");
        return Answer::new(exit::REFUSED, "");
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        // An answer that breaks off is asked for again, from the next had-agentd.
        match ask(state_dir, &resource, request) {
            Ok(answer) => {
                eprintln!("hactl drbd: {resource}: {}", answer.text);
                return answer;
            }
            Err(error) if Instant::now() >= deadline => {
                eprintln!("hactl drbd: {resource}: the agent does not answer: {error}");
                return Answer::new(exit::REFUSED, "");
            }
            Err(_) => std::thread::sleep(AGAIN),
        }
    }
}

fn ask(state_dir: &Path, resource: &str, request: &Request) -> std::io::Result<Answer> {
    let mut stream = UnixStream::connect(socket(state_dir, resource))?;
    writeln!(stream, "{}", request.to_line())?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_BYTES_MAX as u64)).read_line(&mut line)?;
    Answer::from_line(&line).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

fn resolve(state_dir: &Path, args: &ResolveArgs, ui: &Ui) -> anyhow::Result<()> {
    let fail = |exit: Exit, text: String| anyhow::Error::from(Failure::new(exit, text));
    let resource = &args.resource;
    if !is_resource_name(resource) {
        return Err(fail(
            Exit::Usage,
            format!("{resource:?} is no name of a DRBD resource"),
        ));
    }
    if !args.yes {
        ask_for_name(
            &args.discard,
            &format!(
                "What was written on {} while it was apart is given up, and replaced by the other node's data.",
                args.discard
            ),
            &format!("hactl drbd resolve {resource} --discard {} --yes", args.discard),
            ui,
        )?;
    }
    // Before anything is given up: a record that cannot be written is no record.
    let mut record = open_record(&args.records, resource).map_err(|error| {
        fail(
            Exit::Failed,
            format!(
                "the record cannot be written in {}: {error}",
                args.records.display()
            ),
        )
    })?;
    let request = Request::Discard {
        node: args.discard.clone(),
        who: who(),
        accept_loss: args.accept_loss,
    };
    let answer = ask(state_dir, resource, &request).map_err(|error| {
        fail(
            Exit::Unreachable,
            format!("the agent of {resource} does not answer: {error}; is had-agentd running, and the group configured?"),
        )
    })?;
    if answer.code != 0 {
        let _ = std::fs::remove_file(&record.0);
        return Err(fail(Exit::Refused, answer.text));
    }
    writeln!(record.1, "{} UTC seconds: {}", now_s(), answer.text)?;
    record.1.sync_all()?;
    ui.line(format_args!(
        "{}\nrecorded in {}",
        answer.text,
        record.0.display()
    ))?;
    Ok(())
}

fn open_record(folder: &Path, resource: &str) -> std::io::Result<(std::path::PathBuf, std::fs::File)> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let path = folder.join(format!("{resource}-{}.txt", now_s()));
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok((path, file))
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Who gives the word: the login name behind sudo where there is one.
fn who() -> String {
    let name = ["SUDO_USER", "LOGNAME", "USER"]
        .iter()
        .find_map(|key| std::env::var(key).ok());
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    let name: String = name.unwrap_or_default().chars().filter(plain).take(64).collect();
    if name.is_empty() {
        format!("uid {}", nix::unistd::getuid())
    } else {
        name
    }
}

/// What contradicts a managed pair in the DRBD configuration of this node: errors, then warnings.
#[must_use]
pub fn findings(config: &Config) -> (Vec<String>, Vec<String>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    let managed: BTreeSet<&str> = config
        .groups
        .iter()
        .flat_map(|group| &group.resources)
        .filter(|resource| resource.kind == "drbd")
        .filter_map(|resource| resource.params.get("resource").map(String::as_str))
        .collect();
    if managed.is_empty() {
        return (errors, warnings);
    }
    let dumped = match dump() {
        Ok(text) => options::read(&text),
        Err(why) => {
            warnings.push(format!(
                "the DRBD configuration is not checked, because {why}; check it on a data node"
            ));
            return (errors, warnings);
        }
    };
    for name in managed {
        let Some(resource) = dumped.get(name) else {
            warnings.push(format!(
                "DRBD resource {name}: not in the DRBD configuration of this node; check it on a data node"
            ));
            continue;
        };
        for host in &resource.hosts {
            if !config.nodes.iter().any(|node| node.name == *host) {
                warnings.push(format!(
                    "DRBD resource {name}: its host {host} is no node of the cluster: give the node that name, so that DRBD 9's \
                     connections are known by it"
                ));
            }
        }
        for finding in resource.findings() {
            let list = if finding.is_error {
                &mut errors
            } else {
                &mut warnings
            };
            list.push(format!("DRBD resource {name}: {}", finding.text));
        }
    }
    (errors, warnings)
}

fn dump() -> Result<String, String> {
    let mut child = Command::new("drbdadm")
        .arg("dump-xml")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|_| "drbdadm is not here".to_owned())?;
    let mut text = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let read = stdout.take(DUMP_BYTES_MAX as u64).read_to_end(&mut text);
        read.map_err(|error| format!("drbdadm dump-xml cannot be read: {error}"))?;
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(String::from_utf8_lossy(&text).into_owned()),
        Ok(status) => Err(format!(
            "drbdadm dump-xml ended with {status}: drbdadm dump says why"
        )),
        Err(error) => Err(format!("drbdadm dump-xml: {error}")),
    }
}

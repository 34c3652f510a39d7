//! `hactl sbd message`: written, read back, and watched until it is carried out.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use holdfast_sbd::{Command, write_quorum};
use serde::Serialize;

use super::{Disks, each, open, warn_of_failures};
use crate::cli::MessageArgs;
use crate::outcome::{Exit, Failure};
use crate::ui::Ui;
use crate::ui::text::{one_line, pad};

/// Longest answer read from the operator.
const ANSWER_BYTES_MAX: u64 = 4096;
/// Time between two looks whether a test was answered.
const LOOK: Duration = Duration::from_millis(100);

/// What became of a message on one disk.
struct Delivery {
    slot: u8,
    /// When the mailbox was found emptied, for a test.
    answered: Option<Duration>,
    msgwait_s: u32,
}

#[derive(Serialize)]
struct MessageJson<'a> {
    ok: bool,
    node: &'a str,
    message: &'static str,
    written: usize,
    answered: usize,
    needed: usize,
    disks: Vec<DeliveryJson>,
}

#[derive(Serialize)]
struct DeliveryJson {
    device: String,
    slot: Option<u8>,
    answered_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Writes it to every disk.
pub fn run(disks: &Disks, args: &MessageArgs, ui: &Ui) -> anyhow::Result<()> {
    let command: Command = args
        .message
        .parse()
        .map_err(|error: String| Failure::new(Exit::Usage, error))?;
    if command.ends_the_node() && !args.yes {
        let node = one_line(&args.node);
        let warning = format!("{command} ends {node} at once, with everything that runs there.");
        ask_for(
            &args.node,
            &warning,
            &format!("hactl sbd message {node} {command} --yes"),
            ui,
        )?;
    }
    let from = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_default();
    let found = each(disks, |path| deliver(disks, path, command, &from, args));
    let needed = write_quorum(disks.paths.len());
    let written = found.iter().filter(|(_, done)| done.is_ok()).count();
    let answered = found
        .iter()
        .filter_map(|(_, done)| done.as_ref().ok())
        .filter(|delivery| delivery.answered.is_some())
        .count();
    let awaited = command == Command::Test && !args.no_wait;
    let well = written >= needed && (!awaited || answered >= needed);
    if ui.json() {
        let deliveries = found.iter().map(|(device, done)| DeliveryJson {
            device: device.clone(),
            slot: done.as_ref().ok().map(|delivery| delivery.slot),
            answered_ms: done
                .as_ref()
                .ok()
                .and_then(|delivery| delivery.answered)
                .map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            error: done.as_ref().err().cloned(),
        });
        ui.document(&MessageJson {
            ok: well,
            node: &args.node,
            message: command.word(),
            written,
            answered,
            needed,
            disks: deliveries.collect(),
        })?;
    } else {
        for (device, done) in &found {
            if let Ok(delivery) = done {
                ui.line(format_args!(
                    "{}: {}",
                    pad(device, 0),
                    outcome(command, delivery, args)
                ))?;
            }
        }
        warn_of_failures(&found, ui);
    }
    if well {
        return Ok(());
    }
    if ui.json() {
        return Err(Failure::already_printed(Exit::Failed).into());
    }
    let node = one_line(&args.node);
    let (what, hint) = if written < needed {
        ("was read back from", "an order counts on a majority of the disks")
    } else {
        ("was answered on", "does its watcher run, with these disks?")
    };
    let count = if written < needed { written } else { answered };
    let text = format!(
        "{command} for {node} {what} {count} of {} disks",
        disks.paths.len()
    );
    Err(Failure::new(Exit::Failed, text).hint(hint).into())
}

fn outcome(command: Command, delivery: &Delivery, args: &MessageArgs) -> String {
    let node = one_line(&args.node);
    let written = format!(
        "{command} for {node} written to slot {} and read back",
        delivery.slot
    );
    match delivery.answered {
        Some(after) => format!("{written}; answered after {:.1} s", after.as_secs_f64()),
        None if command == Command::Test && !args.no_wait => {
            format!("{written}; not answered within {} s", delivery.msgwait_s)
        }
        None if command.ends_the_node() => format!(
            "{written}; if its watcher runs it is down after {} s at the latest",
            delivery.msgwait_s
        ),
        None => written,
    }
}

fn deliver(
    disks: &Disks,
    path: &Path,
    command: Command,
    from: &str,
    args: &MessageArgs,
) -> holdfast_sbd::Result<Delivery> {
    let mut volume = open(disks, path)?;
    let slot = volume.slot_of(&args.node)?;
    let written = volume.send(slot, command, from, &args.node)?;
    let msgwait_s = volume.header().timeouts.msgwait_s;
    let begun = Instant::now();
    let wait = Duration::from_secs(msgwait_s.into());
    let mut answered = None;
    if !args.no_wait && command == Command::Test {
        while answered.is_none() && begun.elapsed() < wait {
            thread::sleep(LOOK);
            if !volume.stands(&written)? {
                answered = Some(begun.elapsed());
            }
        }
    } else if !args.no_wait && command.ends_the_node() {
        thread::sleep(wait);
    }
    Ok(Delivery {
        slot,
        answered,
        msgwait_s,
    })
}

/// Asks for `word` to be typed.
///
/// # Errors
/// When nobody is there, or something else was typed.
pub fn ask_for(word: &str, warning: &str, sure: &str, ui: &Ui) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() || ui.json() {
        return Err(
            Failure::new(Exit::Usage, format!("nobody is there to be asked: {warning}"))
                .hint(format!("if you are certain: {sure}"))
                .into(),
        );
    }
    ui.warn(warning);
    let mut err = io::stderr().lock();
    write!(err, "Type {} to go on: ", one_line(word)).and_then(|()| err.flush())?;
    let mut answer = String::new();
    io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX).read_line(&mut answer)?;
    if answer.trim() == word {
        return Ok(());
    }
    Err(Failure::new(Exit::Refused, "that was something else: nothing was written").into())
}

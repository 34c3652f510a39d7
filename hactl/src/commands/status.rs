//! `hactl status`: one screen.

pub mod changes;
mod members;
pub mod screen;

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{Empty, StatusView};

use crate::cli::StatusArgs;
use crate::client::Endpoint;
use crate::outcome::Exit;
use crate::ui::{Ui, text};

/// Runs the command.
///
/// # Errors
/// When `had` cannot be reached.
pub fn run(had: &Endpoint, args: &StatusArgs, ui: &Ui) -> anyhow::Result<Exit> {
    if args.watch {
        return watch(had, ui).map(|()| Exit::Ok);
    }
    let view = had.status()?;
    if ui.json() {
        ui.document(&view)?;
    } else {
        ui.lines(&screen::render(&view, ui.paint(), ui.columns()))?;
    }
    Ok(if args.check { exit_of(&view) } else { Exit::Ok })
}

/// The exit code of `--check`.
fn exit_of(view: &StatusView) -> Exit {
    match view.health.as_str() {
        "ok" => Exit::Ok,
        "down" if view.leader.is_empty() => Exit::NoQuorum,
        _ => Exit::Failed,
    }
}

/// Shows the status again at each change, until the connection ends.
fn watch(had: &Endpoint, ui: &Ui) -> anyhow::Result<()> {
    let mut replies = had.send(Request::Watch(Empty {}))?;
    let mut previous: Option<StatusView> = None;
    let mut drawn = 0;
    loop {
        let view = match replies.next(None)? {
            Some(Reply::Status(view)) => view,
            Some(Reply::Done(_)) => return Ok(()),
            Some(_) => continue,
            None => return Err(replies.ended().into()),
        };
        if ui.json() {
            ui.json_line(&view)?;
        } else if ui.is_terminal() {
            drawn = redraw(&view, drawn, ui)?;
        } else {
            let lines = match &previous {
                None => screen::render(&view, ui.paint(), ui.columns()),
                Some(previous) => changes::between(previous, &view),
            };
            ui.lines(&lines)?;
        }
        previous = Some(view);
    }
}

/// Draws over the `drawn` lines of the last time, and returns how many there are now. No alternate screen: the
/// last picture stays when the operator leaves.
fn redraw(view: &StatusView, drawn: usize, ui: &Ui) -> anyhow::Result<usize> {
    let mut lines = screen::render(view, ui.paint(), ui.columns());
    // What does not fit would scroll, and the cursor could not go back to its beginning.
    if let Some((_, rows)) = text::terminal_size() {
        lines.truncate(rows.saturating_sub(1).max(1));
    }
    let mut frame = String::new();
    if drawn > 0 {
        frame.push_str(&format!("\x1b[{drawn}A\r"));
    }
    for line in &lines {
        frame.push_str(line);
        frame.push_str("\x1b[K\n");
    }
    frame.push_str("\x1b[J");
    ui.raw(&frame)?;
    Ok(lines.len())
}

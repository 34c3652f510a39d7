//! `hactl fence test`.

use std::time::{Duration, Instant};

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{FenceDeviceView, FenceTestView, NodeRequest};

use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::text::{clean, one_line, wrap};
use crate::ui::{Paint, Tone, Ui};

/// Longest time for a device, which has a bound of its own in the configuration.
const PATIENCE: Duration = Duration::from_secs(3700);

/// Runs the command.
///
/// # Errors
/// When `had` cannot be reached or refuses, or a device fails.
pub fn run(had: &Endpoint, node: &str, ui: &Ui) -> anyhow::Result<()> {
    let view = test(had, node, ui)?;
    if ui.json() {
        ui.document(&view)?;
    } else {
        ui.lines(&render(&view, ui.paint(), ui.columns()))?;
    }
    if view.ok {
        Ok(())
    } else {
        Err(Failure::already_printed(Exit::Failed).into())
    }
}

/// Tests the devices of `node`, for a command that goes on only if they work.
///
/// # Errors
/// As [`run`].
pub fn demand(had: &Endpoint, node: &str, ui: &Ui) -> anyhow::Result<()> {
    let view = test(had, node, ui)?;
    let failing = view.devices.iter().find(|device| device.state != "proven");
    match failing {
        None => Ok(()),
        Some(device) => Err(Failure::new(
            Exit::Refused,
            format!(
                "the fence device {} of {node} does not work: {}",
                device.agent,
                clean(&device.detail)
            ),
        )
        .into()),
    }
}

fn test(had: &Endpoint, node: &str, ui: &Ui) -> anyhow::Result<FenceTestView> {
    let request = Request::FenceTest(NodeRequest {
        node: node.into(),
        ..NodeRequest::default()
    });
    let deadline = Instant::now() + PATIENCE;
    let mut replies = had.send(request)?;
    let mut progress = ui.progress();
    loop {
        match replies.next(Some(deadline))? {
            Some(Reply::FenceTest(view)) => return Ok(view),
            Some(Reply::Progress(text)) => progress.show(&text),
            Some(_) => {}
            None => return Err(replies.ended().into()),
        }
    }
}

/// The view as lines.
#[must_use]
pub fn render(view: &FenceTestView, paint: Paint, columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = view
        .devices
        .iter()
        .flat_map(|device| device_lines(device, paint, columns))
        .collect();
    let (node, from) = (&view.node, &view.from);
    let verdict = match (view.ok, node == from) {
        (true, false) => format!("{from} could fence {node} now."),
        (true, true) => format!(
            "The devices of {node} answer {node} itself; what counts is that the other node reaches them."
        ),
        (false, _) => format!("{from} could NOT rely on this to fence {node}."),
    };
    lines.extend(wrap(&verdict, 0, columns));
    lines
}

fn device_lines(device: &FenceDeviceView, paint: Paint, columns: usize) -> Vec<String> {
    let (word, tone) = match device.state.as_str() {
        "proven" => ("works", Tone::Good),
        "failing" => ("FAILS", Tone::Bad),
        _ => ("was not tested, it is busy", Tone::Warn),
    };
    let method = match device.method.as_str() {
        "" => String::new(),
        method => format!(", method {}", one_line(method)),
    };
    let head = format!("{} (level {}{method})", one_line(&device.agent), device.level);
    let took = match device.tested_s_ago {
        Some(_) => format!(", {} ms", device.took_ms),
        None => String::new(),
    };
    let mut lines = vec![format!("{head}  {}{took}", paint.tone(tone, word))];
    lines.extend(wrap(&device.detail, 2, columns));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(state: &str) -> FenceTestView {
        let device = FenceDeviceView {
            agent: "fence_ipmilan".into(),
            level: 1,
            state: state.into(),
            tested_s_ago: Some(0),
            took_ms: 412,
            detail: "fence_ipmilan says db2 is on".into(),
            ..FenceDeviceView::default()
        };
        FenceTestView {
            node: "db2".into(),
            from: "db1".into(),
            ok: state == "proven",
            devices: vec![device],
        }
    }

    #[test]
    fn the_last_line_is_the_verdict() {
        let lines = render(&view("proven"), Paint::new(false), 80);
        assert_eq!(
            lines,
            [
                "fence_ipmilan (level 1)  works, 412 ms",
                "  fence_ipmilan says db2 is on",
                "db1 could fence db2 now."
            ]
        );
        let lines = render(&view("failing"), Paint::new(false), 80);
        assert!(
            lines[0].ends_with("FAILS, 412 ms") && lines[2].contains("could NOT"),
            "{lines:?}"
        );
    }
}

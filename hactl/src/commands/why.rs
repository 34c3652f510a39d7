//! `hactl why`: the sentence first, then who could run the group, then how it came about.

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{GroupRequest, WhyView};

use super::events;
use crate::client::Endpoint;
use crate::ui::text::{clean, wrap};
use crate::ui::{Paint, Tone, Ui};

/// Runs the command.
///
/// # Errors
/// When `had` cannot be reached or knows no such group.
pub fn run(had: &Endpoint, group: &str, ui: &Ui) -> anyhow::Result<()> {
    let request = Request::Why(GroupRequest { group: group.into() });
    let view = had.fetch(request, |reply| match reply {
        Reply::Why(view) => Some(view),
        _ => None,
    })?;
    if ui.json() {
        ui.document(&view)?;
    } else {
        ui.lines(&render(&view, ui.paint(), ui.columns()))?;
    }
    Ok(())
}

/// The view as lines.
#[must_use]
pub fn render(view: &WhyView, paint: Paint, columns: usize) -> Vec<String> {
    let mut lines = wrap(&clean(&view.sentence), 0, columns);
    if !view.candidates.is_empty() {
        lines.push(String::new());
        lines.push(paint.tone(Tone::Strong, "Nodes"));
        for candidate in &view.candidates {
            lines.extend(wrap(&clean(candidate), 2, columns));
        }
    }
    if !view.history.is_empty() {
        lines.push(String::new());
        lines.push(paint.tone(Tone::Strong, "How it came about"));
        for event in &view.history {
            lines.extend(events::render(event, paint, columns));
        }
    }
    lines
}

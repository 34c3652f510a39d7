//! `hactl events`.

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{EventView, EventsRequest};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::EventsArgs;
use crate::client::{ASK_TIMEOUT, Endpoint};
use crate::ui::text::{one_line, pad, wrap};
use crate::ui::{Paint, Tone, Ui};

/// Where the text of an event begins: after the time, the node and the level.
const INDENT: usize = 6;

/// Runs the command.
///
/// # Errors
/// When `had` cannot be reached.
pub fn run(had: &Endpoint, args: &EventsArgs, ui: &Ui) -> anyhow::Result<()> {
    let request = Request::Events(EventsRequest {
        follow: args.follow,
        last: args.last,
    });
    let mut replies = had.send(request)?;
    let deadline = (!args.follow).then(|| std::time::Instant::now() + ASK_TIMEOUT);
    loop {
        match replies.next(deadline)? {
            Some(Reply::Event(event)) if ui.json() => ui.json_line(&event)?,
            Some(Reply::Event(event)) => ui.lines(&render(&event, ui.paint(), ui.columns()))?,
            Some(Reply::Done(_)) => return Ok(()),
            Some(_) => {}
            None => return Err(replies.ended().into()),
        }
    }
}

/// One event: a line, wrapped on a narrow terminal.
#[must_use]
pub fn render(event: &EventView, paint: Paint, columns: usize) -> Vec<String> {
    let tone = match event.level.as_str() {
        "alert" => Tone::Bad,
        "warn" => Tone::Warn,
        _ => Tone::Plain,
    };
    let when = local_time(&event.at);
    let level = one_line(&event.level);
    let head = format!("{when}  {}  {}", pad(&one_line(&event.node), 7), pad(&level, 5));
    let text = one_line(&event.text);
    if head.chars().count() + 2 + text.chars().count() <= columns {
        return vec![format!(
            "{}  {}  {}  {text}",
            paint.tone(Tone::Faint, &when),
            pad(&one_line(&event.node), 7),
            paint.tone(tone, &pad(&level, 5)),
        )];
    }
    let mut lines = vec![format!(
        "{}  {}  {}",
        paint.tone(Tone::Faint, &when),
        pad(&one_line(&event.node), 7),
        paint.tone(tone, &level),
    )];
    lines.extend(wrap(&text, INDENT, columns));
    lines
}

/// A time stamp as the operator's clock shows it, with milliseconds; as it came if it does not parse.
fn local_time(at: &str) -> String {
    at.parse::<Timestamp>().map_or_else(
        |_| one_line(at),
        |stamp| {
            stamp
                .to_zoned(TimeZone::system())
                .strftime("%m-%d %H:%M:%S%.3f")
                .to_string()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing.
    #[test]
    fn a_level_with_controls_does_not_reach_the_terminal() {
        let mut odd = event("text");
        odd.level = "ale\u{1d}rt".into();
        odd.text = "db2 was\nfenced".into();
        for columns in [20, 200] {
            let lines = render(&odd, Paint::new(false), columns);
            assert!(lines.iter().all(|line| !line.contains(['\u{1d}', '\n'])));
        }
    }

    fn event(text: &str) -> EventView {
        EventView {
            id: 1,
            at: "2026-01-02T03:04:05.123456Z".into(),
            boot_us: 7,
            node: "db1".into(),
            kind: "peer-lost".into(),
            level: "alert".into(),
            text: text.into(),
            ..EventView::default()
        }
    }

    #[test]
    fn one_line_when_there_is_room() {
        let lines = render(&event("db2 is lost"), Paint::new(false), usize::MAX);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with("db1      alert  db2 is lost"), "{lines:?}");
        assert!(lines[0].contains(":05.123"), "{lines:?}");
    }

    #[test]
    fn wrapped_on_a_phone() {
        let long = "db2 has not been heard for 1000 ms on any of its links and is given up";
        let lines = render(&event(long), Paint::new(false), 40);
        assert!(
            lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= 40),
            "{lines:?}"
        );
    }
}

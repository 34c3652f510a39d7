//! The operators' socket, both ways: requests as `had` takes them, replies as `hactl` shows them.

use holdfast_daemon::fuzzing as had;
use holdfast_hactl::commands::{config, events, fence_test, job, status, why};
use holdfast_hactl::outcome::{Exit, Failure};
use holdfast_hactl::ui::paint::Paint;
use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::{ControlReply, ControlRequest, StatusView};
use jiff::tz::TimeZone;

use crate::memory::bounded;
use crate::sameness::settled_prost;
use crate::samples;
use crate::text::{head, lines, one_line};

/// Memory for each byte of a message: an empty entry of a list takes two bytes on the wire, and its view some hundred.
const FACTOR: usize = 256;

/// The first byte chooses the width of the terminal, the rest is the message.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([columns], bytes) = head(data);
    if let Some(request) = bounded(bytes.len(), FACTOR, || settled_prost::<ControlRequest>(bytes)) {
        asked(request);
    }
    if let Some(reply) = bounded(bytes.len(), FACTOR, || settled_prost::<ControlReply>(bytes)) {
        answered(reply, usize::from(columns));
    }
}

fn asked(request: ControlRequest) {
    let Some(body) = request.body else { return };
    if let Err(refused) = had::translate(samples::config(), body) {
        assert!(["invalid", "not-found", "refused"].contains(&refused.code.as_str()));
        lines(&refused.message);
    }
}

/// What came from `had` is shown on a terminal: nothing in it may move the cursor.
fn answered(reply: ControlReply, columns: usize) {
    let plain = Paint::new(false);
    let shown = match reply.body {
        None => return,
        Some(Reply::Status(view)) => {
            let mut shown = status::screen::render(&view, plain, columns);
            shown.extend(status::changes::between(&StatusView::default(), &view));
            shown.extend(status::changes::between(&view, &StatusView::default()));
            shown
        }
        Some(Reply::Event(event)) => events::render(&event, plain, columns),
        Some(Reply::Why(view)) => why::render(&view, plain, columns),
        Some(Reply::FenceTest(view)) => fence_test::render(&view, plain, columns),
        Some(Reply::Jobs(view)) => job::render(&view.jobs, &TimeZone::UTC, plain, columns),
        Some(Reply::Timers(view)) => config::render_timers(&view, plain, columns),
        Some(Reply::Error(view)) => {
            let exit = Exit::of_error(&view);
            assert_ne!(exit, Exit::Ok, "an error that counts as success");
            let failure = Failure::from(view);
            assert_eq!(failure.exit, exit);
            return;
        }
        Some(Reply::Done(_) | Reply::Progress(_)) => return,
    };
    for line in shown {
        one_line(&line);
    }
}

//! Answers that go on: the status after each change, and events as they come.

use std::time::Duration;

use holdfast_proto::control::{EventsRequest, StatusView, control_reply};
use tokio::sync::broadcast::error::RecvError;

use super::{Client, Control, Refusal, refusal};
use crate::journal::RING_ENTRIES;
use crate::status;

/// Changes that come closer than this are told together.
const SETTLE: Duration = Duration::from_millis(50);

/// The status now and after each change, until the client closes.
pub async fn status(control: &Control, client: &mut Client) -> Result<String, Refusal> {
    let _place = control.follower()?;
    let mut changed = control.changed.clone();
    let mut told: Option<StatusView> = None;
    loop {
        changed.borrow_and_update();
        let view = status::status(&control.snapshot().await?);
        if told.as_ref().is_none_or(|told| steady(told) != steady(&view)) {
            if !client.send(control_reply::Body::Status(view.clone())).await {
                return Ok(String::new());
            }
            told = Some(view);
        }
        tokio::select! {
            result = changed.changed() => if result.is_err() {
                return Err(refusal("internal", "had is ending"));
            },
            () = client.closed() => return Ok(String::new()),
        }
        tokio::time::sleep(SETTLE).await;
    }
}

/// The view without what changes all the time.
fn steady(view: &StatusView) -> StatusView {
    let mut view = view.clone();
    view.next.clear();
    view.groups.iter_mut().for_each(|group| group.permit_ms = 0);
    for node in &mut view.nodes {
        node.fences.clear();
        for device in &mut node.fence_devices {
            (device.tested_s_ago, device.proven_s_ago, device.took_ms) = (None, None, 0);
        }
    }
    view.nodes
        .iter_mut()
        .flat_map(|node| &mut node.links)
        .for_each(|link| {
            link.rtt_us = 0;
            link.lost_percent = 0;
        });
    view
}

/// Past events, and with `follow` those to come until the client closes.
pub async fn events(
    control: &Control,
    client: &mut Client,
    request: &EventsRequest,
) -> Result<String, Refusal> {
    let _place = if request.follow {
        Some(control.follower()?)
    } else {
        None
    };
    let last = usize::try_from(request.last)
        .unwrap_or(usize::MAX)
        .min(RING_ENTRIES);
    let (past, mut coming) = control.journal().follow(last);
    for event in past {
        if !client.send(control_reply::Body::Event(event)).await {
            return Ok(String::new());
        }
    }
    if !request.follow {
        return Ok(String::new());
    }
    loop {
        let event = tokio::select! {
            event = coming.recv() => event,
            () = client.closed() => return Ok(String::new()),
        };
        match event {
            Ok(event) => {
                if !client.send(control_reply::Body::Event(event)).await {
                    return Ok(String::new());
                }
            }
            Err(RecvError::Lagged(missed)) => {
                return Err(refusal(
                    "internal",
                    format!(
                        "events came faster than they were read, {missed} were missed: run `hactl events` again"
                    ),
                ));
            }
            Err(RecvError::Closed) => return Err(refusal("internal", "had is ending")),
        }
    }
}

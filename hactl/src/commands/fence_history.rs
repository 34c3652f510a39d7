//! `hactl fence history`: the ledger of proofs.

use std::time::Instant;

use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{EventView, FenceHistoryRequest, ProofView};

use super::events;
use crate::client::{ASK_TIMEOUT, Endpoint};
use crate::ui::text::{one_line, span_ms, wrap};
use crate::ui::{Paint, Ui};

/// Where what stands below an entry begins.
const INDENT: usize = 6;

/// Runs the command.
///
/// # Errors
/// When `had` cannot be reached or knows no such node.
pub fn run(had: &Endpoint, node: &str, last: u32, ui: &Ui) -> anyhow::Result<()> {
    let request = Request::FenceHistory(FenceHistoryRequest {
        node: node.into(),
        last,
    });
    let deadline = Instant::now() + ASK_TIMEOUT;
    let mut replies = had.send(request)?;
    let mut shown = false;
    loop {
        match replies.next(Some(deadline))? {
            Some(Reply::Event(event)) if ui.json() => ui.json_line(&event)?,
            Some(Reply::Event(event)) => ui.lines(&render(&event, ui.paint(), ui.columns()))?,
            Some(Reply::Done(_)) => break,
            Some(_) => continue,
            None => return Err(replies.ended().into()),
        }
        shown = true;
    }
    if !shown && !ui.json() {
        ui.line("nothing was fenced, and no takeover rested on a proof")?;
    }
    Ok(())
}

/// One entry: the sentence, then what it proves and the evidence that the sentence does not hold already.
#[must_use]
pub fn render(event: &EventView, paint: Paint, columns: usize) -> Vec<String> {
    let mut lines = events::render(event, paint, columns);
    if let Some(proof) = &event.proof {
        lines.extend(wrap(&facts(proof), INDENT, columns));
        for said in &proof.evidence {
            if !event.text.contains(said.as_str()) {
                lines.extend(wrap(&one_line(said), INDENT, columns));
            }
        }
    }
    lines
}

fn facts(proof: &ProofView) -> String {
    let mut facts = vec![if proof.kind.is_empty() {
        "proves nothing".to_string()
    } else {
        format!("proof: {}", one_line(&proof.kind))
    }];
    if !proof.ended_boot.is_empty() {
        facts.push(format!("of boot {}", one_line(&proof.ended_boot)));
    }
    if let Some(took_ms) = proof.took_ms {
        facts.push(format!("after {}", span_ms(took_ms)));
    }
    if proof.version > 0 {
        facts.push(format!("in state {}", proof.version));
    }
    facts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_what_it_proves_and_says_nothing_twice() {
        let event = EventView {
            at: "2026-01-02T03:04:05.123456Z".into(),
            node: "db1".into(),
            kind: "fence-proved".into(),
            level: "warn".into(),
            text: "db2 is fenced: outlet 7 read off".into(),
            proof: Some(ProofView {
                node: "db2".into(),
                kind: "power".into(),
                ended_boot: "1f3a".into(),
                evidence: vec!["outlet 7 read off".into(), "outlet 8 read off".into()],
                took_ms: Some(812),
                version: 0,
            }),
            ..EventView::default()
        };
        let lines = render(&event, Paint::new(false), 100);
        assert!(
            lines[0].ends_with("db2 is fenced: outlet 7 read off"),
            "{lines:?}"
        );
        assert_eq!(
            lines[1..],
            [
                "      proof: power, of boot 1f3a, after 812 ms",
                "      outlet 8 read off"
            ]
        );
    }
}

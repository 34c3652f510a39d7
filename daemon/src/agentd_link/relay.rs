//! One attached connection: requests out, reports in, and signs of life in between.

use std::time::Duration;

use holdfast_proto::agent::{AgentReport, AgentRequest, Alive, Note, Permits, agent_report, agent_request};
use holdfast_proto::stream::{Deframer, frame_message};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::Instant;

use super::{LinkEvent, Task};

/// No agent process is called hung before this, however short the lease.
const SILENCE_MIN: Duration = Duration::from_millis(100);
/// It is asked for a sign of life this often within the silence that is allowed.
const ASKED_PER_SILENCE: u32 = 4;
/// The thread that runs agents may be behind for this long before the operator hears of it.
const AGENTS_BEHIND: Duration = Duration::from_secs(3);

impl Task {
    /// Carries requests out and reports in until something breaks; says what.
    pub(super) async fn relay(
        &mut self,
        stream: UnixStream,
        mut deframer: Deframer,
        silence: Duration,
    ) -> String {
        let (mut reader, mut writer) = stream.into_split();
        let mut pulse = Pulse::new(silence, Instant::now());
        let mut piece = vec![0u8; 8192];
        loop {
            loop {
                match deframer.next::<AgentReport>() {
                    Ok(Some(report)) => {
                        if let Some(event) = pulse.take(report)
                            && self.events.send(event).await.is_err()
                        {
                            return "had ends".into();
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return format!("had-agentd sent garbage: {error}"),
                }
            }
            tokio::select! {
                biased;
                request = self.requests.recv() => {
                    let Some(request) = request else { return "had ends".into() };
                    if let Err(reason) = pulse.write(&mut writer, &request).await {
                        return reason;
                    }
                }
                length = reader.read(&mut piece) => match length {
                    Ok(0) => return "had-agentd closed the connection".into(),
                    Ok(length) => deframer.push(&piece[..length]),
                    Err(error) => return format!("reading from had-agentd failed: {error}"),
                },
                _ = self.attach.changed() => return "attaching anew with a changed configuration".into(),
                _ = self.cut.changed() => return "had-agentd did not take requests, its queue was full".into(),
                // Last: answers that lie in the socket are read first.
                () = tokio::time::sleep_until(pulse.due()) => {
                    if let Some(reason) = pulse.silent(Instant::now()) {
                        return reason;
                    }
                    let sign = AgentRequest {
                        body: Some(agent_request::Body::Permits(Permits::default())),
                    };
                    if let Err(reason) = pulse.write(&mut writer, &sign).await {
                        return reason;
                    }
                }
            }
        }
    }
}

/// Whether the agent process lives: it answers every `Permits`, and is sent an empty one when there is none to send.
struct Pulse {
    silence: Duration,
    /// When the oldest unanswered question went out.
    asked: Option<Instant>,
    last_asked: Instant,
    /// It answered once. One from before there was such an answer is not judged by it.
    answers: bool,
    agents_behind: bool,
}

impl Pulse {
    fn new(silence: Duration, now: Instant) -> Pulse {
        let silence = silence.max(SILENCE_MIN);
        Pulse {
            silence,
            asked: None,
            // The first question goes out at once.
            last_asked: now - silence / ASKED_PER_SILENCE,
            answers: false,
            agents_behind: false,
        }
    }

    /// When to look again.
    fn due(&self) -> Instant {
        let next = self.last_asked + self.silence / ASKED_PER_SILENCE;
        self.asked
            .filter(|_| self.answers)
            .map_or(next, |asked| next.min(asked + self.silence))
    }

    /// Why the agent process counts as hung, if it does. Slow is not dead: when this process comes late itself, because it or
    /// the whole machine was stalled, nobody is blamed and the silence counts from now.
    fn silent(&mut self, now: Instant) -> Option<String> {
        let asked = self.asked.filter(|_| self.answers)?;
        if now.saturating_duration_since(self.due()) > self.silence / ASKED_PER_SILENCE {
            self.asked = Some(now);
            return None;
        }
        let silent = now.saturating_duration_since(asked);
        (silent >= self.silence)
            .then(|| format!("had-agentd gave no sign of life for {} ms", silent.as_millis()))
    }

    async fn write(&mut self, writer: &mut OwnedWriteHalf, request: &AgentRequest) -> Result<(), String> {
        if matches!(request.body, Some(agent_request::Body::Permits(_))) {
            let now = Instant::now();
            self.last_asked = now;
            self.asked.get_or_insert(now);
        }
        match tokio::time::timeout(self.silence, writer.write_all(&frame_message(request))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("writing to had-agentd failed: {error}")),
            Err(_) => Err(format!(
                "had-agentd took no request for {} ms",
                self.silence.as_millis()
            )),
        }
    }

    /// Takes a report in. `None` for a mere sign of life, and for a kind that this version does not know.
    fn take(&mut self, report: AgentReport) -> Option<LinkEvent> {
        match report.body? {
            agent_report::Body::Attached(attached) => Some(LinkEvent::Attached(attached)),
            agent_report::Body::Group(status) => Some(LinkEvent::Group(status)),
            agent_report::Body::Fenced(outcome) => Some(LinkEvent::Fenced(outcome)),
            agent_report::Body::Note(note) => Some(LinkEvent::Note(note)),
            agent_report::Body::Job(status) => Some(LinkEvent::Job(status)),
            agent_report::Body::Registered(answer) => Some(LinkEvent::Registered(answer)),
            agent_report::Body::Alive(alive) => {
                (self.answers, self.asked) = (true, None);
                self.agents(alive).map(LinkEvent::Note)
            }
        }
    }

    /// What is to be said about the thread that runs agents, when that changed.
    fn agents(&mut self, alive: Alive) -> Option<Note> {
        if alive.agents_at_us == 0 {
            return None;
        }
        let behind = Duration::from_micros(alive.at_us.saturating_sub(alive.agents_at_us));
        let is_behind = behind >= AGENTS_BEHIND;
        if is_behind == std::mem::replace(&mut self.agents_behind, is_behind) {
            return None;
        }
        let (kind, level, text) = if is_behind {
            let text = format!(
                "the thread of had-agentd that runs agents has not answered for {} ms: nothing is started, stopped or \
                 watched on this node meanwhile, permits are enforced; if this lasts, systemd restarts had-agentd",
                behind.as_millis()
            );
            ("agents-hang", "alert", text)
        } else {
            let text = "the thread of had-agentd that runs agents answers again";
            ("agents-answer", "info", text.to_owned())
        };
        Some(Note {
            kind: kind.into(),
            level: level.into(),
            text,
            at_us: alive.at_us,
            ..Note::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(at_us: u64, agents_at_us: u64) -> AgentReport {
        AgentReport {
            body: Some(agent_report::Body::Alive(Alive { at_us, agents_at_us })),
        }
    }

    #[test]
    fn silence_counts_from_the_oldest_question_and_only_for_who_answers() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut pulse = Pulse::new(Duration::from_millis(400), start);
        assert!(pulse.due() <= start, "the first question goes out at once");
        (pulse.asked, pulse.last_asked) = (Some(start), at(350));
        assert_eq!(
            pulse.silent(at(450)),
            None,
            "it never answered, so it may not know how"
        );
        assert_eq!(pulse.take(alive(1, 0)), None);
        assert_eq!(pulse.silent(at(450)), None, "nothing is asked");
        pulse.asked = Some(start);
        assert_eq!((pulse.due(), pulse.silent(at(399))), (at(400), None));
        let reason = pulse.silent(at(400)).expect("silent");
        assert!(reason.contains("no sign of life for 400 ms"), "{reason}");
        // This process was stalled itself.
        assert_eq!(pulse.silent(at(1400)), None);
        pulse.last_asked = at(1750);
        assert_eq!(pulse.silent(at(1790)), None);
        assert!(pulse.silent(at(1800)).is_some());
    }

    #[test]
    fn agents_that_hang_are_told_once_and_so_is_their_return() {
        let mut pulse = Pulse::new(Duration::from_secs(1), Instant::now());
        let mut kinds = Vec::new();
        for (at, agents) in [
            (5_000_000, 0),
            (5_000_000, 4_500_000),
            (9_000_000, 4_500_000),
            (9_500_000, 4_500_000),
            (9_600_000, 9_600_000),
        ] {
            if let Some(LinkEvent::Note(note)) = pulse.take(alive(at, agents)) {
                kinds.push(note.kind);
            }
        }
        assert_eq!(kinds, ["agents-hang", "agents-answer"]);
    }
}

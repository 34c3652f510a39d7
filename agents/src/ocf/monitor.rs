//! Looks at a resource again and again, and says when it is not as it should be.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::ocf::Metadata;
use tokio::time::Instant;

use super::Story;
use super::action::{Host, NotRun, Ran};
use super::code::describe;
use super::environment::Call;
use super::part::Part;
use super::settings::Settings;
use crate::agent::EventSink;

const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(20);
const DEEP_INTERVAL: Duration = Duration::from_secs(60);
/// Looks in a row that may run out of time before the resource counts as failed: slow is not dead.
const TIMEOUTS_MAX: u32 = 2;

/// One kind of look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    pub level: u32,
    pub interval: Duration,
    pub timeout: Duration,
}

/// The looks at a resource in one of its roles.
pub fn looks(settings: &Settings, metadata: Option<&Metadata>, promoted: bool) -> Vec<Look> {
    let suggested = |level| metadata.and_then(|agent| agent.monitor(promoted, level));
    let millis = |ms: Option<u64>| ms.map(Duration::from_millis);
    let look = |level: u32, interval: Option<Duration>, fallback: Duration| {
        let line = suggested(level);
        Look {
            level,
            interval: interval.or_else(|| millis(line?.interval_ms)).unwrap_or(fallback),
            timeout: settings
                .monitor_timeout
                .or_else(|| millis(line?.timeout_ms))
                .unwrap_or(TIMEOUT),
        }
    };
    let mut all = vec![look(0, settings.monitor_interval, INTERVAL)];
    all.extend(
        settings
            .check_level
            .map(|level| look(level, settings.check_interval, DEEP_INTERVAL)),
    );
    all
}

/// What is watched, and as what.
pub struct Watch {
    pub host: Arc<Host>,
    pub looks: Vec<Look>,
    pub promoted: bool,
    /// The rest of what is known of its role.
    pub part: Part,
    pub events: EventSink,
    pub story: Story,
}

impl Watch {
    /// Looks until something is wrong, and reports that.
    pub async fn run(mut self) {
        let mut due: Vec<(Instant, &Look)> = Vec::new();
        let now = Instant::now();
        // The first look comes at once: an agent may have said too early that it started.
        due.extend(self.looks.iter().map(|look| (now, look)));
        let mut timeouts = 0;
        loop {
            let Some(next) = due.iter_mut().min_by_key(|(at, _)| *at) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(next.0) => {}
                () = self.part.changed() => {
                    self.part.tell_agent_of_others(&self.host).await;
                    self.part.tell(true, self.promoted);
                    continue;
                }
            }
            let look = next.1;
            let ran = self.host.look(&self.call(look)).await;
            next.0 = Instant::now() + look.interval;
            match ran {
                Err(NotRun::TimedOut(limit)) if timeouts + 1 < TIMEOUTS_MAX => {
                    timeouts += 1;
                    let limit_ms = limit.as_millis();
                    self.events.note(
                        "warn",
                        "ocf-slow",
                        format!("monitor did not end within {limit_ms} ms; it is asked once more"),
                    );
                    next.0 = Instant::now();
                }
                ran => {
                    timeouts = 0;
                    // Agents set their score while they look.
                    self.part.tell(true, self.promoted);
                    if let Some(failure) = self.judge(ran) {
                        self.events.failed(failure);
                        return;
                    }
                }
            }
        }
    }

    fn call(&self, look: &Look) -> Call<'static> {
        Call {
            interval: look.interval,
            level: look.level,
            more: self.part.variables(),
            ..Call::new("monitor", look.timeout)
        }
    }

    /// What is wrong, if anything is.
    fn judge(&self, ran: Result<Ran, NotRun>) -> Option<String> {
        let ran = match ran {
            Ok(ran) => ran,
            Err(error) => return Some(format!("monitor {error}")),
        };
        if !ran.code.is_active(self.promoted) {
            return Some(describe("monitor", ran.code, &ran.reason));
        }
        let trouble = if ran.code.is_degraded() {
            describe("monitor", ran.code, &ran.reason)
        } else {
            String::new()
        };
        let before = self.story.replace(&trouble);
        if before.is_empty() != trouble.is_empty() {
            let (level, text) = if trouble.is_empty() {
                ("info", "monitor finds it well again".to_owned())
            } else {
                ("warn", trouble)
            };
            self.events.note(level, "ocf-degraded", text);
            self.events.detail_changed();
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const AGENT: &str = r#"<resource-agent name="a"><actions><action name="monitor" timeout="30s" interval="15s"/>
        <action name="monitor" role="Promoted" interval="7s"/></actions></resource-agent>"#;

    fn looks_of(pairs: &[(&str, &str)], promoted: bool) -> Vec<(u32, u64, u64)> {
        let pairs: BTreeMap<_, _> = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings::read("ocf:a:b", &pairs).unwrap();
        let agent = holdfast_proto::ocf::parse(AGENT).unwrap();
        let found = looks(&settings, Some(&agent), promoted);
        found
            .iter()
            .map(|look| (look.level, look.interval.as_secs(), look.timeout.as_secs()))
            .collect()
    }

    #[test]
    fn the_agent_suggests_and_the_configuration_decides() {
        assert_eq!(looks_of(&[], false), [(0, 15, 30)]);
        assert_eq!(looks_of(&[], true), [(0, 7, 20)]);
        let pairs = [
            ("monitor_interval_ms", "3000"),
            ("monitor_timeout_ms", "4000"),
            ("check_level", "10"),
        ];
        assert_eq!(looks_of(&pairs, false), [(0, 3, 4), (10, 60, 4)]);
    }
}

//! What is measured: the steps of a failover, outages, and their medians.

use serde::Serialize;

use super::FaultChoice;
use super::client::Ask;
use super::clock::ms;
use super::story::Moment;

/// Kinds of event by which a node says that it noticed.
const DETECTED: [&str; 9] = [
    "peer-lost",
    "agent-lost",
    "permit-lapsed",
    "fence-started",
    "elected",
    "group-stopping",
    "group-failed",
    "group-unknown",
    "resource-failed",
];
/// Kinds of event that are a release proof.
const PROVED: [&str; 2] = ["fence-proved", "group-stopped"];
/// The truth monitor's kinds that together make the service whole.
const STARTED: [&str; 2] = ["vip-there", "service-there"];
/// Kinds of event that tell the network about the address.
const ANNOUNCED: [&str; 2] = ["vip-announced", "vip-restored"];

/// All runs of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The fault's name.
    pub fault: &'static str,
    /// The lease length.
    pub lease_ms: u64,
    /// Its runs.
    pub runs: Vec<Run>,
    /// Median of their outages.
    pub median_outage_ms: f64,
}

impl Figures {
    /// The figures of `runs`.
    pub fn of(fault: FaultChoice, lease_ms: u64, runs: Vec<Run>) -> Figures {
        Figures {
            fault: fault.name(),
            lease_ms,
            median_outage_ms: median(runs.iter().map(|run| run.outage_ms).collect()),
            runs,
        }
    }
}

/// One run of one fault.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The service answers again, and the cluster became whole again.
    pub recovered: bool,
    /// How long the client got no answer.
    pub outage_ms: f64,
    /// How long the address or the service was on two nodes at once. Where eyes are on the nodes: how long the old one
    /// still answered when the group was the other's already.
    pub dual_active_ms: f64,
    /// Where eyes are on the nodes: how long the old one had been silent when the group became the other's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<f64>,
    /// When each step was taken, counted from the fault.
    pub phases: Phases,
    /// The node that answered last.
    #[serde(skip)]
    pub answers_from: Option<String>,
    /// The node that the fault struck.
    #[serde(skip)]
    pub struck: String,
}

impl Run {
    /// True when the service came back and never ran twice.
    pub fn good(&self) -> bool {
        self.recovered && self.dual_active_ms == 0.0
    }
}

/// Steps of a failover in milliseconds since the fault; those that did not happen are left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Phases {
    /// A node noticed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detected_ms: Option<f64>,
    /// It was proven that the old owner is off or has stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proved_ms: Option<f64>,
    /// Service and address were there again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<f64>,
    /// The address was announced to the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced_ms: Option<f64>,
    /// The client got its first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered_ms: Option<f64>,
}

/// The moments at which the steps of a failover were taken.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    detected: Option<Moment>,
    proved: Option<Moment>,
    started: Option<Moment>,
    announced: Option<Moment>,
    answered: Option<Moment>,
}

impl Steps {
    /// Finds the steps in `moments`, which are in order of time. With `blind`, the word of that node does not count
    /// as detection: it is the one that was struck, and others have to notice.
    pub fn find(moments: &[Moment], blind: Option<&str>, first: Option<&Ask>) -> Steps {
        let earliest = |kinds: &[&str]| {
            moments
                .iter()
                .find(|moment| kinds.contains(&moment.kind.as_str()))
        };
        let noticed = |moment: &&Moment| {
            DETECTED.contains(&moment.kind.as_str()) && blind != Some(moment.source.as_str())
        };
        // The service is whole when the last of its parts is there.
        let started = STARTED
            .iter()
            .filter_map(|kind| earliest(&[kind]))
            .max_by_key(|moment| moment.at_us);
        Steps {
            detected: moments.iter().find(noticed).cloned(),
            proved: earliest(&PROVED).cloned(),
            started: started.cloned(),
            announced: earliest(&ANNOUNCED).cloned(),
            answered: first.and_then(answer),
        }
    }

    /// The steps that were taken, by name, in order of time.
    pub fn taken(&self) -> Vec<(&'static str, &Moment)> {
        let all = [
            ("detected", &self.detected),
            ("proved", &self.proved),
            ("started", &self.started),
            ("announced", &self.announced),
            ("first answer", &self.answered),
        ];
        let mut taken: Vec<_> = all
            .into_iter()
            .filter_map(|(step, moment)| Some((step, moment.as_ref()?)))
            .collect();
        taken.sort_by_key(|(_, moment)| moment.at_us);
        taken
    }

    /// The steps as spans since the fault.
    pub fn phases(&self, struck_us: u64) -> Phases {
        let span = |step: &Option<Moment>| {
            step.as_ref()
                .map(|moment| ms(moment.at_us.saturating_sub(struck_us)))
        };
        Phases {
            detected_ms: span(&self.detected),
            proved_ms: span(&self.proved),
            started_ms: span(&self.started),
            announced_ms: span(&self.announced),
            answered_ms: span(&self.answered),
        }
    }
}

/// The client's answer `ask` as a moment; none if it is not answered.
fn answer(ask: &Ask) -> Option<Moment> {
    let text = ask.text.trim();
    // Redis answers in its own protocol, and an echo reply has no text.
    let text = if text.is_empty() || text.starts_with('*') {
        "answered".to_string()
    } else {
        format!("\"{text}\"")
    };
    Some(Moment {
        at_us: ask.answered_us?,
        source: "client".into(),
        kind: "answered".into(),
        text,
    })
}

/// Median of some values; 0 of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match (values.len(), values.len() / 2) {
        (0, _) => 0.0,
        (count, half) if count % 2 == 1 => values[half],
        (_, half) => (values[half - 1] + values[half]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(at_us: u64, source: &str, kind: &str) -> Moment {
        Moment {
            at_us,
            source: source.into(),
            kind: kind.into(),
            text: String::new(),
        }
    }

    #[test]
    fn median_of_odd_even_and_none() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(Vec::new()), 0.0);
    }

    #[test]
    fn the_node_that_was_struck_does_not_detect_itself() {
        let moments = [moment(1_500, "n1", "peer-lost"), moment(2_000, "n2", "peer-lost")];
        let detected = |blind| Steps::find(&moments, blind, None).phases(1_000).detected_ms;
        assert_eq!(detected(Some("n1")), Some(1.0));
        assert_eq!(detected(None), Some(0.5));
    }

    #[test]
    fn started_is_when_both_address_and_service_are_there() {
        let moments = [
            moment(2_000, "truth", "service-there"),
            moment(5_000, "truth", "vip-there"),
            moment(5_100, "n2", "vip-announced"),
        ];
        let steps = Steps::find(&moments, None, None);
        assert_eq!(steps.phases(1_000).started_ms, Some(4.0));
        let names: Vec<&str> = steps.taken().iter().map(|(step, _)| *step).collect();
        assert_eq!(names, ["started", "announced"]);
    }
}

//! `cargo xtask model`: every configuration of the model checker within the bounds of CI.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use crate::run;
use crate::tally::Tally;

const BIN: &str = "holdfast-model";
/// How long all configurations may take.
const LIMIT: Duration = Duration::from_secs(900);

/// `cargo xtask model` with its own options.
pub fn run(args: &[String]) -> Result<u8> {
    run::run_bin(BIN, args)
}

/// The tier: one test for each configuration, passed when all of it was explored and every promise held.
pub fn tier() -> Result<Tally> {
    run::build_release()?;
    let mut tally = Tally::default();
    let ended = run::bounded(run::release_bin(BIN).arg("--json"), LIMIT, |line| {
        if let Ok(outcome) = serde_json::from_str(line) {
            let good = holds(&outcome);
            println!(
                "{} {}",
                if good { "ok    " } else { "FAILED" },
                sentence(&outcome)
            );
            tally += Tally::one(good);
        }
    })?;
    if !ended.success && tally.failed == 0 {
        tally += Tally::one(false);
    }
    Ok(tally)
}

fn holds(outcome: &Value) -> bool {
    outcome["exhausted"] == Value::Bool(true) && outcome["broken"].as_array().is_some_and(Vec::is_empty)
}

fn sentence(outcome: &Value) -> String {
    let broken = outcome["broken"].as_array().into_iter().flatten();
    let broken: String = broken
        .map(|broken| format!("; {}: {}", broken["promise"], broken["text"]))
        .collect();
    format!(
        "{}: {} states, depth {}, {:.1} s, {} deviations{broken}",
        outcome["config"].as_str().unwrap_or("?"),
        outcome["states"],
        outcome["depth"],
        outcome["wall_s"].as_f64().unwrap_or_default(),
        outcome["bounds"]["total"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_configuration_holds_when_all_of_it_was_explored() {
        assert!(holds(&json!({"exhausted": true, "broken": []})));
        assert!(!holds(&json!({"exhausted": false, "broken": []})));
        assert!(!holds(
            &json!({"exhausted": true, "broken": [{"promise": "S1", "text": ""}]})
        ));
        assert!(!holds(&json!({"exhausted": true})));
    }
}

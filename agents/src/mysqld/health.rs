//! Is the server well? Slow is not dead: what fails n of the last m probes counts as failed, and on a node that is short of
//! CPU, memory or disk bandwidth only after several times as many.

use std::collections::VecDeque;

use super::params::Probing;

/// On a loaded node so many windows full of failures have to pass.
const PATIENCE_UNDER_LOAD: usize = 6;
/// Share of the last ten seconds in which something waited for a resource, in per cent: above, the node is loaded.
const PRESSURE_PERCENT: f64 = 40.0;

/// The last probes.
pub struct Window {
    probing: Probing,
    outcomes: VecDeque<bool>,
}

impl Window {
    /// An empty one.
    pub fn new(probing: Probing) -> Window {
        Window {
            probing,
            outcomes: VecDeque::new(),
        }
    }

    /// Takes an outcome in. True: it counts as failed.
    pub fn push(&mut self, good: bool, loaded: bool) -> bool {
        let of = self.probing.looks.of as usize;
        let failures = self.probing.looks.failures as usize;
        self.outcomes.push_back(good);
        while self.outcomes.len() > of * PATIENCE_UNDER_LOAD {
            self.outcomes.pop_front();
        }
        let bad = |window: usize| {
            let last = self.outcomes.iter().rev().take(window);
            last.filter(|good| !**good).count()
        };
        if loaded {
            bad(of * PATIENCE_UNDER_LOAD) >= failures * PATIENCE_UNDER_LOAD
        } else {
            bad(of) >= failures
        }
    }

    /// So many of the last so many failed.
    pub fn failed(&self) -> (usize, usize) {
        let bad = self.outcomes.iter().filter(|good| !**good).count();
        (bad, self.outcomes.len())
    }
}

/// What the node is short of, in words. None: nothing, or the kernel does not say.
pub fn load() -> Option<String> {
    [("cpu", "some"), ("io", "full"), ("memory", "full")]
        .into_iter()
        .find_map(|(resource, line)| {
            let text = std::fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
            let share = pressure(&text, line)?;
            (share >= PRESSURE_PERCENT).then(|| format!("{resource} pressure {share:.0} %"))
        })
}

/// avg10 of a line of /proc/pressure.
fn pressure(text: &str, line: &str) -> Option<f64> {
    let line = text.lines().find_map(|found| found.strip_prefix(line))?;
    let value = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix("avg10="))?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::params::Looks;

    fn window() -> Window {
        Window::new(Probing {
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            looks: Looks { failures: 2, of: 3 },
        })
    }

    #[test]
    fn n_of_m_fail_it() {
        let mut window = window();
        let outcomes = [false, true, true, false, true, false];
        let verdicts: Vec<bool> = outcomes.iter().map(|good| window.push(*good, false)).collect();
        assert_eq!(verdicts, [false, false, false, false, false, true]);
        assert_eq!(window.failed(), (3, 6));
    }

    #[test]
    fn under_load_it_takes_several_times_as_many() {
        let mut window = window();
        for _ in 0..11 {
            assert!(!window.push(false, true));
        }
        assert!(window.push(false, true));
    }

    #[test]
    fn pressure_is_read() {
        let text = "some avg10=43.20 avg60=1.00 avg300=0.00 total=1\nfull avg10=7.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(text, "some"), Some(43.2));
        assert_eq!(pressure(text, "full"), Some(7.0));
        assert_eq!(pressure("", "some"), None);
    }
}

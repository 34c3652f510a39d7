//! Schedules as text: JSON, a line for the cluster and one for each strike. Lines that begin with `#` are comments.

use serde::{Deserialize, Serialize};

use super::{Lasting, Schedule, Strike};
use crate::cluster::Cluster;

/// The first line.
#[derive(Serialize, Deserialize)]
struct Head {
    seed: u64,
    length_us: u64,
    lasting: Option<Lasting>,
    cluster: Cluster,
}

impl Schedule {
    /// As text that [`Schedule::parse`] reads.
    #[must_use]
    pub fn to_text(&self) -> String {
        let head = Head {
            seed: self.seed,
            length_us: self.length_us,
            lasting: self.lasting,
            cluster: self.cluster.clone(),
        };
        let mut text = line(&head);
        text.extend(self.strikes.iter().map(line));
        text
    }

    /// Reads what [`Schedule::to_text`] wrote.
    ///
    /// # Errors
    /// With the line that cannot be read, and why.
    pub fn parse(text: &str) -> Result<Schedule, String> {
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        let wrong = |number: usize, why: serde_json::Error| format!("line {number}: {why}");
        let (number, first) = lines.next().ok_or("it holds no schedule")?;
        let head: Head = serde_json::from_str(first).map_err(|why| wrong(number, why))?;
        let mut strikes = lines
            .map(|(number, line)| serde_json::from_str(line).map_err(|why| wrong(number, why)))
            .collect::<Result<Vec<Strike>, String>>()?;
        strikes.sort_by_key(|strike| strike.at_us);
        if head.cluster.nodes.is_empty() || head.cluster.groups.is_empty() {
            return Err(format!("line {number}: the cluster needs a node and a group"));
        }
        Ok(Schedule {
            seed: head.seed,
            cluster: head.cluster,
            length_us: head.length_us,
            strikes,
            lasting: head.lasting,
        })
    }
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_the_same() {
        for seed in 1..200 {
            let schedule = Schedule::draw(seed);
            assert_eq!(Schedule::parse(&schedule.to_text()), Ok(schedule), "seed {seed}");
        }
    }

    #[test]
    fn a_line_that_is_wrong_is_named() {
        let mut text = format!("# why it is kept\n{}", Schedule::draw(1).to_text());
        text += "{\"at_us\":1,\"fault\":\"earthquake\"}\n";
        let why = Schedule::parse(&text).unwrap_err();
        let last = text.lines().count();
        assert!(
            why.contains(&format!("line {last}")) && why.contains("earthquake"),
            "{why}"
        );
        assert!(Schedule::parse("# nothing\n").is_err());
    }
}

//! What programs print: fence agents' power states, agents' and probes' output, answers to HTTP probes.

use holdfast_agents::fence::state::{Power, read};
use holdfast_agents::fuzzing;
use holdfast_agents::program::{Run, excerpt};

use crate::memory::bounded;
use crate::text::{head, one_line};

/// A secret that the program was given.
const SECRET: &str = "Zq7Secret7qZ";

/// The first byte is the exit code, the second says where standard error begins.
///
/// # Panics
/// When a property does not hold.
pub fn check(data: &[u8]) {
    let ([code, split], rest) = head(data);
    let (stdout, stderr) = rest.split_at(rest.len() * usize::from(split) / 255);
    let run = Run {
        code: (code < 255).then_some(i32::from(code)),
        stdout: String::from_utf8_lossy(stdout).into_owned(),
        stderr: String::from_utf8_lossy(stderr).into_owned(),
        ..Run::default()
    };
    power(&run);
    let shown = run.excerpt(&[SECRET, "Zq7"]);
    one_line(&shown);
    assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
    assert!(shown.chars().count() <= 301);
    assert_eq!(excerpt(&shown, &[""; 0]), shown, "an excerpt is its own excerpt");
    let last = bounded(rest.len(), 8, || {
        fuzzing::last_line(rest.chunks(usize::from(split).max(1)))
    });
    one_line(&last);
    if let Err(why) = fuzzing::http_answer(rest) {
        one_line(&why);
    }
}

/// Off is a proof: only exit code 2 with words that say so, or none at all.
fn power(run: &Run) {
    let silent = run.stdout.trim().is_empty() && run.stderr.trim().is_empty();
    let said = run.stdout.to_ascii_lowercase();
    match read(run) {
        Power::Off => assert!(run.code == Some(2) && (silent || said.contains("off"))),
        Power::On => assert_eq!(run.code, Some(0)),
        Power::Unknown(why) => one_line(why),
    }
}

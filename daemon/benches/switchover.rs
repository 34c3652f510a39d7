//! How long a group is between two nodes: from the agent process's word that it stopped to the order to start it.
//!
//! Real `had` processes on loopback, agent processes that answer at once. What is left is this crate's and the core's:
//! the register's commit, the disk, the permit. `cargo bench -p holdfast-daemon --bench switchover [-- ROUNDS [FOLDER]]`;
//! without a folder once with state on a disk and once in memory.

#[path = "../tests/bench/mod.rs"]
mod bench;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bench::Bench;
use bench::agentd::{Agentd, Order};
use holdfast_proto::control::{MoveRequest, control_request};

fn main() {
    // Cargo passes --bench.
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let rounds = words
        .next()
        .map_or(40, |word| word.parse().expect("a number of rounds"));
    let places: Vec<PathBuf> = match words.next() {
        Some(folder) => vec![folder.into()],
        None => vec![std::env::temp_dir(), "/dev/shm".into()],
    };
    for place in places {
        measure(&place, rounds);
    }
}

fn measure(place: &Path, rounds: usize) {
    let bench = Bench::at(place, "1s");
    let agents = [bench.agentd("db1"), bench.agentd("db2")];
    bench.had("db1", "init");
    let _running = bench::NAMES.map(|name| bench.start(name));
    bench.until_formed();
    let (mut gaps, mut whole) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let to = ["db2", "db1"][round % 2];
        agents.iter().for_each(|agent| drop(agent.take_orders()));
        let asked = Instant::now();
        let request = MoveRequest {
            accept_loss: false,
            group: "web".into(),
            to: to.into(),
        };
        bench.ask(["db1", "db2"][round % 2], control_request::Body::Move(request));
        bench.until(to, "the move", |view| {
            view.groups[0].state == "running" && view.groups[0].node == to
        });
        let (stop, start) = (
            order(&agents[round % 2], false),
            order(&agents[1 - round % 2], true),
        );
        gaps.push(start.at.duration_since(stop.at));
        whole.push(start.at.duration_since(asked));
        // Let the leadership follow, as it does between two moves of an operator.
        std::thread::sleep(Duration::from_millis(300));
    }
    println!("state in {}: {rounds} moves", place.display());
    print("stopped to start ordered", &mut gaps);
    print("asked to start ordered", &mut whole);
}

fn order(agent: &Agentd, start: bool) -> Order {
    let orders = agent.take_orders();
    *orders
        .iter()
        .find(|order| order.start == start)
        .expect("the order")
}

fn print(what: &str, spans: &mut [Duration]) {
    spans.sort_unstable();
    let at = |share: usize| spans[(spans.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    println!(
        "  {what}: median {:.2} ms, 90 % {:.2} ms, 99 % {:.2} ms, most {:.2} ms",
        at(50),
        at(90),
        at(99),
        at(100)
    );
}

//! How soon peers see that `had` was restarted: from the new process's start to the word at its peer that the link to the
//! new run is up, after SIGKILL and after SIGTERM; and after SIGTERM of the leader, how soon another leads.
//!
//! `cargo bench -p holdfast-daemon --bench restart [-- ROUNDS [DETECTION]]`.

#[path = "../tests/bench/mod.rs"]
mod bench;

use bench::{Bench, Daemon};
use holdfast_proto::control::EventView;

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let rounds = words
        .next()
        .map_or(20, |word| word.parse().expect("a number of rounds"));
    let detection = words.next().unwrap_or("1s".into());
    let bench = Bench::at(&std::env::temp_dir(), &detection);
    let _agents = [bench.agentd("db1"), bench.agentd("db2")];
    bench.had("db1", "init");
    let mut daemons = ["db1", "db2"].map(|name| bench.start(name));
    let _witness = bench.start("witness");
    bench.until_formed();
    println!("detection {detection}, {rounds} restarts each");
    for killed in [true, false] {
        for index in [0, 1] {
            let mut seen = Seen::default();
            for _ in 0..rounds {
                seen.restart(&bench, &mut daemons, index, killed);
            }
            let signal = if killed { "SIGKILL" } else { "SIGTERM" };
            let role = ["that is dialled", "that dials"][index];
            println!("{signal} of the node {role}: {} times called lost", seen.lost);
            print("process started to had running", &mut seen.begun_us);
            print("process started to link up", &mut seen.up_us);
            if !seen.elected_us.is_empty() {
                print("SIGTERM to another leader", &mut seen.elected_us);
            }
        }
    }
}

#[derive(Default)]
struct Seen {
    begun_us: Vec<u64>,
    up_us: Vec<u64>,
    elected_us: Vec<u64>,
    lost: usize,
}

impl Seen {
    fn restart(&mut self, bench: &Bench, daemons: &mut [Daemon; 2], index: usize, killed: bool) {
        let (name, peer) = [("db1", "db2"), ("db2", "db1")][index];
        let before = bench.events(peer).last().map_or(0, |event| event.id);
        let led = bench.status(name).is_some_and(|view| view.leader == name);
        let asked = boot_us();
        if killed {
            daemons[index].kill();
        } else {
            daemons[index].terminate();
        }
        let started = boot_us();
        daemons[index] = bench.start(name);
        let up = |event: &EventView| event.id > before && event.kind == "link-up" && event.boot_us > started;
        while !bench.events(peer).iter().any(up) {}
        bench.until(name, "its place again", |view| {
            view.quorum.contains("3 of 3")
                && view
                    .nodes
                    .iter()
                    .all(|node| node.synced && node.state == "online")
        });
        let own = bench.events(name);
        let begun = own.iter().rfind(|event| event.kind == "had-started");
        self.begun_us.extend(begun.map(|event| event.boot_us - started));
        let events = bench.events(peer);
        let new = || events.iter().filter(|event| event.id > before);
        self.up_us
            .extend(new().find(|event| up(event)).map(|event| event.boot_us - started));
        self.lost += usize::from(new().any(|event| event.kind == "peer-lost"));
        if led && !killed {
            let elected = new().find(|event| event.kind == "elected");
            self.elected_us.extend(elected.map(|event| event.boot_us - asked));
        }
    }
}

fn boot_us() -> u64 {
    holdfast_daemon::clock::now().0
}

fn print(what: &str, spans_us: &mut [u64]) {
    spans_us.sort_unstable();
    let at = |share: usize| spans_us[(spans_us.len() - 1) * share / 100] as f64 / 1000.0;
    println!(
        "  {what}: median {:.1} ms, 90 % {:.1} ms, most {:.1} ms",
        at(50),
        at(90),
        at(100)
    );
}

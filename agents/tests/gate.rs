//! The gate in a real kernel: addresses of which nothing is heard any more when their permit ends, whatever had-agentd
//! does then. Each test makes two network namespaces of its own, joined by a veth pair; both vanish with the processes
//! that hold them. Needs root or unprivileged user namespaces; without either the tests say so and pass.

#![allow(missing_docs)]

mod common;
mod netns;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

use common::{Agentd, LONG, wait_for};
use holdfast_agents::agent::{AgentEvent, EventSink, PermitView};
use holdfast_agents::clock;
use holdfast_agents::vip::gate::{Gate, Key};
use holdfast_proto::agent::{GroupSpec, ResourceSpec};
use holdfast_proto::time::Time;
use netns::Pair;
use netns::echo::{Client, PATIENCE, VIP4, VIP6, clients, serve, warm_up};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::{mpsc, watch};

const LEASE: Duration = Duration::from_secs(1);

/// A gate in the left namespace, with one resource.
struct Rig {
    gate: Gate,
    permit: watch::Sender<PermitView>,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    _folder: tempfile::TempDir,
}

fn key() -> Key {
    ("web".into(), "vip".into())
}

fn until(span: Duration) -> PermitView {
    PermitView {
        epoch: 1,
        until: clock::now() + span,
    }
}

impl Rig {
    /// With `ips` under a permit for `span`, as soon as the kernel has it.
    fn new(ips: Vec<IpAddr>, span: Duration) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let gate = Gate::start(folder.path(), Vec::new()).unwrap();
        let (permit, view) = watch::channel(until(span));
        let (note_sender, notes) = mpsc::channel(64);
        let events = EventSink::new(0, note_sender, mpsc::unbounded_channel().0);
        let ready = gate.admit(key(), ips, view, LEASE, events);
        ready.blocking_recv().unwrap().unwrap();
        Rig {
            gate,
            permit,
            notes,
            _folder: folder,
        }
    }

    fn renew(&self, span: Duration) {
        self.permit.send_replace(until(span));
        self.gate.wake();
    }

    fn notes(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Ok((_, event)) = self.notes.try_recv() {
            if let AgentEvent::Note { kind, .. } = event {
                texts.push(kind.to_owned());
            }
        }
        texts
    }
}

/// Runs `test` in the left namespace of a new pair.
fn in_pair(test: impl FnOnce(&Pair) + Send + 'static) {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(move |pair| test(&pair));
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn hold_vips(pair: &Pair) {
    pair.run_left(&format!("ip addr add {VIP4}/24 dev left"));
    pair.run_left(&format!("ip addr add {VIP6}/64 dev left nodad"));
}

#[test]
fn an_address_is_silent_once_its_permit_has_ended_although_it_is_there() {
    in_pair(|pair| {
        hold_vips(pair);
        serve();
        let mut clients = clients(pair);
        let rig = Rig::new(ips(&[VIP4, VIP6]), PATIENCE);
        warm_up(&mut clients);
        rig.renew(Duration::from_millis(400));
        let end = rig.permit.borrow().until;
        // Nobody renews it any more, and nothing is done about it.
        for client in &mut clients {
            let mut last = Time::ZERO;
            while clock::now() < end {
                let asked = clock::now();
                if client.is_answered() {
                    last = asked;
                }
            }
            assert!(last <= end);
            assert!(!client.is_answered(), "{} answers after its permit", client.vip);
        }
        assert!(pair.run_left("ip addr show dev left").contains(VIP4));
        // Nor are those answered who do not know yet where the address is.
        for (vip, plain) in [(VIP4, "10.77.0.1"), (VIP6, "fd77::1")] {
            pair.run_right("ip neigh flush dev right");
            let client = &mut Client::new(pair, plain, vip);
            assert!(!client.is_answered());
            let known = pair.run_right(&format!("ip neigh show {vip}"));
            assert!(!known.contains("lladdr"), "{known}");
        }
        // A new permit lets them pass again.
        rig.renew(PATIENCE);
        warm_up(&mut clients);
    });
}

#[test]
fn a_renewal_extends_what_is_there_and_maintenance_makes_it_endless() {
    in_pair(|pair| {
        hold_vips(pair);
        serve();
        let mut clients = clients(pair);
        let rig = Rig::new(ips(&[VIP4, VIP6]), Duration::from_secs(5));
        warm_up(&mut clients);
        for _ in 0..20 {
            rig.renew(Duration::from_secs(5));
            assert!(clients.iter_mut().all(Client::is_answered));
        }
        rig.renew(Duration::from_millis(700));
        let old_end = rig.permit.borrow().until;
        rig.renew(PATIENCE);
        wait_for("the end that was replaced", || clock::now() > old_end);
        assert!(clients.iter_mut().all(Client::is_answered));
        rig.permit.send_replace(PermitView {
            epoch: 1,
            until: Time(u64::MAX),
        });
        rig.gate.wake();
        if let Some(nft) = Nft::find() {
            wait_for("an element without an end", || {
                !nft.run("list set inet holdfast live4").contains("timeout 19")
            });
            let list = nft.run("list set inet holdfast live4");
            assert!(list.contains("elements = { 10.77.0.100 }"), "{list}");
        }
        // Maintenance ends with a permit that has lapsed meanwhile.
        rig.permit.send_replace(until(Duration::ZERO));
        rig.gate.wake();
        wait_for("silence", || !clients.iter_mut().any(Client::is_answered));
    });
}

/// The `nft` program, where it is installed.
struct Nft;

impl Nft {
    fn find() -> Option<Nft> {
        let found = Command::new("nft").arg("--version").output().is_ok();
        if !found {
            eprintln!("without a look by nft: it is not installed");
        }
        found.then_some(Nft)
    }

    /// In the namespace of the calling thread.
    fn run(&self, command: &str) -> String {
        let output = Command::new("nft").args(command.split(' ')).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }
}

#[test]
fn what_nft_shows_is_what_was_meant() {
    in_pair(|_| {
        let Some(nft) = Nft::find() else { return };
        let _rig = Rig::new(ips(&[VIP4, VIP6]), LONG);
        let inet = nft.run("-n list table inet holdfast");
        for line in [
            "comment \"kept by had-agentd: silences virtual IPs without a live permit\"",
            "type filter hook prerouting priority -300; policy accept;",
            "type filter hook postrouting priority 300; policy accept;",
            "ip daddr @vips4 ip daddr != @live4 drop",
            "ip6 daddr @vips6 ip6 daddr != @live6 drop",
            "ip saddr @vips4 ip saddr != @live4 drop",
            "ip6 saddr @vips6 ip6 saddr != @live6 drop",
            "elements = { 10.77.0.100 }",
            "elements = { fd77::100 }",
        ] {
            assert!(inet.contains(line), "{line}\n{inet}");
        }
        let arp = nft.run("-n list table arp holdfast");
        for line in [
            "arp daddr ip @vips4 arp daddr ip != @live4 drop",
            "arp saddr ip @vips4 arp saddr ip != @live4 drop",
            "type filter hook input priority -300; policy accept;",
            "type filter hook output priority 300; policy accept;",
        ] {
            assert!(arp.contains(line), "{line}\n{arp}");
        }
    });
}

#[test]
fn tables_that_somebody_removed_or_changed_come_back_with_the_next_renewal() {
    in_pair(|pair| {
        let Some(nft) = Nft::find() else { return };
        hold_vips(pair);
        serve();
        let mut clients = clients(pair);
        let mut rig = Rig::new(ips(&[VIP4, VIP6]), LONG);
        warm_up(&mut clients);
        // Tables of others come and go without a word.
        nft.run("add table inet other");
        nft.run("flush set inet holdfast vips4");
        rig.renew(LONG);
        let set = || nft.run("list set inet holdfast vips4");
        wait_for("the address in the set", || set().contains(VIP4));
        assert!(rig.notes().is_empty());
        for damage in [
            "flush ruleset",
            "flush chain inet holdfast in",
            "delete table arp holdfast",
            "flush table inet holdfast",
        ] {
            assert_eq!(nft.run(damage), "", "{damage}");
            rig.renew(LONG);
            let mut told = Vec::new();
            wait_for(damage, || {
                told.extend(rig.notes());
                !told.is_empty()
            });
            assert_eq!(told, ["lease-filter-restored"], "{damage}");
            assert!(clients.iter_mut().all(Client::is_answered));
            assert!(nft.run("list chain inet holdfast in").contains("@vips6"));
            assert!(nft.run("list chain arp holdfast out").contains("@vips4"));
        }
        rig.renew(Duration::ZERO);
        wait_for("silence", || !clients.iter_mut().any(Client::is_answered));
        rig.gate.dismiss(&key());
        wait_for("the tables to go", || {
            !nft.run("list tables").contains("holdfast")
        });
    });
}

#[test]
fn hundreds_of_addresses_are_renewed_in_one_batch() {
    in_pair(|_| {
        let v4 = (0..700u32).map(|n| IpAddr::from((0x0a63_0000 + n).to_be_bytes()));
        let v6 = (0..700u128).map(|n| IpAddr::from(((0xfd77 << 112) + n).to_be_bytes()));
        let rig = Rig::new(v4.chain(v6).collect(), LONG);
        let Some(nft) = Nft::find() else { return };
        for _ in 0..20 {
            rig.renew(Duration::from_secs(30));
        }
        let count = |set: &str| {
            nft.run(&format!("list set inet holdfast {set}"))
                .matches("expires")
                .count()
        };
        wait_for("all of them", || count("live4") == 700 && count("live6") == 700);
    });
}

#[test]
fn without_the_right_to_filter_it_says_so() {
    in_pair(|_| {
        caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_NET_ADMIN).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let gate = Gate::start(folder.path(), Vec::new()).unwrap();
        let (_permit, view) = watch::channel(until(LONG));
        let (note_sender, mut notes) = mpsc::channel(64);
        let events = EventSink::new(0, note_sender, mpsc::unbounded_channel().0);
        let ready = gate
            .admit(key(), ips(&[VIP4]), view, LEASE, events)
            .blocking_recv()
            .unwrap();
        assert!(ready.unwrap_err().contains("CAP_NET_ADMIN"));
        assert!(
            gate.trouble()
                .starts_with("not filtered: had-agentd has no CAP_NET_ADMIN")
        );
        let (_, AgentEvent::Note { level, text, .. }) = notes.try_recv().unwrap() else {
            panic!("no note")
        };
        assert_eq!(level, "warn");
        assert!(text.contains("up to 2 s after the permit"), "{text}");
    });
}

fn vip_group(requires: &str) -> GroupSpec {
    let resource = ResourceSpec {
        name: "vip".into(),
        kind: "vip".into(),
        params: BTreeMap::from([("address".into(), format!("{VIP4}/24\n{VIP6}/64"))]),
        probes: Vec::new(),
        start_timeout_ms: 20_000,
        stop_timeout_ms: 10_000,
    };
    GroupSpec {
        name: "web".into(),
        resources: vec![resource],
        max_restarts: 1,
        restart_window_ms: 600_000,
        requires: requires.into(),
        ..GroupSpec::default()
    }
}

#[test]
fn a_node_whose_agentd_is_stopped_falls_silent_when_its_permit_ends() {
    in_pair(|pair| {
        serve();
        let mut clients = clients(pair);
        let agentd = Agentd::start();
        let mut had = agentd.attach();
        had.start(1, LONG, &vip_group("lease"));
        had.group("running");
        warm_up(&mut clients);
        let span = Duration::from_millis(800);
        had.start(2, span, &vip_group("lease"));
        had.group("running");
        // The permit of the second start counts from before this instant.
        let end = clock::now() + span;
        if let Some(nft) = Nft::find() {
            // Milliseconds only: the hour that it had before is over.
            let ends = || nft.run("list set inet holdfast live4");
            wait_for("the shorter permit", || {
                ends().is_empty() || ends().contains("ms expires")
            });
        }
        let agentd_pid = Pid::from_raw(agentd.pid() as i32);
        kill(agentd_pid, Signal::SIGSTOP).unwrap();
        while clock::now() < end {
            for client in &mut clients {
                client.is_answered();
            }
        }
        for client in &mut clients {
            assert!(!client.is_answered(), "{} answers after its permit", client.vip);
        }
        kill(agentd_pid, Signal::SIGCONT).unwrap();
        had.group("stopped");
        assert!(!clients.iter_mut().any(Client::is_answered));
        if let Some(nft) = Nft::find() {
            wait_for("the tables to go", || {
                !nft.run("list tables").contains("holdfast")
            });
        }
    });
}

#[test]
fn tables_outlive_agentd_and_groups_that_wait_for_a_proof_have_none() {
    in_pair(|pair| {
        serve();
        let mut clients = clients(pair);
        let mut agentd = Agentd::start();
        let mut had = agentd.attach();
        had.start(1, LONG, &vip_group("fencing"));
        had.group("running");
        let mark = agentd.state_file("lease-filter");
        assert!(!mark.exists());
        had.stop("web", 2);
        had.group("stopped");
        had.start(3, LONG, &vip_group("lease"));
        had.group("running");
        warm_up(&mut clients);
        wait_for("the tables", || mark.exists());
        agentd.crash();
        // Its lifetime is long gone if nobody looks, its permit is not.
        assert!(clients.iter_mut().all(Client::is_answered));
        agentd.restart();
        let mut had = agentd.attach();
        for _ in 0..50 {
            assert!(clients.iter_mut().all(Client::is_answered));
        }
        had.stop("web", 4);
        had.group("stopped");
        wait_for("the tables to go", || !mark.exists());
    });
}

#[test]
fn tables_that_are_left_over_go_with_the_next_agentd() {
    in_pair(|_| {
        let Some(nft) = Nft::find() else { return };
        let mut agentd = Agentd::start();
        let mut had = agentd.attach();
        had.start(1, LONG, &vip_group("lease"));
        had.group("running");
        agentd.crash();
        assert!(nft.run("list tables").contains("holdfast"));
        let output = Command::new(env!("CARGO_BIN_EXE_had-agentd"))
            .arg("--remove-lease-filter")
            .arg("--state-dir")
            .arg(agentd.state_file("."))
            .output()
            .unwrap();
        assert!(output.status.success());
        assert_eq!(nft.run("list tables"), "");
        // And without any such order.
        agentd.restart();
        agentd.attach();
        wait_for("the tables", || nft.run("list tables").contains("holdfast"));
        agentd.crash();
        std::fs::remove_file(agentd.state_file("web.group")).unwrap();
        agentd.restart();
        agentd.attach();
        wait_for("the tables to go", || nft.run("list tables").is_empty());
    });
}

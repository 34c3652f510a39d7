//! The vip agent on real interfaces: each test makes two network namespaces of its own, joined by a veth pair, and
//! runs the agent on a thread inside one of them. Both vanish with the processes that hold them, whatever happens.
//! Needs root or unprivileged user namespaces; without either the tests say so and pass.

mod netns;

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_agents::agent::{AgentContext, AgentEvent, EventSink, PermitView, Presence, ResourceAgent};
use holdfast_agents::clock;
use holdfast_agents::vip::VipAgent;
use holdfast_proto::time::Time;
use netns::Pair;
use tokio::sync::{mpsc, watch};

/// An agent with the ends of its channels.
struct Rig {
    agent: VipAgent,
    permit: watch::Sender<PermitView>,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
}

fn permit_for(span: Duration) -> PermitView {
    PermitView {
        epoch: 1,
        until: clock::now() + span,
    }
}

fn context(params: &[(&str, &str)]) -> (AgentContext, Rest) {
    let (permit, view) = watch::channel(permit_for(Duration::from_secs(60)));
    let (note_sender, notes) = mpsc::channel(64);
    let (failure_sender, failures) = mpsc::unbounded_channel();
    let params: BTreeMap<String, String> = params.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    let context = AgentContext {
        group: "web".into(),
        resource: "vip".into(),
        params,
        lease: Duration::from_secs(1),
        permit: view,
        events: EventSink::new(0, note_sender, failure_sender),
        saved: String::new(),
        state_dir: std::env::temp_dir(),
        roles: watch::channel(holdfast_agents::roles::RolesView::default()).1,
        copy: holdfast_agents::roles::CopySink::default(),
        gate: None,
    };
    (
        context,
        Rest {
            permit,
            notes,
            failures,
        },
    )
}

struct Rest {
    permit: watch::Sender<PermitView>,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
}

fn rig(params: &[(&str, &str)]) -> Rig {
    let (context, rest) = context(params);
    let agent = VipAgent::new(context).unwrap();
    Rig {
        agent,
        permit: rest.permit,
        notes: rest.notes,
        failures: rest.failures,
    }
}

impl Rig {
    async fn start(&mut self) -> Result<(), String> {
        self.agent.start(Time(u64::MAX)).await.map_err(|error| error.0)
    }

    async fn stop(&mut self) {
        self.agent.stop(Time(u64::MAX)).await.unwrap();
    }

    /// The text of the next note of a kind.
    async fn note(&mut self, wanted: &str) -> String {
        loop {
            match within(self.notes.recv()).await.unwrap().1 {
                AgentEvent::Note { kind, text, .. } if kind == wanted => return text,
                _ => {}
            }
        }
    }
}

/// A bound on waiting, so that a broken build fails instead of hanging. Nothing is measured with it.
async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("waited for too long")
}

/// Runs `test` on a current-thread runtime inside the left namespace of a new pair.
fn in_pair<F: Future<Output = ()>>(test: impl FnOnce(Pair) -> F + Send + 'static) {
    let Some(pair) = Pair::new() else { return };
    pair.enter_left_and(|pair| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test(pair));
    });
}

#[test]
fn starts_announces_and_stops() {
    in_pair(async |pair| {
        let mut heard = pair.listen_right();
        let mut rig = rig(&[("address", "10.77.0.100/24\nfd77::100/64")]);
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
        rig.start().await.unwrap();
        assert_eq!(rig.agent.probe().await, Presence::Active);
        assert!(
            rig.note("vip-announced")
                .await
                .contains("10.77.0.100/24 and 1 more on left")
        );
        let own = pair.left_mac();
        for ip in ["10.77.0.100", "fd77::100"] {
            assert_eq!(within(heard.claim_of(ip.parse().unwrap())).await, own, "{ip}");
        }
        // Announcements go on, without anybody asking.
        for _ in 0..3 {
            within(heard.claim_of("10.77.0.100".parse().unwrap())).await;
        }
        let kernel = pair.run_left("ip -o addr show dev left");
        for line in kernel
            .lines()
            .filter(|line| line.contains("::100/") || line.contains(".100/"))
        {
            assert!(
                line.contains("valid_lft 6"),
                "a lifetime near the permit's 60 s: {line}"
            );
            assert!(!line.contains("tentative"), "{line}");
        }
        for address in ["10.77.0.100:0", "[fd77::100]:0"] {
            let service = std::net::TcpListener::bind(address).unwrap();
            pair.connect_right(service.local_addr().unwrap());
        }
        rig.stop().await;
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
        rig.stop().await;
        let routes = pair.run_left("ip -6 route show dev left");
        assert!(
            routes.contains("fd77::/64") && !routes.contains("expires"),
            "the node's own route stays: {routes}"
        );
    });
}

#[test]
fn a_second_owner_is_refused_by_mac() {
    in_pair(async |pair| {
        pair.run_right("ip addr add 10.77.0.100/24 dev right");
        pair.run_right("ip addr add fd77::100/64 dev right nodad");
        for address in ["10.77.0.100/24", "fd77::100/64"] {
            // Long, since a loaded machine may take a while to answer.
            let mut rig = rig(&[("address", address), ("duplicate_check_ms", "5000")]);
            let error = rig.start().await.unwrap_err();
            assert!(
                error.contains(&pair.right_mac()) && error.contains("is in use"),
                "{error}"
            );
            assert_eq!(rig.agent.probe().await, Presence::Inactive);
        }
    });
}

#[test]
fn an_address_that_its_last_owner_still_holds_is_waited_for() {
    in_pair(async |pair| {
        // What a hung node leaves behind, and its kernel takes away.
        pair.run_right("ip addr add 10.77.0.100/24 dev right valid_lft 2 preferred_lft 2");
        let mut rig = rig(&[("address", "10.77.0.100/24"), ("duplicate_check_ms", "100")]);
        rig.start().await.unwrap();
        assert!(rig.note("vip-waits").await.contains(&pair.right_mac()));
        assert_eq!(rig.agent.probe().await, Presence::Active);
        rig.stop().await;
    });
}

#[test]
fn a_check_ahead_of_time_counts_only_while_it_is_true() {
    in_pair(async |pair| {
        let mut rig = rig(&[("address", "10.77.0.100/24"), ("duplicate_check_ms", "200")]);
        rig.agent.prepare();
        rig.start().await.unwrap();
        rig.stop().await;
        // Somebody was there when it was asked ahead, and is not any more.
        pair.run_right("ip addr add 10.77.0.100/24 dev right");
        rig.agent.prepare();
        tokio::time::sleep(Duration::from_millis(300)).await;
        pair.run_right("ip addr del 10.77.0.100/24 dev right");
        rig.start().await.unwrap();
        rig.stop().await;
        // Nobody was there, so long ago that it is asked again.
        rig.agent.prepare();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        pair.run_right("ip addr add 10.77.0.100/24 dev right");
        let error = rig.start().await.unwrap_err();
        assert!(error.contains("is in use"), "{error}");
    });
}

#[test]
fn another_host_that_claims_the_address_later_is_named() {
    in_pair(async |pair| {
        for address in ["10.77.0.100/24", "fd77::100/64"] {
            let mut rig = rig(&[("address", address), ("duplicate_check_ms", "0")]);
            rig.start().await.unwrap();
            // So that this kernel knows which host has the MAC.
            let here = if address.contains(':') {
                "[fd77::1]:0"
            } else {
                "10.77.0.1:0"
            };
            let service = std::net::TcpListener::bind(here).unwrap();
            pair.connect_right(service.local_addr().unwrap());
            assert!(!rig.agent.detail().contains("claimed"));
            // It says nothing by itself: it is asked.
            let nodad = if address.contains(':') { " nodad" } else { "" };
            pair.run_right(&format!("ip addr add {address} dev right{nodad}"));
            let text = rig.note("vip-conflict").await;
            let (ip, mac) = (address.split('/').next().unwrap(), pair.right_mac());
            assert!(
                text.contains(&format!("also claims {ip}")) && text.contains(&mac),
                "{text}"
            );
            assert!(
                text.contains("(the host with "),
                "by an address of its own: {text}"
            );
            assert!(rig.agent.detail().contains(&format!("also claimed by {mac}")));
            // We keep it.
            assert_eq!(rig.agent.probe().await, Presence::Active);
            assert!(rig.failures.try_recv().is_err());
            rig.stop().await;
            assert!(!rig.agent.detail().contains("claimed"));
            pair.run_right(&format!("ip addr del {address} dev right"));
        }
    });
}

#[test]
fn another_host_is_heard_among_more_addresses_than_a_filter_names() {
    in_pair(async |pair| {
        let list: Vec<String> = (0..300)
            .map(|n| format!("10.77.{}.{}/16", 100 + n / 250, 1 + n % 250))
            .collect();
        let params = [
            ("address", &*list.join("\n")),
            ("interface", "left"),
            ("duplicate_check_ms", "0"),
        ];
        let mut rig = rig(&params);
        rig.start().await.unwrap();
        pair.run_right("ip addr add 10.77.101.40/16 dev right");
        let text = rig.note("vip-conflict").await;
        assert!(text.contains("also claims 10.77.101.40"), "{text}");
        rig.stop().await;
    });
}

#[test]
fn deleted_by_hand_is_back() {
    in_pair(async |pair| {
        let mut rig = rig(&[
            ("address", "10.77.0.100/24\nfd77::100/64"),
            ("duplicate_check_ms", "0"),
        ]);
        rig.start().await.unwrap();
        for command in [
            "ip addr del 10.77.0.100/24 dev left",
            "ip -6 addr del fd77::100/64 dev left",
        ] {
            let mut heard = pair.listen_right();
            pair.run_left(command);
            let text = rig.note("vip-restored").await;
            eprintln!("{text}");
            assert_eq!(rig.agent.probe().await, Presence::Active);
            let ip = if command.contains("-6") {
                "fd77::100"
            } else {
                "10.77.0.100"
            };
            within(heard.claim_of(ip.parse().unwrap())).await;
        }
        assert!(rig.failures.try_recv().is_err());
        // What is cut stays cut.
        rig.agent.cutter().unwrap()().unwrap();
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert_eq!(
            rig.agent.probe().await,
            Presence::Inactive,
            "neither renewal nor event puts it back"
        );
    });
}

#[test]
fn a_fight_with_another_program_is_given_up() {
    in_pair(async |pair| {
        let mut rig = rig(&[("address", "10.77.0.100/24"), ("duplicate_check_ms", "0")]);
        rig.start().await.unwrap();
        let fight = async {
            loop {
                pair.run_left("ip addr flush to 10.77.0.100/32 dev left");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let failure = async { rig.failures.recv().await };
        let failure = tokio::select! { () = within(fight) => None, failure = failure => failure };
        assert!(matches!(failure, Some((0, AgentEvent::Failed(text))) if text.contains("another program")));
    });
}

#[test]
fn carrier_and_interface_loss_are_failures() {
    in_pair(async |pair| {
        let mut rig = rig(&[("address", "10.77.0.100/24")]);
        rig.start().await.unwrap();
        pair.run_right("ip link set right down");
        let failure = within(rig.failures.recv()).await.unwrap().1;
        assert!(
            matches!(&failure, AgentEvent::Failed(text) if text.contains("carrier")),
            "{failure:?}"
        );
        let error = rig.start().await.unwrap_err();
        assert!(error.contains("carrier"), "{error}");
        pair.run_right("ip link set right up");
        within(async {
            while rig.start().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        pair.run_left("ip link del left");
        let failure = within(rig.failures.recv()).await.unwrap().1;
        assert!(matches!(&failure, AgentEvent::Failed(_)), "{failure:?}");
        rig.stop().await;
    });
}

#[test]
fn a_new_mac_of_the_interface_is_announced() {
    in_pair(async |pair| {
        let mut rig = rig(&[("address", "10.77.0.100/24"), ("duplicate_check_ms", "0")]);
        rig.start().await.unwrap();
        let mut heard = pair.listen_right();
        let old = pair.left_mac();
        pair.run_left("ip link set dev left address 02:00:00:00:77:01");
        within(async { while heard.claim_of("10.77.0.100".parse().unwrap()).await == old {} }).await;
        while !rig.note("vip-announced").await.contains("02:00:00:00:77:01 now") {}
        assert_eq!(rig.agent.probe().await, Presence::Active);
        assert!(
            !rig.agent.detail().contains("claimed"),
            "our own old frames are no conflict"
        );
        rig.stop().await;
    });
}

#[test]
fn a_lapsed_permit_starts_nothing_and_the_kernel_ends_what_ran() {
    in_pair(async |pair| {
        let mut rig = rig(&[("address", "10.77.0.100/24\nfd77::100/64")]);
        rig.permit.send_replace(PermitView {
            epoch: 1,
            until: Time(1),
        });
        let error = rig.start().await.unwrap_err();
        assert!(error.contains("permit"), "{error}");
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
        rig.permit.send_replace(permit_for(Duration::from_millis(500)));
        rig.start().await.unwrap();
        // Nobody renews the permit and nobody cuts: what a hung had-agentd amounts to.
        within(async {
            while rig.agent.probe().await != Presence::Inactive {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        assert!(
            pair.run_left("ip addr show dev left").contains("10.77.0.1/24"),
            "the node's own address stays"
        );
    });
}

#[test]
fn renewals_follow_the_permit_and_maintenance() {
    in_pair(async |pair| {
        let mut rig = rig(&[("address", "10.77.0.100/24\nfd77::100/64")]);
        rig.permit.send_replace(permit_for(Duration::from_millis(1000)));
        rig.start().await.unwrap();
        // Held well past its first lifetime, by permits renewed as had renews them.
        for _ in 0..40 {
            rig.permit.send_replace(permit_for(Duration::from_millis(1000)));
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(rig.agent.probe().await, Presence::Active);
        }
        rig.permit.send_replace(PermitView {
            epoch: 1,
            until: Time(u64::MAX),
        });
        within(async {
            while pair
                .run_left("ip addr show dev left")
                .matches("valid_lft forever")
                .count()
                < 5
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        // A new had-agentd finds it and takes it over.
        drop(rig);
        let mut next = self::rig(&[("address", "10.77.0.100/24\nfd77::100/64")]);
        assert_eq!(next.agent.probe().await, Presence::Active);
        next.agent.adopt().await.unwrap();
        assert!(
            pair.run_left("ip addr show dev left").contains("valid_lft 6"),
            "the lifetime is limited again"
        );
        next.stop().await;
    });
}

#[test]
fn a_hundred_addresses_in_one_go() {
    in_pair(async |pair| {
        let list: Vec<String> = (100..200).map(|host| format!("10.77.0.{host}/24")).collect();
        let mut heard = pair.listen_right();
        let mut rig = rig(&[("address", &list.join("\n"))]);
        let begun = clock::now();
        rig.start().await.unwrap();
        eprintln!(
            "100 addresses started in {:?}: {}",
            clock::now().since(begun),
            rig.note("vip-announced").await
        );
        for host in 100..200u8 {
            within(heard.claim_of([10, 77, 0, host].into())).await;
        }
        let begun = clock::now();
        rig.agent.cutter().unwrap()().unwrap();
        eprintln!("100 addresses cut in {:?}", clock::now().since(begun));
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
        rig.start().await.unwrap();
        pair.run_left("ip addr flush dev left scope global to 10.77.0.128/26");
        eprintln!("{}", rig.note("vip-restored").await);
        within(async {
            while rig.agent.probe().await != Presence::Active {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        rig.stop().await;
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
    });
}

#[test]
fn bad_parameters_are_refused_in_words() {
    let build = |params: &[(&str, &str)]| VipAgent::new(context(params).0).map(|_| ()).unwrap_err().0;
    assert!(build(&[]).contains("needs the parameter \"address\""));
    assert!(build(&[("adress", "10.0.0.1/24")]).contains("has no parameter \"adress\""));
    assert!(build(&[("address", "10.0.0.1")]).contains("no prefix length"));
    assert!(
        build(&[("address", "10.0.0.1/24"), ("duplicate_check_ms", "x")])
            .contains("no number from 0 to 5000")
    );
}

//! What operators write, programs print and the kernel tells.

use std::time::Duration;

use holdfast_agents::fuzzing;
use holdfast_agents::group::store::SavedGroup;
use holdfast_agents::vip::address::Vip;
use holdfast_agents::vip::packet::{Mac, announcement, probe};
use holdfast_proto::agent::{
    self, AgentReport, AgentRequest, Attached, FenceDevice, FenceOutcome, GroupStatus, agent_report,
    agent_request,
};
use holdfast_proto::control::{
    ControlReply, ControlRequest, ErrorView, EventView, GroupView, LinkView, MoveRequest, NodeRequest,
    NodeView, ResourceRequest, ResourceView, StatusView, TimerRow, TimersView, WhyView, control_reply,
    control_request,
};
use holdfast_proto::ids::BootId;
use holdfast_sbd::layout::{Command, Header, Mail, Slot};
use holdfast_sbd::{Mark, Timeouts, mark};
use prost::Message as _;

use super::{Seeds, after};
use crate::samples;

pub fn configs() -> Seeds {
    let secret = "password = \"Zq7Secret7qZ\"";
    let with_secret = samples::CONFIG.replace("ip = \"10.0.9.1\"", secret);
    let texts = [
        samples::CONFIG.to_string(),
        with_secret.clone(),
        with_secret.replace("[cluster]", "[[cluster]]"),
        format!("{}\n{secret}\n", samples::CONFIG),
        format!("[cluster]\n{secret}\nname = 7\nprofile = \"fats\"\n"),
        "[[node]]\nname = \"a\nlinks = [\n".into(),
        "node = [{ name = \"db1\", links = [\"10.0.0.1\"] }, { name = \"db2\", links = [\"10.0.0.2\"] }]\n"
            .into(),
        samples::CONFIG.to_string() + JOBS,
    ];
    texts.into_iter().map(String::into_bytes).collect()
}

const JOBS: &str = "\n[[job]]\nname = \"report\"\ngroup = \"web\"\non = \"any\"\ncalendar = \"0 7 * * mon-fri\"\n\
    timezone = \"Europe/Berlin\"\ncommand = [\"/usr/bin/report\", \"--mail\"]\nuser = \"nobody\"\ntimeout = \"1h\"\n\
    catch_up = \"6h\"\non_interrupt = \"rerun\"\non_move = \"finish\"\n[[job]]\nname = \"rotate\"\ngroup = \"worker\"\n\
    calendar = \"@daily\"\ncommand = [\"/bin/rotate\"]\n";

pub fn edits() -> Seeds {
    let short = "[cluster]\nname = \"a\"\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n";
    let inline = "node = [{ name = \"db1\", links = [\"10.0.0.1\"] }]\n[cluster]\nname = \"a\"\nid = \"00000000000000aa\"";
    vec![
        after(&[0, 3], samples::CONFIG.as_bytes()),
        after(&[200, 1], samples::CONFIG.as_bytes()),
        after(&[0, 0], short.as_bytes()),
        after(&[0, 4], inline.as_bytes()),
    ]
}

pub fn addresses() -> Seeds {
    let words = [
        (0, "10.0.0.100/24"),
        (0, "fd00::100/64"),
        (1, "10.0.0.254"),
        (2, "fe80::1"),
        (3, "10.0.0.3"),
        (4, "300ms"),
        (4, "1h"),
        (5, "[::1]:80"),
        (6, "http://h:80/p?q"),
        (7, "app@1.service"),
        (8, "db-2.example"),
        (0, "10.0.0.1/24, 10.0.0.2/24"),
        (
            8,
            "4242424242424242424242424242424242424242424242424242424242424242",
        ),
    ];
    words
        .iter()
        .map(|(place, word)| after(&[*place], word.as_bytes()))
        .collect()
}

pub fn control() -> Seeds {
    use control_request::Body;
    let asked = [
        Body::Move(MoveRequest {
            accept_loss: false,
            group: "web".into(),
            to: "db2".into(),
        }),
        Body::Standby(NodeRequest {
            node: "db1".into(),
            on: true,
            reason: String::new(),
        }),
        Body::Resource(ResourceRequest {
            action: "restart".into(),
            group: "web".into(),
            resource: "nginx".into(),
        }),
        Body::Resource(ResourceRequest {
            action: "cleanup".into(),
            ..ResourceRequest::default()
        }),
        Body::FenceConfirm(NodeRequest {
            node: "witness".into(),
            on: false,
            reason: String::new(),
        }),
    ];
    let asked = asked.map(|body| after(&[80], &ControlRequest { body: Some(body) }.encode_to_vec()));
    let event = EventView {
        id: 7,
        at: "2026-01-02T03:04:05.123456Z".into(),
        node: "db1".into(),
        kind: "fenced".into(),
        level: "alert".into(),
        text: "db2 was fenced".into(),
        ..EventView::default()
    };
    let why = WhyView {
        group: "web".into(),
        sentence: "it runs on db1".into(),
        candidates: vec!["db2: standby".into()],
        history: vec![event.clone()],
    };
    let row = TimerRow {
        name: "lease".into(),
        value_ms: 1000.0,
        meaning: "silence".into(),
    };
    let error = ErrorView {
        code: "no-quorum".into(),
        message: "no leader".into(),
    };
    let answered = [
        control_reply::Body::Status(status()),
        control_reply::Body::Event(event),
        control_reply::Body::Why(why),
        control_reply::Body::Timers(TimersView {
            rows: vec![row],
            findings: vec!["short".into()],
        }),
        control_reply::Body::Error(error),
    ];
    let answered = answered.map(|body| after(&[60], &ControlReply { body: Some(body) }.encode_to_vec()));
    asked.into_iter().chain(answered).collect()
}

fn status() -> StatusView {
    let link = LinkView {
        address: "10.0.0.2".into(),
        state: "up".into(),
        rtt_us: 120,
        lost_percent: 1,
    };
    let node = NodeView {
        name: "db2".into(),
        role: "data".into(),
        state: "online".into(),
        links: vec![link],
        watchdog_ms: 5000,
        fences: vec!["fence_ipmilan".into()],
        ..NodeView::default()
    };
    let resource = ResourceView {
        name: "vip".into(),
        kind: "vip".into(),
        state: "running".into(),
        detail: "eth0".into(),
    };
    let group = GroupView {
        name: "web".into(),
        state: "running".into(),
        node: "db2".into(),
        reason: "preferred".into(),
        resources: vec![resource],
        failures: vec!["db1: 2 failures".into()],
        last_outage_ms: 1200,
        ..GroupView::default()
    };
    StatusView {
        cluster: "shop".into(),
        node: "db1".into(),
        summary: "all is well".into(),
        health: "ok".into(),
        leader: "db1".into(),
        voters: vec!["db1".into(), "db2".into()],
        nodes: vec![node],
        groups: vec![group],
        warnings: vec!["one link".into()],
        ..StatusView::default()
    }
}

pub fn agent() -> Seeds {
    let mut seeds = Seeds::new();
    for spec in samples::specs(samples::config()) {
        let permit = Some(agent::Permit {
            group: spec.name.clone(),
            epoch: 7,
            until_us: 9_000_000,
        });
        let start = agent::StartGroup {
            permit,
            spec: Some(spec),
            storage: Vec::new(),
        };
        seeds.push(
            AgentRequest {
                body: Some(agent_request::Body::Start(start)),
            }
            .encode_to_vec(),
        );
    }
    let fence = FenceDevice {
        id: 1,
        node: "db2".into(),
        agent: "fence_x".into(),
        action: "off".into(),
        ..FenceDevice::default()
    };
    seeds.push(
        AgentRequest {
            body: Some(agent_request::Body::Fence(fence)),
        }
        .encode_to_vec(),
    );
    let group = GroupStatus {
        group: "web".into(),
        epoch: 7,
        run: "running".into(),
        ..GroupStatus::default()
    };
    let attached = Attached {
        groups: vec![group.clone()],
        watchdog_ms: 5000,
        kinds: vec!["vip".into()],
        watchdog: "i6300ESB timer".into(),
    };
    let outcome = FenceOutcome {
        id: 1,
        off_read_back: true,
        evidence: "off".into(),
        error: String::new(),
        read_at_us: 1_000_000,
        ..FenceOutcome::default()
    };
    let reports = [
        agent_report::Body::Attached(attached),
        agent_report::Body::Group(group),
        agent_report::Body::Fenced(outcome),
    ];
    seeds.extend(reports.map(|body| AgentReport { body: Some(body) }.encode_to_vec()));
    seeds
}

pub fn metadata() -> Seeds {
    let xml = include_str!("fence.xml");
    vec![
        xml.into(),
        format!("{xml}\0ipaddr=10.0.0.1\npassword=Zq7\nlanplus=maybe\nusrname=x\n").into_bytes(),
        b"<resource-agent><!-- <action name='off'/> --><action name='a&lt;b'/>\0a=b\n".to_vec(),
    ]
}

pub fn netlink() -> Seeds {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    let mut seeds = Seeds::new();
    for text in ["10.0.0.9/24", "fd00::9/64"] {
        if let Ok(vip) = text.parse::<Vip>() {
            seeds.push(fuzzing::example(vip));
            seeds.extend(announcement(mac, vip.ip));
            seeds.push(probe(mac, vip.ip));
        }
    }
    seeds.push(link());
    seeds.push(fuzzing::example_batch());
    seeds.push(b"77 (a) b) S 1 70 60 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987 1 2".to_vec());
    seeds
}

/// RTM_NEWLINK with a name and an Ethernet address.
fn link() -> Vec<u8> {
    let mut bytes = vec![0; 32];
    bytes[4..6].copy_from_slice(&16u16.to_ne_bytes());
    bytes[18..20].copy_from_slice(&1u16.to_ne_bytes());
    bytes[20] = 7;
    for (kind, value) in [(3u16, b"eth0\0\0\0\0".as_slice()), (1, &[2, 0, 0, 0, 0, 1, 0, 0])] {
        bytes.extend((if kind == 1 { 10u16 } else { 9 }).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
    }
    let length = bytes.len() as u32;
    bytes[..4].copy_from_slice(&length.to_ne_bytes());
    bytes
}

pub fn output() -> Seeds {
    vec![
        after(&[2, 255], b"Status: OFF\n"),
        after(&[0, 255], b"Status: ON\n"),
        after(&[2, 100], b"login with Zq7Secret7qZ\nbad \x1b[31m\nrefused\n"),
        after(&[1, 255], b"HTTP/1.1 503 Down\r\n\r\n"),
        after(&[255, 9], b"line one\nline two\r\n\n"),
    ]
}

pub fn saved() -> Seeds {
    let group = SavedGroup {
        group: "web".into(),
        boot: "b".into(),
        epoch: 7,
        run: "running".into(),
        spec: samples::specs(samples::config()).into_iter().next(),
        lease_ms: 1000,
        agents: vec![r#"{"main":{"pid":1,"start_ticks":2},"members":{"marker":"x","cgroup":null}}"#.into()],
        roles: None,
    };
    let event = r#"{"id":3,"at":"2026-01-01T00:00:00Z","boot_us":1,"node":"db1","kind":"k","level":"info","text":"t","group":"","epoch":0}"#;
    vec![
        group.encode_to_vec(),
        fuzzing::permit_record(7, 9_000_000),
        format!("{event}\n{{torn\n{event}\n").into_bytes(),
        br#"{"generation":7,"nodes":["db1","db2"],"whole":"0f"}"#.to_vec(),
        b"8 7\n".to_vec(),
        br#"{"run":7,"well":false,"how":"exit 1","last_line":"no room","took_ms":12}"#.to_vec(),
        br#"{"job":"backup","group":"mysql","run":7,"occurrence":1700000000,"attempt":1,"command":"/bin/backup","user":"","cwd":"/","env":"","timeout_ms":1000}"#
            .to_vec(),
        br#"{"job":"backup","boot":"b","cluster":1,"run":7,"outcome":"Running","detail":"","took_ms":0,"keeper":[1,2],"members":{"marker":"x","cgroup":null}}"#
            .to_vec(),
    ]
}

/// Sectors of a disk, each after the number that chooses its size.
pub fn sbd() -> Seeds {
    let header = |size| Header::new(size, Timeouts::default(), [7; 16]).sector();
    let order = |command, from: &str| {
        let mut sector = Mail {
            command,
            from: from.into(),
        }
        .sector(512);
        mark::stamp(&mut sector, [9; 16]);
        after(&[0], &sector)
    };
    let mut watched = Slot::of("db1").sector(512);
    let promise = Mark {
        boot: BootId(7),
        watchdog: Duration::from_secs(5),
        patience: Duration::from_secs(4),
        disks: 3,
    };
    promise.write(&mut watched);
    vec![
        after(&[0], &header(512)),
        after(&[1], &header(4096)),
        after(&[0], &Slot::of("db2").sector(512)),
        after(&[0], &watched),
        order(Command::Reset, "db2"),
        order(Command::Unknown(77), "db2"),
    ]
}

pub fn redis() -> Seeds {
    let info = "role:master\r\nmaster_repl_offset:14\r\nslave0:ip=10.0.0.2,port=6379,state=online,offset=14,lag=1\r\n\
                db0:keys=3,expires=0\r\n";
    let role = "*3\r\n$6\r\nmaster\r\n:9\r\n*1\r\n*3\r\n$8\r\n10.0.0.2\r\n$4\r\n6379\r\n$1\r\n9\r\n";
    let client = |words: &[&str]| {
        let bulks: String = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()))
            .collect();
        format!("*{}\r\n{bulks}", words.len())
    };
    vec![
        after(&[0], info.as_bytes()),
        after(&[0], format!("${}\r\n{info}\r\n", info.len()).as_bytes()),
        after(&[0], role.as_bytes()),
        after(&[0], b"-NOAUTH Authentication required.\r\n"),
        after(
            &[1],
            client(&["SENTINEL", "get-master-addr-by-name", "shop"]).as_bytes(),
        ),
        after(&[1], client(&["SUBSCRIBE", "+switch-master"]).as_bytes()),
        after(&[1], client(&["PUNSUBSCRIBE"]).as_bytes()),
        after(&[1], client(&["HELLO", "3", "AUTH", "a", "b"]).as_bytes()),
        after(&[1], client(&["INFO"]).as_bytes()),
        after(&[2], b"\x01\0\0\0\0\0\x06\0\x0a\0\x0a\0\x09\xce"),
    ]
}

mod etcd;
mod hostile;
mod jobs;
mod ocf;
mod roles;
mod rules;
mod sbd;
mod shown;
mod witness_disks;

use super::*;
use crate::ids::{ClusterId, NodeId};

const DOCS: &str = include_str!("../../../docs/config.md");

/// A pair with a witness and one group, to which tests add.
const BASE: &str = r#"[cluster]
name = "shop"
id = "00000000000000ff"

[[node]]
name = "db1"
links = ["10.0.0.1"]

[[node]]
name = "db2"
links = ["10.0.0.2"]

[witness]
address = "10.0.0.3"
"#;

fn parsed(more: &str) -> Config {
    parse(&format!("{BASE}{more}"), "holdfast.toml").unwrap_or_else(|found| panic!("{found}"))
}

fn replaced(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from}");
    BASE.replace(from, to)
}

/// `line:column: message | hint` of each error.
fn errors(text: &str) -> Vec<String> {
    let found = parse(text, "holdfast.toml").expect_err("it must be refused");
    let line = |entry: &Diagnostic| {
        let hint = if entry.hint.is_empty() {
            String::new()
        } else {
            format!(" | {}", entry.hint)
        };
        format!("{}:{}: {}{hint}", entry.line, entry.column, entry.message)
    };
    found.entries().iter().map(line).collect()
}

/// The only error of `text`.
#[track_caller]
fn error(text: &str) -> String {
    let mut found = errors(text);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

/// The only error when `more` follows the base.
#[track_caller]
fn error_of(more: &str) -> String {
    error(&format!("{BASE}{more}"))
}

/// The only error of `before` and `more`, with its line counted from the beginning of `more`.
#[track_caller]
fn error_behind(before: &str, more: &str) -> String {
    let text = error(&format!("{before}{more}"));
    let (line, rest) = text.split_once(':').expect("a line");
    let line: usize = line.parse().expect("a number");
    format!("{}:{rest}", line - before.lines().count())
}

fn group(name: &str, keys: &str, resource: &str) -> String {
    format!("\n[[group]]\nname = \"{name}\"\n{keys}\n[[group.resource]]\n{resource}\n")
}

const VIP: &str = "name = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"";
const UNIT: &str = "name = \"svc\"\ntype = \"systemd\"\nunit = \"redis\"";

/// A group with roles.
const COPY: &str = r#"
[[group]]
name = "data"
[[group.resource]]
name = "copy"
type = "test-copy"
cwd = "/replicated"
"#;

/// A group on every node.
const WEB: &str = r#"
[[group]]
name = "web"
run = "every-node"
[[group.resource]]
name = "nginx"
type = "systemd"
unit = "nginx"
"#;

/// The TOML block of docs/config.md.
fn docs_example() -> &'static str {
    let start = DOCS.find("```toml\n").expect("an example") + "```toml\n".len();
    let end = start + DOCS[start..].find("```").expect("its end");
    &DOCS[start..end]
}

#[test]
fn the_example_of_the_documentation_parses_without_warnings() {
    let config = parse(docs_example(), "docs/config.md").unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(config.cluster.detection_ms, 1000);
    assert_eq!(config.groups[0].requires, Requires::Fencing);
    assert_eq!(config.groups[0].prefer, [NodeId(1)]);
    let vip = &config.groups[0].resources[1];
    assert_eq!(vip.params["address"], "10.0.0.100/24\nfd00:10::100/64");
    let exporter = &config.groups[1];
    assert_eq!(exporter.requires, Requires::Lease);
    assert_eq!(exporter.resources[0].params["env"], "GOMAXPROCS=1");
    assert_eq!(exporter.resources[0].stop_timeout_ms, 3000);
    assert_eq!(config.fences[0].params["lanplus"], "true");
    assert_eq!(
        warnings(&config),
        [
            "group exporter requires less than its resources do by themselves: a node that hangs and wakes up may \
             still run it for a moment beside the new one; its data must bear that"
        ]
    );
}

#[test]
fn the_documentation_names_every_key() {
    let kinds = RESOURCE_KINDS
        .iter()
        .flat_map(|kind| kind.params.iter().map(|param| param.key));
    let keys = "name id profile detection port fence_delay witness_grace startup_grace fence_test_interval ping flap_budget flap_window \
                links keys address node agent params level kind timeout action prefer requires with apart_from after \
                max_restarts restart_window type start_timeout stop_timeout tcp http exec interval failures of devices watchdog_timeout \
                allocate_timeout loop_timeout msgwait_timeout io_timeout etcd prefix ca_file cert_file key_file user password_file \
                group on calendar timezone command user cwd env timeout max_lag fallback catch_up on_interrupt on_move";
    for key in keys.split_whitespace().chain(kinds) {
        assert!(
            DOCS.contains(&format!("| `{key}` |")),
            "docs/config.md lacks a row for {key}"
        );
    }
}

#[test]
fn the_examples_of_the_agents_pages_are_accepted() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/agents");
    let pages = std::fs::read_dir(folder).unwrap();
    let jobs = std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/jobs.md"));
    for path in pages.map(|page| page.unwrap().path()).chain([jobs]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let examples = text
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        for example in examples {
            // What is no whole file is a part of one.
            let before = match example {
                whole if whole.contains("[cluster]") => "",
                groups if groups.trim_start().starts_with("[[group]]") => BASE,
                _ => &format!("{BASE}\n[[group]]\nname = \"example\"\n"),
            };
            let file = path.display().to_string();
            parse(&format!("{before}{example}"), &file).unwrap_or_else(|found| panic!("{found}"));
        }
    }
}

#[test]
fn defaults_follow_the_detection_time() {
    let cluster = parsed("").cluster;
    assert_eq!(cluster.id, ClusterId(0xff));
    assert_eq!((cluster.detection_ms, cluster.port), (1000, 7946));
    assert_eq!((cluster.fence_delay_ms, cluster.witness_grace_ms), (5000, 10_000));
    assert_eq!(cluster.fence_test_interval_ms, 3_600_000);
    assert_eq!(
        (
            cluster.startup_grace_ms,
            cluster.flap_budget,
            cluster.flap_window_ms
        ),
        (60_000, 3, 600_000)
    );
    let fast = parse(
        &replaced("name = \"shop\"", "name = \"shop\"\nprofile = \"fast\""),
        "f",
    )
    .unwrap()
    .cluster;
    assert_eq!((fast.detection_ms, fast.witness_grace_ms), (300, 5000));
    let slow = parse(
        &replaced("name = \"shop\"", "name = \"shop\"\ndetection = \"60s\""),
        "f",
    )
    .unwrap()
    .cluster;
    assert_eq!(
        (slow.fence_delay_ms, slow.witness_grace_ms, slow.startup_grace_ms),
        (120_000, 600_000, 120_000)
    );
}

#[test]
fn the_source_is_kept_as_written() {
    let text = format!("# mine\n{BASE}");
    assert_eq!(parse(&text, "f").unwrap().source, text);
}

#[test]
fn a_tcp_probe_may_talk() {
    let probe = |probe: &str| {
        let text = "name = \"app\"\ntype = \"exec\"\ncommand = [\"/bin/app\"]\n";
        format!("{}\n[[group.resource.probe]]\n{probe}\n", group("app", "", text))
    };
    let talking = parsed(&probe(
        "tcp = \"[::1]:11211\"\nsend = \"version\\r\\n\"\nexpect = \"VERSION \"",
    ));
    assert_eq!(
        talking.groups[0].resources[0].probes[0].kind,
        ProbeKind::Tcp {
            target: "[::1]:11211".into(),
            send: "version\r\n".into(),
            expect: "VERSION ".into()
        }
    );
    let refused = |text: &str| parse(&probe(text), "f").unwrap_err().render(false);
    assert!(refused("tcp = \"a:1\"\nsend = \"x\"").contains("`send` without `expect`"));
    assert!(refused("http = \"http://a\"\nexpect = \"x\"").contains("belong to a `tcp` probe"));
    let long = format!("tcp = \"a:1\"\nexpect = \"{}\"", "x".repeat(257));
    assert!(refused(&long).contains("at most 256"));
}

#[test]
fn resources_get_their_parameters_and_probes() {
    let exec = "name = \"app\"\ntype = \"exec\"\ncommand = [\"/bin/app\", \"-v\"]\nprobe = [{ exec = [\"/bin/true\"], of = 3 }, { http = \"http://[::1]:81/x\" }]";
    let vip = "name = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.9/24\"\nduplicate_check = \"0ms\"\nannounce_interval = \"5m\"";
    let config = parsed(&format!(
        "{}\n[[group.resource]]\n{vip}\n",
        group("app", "", exec)
    ));
    let resources = &config.groups[0].resources;
    assert_eq!(resources[0].params["command"], "/bin/app\n-v");
    assert_eq!(
        resources[0].probes[0].kind,
        ProbeKind::Exec(vec!["/bin/true".into()])
    );
    assert_eq!(
        (resources[0].probes[0].failures, resources[0].probes[0].of),
        (2, 3)
    );
    assert_eq!(
        (resources[0].probes[1].failures, resources[0].probes[1].of),
        (3, 5)
    );
    assert_eq!(resources[1].params["duplicate_check_ms"], "0");
    assert_eq!(resources[1].params["announce_interval_s"], "300");
    assert_eq!(
        parsed(&group("r", "", UNIT)).groups[0].resources[0].params["unit"],
        "redis.service"
    );
}

#[test]
fn requires_is_the_strictest_of_the_resources_unless_set() {
    assert_eq!(parsed(&group("a", "", VIP)).groups[0].requires, Requires::Lease);
    let both = format!("{}\n[[group.resource]]\n{UNIT}\n", group("a", "", VIP));
    assert_eq!(parsed(&both).groups[0].requires, Requires::Fencing);
    assert_eq!(
        parsed(&group("a", "requires = \"nothing\"", UNIT)).groups[0].requires,
        Requires::Nothing
    );
}

#[test]
fn unwise_settings_are_found() {
    let kinds = |text: &str| -> Vec<&str> {
        findings(&parse(text, "f").unwrap_or_else(|found| panic!("{found}")))
            .iter()
            .map(|f| f.kind)
            .collect()
    };
    assert_eq!(kinds(BASE), ["single-link", "no-key"]);
    let one = "[cluster]\nname = \"a\"\nid = \"00000000000000ff\"\n[[node]]\nname = \"n\"\nlinks = [\"127.0.0.1\"]\n";
    assert_eq!(kinds(one), ["single-node", "loopback-link", "no-key"]);
    let alone = BASE.replace("\n[witness]\naddress = \"10.0.0.3\"\n", "");
    assert_eq!(kinds(&alone), ["no-witness", "no-ping", "single-link", "no-key"]);
    let env = "name = \"x\"\ntype = \"exec\"\ncommand = [\"/bin/x\"]\nenv = { PGPASSWORD = \"x\" }";
    let loose = format!("{BASE}{}", group("a", "requires = \"lease\"", env));
    assert_eq!(
        kinds(&loose),
        ["single-link", "no-key", "loose-requires", "plain-secret"]
    );
    let fenced = format!("{BASE}{}", group("a", "", UNIT));
    assert_eq!(kinds(&fenced), ["single-link", "no-key", "no-fence-device"]);
    let short = replaced("name = \"shop\"", "name = \"shop\"\ndetection = \"100ms\"");
    assert_eq!(kinds(&short), ["short-detection", "single-link", "no-key"]);
}

use std::fmt::Write;

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

fn group(name: &str, keys: &str, resource: &str) -> String {
    format!("\n[[group]]\nname = \"{name}\"\n{keys}\n[[group.resource]]\n{resource}\n")
}

const VIP: &str = "name = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"";
const UNIT: &str = "name = \"svc\"\ntype = \"systemd\"\nunit = \"redis\"";

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
    let keys = "name id profile detection port fence_delay witness_grace startup_grace ping flap_budget flap_window \
                links keys address node agent params level kind timeout action prefer requires with apart_from after \
                max_restarts restart_window type start_timeout stop_timeout tcp http exec interval failures of";
    for key in keys.split_whitespace().chain(kinds) {
        assert!(
            DOCS.contains(&format!("| `{key}` |")),
            "docs/config.md lacks a row for {key}"
        );
    }
}

#[test]
fn defaults_follow_the_detection_time() {
    let cluster = parsed("").cluster;
    assert_eq!(cluster.id, ClusterId(0xff));
    assert_eq!((cluster.detection_ms, cluster.port), (1000, 7946));
    assert_eq!((cluster.fence_delay_ms, cluster.witness_grace_ms), (5000, 10_000));
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
fn an_error_shows_its_line_and_the_likely_fix() {
    let text = replaced("links = [\"10.0.0.2\"]", "link = [\"10.0.0.2\"]");
    let found = parse(&text, "/etc/holdfast/holdfast.toml").unwrap_err();
    let expected = "\
error: [[node]] needs the key `links`
 --> /etc/holdfast/holdfast.toml:9:1
  |
9 | [[node]]
  | ^^^^^^^^
  |
  = help: one address per link, such as links = [\"10.0.0.1\", \"192.168.7.1\"]

error: unknown key `link` in [[node]]
  --> /etc/holdfast/holdfast.toml:11:1
   |
11 | link = [\"10.0.0.2\"]
   | ^^^^
   |
   = help: did you mean `links`?

2 errors; nothing was changed";
    assert_eq!(found.to_string(), expected);
    assert!(found.render(true).contains("\x1b["));
    assert_eq!(
        found.summary(),
        "/etc/holdfast/holdfast.toml:9:1: [[node]] needs the key `links` (and 1 more)"
    );
}

#[test]
fn an_error_about_two_places_shows_both() {
    let text = replaced("10.0.0.2", "10.0.0.1");
    let expected = "\
error: the address 10.0.0.1 is used twice
  --> f:11:10
   |
11 | links = [\"10.0.0.1\"]
   |          ^^^^^^^^^^
   |
  ::: f:7:10
   |
 7 | links = [\"10.0.0.1\"]
   |          ---------- taken by node db1

1 error; nothing was changed";
    assert_eq!(parse(&text, "f").unwrap_err().to_string(), expected);
}

#[test]
fn a_secret_is_refused_and_never_shown() {
    let text = format!(
        "{BASE}\n[[fence]]\nnode = \"db1\"\nagent = \"fence_ipmilan\"\nparams = {{ ip = 3.5, passwd = \"hunter2\" }}\n"
    );
    let shown = parse(&text, "f").unwrap_err().to_string();
    assert!(shown.contains("the secret `passwd` is in plain text"), "{shown}");
    assert!(
        shown.contains("passwd_file = \"/etc/holdfast/secrets/NAME\""),
        "{shown}"
    );
    assert!(
        shown.contains("passwd = \"*******\"") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn syntax_errors_have_a_place_and_hide_nothing_else_behind_them() {
    assert_eq!(errors("[cluster\nname = \"x\"\n").len(), 1);
    assert!(
        errors("a = \n").remove(0).starts_with("1:"),
        "{:?}",
        errors("a = \n")
    );
    assert_eq!(
        errors("")[..],
        [
            "1:1: the table [cluster] is missing | `hactl cluster init` writes a configuration to begin with",
            "1:1: there is no data node | write [[node]] once for each server, with its name and its links",
        ]
    );
}

#[test]
fn members_are_checked_against_each_other() {
    assert_eq!(
        error(&replaced("\"db2\"", "\"DB1\"")),
        "10:8: two nodes are called \"DB1\""
    );
    let same = replaced("name = \"db2\"", "name = \"db2\"\nid = 1");
    assert_eq!(error(&same), "11:6: two nodes have the id 1");
    assert_eq!(
        error(&replaced("10.0.0.3", "10.0.0.2")),
        "14:11: the witness has the address of a data node"
    );
    assert_eq!(
        error(&replaced("10.0.0.3\"", "10.0.0.3\"\nname = \"db2\"")),
        "15:8: a data node is called \"db2\" as well"
    );
    assert_eq!(
        error(
            &replaced("[\"10.0.0.2\"]", "[\"10.0.0.2\", \"::1\"]")
                .replace("[\"10.0.0.1\"]", "[\"10.0.0.1\", \"10.1.0.1\"]")
        ),
        "11:22: link 2 is IPv4 on one node and IPv6 on another | links are paired by their position in the list"
    );
    assert_eq!(
        error(&replaced("10.0.0.3", "fd00::3")),
        "14:11: the witness has an IPv6 address and db1 has none"
    );
}

#[test]
fn addresses_and_names_are_checked() {
    assert_eq!(
        error(&replaced("10.0.0.2", "10.0.0.2/24")),
        "11:10: \"10.0.0.2/24\" cannot be in `links`: this is not an IP address | write the address without a prefix length"
    );
    assert_eq!(
        error(&replaced("10.0.0.2", "0.0.0.0")),
        "11:10: \"0.0.0.0\" cannot be in `links`: it is the unspecified address"
    );
    assert_eq!(
        error(&replaced("\"db2\"", "\"-db2\"")),
        "10:8: \"-db2\" cannot be a node's name: it must begin with a letter or a digit | use the server's host name"
    );
    assert_eq!(
        error(&replaced("\"shop\"", "\"sh op\"")),
        "2:8: \"sh op\" cannot be the name of a cluster: only letters, digits, `-`, `_` and `.` are allowed"
    );
    assert_eq!(
        error(&replaced("\"shop\"", "\"a\\u001b[2J\"")),
        "2:8: `name` holds a control character or a line break"
    );
}

#[test]
fn impossible_timers_are_refused() {
    let with = |keys: &str| error(&replaced("name = \"shop\"", &format!("name = \"shop\"\n{keys}")));
    assert_eq!(
        with("detection = \"50ms\""),
        "3:13: `detection` must be 100ms to 1m"
    );
    assert_eq!(
        with("detection = \"61s\""),
        "3:13: `detection` must be 100ms to 1m"
    );
    assert_eq!(
        with("witness_grace = \"1500ms\""),
        "3:17: `witness_grace` must be at least twice the detection time: 2s or more | shorter, and one lost moment \
         of the witness would cost it its vote"
    );
    assert!(
        with("fence_delay = \"1s\"")
            .starts_with("3:15: `fence_delay` must be longer than the detection time, 1s")
    );
    assert!(with("startup_grace = \"900ms\"").starts_with("3:17: `startup_grace` must be longer"));
    assert!(
        with("profile = \"fast\"\ndetection = \"1s\"")
            .starts_with("3:11: `profile` and `detection` set the same thing")
    );
    assert_eq!(
        with("profile = \"fsat\""),
        "3:11: unknown profile \"fsat\" | did you mean `fast`?"
    );
    assert!(with("detection = 300").starts_with("3:13: `detection` must be a duration, this is an integer"));
    assert_eq!(with("port = 70000"), "3:8: `port` must be 1 to 65535");
}

#[test]
fn identity_is_checked() {
    for wrong in ["ff", "0000000000000000", "+0000000000000ff", "00000000000000fg"] {
        let found = error(&replaced("00000000000000ff", wrong));
        assert!(
            found.starts_with(&format!("3:6: \"{wrong}\" is not a cluster id")),
            "{found}"
        );
    }
    assert!(
        error(&replaced("id = \"00000000000000ff\"\n", "")).starts_with("1:1: [cluster] needs the key `id`")
    );
    let pinned = |pin: &str| replaced("[\"10.0.0.2\"]", &format!("[\"10.0.0.2\"]\nkeys = [\"{pin}\"]"));
    assert_eq!(
        error(&pinned("abc")),
        "12:9: a key pin is 64 hex digits, this has 3 characters | `had keygen` prints the pin of a node's key"
    );
    assert!(parse(&pinned(&"a5".repeat(32)), "f").is_ok());
}

#[test]
fn references_to_nothing_offer_the_nearest() {
    assert_eq!(
        error_of(&group("a", "prefer = [\"bd2\"]", VIP)),
        "18:11: there is no data node called \"bd2\" | did you mean `db2`?"
    );
    let two = format!(
        "{}{}",
        group("mysql", "", VIP),
        group("b", "after = [\"msyql\"]", UNIT)
    );
    assert_eq!(
        error_of(&two),
        "26:10: there is no group called \"msyql\" | did you mean `mysql`?"
    );
    assert_eq!(
        error_of(&group("a", "", "name = \"v\"\ntype = \"vpi\"")),
        "21:8: unknown resource type \"vpi\" | did you mean `vip`?"
    );
    assert_eq!(
        error_of(&group("a", "colour = 1", VIP)),
        "18:1: unknown key `colour` in [[group]] | valid here: name, prefer, requires, with, apart_from, after, \
         max_restarts, restart_window, resource"
    );
    let fence = "\n[[fence]]\nnode = \"witness\"\nagent = \"fence_ipmilan\"\n";
    assert_eq!(
        error_of(fence),
        "17:8: there is no data node called \"witness\" | valid here: db1, db2"
    );
}

#[test]
fn groups_are_checked_against_each_other() {
    let unit = |unit: &str| format!("name = \"svc\"\ntype = \"systemd\"\nunit = \"{unit}\"");
    let pair = |left: &str, right: &str| {
        format!(
            "{}{}",
            group("a", left, &unit("a")),
            group("b", right, &unit("b"))
        )
    };
    assert!(
        parse(
            &format!("{BASE}{}", pair("", "after = [\"a\"]\nwith = [\"a\"]")),
            "f"
        )
        .is_ok()
    );
    assert_eq!(
        error_of(&pair("after = [\"b\"]", "after = [\"a\"]")),
        "17:8: `after` goes round in a circle: a -> b -> a | none of these could ever start: remove one of the references"
    );
    assert!(
        error_of(&pair("with = [\"b\"]", "with = [\"a\"]"))
            .contains("`with` goes round in a circle: a -> b -> a")
    );
    assert_eq!(
        error_of(&pair("apart_from = [\"b\"]", "with = [\"a\"]")),
        "18:15: a is to stay apart from b, and `with` ties them together | remove one of the two rules"
    );
    assert_eq!(
        error_of(&group("a", "after = [\"a\"]", VIP)),
        "18:10: `after` names the group itself"
    );
    let same = format!("{}{}", group("a", "", VIP), group("a", "", UNIT));
    assert_eq!(error_of(&same), "25:8: two groups are called \"a\"");
    let vips = format!(
        "{}{}",
        group("a", "", VIP),
        group("b", "", &VIP.replace("/24", "/16"))
    );
    assert_eq!(
        error_of(&vips),
        "30:11: the virtual address 10.0.0.100 is used twice"
    );
    let units = format!(
        "{}{}",
        group("a", "", UNIT),
        group("b", "", &UNIT.replace("redis", "redis.service"))
    );
    assert_eq!(
        error_of(&units),
        "30:8: the unit redis.service is in two resources"
    );
    assert_eq!(
        error_of(&group("a", "", &VIP.replace("10.0.0.100", "10.0.0.2"))),
        "22:11: 10.0.0.2 is the address of a member, it cannot move"
    );
}

#[test]
fn resources_and_probes_are_checked() {
    assert!(error_of("\n[[group]]\nname = \"a\"\n").starts_with("16:1: the group has no resource"));
    let with = |resource: &str| error_of(&group("a", "", resource));
    assert_eq!(
        with("name = \"v\"\ntype = \"vip\""),
        "19:1: a vip resource needs the key `address` | for example address = \"10.0.0.100/24\""
    );
    assert_eq!(
        with("name = \"v\"\ntype = \"vip\"\naddress = []"),
        "22:11: `address` is an empty list"
    );
    assert!(
        with("name = \"x\"\ntype = \"exec\"\ncommand = [\"sleep\"]")
            .starts_with("22:12: `command` is invalid: the path must be absolute")
    );
    assert_eq!(
        with("name = \"x\"\ntype = \"exec\"\ncommand = \"/bin/sleep 5\""),
        "22:11: `command` must be a list of strings, this is a string | write command = [\"/bin/sleep\", \"5\"]"
    );
    let probed = |probe: &str| with(&format!("{UNIT}\nprobe = [{{ {probe} }}]"));
    assert!(probed("interval = \"1s\"").contains("a probe needs one of the keys `tcp`, `http`, `exec`"));
    assert!(probed("tcp = \"h:1\", http = \"http://h/\"").contains("not several"));
    assert!(probed("tcp = \"h\"").contains("\"h\" cannot be probed: the port is missing"));
    assert!(probed("http = \"https://h/\"").contains("https is not probed"));
    assert!(
        probed("tcp = \"h:1\", failures = 4, of = 3").contains("4 failures among 3 probes can never happen")
    );
    let twice = format!(
        "{}\n[[group.resource]]\n{}\n",
        group("a", "", UNIT),
        VIP.replace("\"vip\"\nt", "\"svc\"\nt")
    );
    assert_eq!(
        error_of(&twice),
        "25:8: the group has two resources called \"svc\""
    );
}

#[test]
fn fence_devices_are_checked() {
    let fence = |keys: &str| format!("\n[[fence]]\nnode = \"db1\"\n{keys}\n");
    assert!(
        error_of(&fence("agent = \"ipmilan\""))
            .starts_with("18:9: \"ipmilan\" is not the name of a fence agent")
    );
    assert!(error_of(&fence("agent = \"exec\"")).contains("needs the key `params`"));
    assert!(
        error_of(&fence("agent = \"exec\"\nparams = { program = \"x\" }"))
            .contains("the path must be absolute")
    );
    assert!(error_of(&fence("agent = \"fence_scsi\"\nkind = \"power\"")).contains("it is no power device"));
    assert!(
        error_of(&fence("agent = \"fence_scsi\"\naction = \"reboot\""))
            .contains("a storage device has no reboot")
    );
    assert!(error_of(&fence("agent = \"fence_x\"\nlevel = 10")).contains("`level` must be 1 to 9"));
    let storage = parsed(&fence(
        "agent = \"fence_scsi\"\nparams = { devices = \"/dev/sda\", delay = 3 }",
    ));
    assert_eq!(
        (storage.fences[0].kind, storage.fences[0].action),
        (FenceKind::Storage, FenceAction::Off)
    );
    assert_eq!(storage.fences[0].params["delay"], "3");
}

#[test]
fn a_pair_without_a_witness_needs_power_fencing_for_groups_that_require_it() {
    let alone = BASE.replace("\n[witness]\naddress = \"10.0.0.3\"\n", "");
    let fence = |node: &str, agent: &str| format!("\n[[fence]]\nnode = \"{node}\"\nagent = \"{agent}\"\n");
    let text = |fences: &str| format!("{alone}{}{fences}", group("a", "", UNIT));
    let expected =
        "14:8: group a requires fencing, but there is neither a witness nor a power fence device for ";
    assert!(error(&text("")).starts_with(&format!("{expected}db1 and db2 | add a [witness]")));
    assert!(error(&text(&fence("db1", "fence_ipmilan"))).starts_with(&format!("{expected}db2 | ")));
    let storage = format!("{}{}", fence("db1", "fence_ipmilan"), fence("db2", "fence_scsi"));
    assert!(error(&text(&storage)).starts_with(&format!("{expected}db2 | ")));
    let power = format!(
        "{}{}",
        fence("db1", "fence_ipmilan"),
        fence("db2", "fence_ipmilan")
    );
    assert!(parse(&text(&power), "f").is_ok());
    assert!(parse(&format!("{alone}{}", group("a", "", VIP)), "f").is_ok());
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

fn many_groups(count: usize) -> String {
    let mut text = BASE.to_string();
    for index in 0..count {
        let keys = if index == 0 {
            String::new()
        } else {
            format!("after = [\"g{}\"]", index - 1)
        };
        let unit = format!("name = \"svc\"\ntype = \"systemd\"\nunit = \"app@{index}\"");
        write!(text, "{}", group(&format!("g{index}"), &keys, &unit)).unwrap();
    }
    text
}

#[test]
fn the_largest_cluster_parses_and_a_larger_one_is_refused() {
    assert_eq!(
        parse(&many_groups(GROUPS_MAX), "f").unwrap().groups.len(),
        GROUPS_MAX
    );
    let found = error(&many_groups(GROUPS_MAX + 1));
    assert!(
        found.ends_with("5001 groups: a cluster has at most 5000"),
        "{found}"
    );
}

#[test]
fn a_file_full_of_errors_is_cut_short() {
    let text = many_groups(3000).replace("after = [\"g", "after = [\"h");
    let found = parse(&text, "f").unwrap_err();
    assert_eq!(
        (found.entries().len(), found.left_out()),
        (DIAGNOSTICS_MAX, 2999 - DIAGNOSTICS_MAX)
    );
    assert!(
        found
            .to_string()
            .ends_with("2999 errors, the first 50 are shown; nothing was changed")
    );
}

#[test]
fn more_nodes_than_there_are_numbers_are_refused() {
    let mut text = BASE.to_string();
    for index in 3..=17 {
        write!(
            text,
            "\n[[node]]\nname = \"n{index}\"\nlinks = [\"10.0.1.{index}\"]\n"
        )
        .unwrap();
    }
    assert!(error(&text).ends_with("17 data nodes: a cluster has at most 16"));
}

#[test]
fn json_has_place_message_and_hint() {
    let found = parse(&replaced("name = \"db2\"", "name = \"db2\"\nlnks = 1"), "f").unwrap_err();
    let entry = &found.entries()[0];
    assert_eq!((entry.file.as_str(), entry.line, entry.column), ("f", 11, 1));
    assert_eq!(
        (entry.message.as_str(), entry.hint.as_str()),
        ("unknown key `lnks` in [[node]]", "did you mean `links`?")
    );
}

mod hostile {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn damaged_files_never_panic(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<char>()), 1..6),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut text: Vec<char> = docs_example().chars().collect();
            for (at, to) in edits {
                let at = at.index(text.len());
                text[at] = to;
            }
            text.truncate(cut.index(text.len() * 2));
            let text: String = text.into_iter().collect();
            if let Err(found) = parse(&text, "f") {
                prop_assert!(!found.entries().is_empty());
                prop_assert!(!found.render(true).is_empty());
            }
        }

        #[test]
        fn lines_in_any_order_never_panic(
            order in Just(docs_example().lines().collect::<Vec<_>>()).prop_shuffle(),
        ) {
            if let Err(found) = parse(&order.join("\r\n"), "f") {
                prop_assert!(!found.to_string().is_empty());
            }
        }
    }
}

//! What is refused, and where the error points.

use std::time::Duration;

use super::*;

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
        "18:1: unknown key `colour` in [[group]] | valid here: name, prefer, requires, with, apart_from, after, run, \
         on_possible_loss, follows, role, max_lag, max_restarts, restart_window, resource"
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
fn a_watchdog_is_required_of_all_nodes_or_of_one() {
    let text = replaced("name = \"shop\"", "name = \"shop\"\nwatchdog = \"required\"");
    let spared = text.replace("name = \"db2\"", "name = \"db2\"\nwatchdog = \"optional\"");
    let config = parse(&spared, "f").unwrap_or_else(|found| panic!("{found}"));
    assert!(config.requires_watchdog(NodeId(1)) && !config.requires_watchdog(NodeId(2)));
    let fault = |ms: Option<u64>| config.watchdog_fault(NodeId(1), ms.map(Duration::from_millis));
    assert!(fault(None).is_some_and(|fault| fault.starts_with("has no armed watchdog, which is required")));
    assert!(fault(Some(900)).is_some_and(|fault| fault.contains("sooner than a lease of 1000 ms ends")));
    assert_eq!(fault(Some(60_000)), None);
    assert_eq!(config.watchdog_fault(NodeId(2), None), None);
    assert!(!parsed("").requires_watchdog(NodeId(1)), "unless it is asked for");
    let odd = error(&text.replace("required", "needed"));
    assert!(odd.starts_with("3:12: `watchdog` cannot be \"needed\""), "{odd}");
}

#[test]
fn a_required_watchdog_is_not_slower_than_the_shared_disks_allow() {
    let sbd = "\n[sbd]\ndevices = \"/dev/sdb1\"\n";
    let text = replaced("name = \"shop\"", "name = \"shop\"\nwatchdog = \"required\"") + sbd;
    let config = parse(&text, "f").unwrap_or_else(|found| panic!("{found}"));
    let fault = |s| config.watchdog_fault(NodeId(1), Some(Duration::from_secs(s)));
    assert_eq!(fault(5), None);
    assert!(fault(6).is_some_and(|fault| fault.contains("[sbd] allows 5 s")));
    let slow = text.replace("[cluster]", "[cluster]\ndetection = \"6s\"");
    let never = error(&slow);
    assert!(
        never.contains("no watchdog could be right: `watchdog_timeout` of [sbd] is 5 s"),
        "{never}"
    );
}

#[test]
fn methods_of_a_level_are_named_and_share_no_device() {
    let fence = |keys: &str| format!("\n[[fence]]\nnode = \"db1\"\nagent = \"exec\"\n{keys}\n");
    let program =
        |name: &str, keys: &str| fence(&format!("params = {{ program = \"/bin/{name}\" }}\n{keys}"));
    let both = program("bmc", "method = \"bmc\"") + &program("pdu", "method = \"pdu\"");
    let methods: Vec<_> = parsed(&both)
        .fences
        .iter()
        .map(|fence| fence.method.clone())
        .collect();
    assert_eq!(methods, [Some("bmc".to_string()), Some("pdu".to_string())]);
    assert_eq!(parsed(&program("bmc", "")).fences[0].method, None);
    let odd = error_of(&program("bmc", "method = \"a b\""));
    assert!(
        odd.starts_with("20:10: \"a b\" cannot be the name of a method: only letters"),
        "{odd}"
    );
    let twice = error_of(&(program("bmc", "method = \"one\"") + &program("bmc", "method = \"two\"")));
    assert!(
        twice.starts_with("22:1: the same device in two methods of a level"),
        "{twice}"
    );
    let levels = program("bmc", "method = \"one\"") + &program("bmc", "method = \"two\"\nlevel = 2");
    assert!(
        parse(&format!("{BASE}{levels}"), "f").is_ok(),
        "levels follow each other"
    );
    let half = program("bmc", "method = \"bmc\"") + &program("pdu", "");
    let found = findings(&parsed(&half));
    assert!(found.iter().any(|finding| finding.kind == "half-named-methods"));
    assert!(
        findings(&parsed(&both))
            .iter()
            .all(|finding| finding.kind != "half-named-methods")
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
    assert!(error_of(&fence("agent = \"ipmi\"")).contains("password_file = "));
    let ipmi = "agent = \"ipmi\"\nparams = { ip = \"10.0.9.1\", username = \"ha\"";
    assert!(error_of(&fence(&format!("{ipmi} }}"))).contains("needs the key `password_file`"));
    let login = format!("{ipmi}, password_file = \"/etc/bmc\"");
    assert_eq!(
        parsed(&fence(&format!("{login}, uuid = \"4c4c4544\" }}"))).fences[0].agent,
        IPMI_AGENT
    );
    let wrong = error_of(&fence(&format!("{login}, chipher = 3 }}")));
    assert!(
        wrong.contains("a device `ipmi` has no parameter `chipher`") && wrong.contains("cipher"),
        "{wrong}"
    );
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

//! `[sbd]`.

use std::time::Duration;

use super::*;

fn sbd(keys: &str) -> String {
    format!("\n[sbd]\n{keys}\n")
}

const ONE: &str = "devices = [\"/dev/sdb1\"]";

#[test]
fn timeouts_are_those_of_sbd_unless_set() {
    assert_eq!(parsed("").sbd, None);
    let plain = parsed(&sbd("devices = \"/dev/sdb1\"")).sbd.unwrap();
    assert_eq!(plain.devices, ["/dev/sdb1"]);
    assert_eq!(
        (plain.timeouts, plain.io_timeout_ms),
        (SbdTimeouts::default(), 3000)
    );
    let longer = parsed(&sbd(&format!("{ONE}\nwatchdog_timeout = \"30s\"")))
        .sbd
        .unwrap();
    assert_eq!((longer.timeouts.watchdog_s, longer.timeouts.msgwait_s), (30, 60));
}

#[test]
fn disks_are_up_to_three_and_each_counts_once() {
    let with = |devices: &str| error_of(&sbd(&format!("devices = {devices}")));
    assert!(error_of(&sbd("")).contains("[sbd] needs the key `devices`"));
    assert!(with("[]").contains("needs the key `devices`"));
    let four = with("[\"/dev/a\", \"/dev/b\", \"/dev/c\", \"/dev/d\"]");
    assert_eq!(four, "17:42: 4 disks: SBD has at most 3");
    assert!(with("[\"/dev/a\", \"/dev/a\"]").starts_with("17:22: the same disk twice"));
    assert!(with("[\"sdb\"]").starts_with("17:12: \"sdb\" is no disk: the path must be absolute"));
    assert!(error_of(&sbd(&format!("{ONE}\nwatchdog = \"5s\""))).contains("unknown key `watchdog`"));
}

#[test]
fn timeouts_that_contradict_each_other_are_refused() {
    let with = |keys: &str| error_of(&sbd(&format!("{ONE}\n{keys}")));
    let short = with("msgwait_timeout = \"9s\"");
    assert_eq!(
        short,
        "16:1: the msgwait timeout (9 s) must be at least twice the watchdog timeout (5 s), or a node is taken for dead \
         before its watchdog has fired"
    );
    let slow = with("loop_timeout = \"2s\"");
    assert!(
        slow.contains("the loop timeout (2 s) and the I/O timeout (3 s) together must be shorter"),
        "{slow}"
    );
    assert!(with("io_timeout = \"4s\"").contains("together must be shorter"));
    assert!(with("watchdog_timeout = \"5500ms\"").contains("must be whole seconds"));
    assert!(with("loop_timeout = \"0s\"").contains("`loop_timeout` must be 1s to 1h"));
}

#[test]
fn contradictions_of_any_disk_are_named() {
    let io = Duration::from_secs(3);
    let with = |watchdog_s, loop_s, msgwait_s| {
        let timeouts = SbdTimeouts {
            watchdog_s,
            loop_s,
            msgwait_s,
            allocate_s: 2,
        };
        timeouts.contradictions(io).len()
    };
    assert_eq!(with(5, 1, 10), 0);
    assert_eq!(with(4, 1, 7), 2);
    assert_eq!(with(0, 1, 10), 1);
    assert_eq!(with(u32::MAX, 1, u32::MAX), 1);
    assert_eq!(SbdTimeouts::default().fence_least(), Duration::from_secs(12));
}

#[test]
fn an_order_on_disks_is_a_fence_device() {
    let both = |more: &str| {
        format!(
            "{}\n[[fence]]\nnode = \"db1\"\nagent = \"sbd\"\n{more}\n",
            sbd(ONE)
        )
    };
    let device = parsed(&both("")).fences.remove(0);
    assert_eq!(
        (device.kind, device.action),
        (FenceKind::Power, FenceAction::Reboot)
    );
    assert_eq!(
        (device.timeout_ms, device.params["devices"].as_str()),
        (30_000, "/dev/sdb1")
    );
    assert_eq!(device.params["io_timeout_ms"], "3000");
    let slow = sbd(&format!("{ONE}\nwatchdog_timeout = \"60s\""));
    let slow = parsed(&format!("{slow}\n[[fence]]\nnode = \"db1\"\nagent = \"sbd\"\n"));
    assert_eq!(slow.fences[0].timeout_ms, 288_000);
    let short = error_of(&both("timeout = \"11s\""));
    assert!(
        short.ends_with("at least 1.2 times the msgwait timeout of [sbd], which is 10 s: 12s or more"),
        "{short}"
    );
    assert!(error_of(&both("kind = \"storage\"")).contains("it does not cut its storage"));
    assert!(error_of(&both("params = { devices = \"/dev/x\" }")).contains("has no parameters"));
    assert!(error_of("\n[[fence]]\nnode = \"db1\"\nagent = \"sbd\"\n").contains("needs the table [sbd]"));
    let ipmi = "\n[[fence]]\nnode = \"db1\"\nagent = \"fence_x\"\n";
    let shared = errors(&format!("{BASE}{}{ipmi}", both("")));
    assert!(shared[0].contains("shares its method"), "{shared:?}");
    let racing = format!("{BASE}{}{ipmi}", both("method = \"disks\""));
    assert!(parse(&racing, "f").is_ok());
    assert!(parse(&format!("{BASE}{}{ipmi}", both("level = 2")), "f").is_ok());
}

#[test]
fn few_disks_and_a_delay_in_which_no_order_is_read_are_unwise() {
    let kinds = |text: &str| -> Vec<&str> {
        let config = parse(text, "f").unwrap_or_else(|found| panic!("{found}"));
        findings(&config).iter().map(|finding| finding.kind).collect()
    };
    let three = "devices = [\"/dev/a\", \"/dev/b\", \"/dev/c\"]";
    let device = "\n[[fence]]\nnode = \"db1\"\nagent = \"sbd\"\n";
    let usual = ["single-link", "no-key"];
    assert_eq!(kinds(&format!("{BASE}{}{device}", sbd(three))), usual);
    assert!(kinds(&format!("{BASE}{}", sbd(ONE))).contains(&"few-disks"));
    let hasty = replaced("name = \"shop\"", "name = \"shop\"\nfence_delay = \"4s\"");
    assert!(kinds(&format!("{hasty}{}{device}", sbd(three))).contains(&"short-fence-delay"));
    assert_eq!(kinds(&format!("{hasty}{}", sbd(three))), usual);
}

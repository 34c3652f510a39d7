//! Resources of the family `ocf:PROVIDER:TYPE`.

use super::*;

fn resource(kind: &str, more: &str) -> String {
    format!("\n[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"r\"\ntype = \"{kind}\"\n{more}\n")
}

#[test]
fn an_ocf_resource_keeps_its_kind_and_takes_the_agents_parameters() {
    let keys = "params = { ip = \"10.0.0.9\", cidr_netmask = 24, arp_bg = true }\nmonitor_interval = \"500ms\"\n\
                check_level = \"10\"\npromotable = false";
    let config = parsed(&resource("ocf:heartbeat:IPaddr2", keys));
    let resource = &config.groups[0].resources[0];
    assert_eq!(resource.kind, "ocf:heartbeat:IPaddr2");
    let expected = [
        ("check_level", "10"),
        ("monitor_interval_ms", "500"),
        ("param.arp_bg", "true"),
        ("param.cidr_netmask", "24"),
        ("param.ip", "10.0.0.9"),
        ("promotable", "false"),
    ];
    let given: Vec<_> = resource
        .params
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(given, expected);
    assert_eq!(
        (resource.start_timeout_ms, resource.stop_timeout_ms),
        (60_000, 60_000)
    );
    assert!(!resource.has_roles());
    let promotable = parsed(&resource_text_promotable());
    assert!(promotable.groups[0].resources[0].has_roles());
}

fn resource_text_promotable() -> String {
    resource("ocf:pacemaker:Stateful", "promotable = true")
}

#[test]
fn names_that_lead_elsewhere_and_parameters_that_cannot_be_given_are_refused() {
    for kind in ["ocf", "ocf:heartbeat", "ocf:heartbeat:../x", "ocf:a:b:c"] {
        let found = error(&format!("{BASE}{}", resource(kind, "")));
        assert!(found.contains("unknown resource type"), "{kind}: {found}");
    }
    for (keys, part) in [
        ("params = { \"a b\" = \"x\" }", "letters, digits"),
        ("params = { CRM_meta_timeout = \"1\" }", "set by Holdfast itself"),
        ("params = { a = [1] }", "`a` must be a string"),
        ("params = \"x\"", "`params` must be a table"),
        ("promotable = \"yes\"", "must be true or false"),
        ("check_level = \"15\"", "`check_level` cannot be"),
    ] {
        let found = error(&format!("{BASE}{}", resource("ocf:heartbeat:Dummy", keys)));
        assert!(found.contains(part), "{keys}: {found}");
    }
}

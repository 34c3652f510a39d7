//! `[witness]` that is kept on shared disks.

use super::*;

/// A pair whose witness has these keys, with three disks in `[sbd]`.
fn with(keys: &str) -> String {
    let pair = BASE.replace(
        "[witness]\naddress = \"10.0.0.3\"\n",
        &format!("[witness]\n{keys}\n"),
    );
    format!("{pair}\n[sbd]\ndevices = [\"/dev/a\", \"/dev/b\", \"/dev/c\"]\n")
}

#[test]
fn a_witness_is_kept_on_one_or_three_of_the_disks_of_sbd() {
    for (keys, count, name) in [
        ("disks = [\"/dev/b\"]", 1, "disks"),
        (
            "disks = [\"/dev/a\", \"/dev/b\", \"/dev/c\"]\nname = \"array\"",
            3,
            "array",
        ),
    ] {
        let config = parse(&with(keys), "t.toml").unwrap_or_else(|found| panic!("{found}"));
        assert_eq!(config.witness_disks().len(), count);
        assert_eq!(config.name_of(NodeId::WITNESS), name);
        assert!(config.has_witness() && config.witness.is_none());
    }
}

#[test]
fn what_is_wrong_with_it_is_said_at_its_place() {
    let cases = [
        (
            "disks = []",
            "[witness] needs the key `disks` | one or three disks of [sbd]",
        ),
        (
            "disks = [\"/dev/a\", \"/dev/b\"]",
            "on one disk or on three, not on 2",
        ),
        (
            "disks = [\"/dev/a\", \"/dev/a\", \"/dev/b\"]",
            "the same disk twice",
        ),
        (
            "disks = [\"/dev/x\"]",
            "the witness's disk \"/dev/x\" is none of [sbd]",
        ),
        (
            "disks = [\"/dev/a\"]\netcd = [\"a:1\"]",
            "in etcd or on shared disks, not in both",
        ),
        (
            "disks = [\"/dev/a\"]\naddress = \"10.0.0.3\"",
            "unknown key `address` in [witness]",
        ),
        (
            "disks = [\"/dev/a\"]\nname = \"db1\"",
            "a data node is called \"db1\" as well",
        ),
    ];
    for (keys, expected) in cases {
        let said = error(&with(keys));
        assert!(said.contains(expected), "{keys}: {said}");
    }
    let without =
        with("disks = [\"/dev/a\"]").replace("[sbd]\ndevices = [\"/dev/a\", \"/dev/b\", \"/dev/c\"]", "");
    let said = error(&without);
    assert!(
        said.contains("a witness on shared disks needs the table [sbd]"),
        "{said}"
    );
}

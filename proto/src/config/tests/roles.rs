//! Groups with roles, on every node, and groups that follow them.

use super::*;

/// A group with an address and the keys in `keys`.
fn address(keys: &str) -> String {
    group("address", keys, VIP)
}

#[track_caller]
fn refused(more: &str) -> String {
    error_behind(BASE, more)
}

#[test]
fn a_group_has_roles_when_a_resource_has_by_its_kind_or_by_a_parameter() {
    let config = parsed(COPY);
    assert!(config.groups[0].is_promotable() && config.groups[0].has_members());
    assert_eq!(config.groups[0].on_possible_loss, OnPossibleLoss::Refuse);
    let plain = parsed(&COPY.replace("cwd = \"/replicated\"", "cwd = \"/else\""));
    assert!(!plain.groups[0].is_promotable() && !plain.groups[0].has_members());
    let promote = parsed(&COPY.replace("\"data\"", "\"data\"\non_possible_loss = \"promote\""));
    assert_eq!(promote.groups[0].on_possible_loss, OnPossibleLoss::Promote);
}

#[test]
fn a_group_on_every_node_requires_nothing_and_takes_no_place() {
    let config = parsed(WEB);
    assert!(config.groups[0].is_every_node() && !config.groups[0].is_promotable());
    assert_eq!(config.groups[0].requires, Requires::Nothing);
    assert!(
        findings(&config)
            .iter()
            .all(|found| found.kind != "loose-requires")
    );
    let with =
        |key: &str| refused(&WEB.replace("run = \"every-node\"", &format!("run = \"every-node\"\n{key}")));
    assert_eq!(
        with("requires = \"lease\""),
        "5:12: web runs on every node, so it cannot require lease | leave `requires` out: nothing has to be proven before \
         it starts elsewhere"
    );
    assert_eq!(
        with("prefer = [\"db1\"]"),
        "5:10: `prefer` says nothing for a group that runs on every node"
    );
    assert!(with("on_possible_loss = \"promote\"").starts_with("5:20: `on_possible_loss` says nothing"));
    assert_eq!(
        refused(&WEB.replace("every-node", "every-nod")),
        "4:7: `run` cannot be \"every-nod\" | did you mean `every-node`?"
    );
    let addressed = address("run = \"every-node\"");
    assert!(
        refused(&addressed)
            .starts_with("8:11: a virtual address cannot be on every node | put it into a group")
    );
    let tied = format!("{WEB}{}", address("with = [\"web\"]"));
    assert_eq!(
        refused(&tied),
        "12:9: `with` names web, which runs on every node | follows = \"web\" with role = \"any\" keeps a group where that one \
         is well"
    );
}

#[test]
fn a_group_with_roles_has_one_copy_and_requires_something() {
    let two =
        format!("{COPY}[[group.resource]]\nname = \"other\"\ntype = \"test-copy\"\ncwd = \"/replicated\"\n");
    assert!(
        refused(&two).starts_with("3:8: data has two resources with roles, copy and other: which copies")
    );
    let nothing = COPY.replace("\"data\"", "\"data\"\nrequires = \"nothing\"");
    assert!(
        refused(&nothing)
            .starts_with("4:12: data has a resource with roles (copy), so it cannot require nothing")
    );
    let plain = format!("{}\n", address("on_possible_loss = \"promote\""));
    assert!(
        refused(&plain).starts_with("4:20: `on_possible_loss` is for groups with a resource that has roles")
    );
}

#[test]
fn a_group_follows_members_that_there_are() {
    let after = |keys: &str| parsed(&format!("{COPY}{WEB}{}", address(keys)));
    let followed = |config: &Config| config.groups[2].follows.clone().expect("it follows");
    let replica = after("follows = \"data\"\nrole = \"replica\"");
    assert_eq!(followed(&replica).max_lag_ms, 60_000);
    assert!(replica.groups[2].with.is_empty());
    let lagging = after("follows = \"data\"\nrole = \"replica\"\nmax_lag = \"5s\"");
    assert_eq!(followed(&lagging).max_lag_ms, 5000);
    let primary = after("follows = \"data\"\nrole = \"primary\"");
    assert_eq!(primary.groups[2].with[..], ["data".into()]);
    assert_eq!(
        followed(&after("follows = \"web\"\nrole = \"any\"")).role,
        FollowedRole::Any
    );

    let wrong = |keys: &str| refused(&format!("{COPY}{WEB}{}", address(keys)));
    assert_eq!(
        wrong("follows = \"data\""),
        "19:11: `follows` needs `role`: which members of that group it goes after | role = \"primary\", \"replica\" or \"any\""
    );
    assert!(
        wrong("follows = \"dat\"\nrole = \"primary\"").starts_with("19:11: there is no group called \"dat\"")
    );
    assert!(
        wrong("follows = \"address\"\nrole = \"any\"").starts_with("19:11: `follows` names the group itself")
    );
    assert!(wrong("follows = \"web\"\nrole = \"primary\"").starts_with("20:8: web has no roles"));
    assert!(wrong("max_lag = \"5s\"").starts_with("19:11: `max_lag` says nothing without `follows`"));
    assert!(
        wrong("follows = \"data\"\nrole = \"primary\"\nmax_lag = \"5s\"")
            .starts_with("21:11: `max_lag` is for role = \"replica\" only")
    );
    let plain = address("").replace("\"address\"", "\"one\"");
    let onto_plain = format!(
        "{plain}{}",
        address("follows = \"one\"\nrole = \"any\"").replace(".100/", ".101/")
    );
    assert!(refused(&onto_plain).contains("one runs on one node only and has no members"));
}

#[test]
fn an_address_of_the_primary_makes_no_circle() {
    let circle = format!(
        "{}{}",
        COPY.replace("\"data\"", "\"data\"\nwith = [\"address\"]"),
        address("follows = \"data\"\nrole = \"primary\"")
    );
    assert!(refused(&circle).contains("`with` goes round in a circle"));
}

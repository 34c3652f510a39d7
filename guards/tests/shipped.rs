//! What the guards say of configuration files as Debian's packages install them.

use holdfast_guards::{Disk, Node, Scope, check};

fn debian() -> Disk {
    Disk::below(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/debian"))
}

/// A pair with these groups.
fn scope(groups: &str) -> Scope {
    let head = "[cluster]\nname = \"shop\"\nid = \"00000000000000ff\"\n\
                [[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n[[node]]\nname = \"db2\"\nlinks = [\"10.0.0.2\"]\n\
                [witness]\naddress = \"10.0.0.3\"\n";
    let config = holdfast_proto::config::parse(&format!("{head}{groups}"), "test");
    Scope::of(&config.unwrap_or_else(|found| panic!("{found}")))
}

fn unit(unit: &str) -> Scope {
    scope(&format!(
        "[[group]]\nname = \"g\"\n[[group.resource]]\nname = \"svc\"\ntype = \"systemd\"\nunit = \"{unit}\"\n\
         [[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"\n"
    ))
}

fn found(scope: &Scope, disk: &Disk) -> Vec<String> {
    check(scope, &Node::new(disk))
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[test]
fn mariadb_as_shipped_listens_on_the_loopback_and_nothing_else_is_wrong() {
    let files = debian();
    assert_eq!(
        found(&unit("mariadb"), &files),
        [
            "/etc/mysql/mariadb.conf.d/50-server.cnf:27: bind_address = 127.0.0.1: it listens on the loopback only: a client \
             that comes by the virtual address cannot reach it; write bind_address = * , and let a firewall say who may come"
        ]
    );
    let scope = unit("mariadb");
    let node = Node::new(&files);
    drop(check(&scope, &node));
    let read = node.read_so_far();
    for file in [
        "/etc/mysql/my.cnf",
        "/etc/mysql/mariadb.conf.d/60-galera.cnf",
        "/etc/my.cnf",
        "/etc/mysql/conf.d/",
    ] {
        assert!(read.contains(file), "{file} is to be watched: {read:?}");
    }
}

#[test]
fn the_example_of_galera_as_shipped_becomes_a_trap_when_its_comments_go() {
    // What a configuration push wrote: the package's own example, switched on.
    let folder = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/debian/etc"))
        .arg(folder.path())
        .status();
    assert!(copied.unwrap().success());
    let file = folder.path().join("etc/mysql/mariadb.conf.d/60-galera.cnf");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("#wsrep", "wsrep")).unwrap();
    let findings = found(&unit("mariadb"), &Disk::below(folder.path()));
    let empty = findings
        .iter()
        .find(|finding| finding.contains("wsrep_cluster_address"))
        .expect("a finding");
    assert_eq!(
        empty,
        "/etc/mysql/mariadb.conf.d/60-galera.cnf:11: wsrep_cluster_address = \"gcomm://\": when it is restarted it founds a \
         cluster of its own instead of joining the other node, and both take writes: the data splits; write \
         wsrep_cluster_address = gcomm://10.0.0.1,10.0.0.2; a cluster is founded with `hactl galera bootstrap`"
    );
}

#[test]
fn redis_as_shipped_is_on_the_loopback_and_keeps_its_data() {
    let findings = found(&unit("redis-server"), &debian());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert!(
        findings[0]
            .starts_with("/etc/redis/redis.conf:1: bind 127.0.0.1 -::1: it listens on the loopback only")
    );
}

#[test]
fn rabbitmq_haproxy_and_nginx_as_shipped_are_well() {
    for name in ["rabbitmq-server", "haproxy", "nginx"] {
        assert_eq!(found(&unit(name), &debian()), Vec::<String>::new(), "{name}");
    }
}

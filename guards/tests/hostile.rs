//! Any bytes in the place of the services' files: no panic, and what is said stays on one line.

use holdfast_guards::{Files, Memory, Node, Scope, check, galera::State};
use holdfast_proto::config;

const PATHS: [&str; 8] = [
    "/etc/mysql/my.cnf",
    "/etc/redis/redis.conf",
    "/etc/rabbitmq/rabbitmq.conf",
    "/etc/rabbitmq/advanced.config",
    "/etc/nginx/nginx.conf",
    "/etc/haproxy/haproxy.cfg",
    "/var/lib/mysql/grastate.dat",
    "/usr/lib/systemd/system-preset/90.preset",
];
const WORDS: [&str; 16] = [
    "[mysqld]\n",
    "wsrep_on=ON\n",
    "wsrep_cluster_address=",
    "gcomm://",
    "\n!includedir /etc/mysql\n",
    "include *.conf;",
    "listen 10.0.0.100:80;",
    "{",
    "}",
    "\"",
    "'",
    "%",
    ",cluster_partition_handling,",
    "bind ",
    "save \"\"\n",
    "\u{fffd}é",
];

fn scope() -> Scope {
    let units = ["mariadb", "redis-server", "rabbitmq-server", "nginx", "haproxy"];
    let groups = units.map(|unit| {
        format!("[[group]]\nname = \"{unit}\"\n[[group.resource]]\nname = \"s\"\ntype = \"systemd\"\nunit = \"{unit}\"\n")
    });
    let head = "[cluster]\nname = \"c\"\nid = \"00000000000000ff\"\n[[node]]\nname = \"a\"\nlinks = [\"10.0.0.1\"]\n\
                [[node]]\nname = \"b\"\nlinks = [\"10.0.0.2\"]\n[witness]\naddress = \"10.0.0.3\"\n\
                [[group]]\nname = \"v\"\n[[group.resource]]\nname = \"v\"\ntype = \"vip\"\naddress = \"10.0.0.100/24\"\n";
    Scope::of(&config::parse(&format!("{head}{}", groups.concat()), "t").expect("a configuration"))
}

#[test]
fn any_bytes_are_read_without_a_panic() {
    let scope = scope();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed >> 33).expect("31 bits")
    };
    for _ in 0..3000 {
        let mut files = Memory::default();
        for path in PATHS {
            let mut bytes = Vec::new();
            for _ in 0..next() % 24 {
                bytes.extend_from_slice(WORDS[next() % WORDS.len()].as_bytes());
                if next() % 3 == 0 {
                    bytes.push(u8::try_from(next() % 256).expect("a byte"));
                }
            }
            files.0.insert(path.into(), bytes);
        }
        for finding in check(&scope, &Node::new(&files)) {
            assert!(!finding.to_string().contains('\n'), "{finding:?}");
        }
        let state = files.read("/var/lib/mysql/grastate.dat").expect("it is there");
        drop(State::parse(&String::from_utf8_lossy(&state)));
    }
}

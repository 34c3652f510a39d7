//! `[witness]` that is kept in etcd.

use super::*;

/// A pair whose witness has these keys.
fn with(keys: &str) -> String {
    BASE.replace(
        "[witness]\naddress = \"10.0.0.3\"\n",
        &format!("[witness]\n{keys}\n"),
    )
}

const ONE: &str = "etcd = [\"etcd1.example:2379\"]";

fn etcd_of(config: &Config) -> (&str, &EtcdSection) {
    let register = config.register.as_ref().expect("a register");
    match &register.place {
        RegisterPlace::Etcd(etcd) => (&register.name, etcd),
        RegisterPlace::Disks(_) => panic!("in etcd"),
    }
}

#[test]
fn a_witness_in_etcd_has_a_name_and_a_prefix_of_its_own_unless_set() {
    let config = parse(&with(ONE), "t.toml").unwrap_or_else(|found| panic!("{found}"));
    assert_eq!(config.witness, None);
    let (name, etcd) = etcd_of(&config);
    assert_eq!((name, etcd.prefix.as_str()), ("etcd", "/holdfast"));
    assert_eq!(etcd.endpoints, ["etcd1.example:2379"]);
    assert!(config.has_witness() && config.members().any(NodeId::is_witness));
    assert_eq!(config.name_of(NodeId::WITNESS), "etcd");
    assert_eq!(config.node_by_name("etcd"), Some(NodeId::WITNESS));
    let all = "etcd = [\"10.0.0.3:2379\", \"[fd00::3]:2379\"]\nname = \"quorum\"\nprefix = \"/ha/eu\"\nca_file = \"/c\"\n\
               cert_file = \"/d\"\nkey_file = \"/e\"\nuser = \"had\"\npassword_file = \"/f\"";
    let config = parse(&with(all), "t.toml").unwrap_or_else(|found| panic!("{found}"));
    let (name, etcd) = etcd_of(&config);
    assert_eq!(name, "quorum");
    let tls = etcd.tls.as_ref().expect("TLS");
    assert_eq!(
        (tls.ca_file.as_str(), tls.identity.clone()),
        ("/c", Some(("/d".into(), "/e".into())))
    );
    assert_eq!(etcd.user.as_deref(), Some("had"));
}

#[test]
fn what_is_wrong_with_it_is_said_at_its_place() {
    let wrong = |keys: &str| error(&with(keys));
    let cases = [
        (
            "etcd = []",
            "[witness] needs the key `etcd` | the clients' address",
        ),
        (
            "etcd = [\"http://10.0.0.3:2379\"]",
            "is no address of etcd: an IPv6 address stands in brackets",
        ),
        (
            "etcd = [\"10.0.0.3\"]",
            "is no address of etcd: the port is missing | host:port, without http://",
        ),
        ("etcd = [\"a:1\", \"a:1\"]", "the same member of etcd twice"),
        (
            "etcd = [\"a:1\"]\naddress = \"10.0.0.3\"",
            "unknown key `address` in [witness]",
        ),
        ("etcd = [\"a:1\"]\nprefix = \"/x/\"", "it must not end with `/`"),
        ("etcd = [\"a:1\"]\nprefix = \"/x y\"", "without spaces"),
        (
            "etcd = [\"a:1\"]\nca_file = \"ca.pem\"",
            "`ca_file` is invalid: the path must be absolute",
        ),
        (
            "etcd = [\"a:1\"]\nca_file = \"/c\"\ncert_file = \"/d\"",
            "`cert_file` needs `key_file`",
        ),
        (
            "etcd = [\"a:1\"]\nca_file = \"/c\"\nkey_file = \"/d\"",
            "`key_file` needs `cert_file`",
        ),
        (
            "etcd = [\"a:1\"]\nuser = \"had\"",
            "[witness] needs the key `password_file` | a file of mode 0600",
        ),
        (
            "etcd = [\"a:1\"]\npassword_file = \"/f\"",
            "[witness] needs the key `user`",
        ),
        (
            "etcd = [\"a:1\"]\nname = \"db1\"",
            "a data node is called \"db1\" as well",
        ),
    ];
    for (keys, expected) in cases {
        let said = wrong(keys);
        assert!(said.contains(expected), "{keys}: {said}");
    }
}

#[test]
fn plain_http_and_a_loopback_address_are_pointed_out() {
    let found = |keys: &str| {
        let config = parse(&with(keys), "t.toml").unwrap_or_else(|found| panic!("{found}"));
        warnings(&config).join("\n")
    };
    assert!(found(ONE).contains("etcd without TLS"));
    let tls = format!("{ONE}\nca_file = \"/c\"");
    assert!(!found(&tls).contains("etcd"), "{}", found(&tls));
    for local in ["localhost:2379", "127.0.0.1:2379", "[::1]:2379"] {
        let said = found(&format!("etcd = [\"{local}\"]"));
        assert!(said.contains("is another one on each node"), "{said}");
    }
}

use std::net::IpAddr;
use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_core::event::Identity;
use holdfast_proto::config::{self, Config, KeyPin};
use holdfast_proto::ids::{BootId, Incarnation, NodeId};
use tempfile::TempDir;

use super::client::join_as;
use super::*;
use crate::keys::NodeKeys;
use crate::net::{NetConfig, NetEvent, NetHandle, start};
use crate::store::Store;

/// Loopback addresses of these tests alone.
fn address(test: u8, node: u8) -> IpAddr {
    IpAddr::from([127, 100 + (std::process::id() % 120) as u8, 200 + test, node])
}

/// A cluster of one node that answers joins as the control thread does, but without a register behind it.
struct Cluster {
    tokens: Arc<JoinTokens>,
    config: Arc<Config>,
    pin: KeyPin,
    net: NetHandle,
    _dir: TempDir,
}

impl Cluster {
    fn start(test: u8) -> Cluster {
        let dir = tempfile::tempdir().expect("dir");
        let keys = Arc::new(NodeKeys::load_or_create(dir.path()).expect("keys"));
        let pin = keys.pin();
        let text = format!(
            "# The shop's database.\n[cluster]\nname = \"shop\"\nid = \"00000000000000aa\"\n\n[[node]]\nname = \"db1\" # first\nlinks = [\"{}\"]\nkeys = [\"{pin}\"]\n",
            address(test, 1)
        );
        let config = Arc::new(config::parse(&text, "test").expect("valid"));
        let tokens = Arc::new(JoinTokens::default());
        let me = Identity {
            node: NodeId(1),
            boot: BootId(1),
            incarnation: Incarnation(1),
        };
        let start_with = NetConfig {
            me,
            config: Arc::clone(&config),
            keys,
            joins: Arc::clone(&tokens),
        };
        let (net, mut events) = start(start_with).expect("start");
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let NetEvent::Join(request) = event {
                    let _ = request.reply.send(append_member(&text, &request.member));
                }
            }
        });
        Cluster {
            tokens,
            config,
            pin,
            net,
            _dir: dir,
        }
    }

    fn token(&self, witness: bool) -> Token {
        let text = self.tokens.give(&self.config, NodeId(1), witness).expect("token");
        Token::parse(&text).expect("its own text")
    }
}

struct Newcomer {
    dir: TempDir,
}

impl Newcomer {
    fn new() -> Newcomer {
        Newcomer {
            dir: tempfile::tempdir().expect("dir"),
        }
    }

    async fn join(&self, token: &Token, name: &str, args: &JoinArgs) -> Result<String, String> {
        let config = self.dir.path().join("holdfast.toml");
        join_as(token, name, args, self.dir.path(), &config)
            .await
            .map_err(|error| format!("{error:#}"))
    }

    fn config(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("holdfast.toml")).expect("written")
    }

    fn pin(&self) -> KeyPin {
        NodeKeys::load_or_create(self.dir.path()).expect("keys").pin()
    }
}

fn links(addresses: &[IpAddr]) -> JoinArgs {
    JoinArgs {
        witness: false,
        links: addresses.to_vec(),
    }
}

#[tokio::test]
async fn a_node_joins_with_a_token_and_the_token_is_spent() {
    let cluster = Cluster::start(1);
    let (token, newcomer) = (cluster.token(false), Newcomer::new());
    assert_eq!(token.pin, cluster.pin);
    let said = newcomer
        .join(&token, "db2", &links(&[address(1, 2)]))
        .await
        .expect("joined");
    assert!(said.contains("db2") && said.contains("shop"), "{said}");
    let config = newcomer.config();
    assert!(
        config.contains("# The shop's database.") && config.contains("# first"),
        "{config}"
    );
    let parsed = config::parse(&config, "test").expect("valid");
    let node = parsed
        .node(parsed.node_by_name("db2").expect("there"))
        .expect("a data node");
    assert_eq!(
        (node.links.as_slice(), node.keys.as_slice()),
        (&[address(1, 2)][..], &[newcomer.pin()][..])
    );
    let again = Newcomer::new()
        .join(&token, "db3", &links(&[address(1, 3)]))
        .await
        .expect_err("spent");
    assert!(again.contains("refused"), "{again}");
    cluster.net.close("end of the test").await;
}

#[tokio::test]
async fn a_witness_joins_with_its_own_kind_of_token() {
    let cluster = Cluster::start(2);
    let witness = JoinArgs {
        witness: true,
        links: vec![address(2, 9)],
    };
    let newcomer = Newcomer::new();
    let wrong = newcomer
        .join(&cluster.token(false), "witness", &witness)
        .await
        .expect_err("wrong kind");
    assert!(wrong.contains("was made for a data node"), "{wrong}");
    newcomer
        .join(&cluster.token(true), "witness", &witness)
        .await
        .expect("joined");
    let parsed = config::parse(&newcomer.config(), "test").expect("valid");
    assert_eq!(parsed.witness.expect("there").keys, [newcomer.pin()]);
    cluster.net.close("end of the test").await;
}

#[tokio::test]
async fn a_join_that_fails_leaves_the_token_valid() {
    let cluster = Cluster::start(3);
    let token = cluster.token(false);
    let newcomer = Newcomer::new();
    let error = newcomer
        .join(&token, "db1", &links(&[address(3, 7)]))
        .await
        .expect_err("the name is taken");
    assert!(error.contains("a node called db1"), "{error}");
    newcomer
        .join(&token, "db2", &links(&[address(3, 2)]))
        .await
        .expect("the token still works");
    cluster.net.close("end of the test").await;
}

/// Found by the virtual machines: a witness that joined in the folder of another cluster followed that one's register and
/// refused every member of this one, without a word about why.
#[tokio::test]
async fn who_holds_the_state_of_a_cluster_joins_no_other_and_the_token_stays_valid() {
    let cluster = Cluster::start(5);
    let (token, member) = (cluster.token(false), Newcomer::new());
    let (mut store, _) = Store::open(member.dir.path()).expect("store");
    let state = holdfast_proto::state::genesis(Arc::clone(&cluster.config), NodeId(1));
    store.write(&Durable::initial(state)).expect("written");
    let args = links(&[address(5, 2)]);
    let error = member.join(&token, "db2", &args).await.expect_err("a member");
    assert!(
        error.contains("the state of cluster shop") && error.contains("move the directory away"),
        "{error}"
    );
    assert!(
        !member.dir.path().join("holdfast.toml").exists(),
        "nothing written"
    );
    let newcomer = Newcomer::new();
    newcomer
        .join(&token, "db2", &args)
        .await
        .expect("the token still works");
    cluster.net.close("end of the test").await;
}

#[tokio::test]
async fn a_forged_token_is_refused_and_a_wrong_server_is_not_told_the_secret() {
    let cluster = Cluster::start(4);
    let good = cluster.token(false);
    let forged = Token {
        secret: [7; 32],
        ..good.clone()
    };
    let args = links(&[address(4, 2)]);
    let error = Newcomer::new()
        .join(&forged, "db2", &args)
        .await
        .expect_err("forged");
    assert!(error.contains("the token is not valid"), "{error}");
    let other = Token {
        pin: KeyPin([3; 32]),
        ..good.clone()
    };
    let error = Newcomer::new()
        .join(&other, "db2", &args)
        .await
        .expect_err("another key");
    assert!(error.contains("the token names the key 0303"), "{error}");
    Newcomer::new()
        .join(&good, "db2", &args)
        .await
        .expect("the good one works");
    cluster.net.close("end of the test").await;
}

#[test]
fn tokens_survive_copying_and_nothing_else() {
    let token = Token {
        witness: true,
        server: NodeId(2),
        pin: KeyPin([9; 32]),
        addresses: vec![
            "10.0.0.1:7946".parse().expect("v4"),
            "[fd00::1]:80".parse().expect("v6"),
        ],
        secret: [5; 32],
    };
    let text = token.text();
    assert_eq!(Token::parse(&format!("  {text}\n")), Ok(token.clone()));
    assert_eq!(
        Token::parse(&text.to_uppercase().replace("HOLDFAST1", "holdfast1")),
        Ok(token.clone())
    );
    for at in 0..text.len() {
        let mut letters = text.clone().into_bytes();
        letters[at] = if letters[at] == b'a' { b'b' } else { b'a' };
        let changed = String::from_utf8(letters).expect("ascii");
        assert!(
            Token::parse(&changed).is_err() || Token::parse(&changed) == Ok(token.clone()),
            "letter {at}"
        );
        assert!(Token::parse(&text[..at]).is_err(), "cut at {at}");
    }
    assert!(!format!("{token:?}").contains("5, 5"), "the secret is not shown");
}

#[test]
fn the_number_of_open_tokens_is_bounded() {
    let text = format!(
        "[cluster]\nname = \"t\"\nid = \"00000000000000aa\"\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\nkeys = [\"{}\"]\n",
        KeyPin([1; 32])
    );
    let config = config::parse(&text, "test").expect("valid");
    let tokens = JoinTokens::default();
    assert!(!tokens.any_open());
    let given = (0..100)
        .filter(|_| tokens.give(&config, NodeId(1), false).is_ok())
        .count();
    assert_eq!(given, 16);
    assert!(tokens.any_open());
    assert_eq!(
        tokens.give(&config, NodeId(4), false),
        Err(TokenError::Lacking("address"))
    );
}

fn member(name: &str, link: &str, pin: u8) -> NewMember {
    NewMember {
        name: name.into(),
        links: vec![link.parse().expect("address")],
        pin: KeyPin([pin; 32]),
        witness: false,
    }
}

#[test]
fn appending_keeps_every_other_byte() {
    let text = "# top\n[cluster]\nname = \"t\" # name\n\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\nkeys = [\n  \"aa\", # old\n]\n\n# groups\n";
    let added = append_member(text, &member("db2", "10.0.0.2", 2)).expect("added");
    assert!(
        added.starts_with(text) && added.contains("name = \"db2\""),
        "{added}"
    );
    let renewed = append_member(text, &member("db1", "10.0.0.1", 3)).expect("renewed");
    let pin = KeyPin([3; 32]);
    let expected = text.replace("[\n  \"aa\", # old\n]", &format!("[\"{pin}\"]"));
    assert_eq!(renewed, expected);
    assert_eq!(
        append_member(&renewed, &member("db1", "10.0.0.1", 3)).as_deref(),
        Ok(renewed.as_str())
    );
    let bare = "[[node]]\nname = \"db1\" # here\nlinks = [\"10.0.0.1\"]\n";
    let pinned = append_member(bare, &member("db1", "10.0.0.1", 3)).expect("pinned");
    assert_eq!(
        pinned,
        format!("[[node]]\nname = \"db1\"\nkeys = [\"{pin}\"] # here\nlinks = [\"10.0.0.1\"]\n")
    );
}

#[test]
fn names_that_would_write_toml_of_their_own_are_refused() {
    for name in [
        "",
        "a\"\n[[group]]",
        "two words",
        "x".repeat(65).as_str(),
        "db\u{e9}",
    ] {
        assert!(append_member("", &member(name, "10.0.0.1", 1)).is_err(), "{name}");
    }
    assert!(append_member("not toml", &member("a", "10.0.0.1", 1)).is_err());
}

/// Found by fuzzing: the section that was appended made the key `node` stand there twice.
#[test]
fn members_on_one_line_are_refused_in_words() {
    let text = "node = [{ name = \"db1\", links = [\"10.0.0.1\"] }]\n[cluster]\nname = \"shop\"\n";
    for (name, link) in [("db2", "10.0.0.2"), ("db1", "10.0.0.1")] {
        let error = append_member(text, &member(name, link, 1)).expect_err("refused");
        assert!(error.contains("[[node]]"), "{error}");
    }
}

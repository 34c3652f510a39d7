//! What a client of Sentinel asks, and what it is answered. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::reply::Reply;

/// Channels and patterns that one client may subscribe to.
const SUBSCRIPTIONS_MAX: usize = 64;
/// The version that is named: the first whose clients need nothing that is missing here.
const VERSION: &str = "7.0.0";
/// The channel of changes.
pub const SWITCH: &str = "+switch-master";

/// What there is to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The name that clients ask for.
    pub name: String,
    /// Port of the Redis on every node.
    pub port: u16,
    /// Our port on every node.
    pub sentinel_port: u16,
    /// None: not known, or not believed to be current.
    pub primary: Option<IpAddr>,
    /// Replicas that are connected.
    pub replicas: Vec<(IpAddr, u16)>,
    /// The other nodes, where the same questions are answered: names and addresses.
    pub others: Vec<(String, IpAddr)>,
    /// This node.
    pub own: String,
    /// Epoch of the assignment.
    pub epoch: u64,
}

/// One client.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// It speaks RESP3.
    pub resp3: bool,
    /// It is to be hung up on.
    pub over: bool,
    channels: BTreeSet<String>,
    patterns: BTreeSet<String>,
}

impl Session {
    /// Answers one command. Some have several answers.
    pub fn answer(&mut self, words: &[String], world: &World) -> Vec<Reply> {
        let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
        let argument = words.get(1).map(String::as_str);
        match upper.first().map_or("", String::as_str) {
            "SUBSCRIBE" | "PSUBSCRIBE" | "UNSUBSCRIBE" | "PUNSUBSCRIBE" => {
                return self.subscribe(&upper[0], &words[1..]);
            }
            "PING" if !self.resp3 && self.count() > 0 => {
                let said = Reply::text(argument.unwrap_or_default());
                return vec![Reply::Array(vec![Reply::text("pong"), said])];
            }
            "QUIT" => self.over = true,
            "HELLO" => return vec![self.hello(&upper)],
            _ => {}
        }
        vec![answer(&upper, argument, words, world)]
    }

    /// What it is told when the primary changes.
    pub fn switched(&self, world: &World, from: IpAddr, to: IpAddr) -> Vec<Reply> {
        let (name, port) = (&world.name, world.port);
        let text = format!("{name} {from} {port} {to} {port}");
        let mut told = Vec::new();
        if self.channels.contains(SWITCH) {
            told.push(Reply::Push(vec![
                Reply::text("message"),
                Reply::text(SWITCH),
                Reply::text(text.clone()),
            ]));
        }
        for pattern in self.patterns.iter().filter(|pattern| matches(pattern)) {
            told.push(Reply::Push(vec![
                Reply::text("pmessage"),
                Reply::text(pattern.clone()),
                Reply::text(SWITCH),
                Reply::text(text.clone()),
            ]));
        }
        told
    }

    fn count(&self) -> usize {
        self.channels.len() + self.patterns.len()
    }

    fn subscribe(&mut self, command: &str, names: &[String]) -> Vec<Reply> {
        let kind = command.to_ascii_lowercase();
        let (adds, set) = match command {
            "SUBSCRIBE" => (true, &mut self.channels),
            "PSUBSCRIBE" => (true, &mut self.patterns),
            "UNSUBSCRIBE" => (false, &mut self.channels),
            _ => (false, &mut self.patterns),
        };
        let named: Vec<Option<String>> = match names {
            [] if adds => {
                return vec![Reply::Error(format!(
                    "ERR wrong number of arguments for '{kind}' command"
                ))];
            }
            // All of them, and at least one answer.
            [] if set.is_empty() => vec![None],
            [] => set.iter().cloned().map(Some).collect(),
            names => names.iter().cloned().map(Some).collect(),
        };
        let mut replies = Vec::new();
        for name in named {
            let set = if command.starts_with('P') || command == "PUNSUBSCRIBE" {
                &mut self.patterns
            } else {
                &mut self.channels
            };
            match &name {
                Some(name) if adds => {
                    if set.len() >= SUBSCRIPTIONS_MAX {
                        return vec![Reply::Error("ERR too many subscriptions".into())];
                    }
                    set.insert(name.clone());
                }
                Some(name) => drop(set.remove(name)),
                None => {}
            }
            let count = Reply::Integer(self.count() as u64);
            let name = name.map_or(Reply::Null, Reply::Bulk);
            replies.push(Reply::Push(vec![Reply::text(kind.clone()), name, count]));
        }
        replies
    }

    fn hello(&mut self, words: &[String]) -> Reply {
        match words.get(1).map(String::as_str) {
            None => {}
            Some("2") => self.resp3 = false,
            Some("3") => self.resp3 = true,
            Some(_) => return Reply::Error("NOPROTO unsupported protocol version".into()),
        }
        Reply::Map(vec![
            ("server", Reply::text("redis")),
            ("version", Reply::text(VERSION)),
            ("proto", Reply::Integer(if self.resp3 { 3 } else { 2 })),
            ("id", Reply::Integer(1)),
            ("mode", Reply::text("sentinel")),
            ("role", Reply::text("sentinel")),
            ("modules", Reply::Array(Vec::new())),
        ])
    }
}

/// Whether a pattern of `PSUBSCRIBE` means [`SWITCH`]. Clients use `*`, `+*` or the name; other wildcards match nothing.
fn matches(pattern: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => SWITCH.starts_with(start),
        None => pattern == SWITCH,
    }
}

fn answer(upper: &[String], argument: Option<&str>, words: &[String], world: &World) -> Reply {
    match upper.first().map_or("", String::as_str) {
        "PING" => argument.map_or(Reply::Simple("PONG"), Reply::text),
        // What is told here is no secret, and who may ask is for the firewall to say.
        "AUTH" | "QUIT" | "RESET" => Reply::Simple("OK"),
        "CLIENT" => match upper.get(1).map_or("", String::as_str) {
            "ID" => Reply::Integer(1),
            "GETNAME" => Reply::text(""),
            _ => Reply::Simple("OK"),
        },
        "COMMAND" => Reply::Array(Vec::new()),
        "ROLE" => Reply::Array(vec![
            Reply::text("sentinel"),
            Reply::Array(vec![Reply::text(world.name.clone())]),
        ]),
        "INFO" => Reply::Bulk(info(world)),
        "SENTINEL" => {
            let name = words.get(2).map(String::as_str);
            sentinel(upper.get(1).map_or("", String::as_str), name, world)
        }
        other => {
            let named: String = other.chars().take(32).filter(char::is_ascii_graphic).collect();
            Reply::Error(format!(
                "ERR unknown command '{named}': Holdfast answers the clients of Sentinel here"
            ))
        }
    }
}

fn sentinel(command: &str, name: Option<&str>, world: &World) -> Reply {
    let known = name == Some(world.name.as_str());
    let primary = world.primary.filter(|_| known);
    match (command, primary) {
        ("MYID", _) => Reply::text(id(&world.own)),
        ("MASTERS", _) => Reply::Array(world.primary.iter().map(|at| master(world, *at)).collect()),
        ("GET-MASTER-ADDR-BY-NAME", None) => Reply::Null,
        ("GET-MASTER-ADDR-BY-NAME", Some(at)) => Reply::Array(vec![
            Reply::text(at.to_string()),
            Reply::text(world.port.to_string()),
        ]),
        ("MASTER", Some(at)) => master(world, at),
        ("REPLICAS" | "SLAVES", Some(at)) => Reply::Array(
            world
                .replicas
                .iter()
                .map(|(own, port)| replica(world, *own, *port, at))
                .collect(),
        ),
        ("SENTINELS", Some(_)) => Reply::Array(
            world
                .others
                .iter()
                .map(|(name, at)| peer(world, name, *at))
                .collect(),
        ),
        ("CKQUORUM", Some(_)) => {
            Reply::Simple("OK usable Sentinels. Quorum and failover authorization can be reached")
        }
        ("MASTER" | "REPLICAS" | "SLAVES" | "SENTINELS" | "CKQUORUM", None) if !known => {
            Reply::Error("ERR No such master with that name".into())
        }
        ("CKQUORUM", None) => Reply::Error("NOQUORUM the primary is not known here now".into()),
        ("MASTER" | "REPLICAS" | "SLAVES" | "SENTINELS", None) => {
            Reply::Error("ERR the primary is not known here now".into())
        }
        _ => Reply::Error("ERR Holdfast decides here; see hactl".into()),
    }
}

/// 40 digits that are the same as long as the name is.
fn id(name: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(20)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn texts(pairs: Vec<(&'static str, String)>) -> Reply {
    Reply::Map(
        pairs
            .into_iter()
            .map(|(name, value)| (name, Reply::Bulk(value)))
            .collect(),
    )
}

fn master(world: &World, at: IpAddr) -> Reply {
    texts(vec![
        ("name", world.name.clone()),
        ("ip", at.to_string()),
        ("port", world.port.to_string()),
        ("runid", id(&at.to_string())),
        ("flags", "master".into()),
        ("link-pending-commands", "0".into()),
        ("link-refcount", "1".into()),
        ("last-ping-sent", "0".into()),
        ("last-ok-ping-reply", "0".into()),
        ("last-ping-reply", "0".into()),
        ("down-after-milliseconds", "1000".into()),
        ("info-refresh", "0".into()),
        ("role-reported", "master".into()),
        ("role-reported-time", "0".into()),
        ("config-epoch", world.epoch.to_string()),
        ("num-slaves", world.replicas.len().to_string()),
        ("num-other-sentinels", world.others.len().to_string()),
        ("quorum", "1".into()),
        ("failover-timeout", "60000".into()),
        ("parallel-syncs", "1".into()),
    ])
}

fn replica(world: &World, own: IpAddr, port: u16, primary: IpAddr) -> Reply {
    texts(vec![
        ("name", std::net::SocketAddr::new(own, port).to_string()),
        ("ip", own.to_string()),
        ("port", port.to_string()),
        ("runid", id(&own.to_string())),
        ("flags", "slave".into()),
        ("link-pending-commands", "0".into()),
        ("last-ok-ping-reply", "0".into()),
        ("role-reported", "slave".into()),
        ("master-link-down-time", "0".into()),
        ("master-link-status", "ok".into()),
        ("master-host", primary.to_string()),
        ("master-port", world.port.to_string()),
        ("slave-priority", "100".into()),
    ])
}

fn peer(world: &World, name: &str, at: IpAddr) -> Reply {
    texts(vec![
        ("name", id(name)),
        ("ip", at.to_string()),
        ("port", world.sentinel_port.to_string()),
        ("runid", id(name)),
        ("flags", "sentinel".into()),
        ("last-ok-ping-reply", "0".into()),
        ("voted-leader", "?".into()),
        ("voted-leader-epoch", "0".into()),
    ])
}

fn info(world: &World) -> String {
    let masters = usize::from(world.primary.is_some());
    let mut text = format!(
        "# Server\r\nredis_version:{VERSION}\r\nredis_mode:sentinel\r\n\r\n# Sentinel\r\nsentinel_masters:{masters}\r\n\
         sentinel_tilt:0\r\nsentinel_running_scripts:0\r\nsentinel_scripts_queue_length:0\r\n"
    );
    if let Some(at) = world.primary {
        text += &format!(
            "master0:name={},status=ok,address={at}:{},slaves={},sentinels={}\r\n",
            world.name,
            world.port,
            world.replicas.len(),
            world.others.len() + 1
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world() -> World {
        World {
            name: "shop".into(),
            port: 6379,
            sentinel_port: 26379,
            primary: Some("10.0.0.1".parse().unwrap()),
            replicas: vec![("10.0.0.2".parse().unwrap(), 6379)],
            others: vec![("db2".into(), "10.0.0.2".parse().unwrap())],
            own: "db1".into(),
            epoch: 7,
        }
    }

    fn ask(session: &mut Session, line: &str, world: &World) -> Vec<Reply> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        session.answer(&words, world)
    }

    fn one(line: &str, world: &World) -> Reply {
        ask(&mut Session::default(), line, world).remove(0)
    }

    #[test]
    fn the_address_is_told_by_name() {
        let address = Reply::Array(vec![Reply::text("10.0.0.1"), Reply::text("6379")]);
        assert_eq!(one("sentinel get-master-addr-by-name shop", &world()), address);
        assert_eq!(
            one("SENTINEL GET-MASTER-ADDR-BY-NAME other", &world()),
            Reply::Null
        );
        assert_eq!(one("SENTINEL GET-MASTER-ADDR-BY-NAME", &world()), Reply::Null);
    }

    #[test]
    fn an_unknown_primary_is_not_told() {
        let unknown = World {
            primary: None,
            ..world()
        };
        assert_eq!(
            one("SENTINEL get-master-addr-by-name shop", &unknown),
            Reply::Null
        );
        assert_eq!(one("SENTINEL masters", &unknown), Reply::Array(vec![]));
        for command in ["master", "replicas", "sentinels", "ckquorum"] {
            let said = one(&format!("SENTINEL {command} shop"), &unknown);
            assert!(matches!(said, Reply::Error(_)), "{command}: {said:?}");
        }
    }

    #[test]
    fn what_clients_ask_on_their_way_is_answered() {
        for line in [
            "PING",
            "AUTH x",
            "AUTH u x",
            "CLIENT SETINFO LIB-NAME x",
            "CLIENT SETNAME y",
            "ROLE",
            "INFO",
            "COMMAND DOCS",
            "SENTINEL myid",
            "SENTINEL masters",
            "SENTINEL master shop",
            "SENTINEL slaves shop",
            "SENTINEL replicas shop",
            "SENTINEL sentinels shop",
            "SENTINEL ckquorum shop",
        ] {
            assert!(!matches!(one(line, &world()), Reply::Error(_)), "{line}");
        }
        for line in [
            "SENTINEL failover shop",
            "SENTINEL remove shop",
            "SET a b",
            "",
            "SENTINEL",
            "SUBSCRIBE",
        ] {
            assert!(matches!(one(line, &world()), Reply::Error(_)), "{line}");
        }
    }

    #[test]
    fn hello_chooses_the_protocol() {
        let mut session = Session::default();
        assert!(matches!(
            ask(&mut session, "HELLO 3 AUTH u p", &world())[0],
            Reply::Map(_)
        ));
        assert!(session.resp3);
        assert!(matches!(
            ask(&mut session, "HELLO 4", &world())[0],
            Reply::Error(_)
        ));
        ask(&mut session, "HELLO 2", &world());
        assert!(!session.resp3);
    }

    #[test]
    fn a_change_is_told_to_those_who_subscribed() {
        let (from, to) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut session = Session::default();
        assert!(session.switched(&world(), from, to).is_empty());
        let replies = ask(&mut session, "SUBSCRIBE +switch-master -odown", &world());
        assert_eq!(replies.len(), 2);
        let told = session.switched(&world(), from, to);
        let text = Reply::text("shop 10.0.0.1 6379 10.0.0.2 6379");
        assert_eq!(
            told,
            [Reply::Push(vec![
                Reply::text("message"),
                Reply::text(SWITCH),
                text
            ])]
        );
        assert!(matches!(ask(&mut session, "PING", &world())[0], Reply::Array(_)));
        ask(&mut session, "UNSUBSCRIBE", &world());
        assert!(session.switched(&world(), from, to).is_empty());
        for (pattern, told) in [("*", 1), ("+switch*", 1), ("-*", 0)] {
            let mut session = Session::default();
            ask(&mut session, &format!("PSUBSCRIBE {pattern}"), &world());
            assert_eq!(session.switched(&world(), from, to).len(), told, "{pattern}");
        }
        assert_eq!(ask(&mut session, "PUNSUBSCRIBE", &world()).len(), 1);
    }

    #[test]
    fn subscriptions_are_bounded() {
        let mut session = Session::default();
        for number in 0..SUBSCRIPTIONS_MAX {
            ask(&mut session, &format!("SUBSCRIBE c{number}"), &world());
        }
        assert!(matches!(
            ask(&mut session, "SUBSCRIBE more", &world())[0],
            Reply::Error(_)
        ));
    }
}

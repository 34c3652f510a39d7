//! The front services of the scenario: how they are configured, in both ways, and how a client asks them.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A service behind an address of its own.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    /// What clients reach.
    pub name: &'static str,
    /// The group whose address they use.
    pub group: &'static str,
    /// That address.
    pub vip: &'static str,
    /// Its port.
    pub port: u16,
    /// Asks it once.
    pub ask: fn(&mut TcpStream) -> Result<()>,
}

/// All of them. Behind nginx stands gunicorn, behind HAProxy the nginx of both nodes.
pub const FRONTS: [Front; 3] = [
    Front {
        name: "web",
        group: "web-address",
        vip: "10.81.0.110",
        port: 80,
        ask: http,
    },
    Front {
        name: "haproxy",
        group: "haproxy-address",
        vip: "10.81.0.111",
        port: 8080,
        ask: http,
    },
    Front {
        name: "memcached",
        group: "memcached-address",
        vip: "10.81.0.112",
        port: 11211,
        ask: memcached,
    },
];

/// The groups that run on every node.
pub const EVERYWHERE: [&str; 4] = ["app", "web", "haproxy", "memcached"];

/// One request, one answer that begins with `wanted`.
fn exchange(stream: &mut TcpStream, request: &[u8], wanted: &[u8]) -> Result<()> {
    stream.write_all(request)?;
    let mut reply = vec![0; wanted.len()];
    stream.read_exact(&mut reply)?;
    if reply == wanted {
        Ok(())
    } else {
        Err(std::io::ErrorKind::InvalidData.into())
    }
}

fn http(stream: &mut TcpStream) -> Result<()> {
    let request = b"GET / HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n";
    exchange(stream, request, b"HTTP/1.1 200")
}

fn memcached(stream: &mut TcpStream) -> Result<()> {
    exchange(stream, b"version\r\n", b"VERSION ")
}

impl Front {
    /// Where clients connect.
    pub fn at(&self) -> SocketAddr {
        let parsed = self.vip.parse().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
        SocketAddr::from((parsed, self.port))
    }
}

/// How long a client waits for an answer: what a hung service costs it beyond the outage itself.
pub const PATIENCE: Duration = Duration::from_millis(250);

const GUNICORN: &str = "[[group.resource]]\nname = \"gunicorn\"\ntype = \"systemd\"\nunit = \"gunicorn.service\"\n\n\
                        [[group.resource.probe]]\nhttp = \"http://127.0.0.1:8000/health\"\ninterval = \"1s\"\n\
                        timeout = \"2s\"\n\n";
const NGINX: &str = "[[group.resource]]\nname = \"nginx\"\ntype = \"systemd\"\nunit = \"nginx.service\"\n\n\
                     [[group.resource.probe]]\nhttp = \"http://127.0.0.1:80/health\"\ninterval = \"500ms\"\nfailures = 2\n\
                     of = 3\n\n";
const HAPROXY: &str = "[[group.resource]]\nname = \"haproxy\"\ntype = \"systemd\"\nunit = \"haproxy.service\"\n\n\
                       [[group.resource.probe]]\nhttp = \"http://127.0.0.1:8404/health\"\ninterval = \"500ms\"\n\
                       failures = 2\nof = 3\n\n";
const MEMCACHED: &str = "[[group.resource]]\nname = \"memcached\"\ntype = \"systemd\"\nunit = \"memcached.service\"\n\n\
                         [[group.resource.probe]]\ntcp = \"127.0.0.1:11211\"\n\
                         send = \"version\\r\\n\"\nexpect = \"VERSION \"\ninterval = \"500ms\"\nfailures = 2\nof = 3\n\n";

fn vip(front: &Front) -> String {
    format!(
        "[[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{}/24\"\n\n",
        front.vip
    )
}

/// Services on every node, addresses that follow them.
pub fn on_every_node() -> String {
    let mut text = String::new();
    for (group, resource) in EVERYWHERE.iter().zip([GUNICORN, NGINX, HAPROXY, MEMCACHED]) {
        text.push_str(&format!(
            "[[group]]\nname = \"{group}\"\nrun = \"every-node\"\n\n{resource}"
        ));
    }
    for front in &FRONTS {
        text.push_str(&format!(
            "[[group]]\nname = \"{}\"\nfollows = \"{}\"\nrole = \"any\"\nprefer = [\"n1\"]\n\n{}",
            front.group,
            front.name,
            vip(front)
        ));
    }
    text
}

/// Each service on one node, together with its address. The groups have the names of the addresses above.
pub fn on_one_node() -> String {
    let mut text = String::new();
    // What hangs does not obey a polite stop, and its clients wait for it here.
    let brisk = |resource: &str| resource.replacen("unit = ", "stop_timeout = \"2s\"\nunit = ", 1);
    let groups = [
        [brisk(GUNICORN), brisk(NGINX)].concat(),
        brisk(HAPROXY),
        brisk(MEMCACHED),
    ];
    for (front, resources) in FRONTS.iter().zip(groups) {
        text.push_str(&format!(
            "[[group]]\nname = \"{}\"\nrequires = \"lease\"\nprefer = [\"n1\"]\n\n{}{resources}",
            front.group,
            vip(front)
        ));
    }
    text
}

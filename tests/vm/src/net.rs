//! The network: bridges in a namespace of their own, and a cable from each machine to each of them.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::place::Place;
use crate::sh;

/// Two links between the nodes, and the management network of their boards.
pub const LANS: u8 = 3;
/// The number of the management network.
pub const MANAGEMENT: u8 = 2;
/// The harness' host number in each network: the client, the observer and the power controller.
pub const HARNESS: u8 = 254;
/// Host number of the witness, which is on the first link only.
pub const WITNESS: u8 = 3;
/// The group's address.
pub const VIP: &str = "10.82.0.100";

/// The card of `host` in network `lan`, where it is not a machine's: the same in every run, because machines that go on from
/// a saved state still know it.
fn card(lan: u8, host: u8) -> String {
    format!("52:54:82:{lan:02x}:01:{host:02x}")
}

/// The address of `host` in network `lan`.
#[must_use]
pub fn address(lan: u8, host: u8) -> String {
    format!("10.82.{lan}.{host}")
}

/// The switch's end of a cable.
#[must_use]
pub fn port(name: &str, lan: u8) -> String {
    format!("{name}e{lan}")
}

/// The switches.
#[derive(Clone, Debug)]
pub struct Net {
    netns: String,
    witness: String,
    /// Cables that are pulled; they stay so when the machine is switched on.
    pulled: Arc<Mutex<BTreeSet<(String, u8)>>>,
}

impl Net {
    /// Makes the switches, a cable for each of `machines`, and the witness' namespace.
    pub fn new(place: &Place, machines: &[&str]) -> Result<Net> {
        let net = Net {
            netns: place.netns("lan"),
            witness: place.netns("witness"),
            pulled: Arc::default(),
        };
        sh::run("ip", &["netns", "add", &net.netns])?;
        net.ip("link set lo up")?;
        for lan in 0..LANS {
            net.ip(&format!(
                "link add br{lan} address {} type bridge forward_delay 0 mcast_snooping 0",
                card(lan, HARNESS)
            ))?;
            net.ip(&format!("addr add {}/24 dev br{lan}", address(lan, HARNESS)))?;
            net.ip(&format!("link set br{lan} up"))?;
            for machine in machines {
                let port = port(machine, lan);
                net.ip(&format!("tuntap add dev {port} mode tap"))?;
                net.ip(&format!("link set {port} master br{lan} up"))?;
            }
        }
        net.add_witness()?;
        net.nft("add table bridge vm; add chain bridge vm cut { type filter hook forward priority 0; }")?;
        Ok(net)
    }

    /// The witness is a port of the switch like the others, so that it is cut like them.
    fn add_witness(&self) -> Result<()> {
        sh::run("ip", &["netns", "add", &self.witness])?;
        let port = port("witness", 0);
        self.ip(&format!(
            "link add {port} type veth peer name eth0 address {} netns {}",
            card(0, WITNESS),
            self.witness
        ))?;
        self.ip(&format!("link set {port} master br0 up"))?;
        for words in [
            format!("addr add {}/24 dev eth0", address(0, WITNESS)),
            "link set eth0 up".into(),
            "link set lo up".into(),
        ] {
            ip(&self.witness, &words)?;
        }
        Ok(())
    }

    /// Name of the switches' namespace.
    #[must_use]
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Name of the witness' namespace.
    #[must_use]
    pub fn witness(&self) -> &str {
        &self.witness
    }

    /// Gives the harness one more address in network `lan`; it may have it already.
    pub fn alias(&self, lan: u8, host: u8) -> Result<()> {
        self.ip(&format!("addr replace {}/24 dev br{lan}", address(lan, host)))
    }

    /// Drops what `one` and `other` send each other on both links; their cards see nothing wrong.
    pub fn part(&self, one: &str, other: &str) -> Result<()> {
        for lan in 0..MANAGEMENT {
            for (from, to) in [(one, other), (other, one)] {
                let (from, to) = (port(from, lan), port(to, lan));
                self.nft(&format!(
                    "add rule bridge vm cut iifname {from} oifname {to} drop"
                ))?;
            }
        }
        Ok(())
    }

    /// Undoes every [`Net::part`], and remembers no pulled cable.
    pub fn heal(&self) -> Result<()> {
        self.pulled().clear();
        self.nft("flush chain bridge vm cut")
    }

    /// Notes that the cable of `name` in network `lan` is pulled, or plugged.
    pub fn note_cable(&self, name: &str, lan: u8, up: bool) {
        let cable = (name.to_string(), lan);
        if up {
            self.pulled().remove(&cable);
        } else {
            self.pulled().insert(cable);
        }
    }

    /// True if that cable is pulled.
    #[must_use]
    pub fn is_pulled(&self, name: &str, lan: u8) -> bool {
        self.pulled().contains(&(name.to_string(), lan))
    }

    fn pulled(&self) -> MutexGuard<'_, BTreeSet<(String, u8)>> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the calling thread into the switches' namespace, where the harness has its addresses.
    pub fn enter(&self) -> Result<()> {
        let path = format!("/run/netns/{}", self.netns);
        let file = File::open(&path).context(path)?;
        setns(file, CloneFlags::CLONE_NEWNET).context("setns")
    }

    /// Offers `data` to the first who connects to the harness' address in the management network; the port.
    pub fn serve(&self, data: Vec<u8>) -> Result<u16> {
        let (net, (ready, listening)) = (self.clone(), mpsc::channel());
        std::thread::Builder::new().name("serve".into()).spawn(move || {
            let listener = net.enter().and_then(|()| {
                let listener = TcpListener::bind((address(MANAGEMENT, HARNESS), 0))?;
                Ok((listener.local_addr()?.port(), listener))
            });
            let (port, listener) = match listener {
                Ok(listener) => listener,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(port));
            // Whoever does not read all of it notices by the length.
            let _ = listener.accept().map(|(mut stream, _)| stream.write_all(&data));
        })?;
        listening.recv().context("the thread that serves files ended")?
    }

    fn ip(&self, words: &str) -> Result<()> {
        ip(&self.netns, words)
    }

    fn nft(&self, rule: &str) -> Result<()> {
        sh::run("ip", &["netns", "exec", &self.netns, "nft", rule]).map(|_| ())
    }
}

fn ip(netns: &str, words: &str) -> Result<()> {
    let mut args = vec!["-n", netns];
    args.extend(words.split(' '));
    sh::run("ip", &args).map(|_| ())
}

//! What a configuration explores: a cluster, where it begins, and how many deviations.

use std::sync::Arc;
use std::time::Duration;

use holdfast_core::durable::Durable;
use holdfast_proto::config::{Config, Requires, parse};
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::state::genesis;

use crate::action::Action;
use crate::bounds::Budget;
use crate::world::World;
use crate::world::agentd::Agentd;

/// What does not change while a configuration is explored.
#[derive(Debug)]
pub struct Setup {
    /// Name on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub title: &'static str,
    /// The cluster.
    pub config: Arc<Config>,
    /// Data nodes with an armed watchdog.
    pub watchdogs: Vec<NodeId>,
    /// Operators move groups.
    pub moves: bool,
    /// Links may be cut one way, and slow.
    pub odd_links: bool,
    /// Deviations may end at every instant at which one may begin, also right after something happened; otherwise only at
    /// those at which nothing but heartbeats happened for [`LOOK`](crate::world::step::LOOK).
    pub fine_ends: bool,
    /// Deviations.
    pub budget: Budget,
}

impl Setup {
    /// One without watchdogs, moves and odd links. `deep`: with [`Setup::fine_ends`].
    #[must_use]
    pub fn plain(
        name: &'static str,
        title: &'static str,
        config: Arc<Config>,
        budget: Budget,
        deep: bool,
    ) -> Setup {
        Setup {
            name,
            title,
            config,
            watchdogs: Vec::new(),
            moves: false,
            odd_links: false,
            fine_ends: deep,
            budget,
        }
    }

    /// The agent process of a machine.
    #[must_use]
    pub fn agentd(&self, node: NodeId) -> Agentd {
        let groups = self.config.groups.iter().filter(|_| !node.is_witness());
        let groups = groups.map(|section| {
            (
                GroupName::clone(&section.name),
                section.requires != Requires::Fencing,
            )
        });
        Agentd::new(groups, self.watchdogs.contains(&node))
    }

    /// True for actions that this configuration is about.
    #[must_use]
    pub fn takes(&self, action: Action) -> bool {
        match action {
            Action::Move(..) => self.moves,
            Action::CutOneWay(..) | Action::Slow(..) => self.odd_links,
            _ => true,
        }
    }

    /// All machines off; every member but a register voted when they went off, and no group was placed yet.
    #[must_use]
    pub fn unformed(self: &Arc<Self>) -> World {
        let mut state = genesis(Arc::clone(&self.config), NodeId(1));
        let members = self.config.members();
        // A register votes only when it was voted in, under its identity.
        let vote = members.filter(|member| !(member.is_witness() && self.config.register.is_some()));
        state.voters = vote.collect();
        World::new(self, &Durable::initial(state))
    }

    /// Every machine runs, every group runs, and nothing happens any more.
    #[must_use]
    pub fn formed(self: &Arc<Self>) -> World {
        let mut world = self.unformed();
        for number in 0..world.machines.len() {
            world.strike(Action::PowerOn(world.machines[number].id));
        }
        settle(&mut world, "a new cluster forms", World::is_whole);
        world
    }
}

/// Runs until `is_so`, and then until it is quiet.
///
/// # Panics
///
/// When it does not become so: then the configuration is wrong, or the core.
pub fn settle(world: &mut World, what: &str, is_so: impl Fn(&World) -> bool) {
    let so = world.run_until(Duration::from_secs(60), is_so);
    assert!(so, "not so within a minute: {what} ({:?})", world.broken);
    world.run_until(Duration::from_secs(6), |_| false);
    assert!(world.broken.is_none(), "{what}: {:?}", world.broken);
}

/// What stands for the witness of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// Nothing.
    None,
    /// A `had` of its own.
    Had,
    /// A record in etcd.
    Etcd,
}

/// A fence device of a node: the name of its method, if there are several, and what it cuts.
pub type Device = (Option<&'static str>, &'static str);

/// An order on the shared disk.
pub const ORDER: &[Device] = &[(None, ORDERS)];
const ORDERS: &str = "order";

/// One power device.
pub const POWER: &[Device] = &[(None, "power")];

/// As short as its rules allow, and the watchdog as in [`Agentd`].
const SHARED_DISK: &str = "[sbd]\ndevices = [\"/dev/shared\"]\nwatchdog_timeout = \"2s\"\nmsgwait_timeout = \"4s\"\n\
                           loop_timeout = \"1s\"\nio_timeout = \"100ms\"\n";

/// A cluster as TOML: a data node for each list of fence devices, and groups with what they require and where they are best.
#[must_use]
pub fn cluster(nodes: &[&[Device]], witness: Witness, groups: &[(&str, &str, u8)]) -> Arc<Config> {
    let mut text =
        "[cluster]\nname = \"model\"\nid = \"00000000000000aa\"\ndetection = \"1s\"\nfence_delay = \"2s\"\n\
                    witness_grace = \"2s\"\nstartup_grace = \"2s\"\nflap_budget = 1000\n"
            .to_string();
    for (node, devices) in (1..).zip(nodes) {
        text +=
            &format!("[[node]]\nname = \"n{node}\"\nlinks = [\"10.0.0.{node}\"]\nkeys = [\"{node:064x}\"]\n");
        for (number, (method, kind)) in devices.iter().enumerate() {
            let method = method.map_or(String::new(), |method| format!("method = \"{method}\"\n"));
            if *kind == ORDERS {
                text += &format!("[[fence]]\nnode = \"n{node}\"\nagent = \"sbd\"\n{method}");
                continue;
            }
            text += &format!(
                "[[fence]]\nnode = \"n{node}\"\nagent = \"exec\"\nkind = \"{kind}\"\n{method}\
                 params = {{ program = \"/bin/device{number}\" }}\n"
            );
        }
    }
    if nodes.iter().any(|devices| devices.contains(&ORDER[0])) {
        text += SHARED_DISK;
    }
    match witness {
        Witness::None => {}
        Witness::Etcd => text += "[witness]\netcd = [\"10.0.0.99:2379\"]\n",
        Witness::Had => {
            text += &format!("[witness]\naddress = \"10.0.0.99\"\nkeys = [\"{:064x}\"]\n", 99);
        }
    }
    for (number, (name, requires, prefer)) in groups.iter().enumerate() {
        text += &format!(
            "[[group]]\nname = \"{name}\"\nrequires = \"{requires}\"\nprefer = [\"n{prefer}\"]\n\
             [[group.resource]]\nname = \"r\"\ntype = \"vip\"\naddress = \"10.1.0.{}/24\"\n",
            number + 1
        );
    }
    match parse(&text, "model.toml") {
        Ok(config) => Arc::new(config),
        Err(why) => panic!("a configuration of the model is not valid:\n{why}\n{text}"),
    }
}

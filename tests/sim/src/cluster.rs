//! The cluster that a seed draws: small enough to read, and small enough to be made smaller.

use std::sync::Arc;

use holdfast_proto::config::{Config, Requires, parse};
use holdfast_proto::ids::NodeId;
use serde::{Deserialize, Serialize};

use crate::rng::Rng;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Data nodes, in order of their numbers from 1.
    pub nodes: Vec<NodePlan>,
    /// There is a witness; its clock's rate error.
    pub witness_ppm: Option<i64>,
    /// That witness is kept in etcd.
    #[serde(default, skip_serializing_if = "is_false")]
    pub etcd: bool,
    /// That witness is kept on so many of the shared disks.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub witness_disks: u8,
    /// The detection time.
    pub detection_ms: u64,
    /// Graces and delays are the defaults, and not shortened so that a run ends sooner.
    #[serde(default, skip_serializing_if = "is_false")]
    pub default_spans: bool,
    /// Groups, in order of their numbers from 0.
    pub groups: Vec<GroupPlan>,
    /// Shared disks, 0 to 3. With any, every data node has a watchdog, and can be ordered to end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub disks: u8,
    /// With shared disks: there are no other fence devices.
    #[serde(default, skip_serializing_if = "is_false")]
    pub disks_only: bool,
    /// There is a job of the first group.
    #[serde(default, skip_serializing_if = "JobPlan::is_none")]
    pub job: JobPlan,
}

/// A job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobPlan {
    /// There is none.
    #[default]
    None,
    /// On any node.
    Any,
    /// On any node; what was interrupted is begun again.
    AnyAgain,
    /// On the node that runs the group; what is moved is ended.
    Primary,
}

impl JobPlan {
    fn is_none(&self) -> bool {
        *self == JobPlan::None
    }

    fn text(self) -> &'static str {
        match self {
            JobPlan::None => "",
            JobPlan::Any => "on = \"any\"\n",
            JobPlan::AnyAgain => "on = \"any\"\non_interrupt = \"rerun\"\n",
            JobPlan::Primary => "on_move = \"kill\"\n",
        }
    }
}

/// A data node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Rate error of its clock, in parts per million.
    #[serde(default)]
    pub drift_ppm: i64,
    /// It has an armed watchdog.
    #[serde(default)]
    pub watchdog: bool,
    /// It is fed by this many outlets, each with a device, all needed to turn it off (0 counts as 1).
    #[serde(default)]
    pub outlets: u8,
    /// There is a second level of devices.
    #[serde(default)]
    pub second_level: bool,
    /// There is no device at all.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bare: bool,
    /// The first level has a second method, which races with the outlets: a device that cuts all of them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub races: bool,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// A takeover needs a fence proof (otherwise a lapsed permit).
    pub fencing: bool,
    /// Node that it prefers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer: Option<u8>,
    /// Never runs where the first group runs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub apart: bool,
    /// Starts after the first group.
    #[serde(default, skip_serializing_if = "is_false")]
    pub after: bool,
    /// What runs of it where.
    #[serde(default, skip_serializing_if = "Kind::is_plain")]
    pub kind: Kind,
}

/// What runs of a group where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// All of it on one node.
    #[default]
    Plain,
    /// A copy of data on every node, promoted on one.
    Roles,
    /// The same, and a copy that may lack something is promoted if there is no other.
    RolesPromote,
    /// All of it on every node.
    EveryNode,
    /// An address for readers of the first group.
    Reader,
    /// An address that goes where the group before it, which is on every node, is well.
    Front,
}

impl Kind {
    fn is_plain(&self) -> bool {
        *self == Kind::Plain
    }

    fn has_roles(self) -> bool {
        matches!(self, Kind::Roles | Kind::RolesPromote)
    }
}

fn is_zero(value: &u8) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The name of the method that races with the outlets, which have none.
pub const RACING: &str = "board";
/// Of a thousand nodes, those with two methods in the first level.
const RACES_PERMILLE: u64 = 200;
/// Of a thousand clusters, those with shared disks.
const DISKS_PERMILLE: u64 = 200;
/// Of a thousand clusters, those with a job.
const JOBS_PERMILLE: u64 = 250;
/// Clocks err by 1 % at most.
const DRIFT_MAX_PPM: u64 = 10_000;
/// Of a thousand seeds, those with hundreds of groups.
const CROWDED_PERMILLE: u64 = 1;

impl Cluster {
    /// Draws a cluster.
    #[must_use]
    pub fn draw(rng: &mut Rng) -> Cluster {
        let nodes: u8 = if rng.chance(150) { 3 } else { 2 };
        let crowded = rng.chance(CROWDED_PERMILLE);
        // The cost grows with the square of their number, so the largest are rare.
        let groups = match (crowded, crowded && rng.chance(50)) {
            (true, true) => 300,
            (true, false) => rng.range(50, 151),
            (false, _) => rng.range(1, 5),
        };
        let witness = rng.chance(600);
        Cluster {
            nodes: (0..nodes).map(|_| NodePlan::draw(rng)).collect(),
            witness_ppm: witness.then(|| drift_ppm(rng)),
            etcd: false,
            disks: 0,
            disks_only: false,
            job: JobPlan::None,
            witness_disks: 0,
            detection_ms: *rng.pick(&[300, 1000]),
            default_spans: false,
            groups: (0..groups)
                .map(|number| GroupPlan::draw(rng, number, nodes, crowded))
                .collect(),
        }
    }

    /// Draws more of it, from a stream of its own: what was drawn before stays as it is.
    pub fn draw_races(&mut self, rng: &mut Rng) {
        for plan in &mut self.nodes {
            plan.races = rng.chance(RACES_PERMILLE);
        }
    }

    /// Draws shared disks, from a stream of their own.
    pub fn draw_disks(&mut self, rng: &mut Rng) {
        if !self.is_crowded() && rng.chance(DISKS_PERMILLE) {
            self.disks = rng.range(1, 4) as u8;
            self.disks_only = rng.chance(500);
        }
    }

    /// Draws groups with roles, on every node, and such that follow them.
    pub fn draw_roles(&mut self, rng: &mut Rng) {
        let Some(first) = self.groups.first_mut() else {
            return;
        };
        first.kind = if rng.chance(300) {
            Kind::RolesPromote
        } else {
            Kind::Roles
        };
        let address = |kind| GroupPlan {
            fencing: false,
            prefer: None,
            apart: false,
            after: false,
            kind,
        };
        if rng.chance(500) {
            self.groups.push(address(Kind::Reader));
        }
        if rng.chance(400) {
            self.groups.push(address(Kind::EveryNode));
            self.groups.push(address(Kind::Front));
        }
    }

    /// What a group is, unless the one that it would follow was taken out of the schedule.
    fn kind_of(&self, number: usize) -> Kind {
        let is = |number: Option<usize>, fits: fn(Kind) -> bool| {
            number
                .and_then(|number| self.groups.get(number))
                .is_some_and(|group| fits(group.kind))
        };
        match self.groups[number].kind {
            Kind::Reader if !is(Some(0), Kind::has_roles) => Kind::Plain,
            Kind::Front if !is(number.checked_sub(1), |kind| kind == Kind::EveryNode) => Kind::Plain,
            kind => kind,
        }
    }

    /// Draws a job, from a stream of its own.
    pub fn draw_job(&mut self, rng: &mut Rng) {
        if !self.is_crowded() && rng.chance(JOBS_PERMILLE) {
            self.job = *rng.pick(&[JobPlan::Any, JobPlan::AnyAgain, JobPlan::Primary]);
        }
    }

    /// All members.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        let witness = self.witness_ppm.map(|_| NodeId::WITNESS);
        witness.into_iter().chain(self.data_nodes())
    }

    /// The data nodes.
    pub fn data_nodes(&self) -> impl Iterator<Item = NodeId> {
        (1..=self.nodes.len() as u8).map(NodeId)
    }

    /// The plan of a data node.
    #[must_use]
    pub fn node(&self, node: NodeId) -> Option<&NodePlan> {
        self.nodes.get(usize::from(node.0).checked_sub(1)?)
    }

    /// Rate error of a member's clock.
    #[must_use]
    pub fn drift_ppm(&self, node: NodeId) -> i64 {
        let witness = self.witness_ppm.unwrap_or_default();
        self.node(node).map_or(witness, |plan| plan.drift_ppm)
    }

    /// True for a seed with hundreds of groups.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.groups.len() >= 50
    }

    /// The configuration of the whole cluster.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        match parse(&self.text(), "sim.toml") {
            Ok(config) => Arc::new(config),
            Err(why) => panic!(
                "the simulator drew a configuration that is not valid:\n{why}\n{}",
                self.text()
            ),
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "[cluster]\nname = \"sim\"\nid = \"00000000000000aa\"\ndetection = \"{}ms\"\n",
            self.detection_ms
        );
        if !self.default_spans {
            text += "fence_delay = \"3s\"\nwitness_grace = \"3s\"\nstartup_grace = \"8s\"\n";
        }
        for (node, plan) in (1..).zip(&self.nodes) {
            text += &plan.text(node, self.disks > 0 && self.disks_only);
        }
        text += &self.disks_text();
        if self.witness_ppm.is_some() && self.witness_disks > 0 {
            let disks = devices(self.witness_disks);
            text += &format!("[witness]\ndisks = [{disks}]\n");
        } else if self.witness_ppm.is_some() && self.etcd {
            text += "[witness]\netcd = [\"10.0.0.99:2379\"]\n";
        } else if self.witness_ppm.is_some() {
            text += &format!("[witness]\naddress = \"10.0.0.99\"\nkeys = [\"{:064x}\"]\n", 99);
        }
        for (number, group) in self.groups.iter().enumerate() {
            text += &group.text(number, self.nodes.len() as u8, self.kind_of(number));
        }
        if !self.job.is_none() {
            text +=
                "[[job]]\nname = \"j\"\ngroup = \"g0\"\ncalendar = \"* * * * *\"\ncommand = [\"/bin/job\"]\n";
            text += self.job.text();
        }
        text
    }
}

/// Any rate that a clock may have.
pub fn drift_ppm(rng: &mut Rng) -> i64 {
    rng.range(0, 2 * DRIFT_MAX_PPM + 1) as i64 - DRIFT_MAX_PPM as i64
}

/// The first so many shared disks, as a list in the configuration.
fn devices(count: u8) -> String {
    let names: Vec<String> = (0..count).map(|disk| format!("\"/dev/disk{disk}\"")).collect();
    names.join(", ")
}

impl Cluster {
    fn disks_text(&self) -> String {
        if self.disks == 0 {
            return String::new();
        }
        let mut text = format!(
            "[sbd]\ndevices = [{}]\nwatchdog_timeout = \"2s\"\nmsgwait_timeout = \"4s\"\nloop_timeout = \"1s\"\n\
             io_timeout = \"500ms\"\n",
            devices(self.disks)
        );
        for node in self.data_nodes() {
            text += &format!(
                "[[fence]]\nnode = \"n{}\"\nagent = \"sbd\"\nmethod = \"disks\"\n",
                node.0
            );
        }
        text
    }
}

impl NodePlan {
    fn draw(rng: &mut Rng) -> NodePlan {
        NodePlan {
            drift_ppm: drift_ppm(rng),
            watchdog: rng.chance(300),
            outlets: if rng.chance(200) { 2 } else { 1 },
            second_level: rng.chance(300),
            bare: false,
            races: false,
        }
    }

    fn text(&self, node: u8, disks_only: bool) -> String {
        let mut text =
            format!("[[node]]\nname = \"n{node}\"\nlinks = [\"10.0.0.{node}\"]\nkeys = [\"{node:064x}\"]\n");
        let device = |keys: &str, program: &str| {
            format!(
                "[[fence]]\nnode = \"n{node}\"\nagent = \"exec\"\n{keys}\n\
                 params = {{ program = \"/bin/{program}\" }}\n"
            )
        };
        if self.bare || disks_only {
            return text;
        }
        for outlet in 0..self.outlets.max(1) {
            text += &device("level = 1", &format!("power{outlet}"));
        }
        if self.races {
            text += &device(&format!("level = 1\nmethod = \"{RACING}\""), "board");
        }
        if self.second_level {
            text += &device("level = 2", "pdu");
        }
        text
    }
}

impl GroupPlan {
    fn draw(rng: &mut Rng, number: u64, nodes: u8, crowded: bool) -> GroupPlan {
        let apart = !crowded && number > 0 && rng.chance(200);
        GroupPlan {
            fencing: rng.chance(667),
            prefer: rng.chance(300).then(|| rng.range(1, u64::from(nodes) + 1) as u8),
            apart,
            after: number > 0 && !apart && rng.chance(200),
            kind: Kind::Plain,
        }
    }

    /// What a takeover needs.
    #[must_use]
    pub fn requires(&self) -> Requires {
        if self.fencing {
            Requires::Fencing
        } else {
            Requires::Lease
        }
    }

    fn text(&self, number: usize, nodes: u8, kind: Kind) -> String {
        if kind == Kind::EveryNode {
            return format!(
                "[[group]]\nname = \"g{number}\"\nrun = \"every-node\"\n[[group.resource]]\nname = \"r\"\ntype = \"systemd\"\n\
                 unit = \"u{number}\"\n"
            );
        }
        let mut text = format!(
            "[[group]]\nname = \"g{number}\"\nrequires = \"{}\"\n",
            self.requires().word()
        );
        match kind {
            Kind::RolesPromote => text += "on_possible_loss = \"promote\"\n",
            Kind::Reader => text += "follows = \"g0\"\nrole = \"replica\"\nmax_lag = \"2s\"\n",
            Kind::Front => text += &format!("follows = \"g{}\"\nrole = \"any\"\n", number - 1),
            Kind::Plain | Kind::Roles | Kind::EveryNode => {}
        }
        if let Some(node) = self.prefer.filter(|node| *node <= nodes) {
            text += &format!("prefer = [\"n{node}\"]\n");
        }
        if self.apart && number > 0 {
            text += "apart_from = [\"g0\"]\n";
        } else if self.after && number > 0 {
            text += "after = [\"g0\"]\n";
        }
        if kind.has_roles() {
            return text
                + "[[group.resource]]\nname = \"r\"\ntype = \"ocf:heartbeat:Stateful\"\npromotable = true\n";
        }
        text += &format!(
            "[[group.resource]]\nname = \"r\"\ntype = \"vip\"\naddress = \"10.1.{}.{}/24\"\n",
            number / 200,
            number % 200 + 1
        );
        text
    }
}

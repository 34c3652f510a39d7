//! One fault that nobody mends, watched by a client: for the table of failures and configurations.

use holdfast_core::view::View;
use holdfast_proto::ids::{GroupName, NodeId};
use holdfast_proto::operator::OperatorRequest;
use holdfast_proto::peer::RunState;
use holdfast_proto::state::ProofKind;

use super::World;
use super::happening::Happening;

/// What became of the first group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Played {
    /// Who served it before the fault.
    pub before: NodeId,
    /// Who serves it in the end; nobody while something is waited for.
    pub after: Option<NodeId>,
    /// The longest time without an answer, until the end if nobody serves it then.
    pub outage_us: u64,
    /// The newest proof that was recorded since the fault.
    pub proof: Option<ProofKind>,
    /// What the nodes that can be asked say of the group: its state and the reason.
    pub said: Vec<String>,
}

/// The client asks this often.
const ASKS_EVERY_US: u64 = 1_000;
/// It looks on for so long after the group came back.
const LOOKS_ON_US: u64 = 15_000_000;

impl World {
    /// Forms the cluster, lets the faults of the schedule strike and mends nothing, and looks on for `watch_us`. `Err` is the
    /// promise that was broken.
    pub fn play(&mut self, watch_us: u64) -> Result<Played, String> {
        self.form();
        let bound = self.bound_us();
        self.run_until_whole(bound)?;
        self.come_to_rest()?;
        let group: GroupName = "g0".into();
        let before = self
            .serving(&group)
            .ok_or("the group does not run before the fault")?;
        let version = self.checker.newest().map_or(0, |state| state.version);
        let began = self.now_us;
        for number in 0..self.strikes.len() {
            let at = began + self.strikes[number].at_us;
            self.schedule(at, Happening::Strike(number));
        }
        let (mut answered_us, mut outage_us, mut back_us) = (began, 0, None);
        while self.now_us < began + watch_us {
            self.run_until(self.now_us + ASKS_EVERY_US)?;
            if self.serving(&group).is_some() {
                let was_away = self.now_us - answered_us > ASKS_EVERY_US;
                back_us = was_away.then_some(self.now_us).or(back_us);
                answered_us = self.now_us;
            }
            outage_us = outage_us.max(self.now_us - answered_us);
            if back_us.is_some_and(|back_us| self.now_us > back_us + LOOKS_ON_US) {
                break;
            }
        }
        let newest = self.checker.newest();
        let proofs = newest.iter().flat_map(|state| state.nodes.values());
        let proofs = proofs.filter_map(|node| node.proof.as_ref());
        let latest = proofs.max_by_key(|proof| proof.version);
        let played = Played {
            before,
            after: self.serving(&group),
            // One question is always on its way.
            outage_us: outage_us.saturating_sub(ASKS_EVERY_US),
            proof: latest
                .filter(|proof| proof.version > version)
                .map(|proof| proof.kind),
            said: self.said_of(&group),
        };
        if played.after.is_none() {
            self.do_as_told(&played, &group)?;
        }
        Ok(played)
    }

    /// The operator reads what the nodes say, sees to it that the lost node is off, and gives the command: that has to end it.
    fn do_as_told(&mut self, played: &Played, group: &GroupName) -> Result<(), String> {
        let told = |command: &str| played.said.iter().any(|said| said.contains(command));
        let lost = played.before;
        let survivors = self.machines.values().filter(|machine| machine.had.is_some());
        let asked = survivors
            .map(|machine| machine.id)
            .find(|node| !node.is_witness() && *node != lost);
        let (Some(asked), said) = (asked, played.said.join(" | ")) else {
            return Err("no other node is left to ask".into());
        };
        let request = if told("hactl quorum force") {
            OperatorRequest::QuorumForce
        } else if told("hactl fence confirm") {
            OperatorRequest::FenceConfirm {
                node: lost,
                reason: "seen off".into(),
            }
        } else {
            return Err(format!(
                "nobody serves the group, and no node says which command resolves it: {said}"
            ));
        };
        self.power_off(lost, "the operator turned it off");
        self.ask(asked, request);
        self.run_until(self.now_us + LOOKS_ON_US)?;
        match self.serving(group) {
            Some(_) => Ok(()),
            None => Err(format!(
                "the command that the nodes name does not resolve it: {said}"
            )),
        }
    }

    /// Who answers a client of `group`: it runs there, and the machine has power, is awake and has a link.
    fn serving(&self, group: &GroupName) -> Option<NodeId> {
        let serves = self.machines.values().find(|machine| {
            let seen = machine.agent.groups.get(group);
            machine.powered
                && seen.is_some_and(|seen| seen.run == RunState::Running)
                && machine.paused_until_us <= self.now_us
                && !self.network.no_carrier.contains(&machine.id)
        });
        serves.map(|machine| machine.id)
    }

    /// What `hactl why` and the first line of `hactl status` would say, on each data node that answers.
    fn said_of(&self, group: &GroupName) -> Vec<String> {
        let views = self.machines.values().filter_map(|machine| {
            let had = machine.had.as_ref()?;
            let answers = !machine.id.is_witness() && machine.had_free_us() <= self.now_us;
            answers.then(|| had.view(machine.local(self.now_us)))
        });
        views.flat_map(|view| words_of(&view, group)).collect()
    }
}

fn words_of(view: &View, group: &GroupName) -> Vec<String> {
    let quorum = (!view.has_quorum).then(|| view.quorum.clone());
    let shown = view.groups.iter().find(|shown| &shown.name == group);
    let reason = shown.filter(|shown| shown.state != "running");
    let reason = reason.map(|shown| format!("{}: {}", shown.state, shown.reason));
    quorum.into_iter().chain(reason).collect()
}

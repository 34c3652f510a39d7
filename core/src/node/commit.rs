//! Commits: what becomes of a proposal that has its majorities, and of a committed state that is learned.

use std::sync::Arc;

use holdfast_proto::ids::{Ballot, NodeId, Version};
use holdfast_proto::peer::Message;
use holdfast_proto::state::ClusterState;

use super::persistence::Deferred;
use super::{Node, Role};
use crate::effect::Effect;
use crate::journal::Level;
use crate::quorum::is_pair;
use crate::timer::Timer;

impl Node {
    pub(super) fn on_commit_durable(&mut self, ballot: Ballot, version: Version) {
        let Some(sealed) = self.persistence.sealing.take() else {
            return;
        };
        let current = matches!(&self.role, Role::Leading(leading) if leading.ballot == ballot
            && leading.proposal.as_ref().is_some_and(|proposal| proposal.state.version == version));
        if current {
            self.commit_proposal();
        } else if self
            .committed()
            .is_some_and(|committed| committed.version < version)
        {
            // No longer leader, but what was chosen stays chosen, and the disk says so already.
            self.set_committed(ballot, sealed);
        }
    }

    pub(super) fn commit_proposal(&mut self) {
        let Role::Leading(leading) = &mut self.role else {
            return;
        };
        let ballot = leading.ballot;
        let Some(proposal) = leading.proposal.take() else {
            return;
        };
        leading.established = true;
        self.timers.clear(Timer::AcceptRetry);
        self.set_committed(ballot, Arc::clone(&proposal.state));
        for to in self.others() {
            let blank_voter = proposal.state.voters.contains(to)
                && self
                    .members
                    .get(&to)
                    .is_none_or(|member| member.blank || member.heard_at.is_none());
            if !blank_voter {
                self.send(
                    to,
                    Message::Commit {
                        ballot,
                        state: Arc::clone(&proposal.state),
                    },
                );
            }
        }
        self.answer_calls(proposal.state.version);
    }

    /// A committed state, from the leader.
    pub(super) fn learn_commit(&mut self, ballot: Ballot, state: Arc<ClusterState>) {
        let Some(durable) = &self.durable else {
            self.adopt_first_state(ballot, state);
            return;
        };
        if state.version > durable.committed.version {
            if self.believes_commit(ballot, state.version) {
                self.set_committed(ballot, state);
                self.persist();
            }
        } else if state.version == durable.committed.version {
            self.note_synced(ballot, state.version);
        }
    }

    /// Whether a commit by somebody else fits this node's own leadership or candidacy, which it ends if its ballot is higher:
    /// a majority promised that ballot. A majority also promised this leader's, and told it all that it had accepted; so
    /// under a lower ballot nothing beyond that can have been committed, whoever says so.
    fn believes_commit(&mut self, ballot: Ballot, version: Version) -> bool {
        let (own, known) = match &self.role {
            Role::Leading(leading) => {
                // What it accepted itself before it adopted something else is not what the majority told it.
                let proposed = leading.proposal.as_ref().map(|proposal| &proposal.state);
                let adopted = proposed.or(leading.adopting.as_ref());
                let accepted = self.durable.as_ref().map(|durable| &durable.accepted);
                let known = adopted.or(accepted).map(|state| state.version);
                (leading.ballot, known.unwrap_or(0))
            }
            Role::Preparing(round) => (round.ballot, Version::MAX),
            Role::Follower | Role::PreVoting(_) => return true,
        };
        if ballot > own {
            self.step_down("another leader has committed a change");
            self.schedule_election(self.now + self.spans.lease);
            return true;
        }
        if version > known {
            let text = format!(
                "was told that version {version} is committed under ballot {ballot}, which cannot be under ballot {own}: \
                 not believed"
            );
            self.journal("contradiction", Level::Alert, text);
        }
        version <= known
    }

    /// A blank node takes its first state only when it is no voter in it: what it may have promised before is lost.
    fn adopt_first_state(&mut self, ballot: Ballot, state: Arc<ClusterState>) {
        if state.voters.contains(self.me.node) {
            return;
        }
        let text = format!("received the cluster's state, version {}", state.version);
        self.journal("state-received", Level::Info, text);
        self.config = Arc::clone(&state.config);
        self.outbox
            .push_back(Effect::ConfigChanged(Arc::clone(&self.config)));
        self.durable = Some(crate::durable::Durable {
            promised: ballot,
            accepted_ballot: ballot,
            accepted: Arc::clone(&state),
            committed: state,
        });
        self.follow_spans();
        self.persist();
    }

    /// Puts a committed state in force on this node.
    pub(super) fn set_committed(&mut self, ballot: Ballot, state: Arc<ClusterState>) {
        let Some(durable) = &mut self.durable else { return };
        let old = Arc::clone(&durable.committed);
        assert!(
            state.version >= old.version,
            "commit of version {} after {}",
            state.version,
            old.version
        );
        let was_pair = is_pair(self.me.node, &durable.committed, &durable.accepted);
        durable.committed = Arc::clone(&state);
        if ballot >= durable.promised
            && (ballot, state.version) > (durable.accepted_ballot, durable.accepted.version)
        {
            durable.accepted_ballot = ballot;
            durable.accepted = Arc::clone(&state);
        }
        self.note_rules(was_pair);
        if old.voters.is_data_pair() && !self.in_pair() {
            // The other accepted what ends the pair's rules some time before now, perhaps long after this node did.
            self.lease_rules_since = self.now;
        }
        self.note_synced(ballot, state.version);
        if !Arc::ptr_eq(&self.config, &state.config) && self.config.source != state.config.source {
            if self.config.register.is_some() != state.config.register.is_some() {
                // Another kind of witness numbers its runs by itself.
                self.members.remove(&NodeId::WITNESS);
            }
            self.config = Arc::clone(&state.config);
            self.journal(
                "config-changed",
                Level::Info,
                "the committed configuration is in force".into(),
            );
            self.outbox
                .push_back(Effect::ConfigChanged(Arc::clone(&self.config)));
        }
        self.follow_spans();
        if old.maintenance != state.maintenance {
            self.outbox.push_back(Effect::Maintenance(state.maintenance));
        }
        self.journal_differences(&old, &state);
        self.note_moves(&old, &state);
        self.note_failures(&state);
    }

    /// Synced means: acknowledged, in this boot, a state that then committed (architecture.md rule 6), and has it on disk: a
    /// restart within the boot resumes as synced and must not resume with an older state. In a pair that would be one
    /// from before this node was voted out.
    fn note_synced(&mut self, ballot: Ballot, version: Version) {
        let acked = self.acked.is_some_and(|(acked_ballot, acked)| {
            acked_ballot == ballot && acked <= version && self.could_count(ballot.leader(), acked)
        });
        if acked && !self.synced && !self.persistence.syncing {
            self.persistence.syncing = true;
            let id = self.persist();
            self.after(id, Deferred::Synced(version));
        }
    }

    /// Whether `leader` had heard this boot before it committed `version`. If not, a proof about an earlier boot may have
    /// stood in for this node's vote, then and afterwards. The witness gets no answers; no proof stands in for it.
    fn could_count(&self, leader: NodeId, version: Version) -> bool {
        let first_answer = self.members.get(&leader).and_then(|member| member.first_answer);
        let alone = leader == self.me.node || self.me.node.is_witness();
        alone || first_answer.is_some_and(|known| known < version)
    }

    pub(super) fn on_synced(&mut self, version: Version) {
        self.persistence.syncing = false;
        self.synced = true;
        self.outbox.push_back(Effect::MarkSynced);
        let text = format!("caught up with version {version} in this boot");
        self.journal("synced", Level::Info, text);
    }

    /// Notes when the pair's own rules end: permits given under them run for a while after that.
    pub(super) fn note_rules(&mut self, was_pair: bool) {
        if was_pair && !self.in_pair() {
            self.lease_rules_since = self.now;
        }
    }
}

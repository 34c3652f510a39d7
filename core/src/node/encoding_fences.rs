//! The part of a node's encoding that is about fencing: attempts under way, proofs, and what is remembered of earlier ones.

use std::collections::BTreeMap;
use std::time::Duration;

use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::fence_count::Fencings;
use super::fencing::FenceRun;
use super::race::{Asked, Method};
use crate::encoding::Encoder;
use crate::proof::FenceProof;

pub(super) fn encode_fence(
    now: Time,
    node: NodeId,
    run: &FenceRun,
    (next_id, ended, memory): (&u64, &dyn Fn(usize) -> bool, Duration),
    to: &mut Encoder,
) {
    let FenceRun {
        why: _,
        begun_at: _,
        boot,
        level,
        methods,
        // The configuration of these clusters does not change.
        config: _,
        outstanding,
        standing,
        won,
        attempts,
        retry_at,
        asked_for,
    } = run;
    to.word(node.0.into());
    to.boot(node, *boot);
    to.word(*level as u64);
    for (number, method) in methods.iter().enumerate() {
        to.flag(ended(number));
        let Method {
            name: _,
            devices: _,
            step,
            results,
            // What is decided by it, and by when the node was heard, is encoded with the node.
            all_off_at: _,
            proved,
        } = method;
        to.word(*step as u64);
        for (_, result) in results {
            to.flag(result.off_read_back);
            if proved.is_none() {
                to.instant(now, Some(result.read_at), memory);
            }
        }
        to.word(proved.map_or(2, u64::from));
    }
    for (
        id,
        Asked {
            method,
            kind: _,
            by_order: _,
        },
    ) in outstanding
    {
        to.word(next_id - id.0);
        to.word(*method as u64);
    }
    to.flag(standing.void);
    to.flag(standing.ballot.is_some());
    to.word(won.map_or(0, |won| won as u64 + 1));
    // The pause between attempts grows up to the fifth.
    to.word(u64::from((*attempts).min(5)));
    to.deadline(now, *retry_at);
    to.flag(*asked_for);
}

pub(super) fn encode_proofs(
    now: Time,
    proofs: &BTreeMap<NodeId, FenceProof>,
    fencings: &BTreeMap<NodeId, Fencings>,
    memory: Duration,
    to: &mut Encoder,
) {
    for (node, known) in fencings {
        to.word(node.0.into());
        // None of these clusters lives for as long as a fencing counts.
        to.word(known.recent(now).into());
        to.instant(now, Some(known.back_at), memory);
    }
    for (node, proof) in proofs {
        encode_proof(now, *node, proof, memory, to);
    }
}

fn encode_proof(now: Time, node: NodeId, proof: &FenceProof, memory: Duration, to: &mut Encoder) {
    to.word(node.0.into());
    to.word(proof.kind() as u64);
    to.boot(node, proof.ended_boot());
    to.instant(now, Some(proof.at()), memory);
    to.epoch(proof.before_epoch());
}

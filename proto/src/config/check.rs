//! Checks across sections: names that are taken, references to nothing, rules that contradict each other.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use super::cluster::{NodeDraft, WitnessDraft};
use super::diagnostic::Problem;
use super::etcd::RegisterDraft;
use super::group::GroupDraft;
use super::reader::{At, Problems, Span};
use super::schema::Exclusive;
use super::{FenceKind, FenceSection, Requires};
use crate::ids::GroupName;

/// Places of things of which there can be only one.
struct Taken<K>(HashMap<K, (Span, String)>);

impl<K: std::hash::Hash + Eq> Taken<K> {
    fn new() -> Self {
        Taken(HashMap::new())
    }

    /// Claims `key` for `owner`; reports it if it is taken.
    fn claim(&mut self, key: K, span: &Span, owner: &str, message: &str, problems: &Problems) -> bool {
        if let Some((first, first_owner)) = self.0.get(&key) {
            let problem =
                Problem::new(span.clone(), message).related(first.clone(), format!("taken by {first_owner}"));
            problems.add(problem);
            return false;
        }
        self.0.insert(key, (span.clone(), owner.to_string()));
        true
    }
}

/// Names, numbers and addresses of the members.
pub(super) fn check_members(
    nodes: &[NodeDraft],
    witness: Option<&WitnessDraft>,
    register: Option<&RegisterDraft>,
    problems: &Problems,
) {
    let mut names = Taken::new();
    let mut numbers = Taken::new();
    let mut addresses = Taken::new();
    for node in nodes.iter().filter(|node| !node.name.value.is_empty()) {
        let owner = format!("node {}", node.name.value);
        let message = format!("two nodes are called \"{}\"", node.name.value);
        names.claim(
            node.name.value.to_lowercase(),
            &node.name.span,
            &owner,
            &message,
            problems,
        );
        let message = format!("two nodes have the id {}", node.section.id.0);
        numbers.claim(node.section.id, &node.id_span, &owner, &message, problems);
        for link in &node.links {
            let message = format!("the address {} is used twice", link.value);
            addresses.claim(link.value, &link.span, &owner, &message, problems);
        }
    }
    check_families(nodes, problems);
    if let Some(register) = register {
        let name = &register.name;
        let message = format!("a data node is called \"{}\" as well", name.value);
        names.claim(
            name.value.to_lowercase(),
            &name.span,
            "the witness",
            &message,
            problems,
        );
    }
    if let Some(witness) = witness {
        let message = format!("a data node is called \"{}\" as well", witness.section.name);
        names.claim(
            witness.section.name.to_lowercase(),
            &witness.name_span,
            "the witness",
            &message,
            problems,
        );
        let message = "the witness has the address of a data node";
        let fresh = addresses.claim(
            witness.section.address,
            &witness.address_span,
            "the witness",
            message,
            problems,
        );
        if fresh && !nodes.is_empty() {
            check_witness_family(nodes, witness, problems);
        }
    }
}

/// Link i of one node talks to link i of the other: both must be IPv4 or both IPv6.
fn check_families(nodes: &[NodeDraft], problems: &Problems) {
    let Some((first, others)) = nodes.split_first() else {
        return;
    };
    for node in others {
        for (index, (link, of_first)) in node.links.iter().zip(&first.links).enumerate() {
            if link.value.is_ipv4() != of_first.value.is_ipv4() {
                let message = format!("link {} is IPv4 on one node and IPv6 on another", index + 1);
                let problem = Problem::new(link.span.clone(), message)
                    .hint("links are paired by their position in the list")
                    .related(
                        of_first.span.clone(),
                        format!("the same link of {}", first.name.value),
                    );
                problems.add(problem);
            }
        }
    }
}

fn check_witness_family(nodes: &[NodeDraft], witness: &WitnessDraft, problems: &Problems) {
    let is_v4 = witness.section.address.is_ipv4();
    for node in nodes.iter().filter(|node| !node.links.is_empty()) {
        if !node.links.iter().any(|link| link.value.is_ipv4() == is_v4) {
            let family = if is_v4 { "IPv4" } else { "IPv6" };
            let message = format!(
                "the witness has an {family} address and {} has none",
                node.name.value
            );
            problems.add(Problem::new(witness.address_span.clone(), message));
            return;
        }
    }
}

/// Names of groups, what only one group may have, and virtual addresses that belong to a member.
pub(super) fn check_exclusive(
    nodes: &[NodeDraft],
    witness: Option<&WitnessDraft>,
    groups: &[GroupDraft],
    problems: &Problems,
) {
    let mut members: HashMap<IpAddr, (Span, String)> = HashMap::new();
    for node in nodes {
        for link in &node.links {
            members.insert(
                link.value,
                (link.span.clone(), format!("a link of {}", node.name.value)),
            );
        }
    }
    if let Some(witness) = witness {
        members.insert(
            witness.section.address,
            (witness.address_span.clone(), "the witness".into()),
        );
    }
    let mut names = Taken::new();
    let mut addresses = Taken::new();
    let mut units = Taken::new();
    for group in groups {
        let name = &group.section.name;
        let owner = format!("group {name}");
        let message = format!("two groups are called \"{name}\"");
        names.claim(
            name.clone(),
            &group.name_span,
            "the first of them",
            &message,
            problems,
        );
        for claim in &group.exclusive {
            match &claim.value {
                Exclusive::Address(address) => {
                    let message = format!("the virtual address {address} is used twice");
                    addresses.claim(*address, &claim.span, &owner, &message, problems);
                    if let Some((span, member)) = members.get(address) {
                        let message = format!("{address} is the address of a member, it cannot move");
                        let problem = Problem::new(claim.span.clone(), message).related(span.clone(), member);
                        problems.add(problem);
                    }
                }
                Exclusive::Unit(unit) => {
                    let message = format!("the unit {unit} is in two resources");
                    units.claim(unit.clone(), &claim.span, &owner, &message, problems);
                }
            }
        }
    }
}

/// Resolves `with`, `apart_from` and `after`, and looks for cycles and contradictions.
pub(super) fn check_relations(groups: &[GroupDraft], problems: &Problems) {
    let index: BTreeMap<&str, usize> = groups
        .iter()
        .enumerate()
        .map(|(at, group)| (&*group.section.name, at))
        .collect();
    let resolve = |key: &str, names: &[At<GroupName>], own: usize| -> Vec<usize> {
        let mut found = Vec::new();
        for name in names {
            match index.get(&*name.value) {
                Some(at) if groups[*at].section.name == groups[own].section.name => {
                    let message = format!("`{key}` names the group itself");
                    problems.add(Problem::new(name.span.clone(), message));
                }
                Some(at) => found.push(*at),
                None => {
                    let message = format!("there is no group called \"{}\"", name.value.escape_debug());
                    problems.add_unknown(name.span.clone(), message, &name.value, index.keys().copied());
                }
            }
        }
        found
    };
    let edges = |key: &str, names: fn(&GroupDraft) -> &[At<GroupName>]| -> Vec<Vec<usize>> {
        groups
            .iter()
            .enumerate()
            .map(|(own, group)| resolve(key, names(group), own))
            .collect()
    };
    let with = edges("with", |group| &group.with);
    let apart = edges("apart_from", |group| &group.apart_from);
    let after = edges("after", |group| &group.after);
    report_cycle("after", &after, groups, problems);
    report_cycle("with", &with, groups, problems);
    report_contradictions(&with, &apart, groups, problems);
}

/// Reports one cycle, if there is one: nodes are taken off while nothing they point at is left.
fn report_cycle(key: &str, edges: &[Vec<usize>], groups: &[GroupDraft], problems: &Problems) {
    let mut left: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut pointed_at_by: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (from, targets) in edges.iter().enumerate() {
        targets.iter().for_each(|to| pointed_at_by[*to].push(from));
    }
    let mut free: Vec<usize> = (0..edges.len()).filter(|at| left[*at] == 0).collect();
    while let Some(at) = free.pop() {
        for from in &pointed_at_by[at] {
            left[*from] -= 1;
            if left[*from] == 0 {
                free.push(*from);
            }
        }
    }
    let Some(mut at) = (0..edges.len()).find(|at| left[*at] > 0) else {
        return;
    };
    // Whoever is left points at somebody who is left: following that ends in a cycle.
    let mut path = Vec::new();
    while !path.contains(&at) {
        path.push(at);
        let Some(next) = edges[at].iter().copied().find(|to| left[*to] > 0) else {
            return;
        };
        at = next;
    }
    let cycle = &path[path.iter().position(|step| *step == at).unwrap_or(0)..];
    let mut names: Vec<&str> = cycle
        .iter()
        .take(8)
        .map(|step| &*groups[*step].section.name)
        .collect();
    if cycle.len() > names.len() {
        names.push("...");
    }
    names.push(&groups[at].section.name);
    let message = format!("`{key}` goes round in a circle: {}", names.join(" -> "));
    let hint = if key == "with" {
        "name the leading group in the others, not the other way round as well"
    } else {
        "none of these could ever start: remove one of the references"
    };
    problems.add(Problem::new(groups[at].name_span.clone(), message).hint(hint));
}

/// Groups that must run together, by `with` in any number of steps, must not be told to stay apart.
fn report_contradictions(
    with: &[Vec<usize>],
    apart: &[Vec<usize>],
    groups: &[GroupDraft],
    problems: &Problems,
) {
    let mut parent: Vec<usize> = (0..groups.len()).collect();
    fn root(parent: &mut [usize], mut at: usize) -> usize {
        while parent[at] != at {
            parent[at] = parent[parent[at]];
            at = parent[at];
        }
        at
    }
    for (from, targets) in with.iter().enumerate() {
        for to in targets {
            let (left, right) = (root(&mut parent, from), root(&mut parent, *to));
            parent[left] = right;
        }
    }
    for (from, targets) in apart.iter().enumerate() {
        for to in targets {
            if root(&mut parent, from) == root(&mut parent, *to) {
                let (name, other) = (&groups[from].section.name, &groups[*to].section.name);
                let span = groups[from]
                    .apart_from
                    .iter()
                    .find(|name| name.value == *other)
                    .map_or(groups[from].name_span.clone(), |name| name.span.clone());
                let message = format!("{name} is to stay apart from {other}, and `with` ties them together");
                problems.add(Problem::new(span, message).hint("remove one of the two rules"));
            }
        }
    }
}

/// A pair without a witness can only prove by power that a node is off.
pub(super) fn check_fencing(
    nodes: &[NodeDraft],
    has_witness: bool,
    fences: &[FenceSection],
    groups: &[GroupDraft],
    problems: &Problems,
) {
    if has_witness || nodes.len() != 2 {
        return;
    }
    let has_power = |node: &&NodeDraft| {
        fences
            .iter()
            .any(|fence| fence.node == node.section.id && fence.kind == FenceKind::Power)
    };
    let bare: Vec<&str> = nodes
        .iter()
        .filter(|node| !has_power(node))
        .map(|node| node.name.value.as_str())
        .collect();
    let mut needing = groups
        .iter()
        .filter(|group| group.section.requires == Requires::Fencing);
    let (false, Some(first)) = (bare.is_empty(), needing.next()) else {
        return;
    };
    let others = match needing.count() {
        0 => String::new(),
        1 => " (so does 1 other group)".into(),
        more => format!(" (so do {more} other groups)"),
    };
    let message = format!(
        "group {} requires fencing{others}, but there is neither a witness nor a power fence device for {}",
        first.section.name,
        bare.join(" and ")
    );
    let hint = "add a [witness], or a [[fence]] for each node; requires = \"lease\" is for groups whose data \
                survives two writers for a moment";
    problems.add(Problem::new(first.requires_span.clone(), message).hint(hint));
}

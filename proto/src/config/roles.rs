//! Groups with roles, groups that run on every node, and groups that follow the members of such a group.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::Problem;
use super::group::GroupDraft;
use super::reader::{At, Problems, Span, Table};
use super::schema::Exclusive;
use super::{FollowedRole, Follows, GroupSection, OnPossibleLoss, Requires, RunOn};
use crate::ids::GroupName;

/// How old the data of a replica may be unless it is said.
const MAX_LAG_MS: u32 = 60_000;

/// Whether resources of a kind have roles: they run on every eligible node, and are promoted on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roles {
    /// They run on one node, or on none.
    Never,
    /// They have.
    Always,
    /// They have when this parameter, by the key that the agent gets, has this value.
    When(&'static str, &'static str),
}

impl Roles {
    /// True when a resource with these parameters has roles.
    #[must_use]
    pub fn apply(self, params: &BTreeMap<String, String>) -> bool {
        match self {
            Roles::Never => false,
            Roles::Always => true,
            Roles::When(key, value) => params.get(key).is_some_and(|given| given == value),
        }
    }
}

/// What a group says about roles, with the places.
pub(super) struct RolesDraft {
    run: Option<At<RunOn>>,
    on_possible_loss: Option<At<OnPossibleLoss>>,
    follows: Option<At<GroupName>>,
    role: Option<At<FollowedRole>>,
    max_lag_ms: Option<At<u32>>,
    /// Keys of placement, which mean nothing for a group that runs everywhere.
    placement: Vec<(&'static str, Span)>,
}

impl RolesDraft {
    pub(super) fn run(&self) -> RunOn {
        self.run.as_ref().map(|run| run.value).unwrap_or_default()
    }

    pub(super) fn on_possible_loss(&self) -> OnPossibleLoss {
        let given = self.on_possible_loss.as_ref();
        given.map(|given| given.value).unwrap_or_default()
    }

    /// Whom it follows; nobody when the role is missing, which is reported.
    pub(super) fn follows(&self) -> Option<Follows> {
        Some(Follows {
            group: self.follows.as_ref()?.value.clone(),
            role: self.role.as_ref()?.value,
            max_lag_ms: self.max_lag_ms.as_ref().map_or(MAX_LAG_MS, |lag| lag.value),
        })
    }
}

/// One of `words`, each with what it means.
pub(super) fn word<T: Copy>(table: &Table, key: &str, words: &[(&'static str, T)]) -> Option<At<T>> {
    let text = table.text(key)?;
    let Some((_, meaning)) = words.iter().find(|(word, _)| *word == text.value) else {
        let message = format!("`{key}` cannot be \"{}\"", text.value.escape_debug());
        let known = words.iter().map(|(word, _)| *word);
        table
            .problems
            .add_unknown(text.span.clone(), message, text.value, known);
        return None;
    };
    Some(At::new(*meaning, text.span))
}

pub(super) fn read(table: &Table) -> RolesDraft {
    let follows = table
        .text("follows")
        .map(|text| At::new(GroupName::from(text.value), text.span));
    let role = word(
        table,
        "role",
        &[
            ("primary", FollowedRole::Primary),
            ("replica", FollowedRole::Replica),
            ("any", FollowedRole::Any),
        ],
    );
    let max_lag_ms = table.duration_ms("max_lag", 1..=24 * 3_600_000);
    if let Some(follows) = &follows
        && table.span_of("role").is_none()
    {
        let message = "`follows` needs `role`: which members of that group it goes after";
        let hint = "role = \"primary\", \"replica\" or \"any\"";
        table
            .problems
            .add(Problem::new(follows.span.clone(), message).hint(hint));
    }
    for key in ["role", "max_lag"] {
        if let Some(span) = table.span_of(key).filter(|_| follows.is_none()) {
            let message = format!("`{key}` says nothing without `follows`");
            let hint = "add follows = \"NAME\" with the group whose members it goes after";
            table.problems.add(Problem::new(span, message).hint(hint));
        }
    }
    if let (Some(lag), Some(role)) = (&max_lag_ms, &role)
        && role.value != FollowedRole::Replica
    {
        let problem = Problem::new(lag.span.clone(), "`max_lag` is for role = \"replica\" only")
            .related(role.span.clone(), "another role is set here");
        table.problems.add(problem);
    }
    let placing = ["prefer", "with", "apart_from", "after", "follows"];
    RolesDraft {
        run: word(
            table,
            "run",
            &[("one-node", RunOn::OneNode), ("every-node", RunOn::EveryNode)],
        ),
        on_possible_loss: word(
            table,
            "on_possible_loss",
            &[
                ("refuse", OnPossibleLoss::Refuse),
                ("promote", OnPossibleLoss::Promote),
            ],
        ),
        follows,
        role,
        max_lag_ms,
        placement: placing
            .into_iter()
            .filter_map(|key| Some((key, table.span_of(key)?)))
            .collect(),
    }
}

/// What goes after a primary belongs with its group, like any other group that does.
pub(super) fn tie_to_primaries(groups: &mut [GroupDraft]) {
    let names: BTreeSet<GroupName> = groups.iter().map(|group| group.section.name.clone()).collect();
    for group in groups {
        let Some(follows) = &group.section.follows else {
            continue;
        };
        let tied = group.with.iter().any(|with| with.value == follows.group);
        let other = names.contains(&follows.group) && follows.group != group.section.name;
        if follows.role == FollowedRole::Primary && other && !tied {
            group.with.extend(group.roles.follows.clone());
        }
    }
}

/// What groups say about roles, against their resources and against each other.
pub(super) fn check(groups: &[GroupDraft], problems: &Problems) {
    let by_name: BTreeMap<&str, &GroupDraft> =
        groups.iter().map(|group| (&*group.section.name, group)).collect();
    for group in groups {
        match group.section.run {
            RunOn::EveryNode => check_every_node(group, problems),
            RunOn::OneNode => check_one_node(group, problems),
        }
        check_follows(group, &by_name, problems);
        check_relations(group, &by_name, problems);
    }
}

fn check_every_node(group: &GroupDraft, problems: &Problems) {
    let GroupSection { name, requires, .. } = &group.section;
    if *requires != Requires::Nothing {
        let message = format!(
            "{name} runs on every node, so it cannot require {}",
            requires.word()
        );
        let hint = "leave `requires` out: nothing has to be proven before it starts elsewhere";
        problems.add(Problem::new(group.requires_span.clone(), message).hint(hint));
    }
    for (key, span) in &group.roles.placement {
        let message = format!("`{key}` says nothing for a group that runs on every node");
        problems.add(Problem::new(span.clone(), message));
    }
    if let Some(address) = group
        .exclusive
        .iter()
        .find(|claim| matches!(claim.value, Exclusive::Address(_)))
    {
        let message = "a virtual address cannot be on every node";
        let hint = format!(
            "put it into a group of its own, with follows = \"{name}\" and role = \"any\": it goes where that group is well"
        );
        problems.add(Problem::new(address.span.clone(), message).hint(hint));
    }
    if let Some(loss) = &group.roles.on_possible_loss {
        let message = "`on_possible_loss` says nothing for a group that runs on every node";
        problems.add(Problem::new(loss.span.clone(), message));
    }
}

fn check_one_node(group: &GroupDraft, problems: &Problems) {
    let section = &group.section;
    let mut copies = section.resources.iter().filter(|resource| resource.has_roles());
    let Some(first) = copies.next() else {
        if let Some(loss) = &group.roles.on_possible_loss {
            let message =
                "`on_possible_loss` is for groups with a resource that has roles, and this one has none";
            problems.add(Problem::new(loss.span.clone(), message));
        }
        return;
    };
    if let Some(second) = copies.next() {
        let message = format!(
            "{} has two resources with roles, {} and {}: which copies are whole is agreed once per group",
            section.name, first.name, second.name
        );
        let hint = "give each a group of its own, and tie them together by `with`";
        problems.add(Problem::new(group.name_span.clone(), message).hint(hint));
    }
    if section.requires == Requires::Nothing {
        let message = format!(
            "{} has a resource with roles ({}), so it cannot require nothing: two would be promoted at once",
            section.name, first.name
        );
        let hint =
            "requires = \"fencing\", or \"lease\" where the service itself takes no writes without its peers";
        problems.add(Problem::new(group.requires_span.clone(), message).hint(hint));
    }
}

fn check_follows(group: &GroupDraft, by_name: &BTreeMap<&str, &GroupDraft>, problems: &Problems) {
    let Some(follows) = &group.roles.follows else {
        return;
    };
    if *follows.value == *group.section.name {
        problems.add(Problem::new(
            follows.span.clone(),
            "`follows` names the group itself",
        ));
        return;
    }
    let Some(followed) = by_name.get(&*follows.value) else {
        let message = format!("there is no group called \"{}\"", follows.value.escape_debug());
        let known = by_name.keys().copied();
        problems.add_unknown(follows.span.clone(), message, &follows.value, known);
        return;
    };
    let Some(role) = &group.roles.role else { return };
    let section = &followed.section;
    let (fits, lacks, hint) = match role.value {
        FollowedRole::Any => (
            section.has_members(),
            "runs on one node only and has no members",
            "with = [...] ties a group to one that runs on one node",
        ),
        _ => (
            section.is_promotable(),
            "has no roles",
            "a group has roles when one of its resources has; for run = \"every-node\" write role = \"any\"",
        ),
    };
    if !fits {
        let message = format!("{} {lacks}", section.name);
        let problem = Problem::new(role.span.clone(), message)
            .hint(hint)
            .related(followed.name_span.clone(), "the group that it follows");
        problems.add(problem);
    }
    if group.section.is_promotable() {
        let message = format!(
            "{} has roles itself, so it cannot follow another group",
            group.section.name
        );
        let hint = "`follows` is for addresses and what belongs to them; put them into a group of their own";
        problems.add(Problem::new(follows.span.clone(), message).hint(hint));
    }
}

/// A group that runs everywhere is at no place that another one could be tied to, or kept from.
fn check_relations(group: &GroupDraft, by_name: &BTreeMap<&str, &GroupDraft>, problems: &Problems) {
    for (key, names) in [("with", &group.with), ("apart_from", &group.apart_from)] {
        let everywhere = names.iter().filter(|name| {
            let followed = group.roles.follows.as_ref();
            let other = by_name.get(&*name.value);
            followed.is_none_or(|followed| followed.span != name.span)
                && other.is_some_and(|other| other.section.is_every_node())
        });
        for name in everywhere {
            let message = format!("`{key}` names {}, which runs on every node", name.value);
            let hint = format!(
                "follows = \"{}\" with role = \"any\" keeps a group where that one is well",
                name.value
            );
            problems.add(Problem::new(name.span.clone(), message).hint(hint));
        }
    }
}

//! What is told about the copy of the data on this node. Pure.

use super::info::Info;
use crate::roles::{CopyStatus, InSync, RolesView};

/// What a Redis that was started anew has of what was acknowledged before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durable {
    /// Each write was on its disk before it was confirmed (`appendfsync always`).
    All,
    /// It appends to a file that is synced each second.
    Second,
    /// Snapshots only.
    Snapshot,
    /// Nothing is on disk, or that is not known.
    #[default]
    Nothing,
}

impl Durable {
    /// From its settings.
    pub fn read(appends: bool, fsync: &str, save: &str) -> Durable {
        match (appends, fsync) {
            (true, "always") => Durable::All,
            (true, "everysec") => Durable::Second,
            // The kernel writes when it likes to.
            (true, _) => Durable::Snapshot,
            (false, _) if save.trim().is_empty() => Durable::Nothing,
            (false, _) => Durable::Snapshot,
        }
    }

    fn missing(self) -> &'static str {
        match self {
            Durable::All => "",
            Durable::Second => "about the last second before that (appendfsync everysec)",
            Durable::Snapshot => "everything since its last snapshot",
            Durable::Nothing => "everything (neither appendonly nor save is set)",
        }
    }
}

/// What is known when it is told.
pub struct Known<'a> {
    pub info: &'a Info,
    pub view: &'a RolesView,
    pub promoted: bool,
    /// This process' copy has held, at some time, all that was acknowledged by then.
    pub whole: bool,
    pub durable: Durable,
    /// The Redis of another node, as it answered last, and the node's name.
    pub other: Option<(&'a str, &'a Info)>,
    /// Why it does not follow.
    pub held_back: &'a str,
    /// Why it could not take a write; empty while it could.
    pub disk: &'a str,
    pub lag_ms: Option<u64>,
    /// What its promotion may lose was told so long ago that the cluster knows.
    pub settled: bool,
    /// When it was last connected with its primary, in seconds before now.
    pub followed_s_ago: Option<u64>,
    pub wish: Option<InSync>,
}

/// See [`CopyStatus`].
pub fn status(known: &Known<'_>) -> CopyStatus {
    let info = known.info;
    CopyStatus {
        obstacle: obstacle(known),
        position: info.offset,
        history: info.replid.clone(),
        position_text: format!(
            "offset {} of {}, {} keys",
            info.offset,
            short(&info.replid),
            info.keys
        ),
        lag_ms: if known.promoted { Some(0) } else { known.lag_ms },
        possible_loss: if known.promoted {
            String::new()
        } else {
            possible_loss(known)
        },
        wish: known.wish.clone().filter(|_| known.promoted),
        readable: !info.loading && (known.promoted || info.link_up),
    }
}

/// A history's id is 40 digits; people compare the first ones.
fn short(replid: &str) -> &str {
    replid.get(..8).unwrap_or(replid)
}

/// Whether anybody was promoted before: until then there is nothing that could be lost.
fn is_new(view: &RolesView) -> bool {
    view.in_sync.generation == 0 && view.in_sync.nodes.is_empty()
}

/// The first generation comes with the assignment that is carried out: no set was agreed before that could know more.
pub fn is_first(view: &RolesView) -> bool {
    view.in_sync.generation == 1
        && view.in_sync.nodes.len() == 1
        && view.in_sync.nodes.contains(&view.own.name)
}

fn obstacle(known: &Known<'_>) -> String {
    let info = known.info;
    if known.promoted {
        return String::new();
    }
    if info.loading {
        return "it reads its data".into();
    }
    if !known.disk.is_empty() {
        return known.disk.to_owned();
    }
    if known.whole || is_new(known.view) {
        return String::new();
    }
    if info.sync_in_progress {
        return "it gets a whole copy from its primary, which is not complete".into();
    }
    match known.other {
        Some((name, other)) if info.keys == 0 && other.keys > 0 => format!(
            "it came up empty, and {name} has {} keys: promoted, it would wipe them",
            other.keys
        ),
        _ if !known.held_back.is_empty() => known.held_back.to_owned(),
        // Else the cluster would promote it on the word of before, and the agent would have to refuse.
        _ if !known.settled && !is_first(known.view) && !possible_loss(known).is_empty() => {
            "its redis was started a moment ago: the cluster is told first what that may have cost".into()
        }
        _ => String::new(),
    }
}

fn possible_loss(known: &Known<'_>) -> String {
    let (view, info) = (known.view, known.info);
    let own = &view.own.name;
    if is_new(view) {
        return String::new();
    }
    if !view.in_sync.nodes.is_empty() && !view.in_sync.nodes.contains(own) {
        let since = known
            .followed_s_ago
            .map_or("an unknown time".to_owned(), |seconds| format!("{seconds} s"));
        let bytes = match known.other {
            Some((_, other)) if other.replid == info.replid && other.offset > info.offset => {
                format!(", at least {} bytes", other.offset - info.offset)
            }
            _ => String::new(),
        };
        return format!("all that was written since it last followed its primary, {since} ago{bytes}");
    }
    if known.whole || known.durable == Durable::All {
        return String::new();
    }
    let alone = view.in_sync.nodes.len() == 1;
    if alone && info.keys > 0 {
        // No other copy has more, so waiting for one would bring nothing back.
        return String::new();
    }
    if info.keys == 0 {
        return "everything: its redis was restarted and came up empty".into();
    }
    format!(
        "its redis was restarted and has not followed since; what was acknowledged and is not on its disk: {}",
        known.durable.missing()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roles::Peer;

    fn view(nodes: &[&str]) -> RolesView {
        RolesView {
            own: Peer {
                name: "b".into(),
                ..Peer::default()
            },
            in_sync: InSync {
                generation: u64::from(!nodes.is_empty()),
                nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
            },
            ..RolesView::default()
        }
    }

    fn told(
        view: &RolesView,
        info: &Info,
        whole: bool,
        other: Option<&Info>,
        durable: Durable,
    ) -> CopyStatus {
        status(&known(view, info, whole, other, durable))
    }

    fn known<'a>(
        view: &'a RolesView,
        info: &'a Info,
        whole: bool,
        other: Option<&'a Info>,
        durable: Durable,
    ) -> Known<'a> {
        Known {
            info,
            view,
            promoted: false,
            whole,
            durable,
            other: other.map(|info| ("a", info)),
            held_back: "",
            disk: "",
            lag_ms: None,
            settled: true,
            followed_s_ago: Some(12),
            wish: None,
        }
    }

    fn copy(keys: u64, offset: u64) -> Info {
        Info {
            keys,
            offset,
            replid: "h".into(),
            ..Info::default()
        }
    }

    #[test]
    fn a_whole_copy_in_the_set_loses_nothing() {
        let said = told(&view(&["a", "b"]), &copy(3, 50), true, None, Durable::Nothing);
        assert_eq!((said.obstacle.as_str(), said.possible_loss.as_str()), ("", ""));
        assert_eq!((said.position, said.history.as_str()), (50, "h"));
    }

    #[test]
    fn an_empty_copy_is_no_choice_while_another_has_data() {
        let (empty, full) = (copy(0, 0), copy(7, 50));
        let said = told(&view(&["a", "b"]), &empty, false, Some(&full), Durable::Nothing);
        assert!(said.obstacle.contains("a has 7 keys"), "{}", said.obstacle);
        let alone = told(&view(&["a", "b"]), &empty, false, None, Durable::Nothing);
        assert!(alone.obstacle.is_empty() && alone.possible_loss.starts_with("everything"));
        let new = told(&view(&[]), &empty, false, Some(&full), Durable::Nothing);
        assert!(
            new.obstacle.is_empty() && new.possible_loss.is_empty(),
            "nobody was promoted yet"
        );
    }

    #[test]
    fn what_a_restart_may_have_cost_is_told_before_it_can_be_promoted() {
        let (view, info) = (view(&["a", "b"]), copy(7, 50));
        let said = |durable, whole| {
            status(&Known {
                settled: false,
                ..known(&view, &info, whole, None, durable)
            })
        };
        let second = said(Durable::Second, false);
        assert!(
            second.obstacle.contains("told first") && !second.possible_loss.is_empty(),
            "{second:?}"
        );
        assert_eq!(said(Durable::All, false).obstacle, "", "it cost nothing");
        assert_eq!(
            said(Durable::Second, true).obstacle,
            "",
            "it was not started anew"
        );
    }

    #[test]
    fn what_a_restart_may_have_cost_is_said() {
        let loss =
            |nodes: &[&str], durable| told(&view(nodes), &copy(7, 50), false, None, durable).possible_loss;
        assert!(loss(&["a", "b"], Durable::Second).contains("last second"));
        assert!(loss(&["a", "b"], Durable::Snapshot).contains("snapshot"));
        assert_eq!(loss(&["a", "b"], Durable::All), "");
        assert_eq!(loss(&["b"], Durable::Second), "", "nobody has more");
    }

    #[test]
    fn a_copy_outside_the_set_says_since_when() {
        let (behind, ahead) = (copy(7, 50), copy(9, 90));
        let said = told(&view(&["a"]), &behind, true, Some(&ahead), Durable::All).possible_loss;
        assert!(said.contains("12 s ago, at least 40 bytes"), "{said}");
    }

    #[test]
    fn durability_follows_from_the_settings() {
        assert_eq!(Durable::read(true, "always", ""), Durable::All);
        assert_eq!(Durable::read(true, "everysec", ""), Durable::Second);
        assert_eq!(Durable::read(true, "no", ""), Durable::Snapshot);
        assert_eq!(Durable::read(false, "always", "3600 1"), Durable::Snapshot);
        assert_eq!(Durable::read(false, "everysec", " "), Durable::Nothing);
    }
}

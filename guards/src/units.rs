//! Units that systemd starts at boot by itself, outside of the cluster's control.

use crate::finding::{Finding, Place};
use crate::node::Node;
use crate::pattern;
use crate::scope::Service;

/// Where systemd looks for units, the strongest first.
const FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];
/// Where it looks for presets.
const PRESETS: [&str; 4] = [
    "/etc/systemd/system-preset",
    "/run/systemd/system-preset",
    "/usr/local/lib/systemd/system-preset",
    "/usr/lib/systemd/system-preset",
];
/// Folders with scripts of System V that are run at boot.
const RUN_LEVELS: [&str; 4] = ["/etc/rc2.d", "/etc/rc3.d", "/etc/rc4.d", "/etc/rc5.d"];

/// Judges the unit of one service.
pub fn check(service: &Service, node: &Node<'_>, findings: &mut Vec<Finding>) {
    let Some(unit) = &service.unit else {
        return;
    };
    for name in with_triggers(unit) {
        for link in links(&name, node) {
            findings.push(Place::file(&link).finding(
                "unit-enabled",
                format!("{name} is enabled"),
                format!("systemd starts {unit} at boot, on every node, whatever the cluster says"),
                format!("systemctl disable {name}"),
            ));
        }
    }
    let has_unit = FOLDERS
        .iter()
        .any(|folder| node.exists(&format!("{folder}/{unit}")));
    if !has_unit {
        findings.extend(script(unit, node));
    }
    findings.extend(preset(unit, node));
}

/// A unit, and those that would start it.
fn with_triggers(unit: &str) -> Vec<String> {
    let mut names = vec![unit.to_owned()];
    if let Some(name) = unit.strip_suffix(".service") {
        names.extend(["socket", "timer", "path"].map(|ending| format!("{name}.{ending}")));
    }
    names
}

/// Links by which another unit wants or requires this one.
fn links(unit: &str, node: &Node<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        for name in node.names(folder) {
            let is_list =
                name.ends_with(".wants") || name.ends_with(".requires") || name.ends_with(".upholds");
            let list = format!("{folder}/{name}");
            // Listed and not looked up: so the folder is watched for a link to come.
            if is_list && node.names(&list).iter().any(|link| link == unit) {
                found.push(format!("{list}/{unit}"));
            }
        }
    }
    found
}

/// A script of System V of that name, which systemd makes a unit of.
fn script(unit: &str, node: &Node<'_>) -> Option<Finding> {
    let name = unit.strip_suffix(".service")?;
    for folder in RUN_LEVELS {
        let names = node.names(folder);
        let link = names.iter().find(|link| {
            let after = link
                .strip_prefix('S')
                .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            after == Some(name)
        });
        if let Some(link) = link {
            return Some(Place::file(&format!("{folder}/{link}")).finding(
                "unit-enabled",
                format!("{name} is started at boot by a script of System V"),
                format!("{unit} then runs on every node, whatever the cluster says"),
                format!("systemctl disable {unit}"),
            ));
        }
    }
    None
}

/// The first rule about it, in the order of file names; a file in a stronger folder hides its namesakes. Only a rule that
/// names the unit says that somebody wants it enabled: what says nothing, or all, is the distribution's habit.
fn preset(unit: &str, node: &Node<'_>) -> Option<Finding> {
    let mut files = std::collections::BTreeMap::new();
    for folder in PRESETS {
        for name in node
            .names(folder)
            .into_iter()
            .filter(|name| name.ends_with(".preset"))
        {
            files
                .entry(name.clone())
                .or_insert_with(|| format!("{folder}/{name}"));
        }
    }
    for file in files.values() {
        let Some(text) = node.text(file) else {
            continue;
        };
        for (index, line) in text.lines().enumerate() {
            let mut words = line.split_whitespace();
            let (Some(verb), Some(rule)) = (words.next(), words.next()) else {
                continue;
            };
            if !matches!(verb, "enable" | "disable" | "ignore") || !pattern::matches(rule, unit) {
                continue;
            }
            let is_meant = verb == "enable" && !rule.starts_with('*');
            return is_meant.then(|| {
                Place::line(file, index + 1).finding(
                    "unit-preset",
                    format!("enable {rule}"),
                    format!(
                        "`systemctl preset`, which installations run, enables {unit}: it then starts at boot"
                    ),
                    format!("write disable {unit} into /etc/systemd/system-preset/00-holdfast.preset"),
                )
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Memory;
    use crate::scope::tests::{scope, unit as group};

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files = Memory::of(files);
        let scope = scope(&group("shop"));
        let mut findings = Vec::new();
        check(&scope.services[0], &Node::new(&files), &mut findings);
        findings
            .iter()
            .map(|finding| format!("{} {}:{}", finding.check, finding.file, finding.line.unwrap_or(0)))
            .collect()
    }

    #[test]
    fn links_that_start_a_unit_at_boot_are_named() {
        let unit = ("/usr/lib/systemd/system/shop.service", "");
        let wanted = "/etc/systemd/system/multi-user.target.wants/shop.service";
        assert_eq!(found(&[unit, (wanted, "")]), [format!("unit-enabled {wanted}:0")]);
        let socket = "/etc/systemd/system/sockets.target.wants/shop.socket";
        assert_eq!(found(&[unit, (socket, "")]), [format!("unit-enabled {socket}:0")]);
        assert!(found(&[unit]).is_empty());
    }

    #[test]
    fn scripts_of_system_v_count_only_without_a_unit() {
        let script = ("/etc/rc3.d/S01shop", "");
        assert_eq!(found(&[script]), ["unit-enabled /etc/rc3.d/S01shop:0"]);
        assert!(found(&[script, ("/usr/lib/systemd/system/shop.service", "")]).is_empty());
        assert!(found(&[("/etc/rc3.d/K01shop", ""), ("/etc/rc3.d/S01shopper", "")]).is_empty());
    }

    #[test]
    fn the_first_rule_of_the_presets_counts() {
        let vendor = (
            "/usr/lib/systemd/system-preset/90-x.preset",
            "# ours\nenable shop.*\n",
        );
        assert_eq!(
            found(&[vendor]),
            ["unit-preset /usr/lib/systemd/system-preset/90-x.preset:2"]
        );
        let ours = (
            "/etc/systemd/system-preset/00-holdfast.preset",
            "disable shop.service\n",
        );
        assert!(found(&[vendor, ours]).is_empty());
        assert!(found(&[("/usr/lib/systemd/system-preset/99-default.preset", "enable *\n")]).is_empty());
    }
}

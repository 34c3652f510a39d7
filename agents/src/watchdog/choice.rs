//! Which of several watchdogs: by its path, or by how its driver calls itself. Numbers depend on the order in which
//! drivers were loaded, so `/dev/watchdog0` may be another device after the next boot.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel lists them. Looking there arms nothing.
const CLASS: &str = "/sys/class/watchdog";

/// The device that `wanted` names: a path, or a part of the identity of exactly one device.
///
/// # Errors
/// No device or several have such an identity; the message names all there are.
pub fn choose(wanted: &str) -> Result<PathBuf, String> {
    if wanted.starts_with('/') {
        return Ok(PathBuf::from(wanted));
    }
    among(wanted, &all(Path::new(CLASS)))
}

/// Name and identity of every watchdog, by name.
fn all(class: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(class).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .map(|entry| {
            let identity = fs::read_to_string(entry.path().join("identity")).unwrap_or_default();
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, identity.trim().to_string())
        })
        .collect();
    found.sort();
    found
}

fn among(wanted: &str, found: &[(String, String)]) -> Result<PathBuf, String> {
    let lower = wanted.to_lowercase();
    let fits = |identity: &str| !lower.is_empty() && identity.to_lowercase().contains(&lower);
    let mut fitting = found.iter().filter(|(_, identity)| fits(identity));
    match (fitting.next(), fitting.next()) {
        (Some((name, _)), None) => Ok(Path::new("/dev").join(name)),
        (Some(_), Some(_)) => Err(format!(
            "more than one watchdog is called {wanted:?}: {}",
            listed(found)
        )),
        (None, _) if found.is_empty() => Err(format!(
            "there is no watchdog at all, so none called {wanted:?}: is its driver loaded?"
        )),
        (None, _) => Err(format!("no watchdog is called {wanted:?}: {}", listed(found))),
    }
}

fn listed(found: &[(String, String)]) -> String {
    let each = found
        .iter()
        .map(|(name, identity)| format!("/dev/{name} is {identity:?}"));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> Vec<(String, String)> {
        let dir = tempfile::tempdir().unwrap();
        for (name, identity) in [
            ("watchdog1", "i6300ESB timer\n"),
            ("watchdog0", "Software Watchdog\n"),
        ] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("identity"), identity).unwrap();
        }
        all(dir.path())
    }

    #[test]
    fn a_path_is_taken_as_it_is() {
        assert_eq!(choose("/dev/watchdog9").unwrap(), Path::new("/dev/watchdog9"));
    }

    #[test]
    fn a_part_of_the_identity_is_enough_if_only_one_has_it() {
        assert_eq!(among("i6300esb", &two()).unwrap(), Path::new("/dev/watchdog1"));
        assert_eq!(
            among("Software Watchdog", &two()).unwrap(),
            Path::new("/dev/watchdog0")
        );
    }

    #[test]
    fn what_fits_none_or_several_is_refused_and_all_are_named() {
        let listed = "/dev/watchdog0 is \"Software Watchdog\", /dev/watchdog1 is \"i6300ESB timer\"";
        let none = format!("no watchdog is called \"iTCO\": {listed}");
        assert_eq!(among("iTCO", &two()).unwrap_err(), none);
        let several = format!("more than one watchdog is called \"e\": {listed}");
        assert_eq!(among("e", &two()).unwrap_err(), several);
        assert!(
            among("", &two())
                .unwrap_err()
                .starts_with("no watchdog is called")
        );
        assert!(among("x", &[]).unwrap_err().contains("is its driver loaded?"));
    }
}

//! `cargo xtask licences`: every crate of the lock file against the allow list, the bans and the sources of deny.toml.
//!
//! deny.toml is cargo-deny's file and format; this reads the part of it that needs no network and no third-party tool.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::run;
use crate::spdx;

/// The workspaces of this repository; the fuzz targets have one of their own.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// The parts of deny.toml that are checked.
struct Policy {
    allowed: BTreeSet<String>,
    banned: Vec<(String, String)>,
}

/// Checks all dependencies; 0 if all is well, 1 if something is not.
pub fn check() -> Result<u8> {
    let policy = policy(&std::fs::read_to_string(run::root().join("deny.toml")).context("deny.toml")?)?;
    let mut packages = BTreeMap::new();
    for workspace in WORKSPACES {
        packages.extend(dependencies(workspace)?);
    }
    let faults: Vec<String> = packages
        .values()
        .filter_map(|package| fault(package, &policy))
        .collect();
    for fault in &faults {
        eprintln!("{fault}");
    }
    println!(
        "licences, bans, sources: {} crates checked, {} refused",
        packages.len(),
        faults.len()
    );
    Ok(u8::from(!faults.is_empty()))
}

/// Every package of a workspace, by its id.
fn dependencies(workspace: &str) -> Result<Vec<(String, Value)>> {
    let metadata = run::output(&mut run::cargo(&[
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
        "--manifest-path",
        workspace,
    ]))?;
    let mut metadata: Value = serde_json::from_str(&metadata).context("cargo metadata")?;
    let Value::Array(packages) = metadata["packages"].take() else {
        bail!("cargo metadata lists no packages of {workspace}");
    };
    let id = |package: &Value| package["id"].as_str().unwrap_or("?").to_string();
    Ok(packages
        .into_iter()
        .map(|package| (id(&package), package))
        .collect())
}

fn policy(text: &str) -> Result<Policy> {
    let table: toml::Table = text.parse().context("deny.toml does not parse")?;
    let list = |section: &str, key: &str| -> Vec<toml::Value> {
        let value = table.get(section).and_then(|section| section.get(key));
        value.and_then(toml::Value::as_array).cloned().unwrap_or_default()
    };
    let allowed = list("licenses", "allow")
        .iter()
        .filter_map(|item| item.as_str().map(str::to_string))
        .collect();
    let text_of =
        |item: &toml::Value, key: &str| item.get(key).and_then(toml::Value::as_str).map(str::to_string);
    let banned = list("bans", "deny")
        .iter()
        .filter_map(|item| {
            Some((
                text_of(item, "crate")?,
                text_of(item, "reason").unwrap_or_default(),
            ))
        })
        .collect();
    Ok(Policy { allowed, banned })
}

/// What is wrong with one package, if anything.
fn fault(package: &Value, policy: &Policy) -> Option<String> {
    let name = package["name"].as_str().unwrap_or("?");
    let version = package["version"].as_str().unwrap_or("?");
    if let Some((_, reason)) = policy.banned.iter().find(|(banned, _)| banned == name) {
        return Some(format!("{name} {version} is banned: {reason}"));
    }
    // No source: a crate of this workspace.
    if let Some(source) = package["source"].as_str()
        && !source.starts_with("registry+")
    {
        return Some(format!(
            "{name} {version} comes from {source}; use a published crate"
        ));
    }
    let Some(licence) = package["license"].as_str() else {
        return Some(format!("{name} {version} states no licence"));
    };
    match spdx::satisfied(licence, &|licence| policy.allowed.contains(licence)) {
        Ok(true) => None,
        Ok(false) => Some(format!(
            "{name} {version}: licence '{licence}' is not among those deny.toml allows"
        )),
        Err(error) => Some(format!(
            "{name} {version}: licence '{licence}' cannot be read: {error}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn example() -> Policy {
        policy("[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"openssl\", reason = \"ring is used\" }]").unwrap()
    }

    #[test]
    fn an_allowed_crate_passes() {
        let package =
            json!({"name": "a", "version": "1", "license": "MIT OR GPL-3.0", "source": "registry+x"});
        assert_eq!(fault(&package, &example()), None);
    }

    #[test]
    fn each_fault_is_named() {
        let cases = [
            (
                json!({"name": "openssl", "version": "1", "license": "MIT"}),
                "ring is used",
            ),
            (
                json!({"name": "a", "version": "1", "license": "GPL-3.0"}),
                "not among",
            ),
            (json!({"name": "a", "version": "1"}), "states no licence"),
            (
                json!({"name": "a", "version": "1", "license": "MIT", "source": "git+x"}),
                "published",
            ),
        ];
        for (package, words) in cases {
            let fault = fault(&package, &example()).unwrap();
            assert!(fault.contains(words), "{fault}");
        }
    }
}

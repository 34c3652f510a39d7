//! What the OCF agents that are installed on this node say about the parameters in a configuration.
//!
//! The parser itself knows no agent: on a machine without them a configuration is still worth checking.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use holdfast_proto::config::{Config, ResourceSection};
use holdfast_proto::ocf::{self, Metadata};

/// Time for an agent to describe itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// More than any description has.
const BYTES_MAX: u64 = 1 << 20;

/// What agents refuse, and what they may not take as it is meant.
pub struct Findings {
    /// A start would fail.
    pub errors: Vec<String>,
    /// It would not, but look.
    pub warnings: Vec<String>,
}

/// Asks the agent of each OCF resource.
#[must_use]
pub fn findings(config: &Config) -> Findings {
    let mut found = Findings {
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    // An agent is asked once, whatever the number of its resources.
    let mut asked: BTreeMap<String, Result<Metadata, String>> = BTreeMap::new();
    for group in &config.groups {
        for resource in &group.resources {
            let Some((provider, agent)) = ocf::parts(&resource.kind) else {
                continue;
            };
            let root = resource
                .params
                .get("ocf_root")
                .map_or(ocf::ROOT_DEFAULT, String::as_str);
            let program = format!("{root}/resource.d/{provider}/{agent}");
            let answer = asked
                .entry(program.clone())
                .or_insert_with(|| describe(&program, root));
            let at = format!("group {}, resource {}", group.name, resource.name);
            match answer {
                Err(why) => found.warnings.push(format!(
                    "{at}: not checked, because {program} {why}; check it on a node that has the agent"
                )),
                Ok(metadata) => compare(&at, resource, metadata, &mut found),
            }
        }
    }
    found
}

fn compare(at: &str, resource: &ResourceSection, metadata: &Metadata, found: &mut Findings) {
    let named = |text: &String| format!("{at}: {text}");
    let given = resource.params.iter();
    let own = given
        .filter_map(|(key, value)| Some((key.strip_prefix(ocf::PARAM_PREFIX)?.to_owned(), value.clone())));
    let checked = metadata.check(&own.collect());
    found.errors.extend(checked.errors.iter().map(named));
    found.warnings.extend(checked.warnings.iter().map(named));
    if resource.has_roles() && !metadata.has("promote") {
        found.errors.push(format!(
            "{at}: promotable = true, but agent {} has no action promote",
            metadata.name
        ));
    }
    for (action, given_ms) in [
        ("start", resource.start_timeout_ms),
        ("stop", resource.stop_timeout_ms),
    ] {
        if let Some(suggested_ms) = metadata.timeout_ms(action)
            && u64::from(given_ms) < suggested_ms
        {
            found.warnings.push(format!(
                "{at}: {action}_timeout is {} s, the agent suggests {} s",
                given_ms / 1000,
                suggested_ms / 1000
            ));
        }
    }
}

/// What the agent says of itself, or why it says nothing.
fn describe(program: &str, root: &str) -> Result<Metadata, String> {
    let Ok(file) = Path::new(program).metadata() else {
        return Err("is not installed here".to_owned());
    };
    // A configuration that is only looked at must not have us run what anybody may have put there.
    let own = nix::unistd::geteuid().as_raw();
    if (file.uid() != 0 && file.uid() != own) || file.mode() & 0o022 != 0 {
        return Err("is not asked: others than root may write to it".to_owned());
    }
    let mut child = Command::new(program)
        .arg("meta-data")
        .env("OCF_ROOT", root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("cannot be run: {error}"))?;
    let (sender, receiver) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stdout.take(BYTES_MAX).read_to_end(&mut bytes);
            // Nobody waits any more when it took too long.
            let _ = sender.send(bytes);
        });
    }
    let printed = receiver.recv_timeout(PATIENCE);
    if printed.is_err() {
        // It may have ended by now.
        let _ = child.kill();
    }
    let _ = child.wait();
    let printed = printed.map_err(|_| format!("did not describe itself within {} s", PATIENCE.as_secs()))?;
    ocf::parse(&String::from_utf8_lossy(&printed))
        .map_err(|_| "describes itself in no way that is known".to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const AGENT: &str = "#!/bin/sh\ncat <<END\n<resource-agent name=\"try\"><parameters><parameter name=\"ip\" required=\"1\">\
        <content type=\"string\"/></parameter></parameters><actions><action name=\"start\" timeout=\"120s\"/></actions>\
        </resource-agent>\nEND\n";

    fn found(root: &Path, kind: &str, keys: &str) -> Findings {
        let text = format!(
            "[cluster]\nname = \"c\"\nid = \"00000000000000ff\"\n[[node]]\nname = \"a\"\nlinks = [\"10.0.0.1\"]\n\
             [[node]]\nname = \"b\"\nlinks = [\"10.0.0.2\"]\n[witness]\naddress = \"10.0.0.3\"\n[[group]]\nname = \"g\"\n\
             [[group.resource]]\nname = \"r\"\ntype = \"{kind}\"\nocf_root = \"{}\"\n{keys}\n",
            root.display()
        );
        findings(&holdfast_proto::config::parse(&text, "x").unwrap_or_else(|found| panic!("{found}")))
    }

    #[test]
    fn the_agents_that_are_here_are_asked() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("resource.d/test");
        fs::create_dir_all(&home).unwrap();
        fs::write(home.join("try"), AGENT).unwrap();
        fs::set_permissions(home.join("try"), fs::Permissions::from_mode(0o755)).unwrap();
        let root = folder.path();
        let good = found(
            root,
            "ocf:test:try",
            "params = { ip = \"::1\" }\nstart_timeout = \"120s\"",
        );
        assert!(
            good.errors.is_empty() && good.warnings.is_empty(),
            "{:?}",
            good.warnings
        );
        let bad = found(
            root,
            "ocf:test:try",
            "params = { pi = \"::1\" }\npromotable = true",
        );
        assert_eq!(
            bad.errors,
            [
                "group g, resource r: agent try has no parameter \"pi\"; it has: ip",
                "group g, resource r: agent try needs the parameter \"ip\"",
                "group g, resource r: promotable = true, but agent try has no action promote",
            ]
        );
        assert_eq!(
            bad.warnings,
            ["group g, resource r: start_timeout is 60 s, the agent suggests 120 s"]
        );
        let absent = found(root, "ocf:test:other", "");
        assert!(absent.errors.is_empty() && absent.warnings[0].contains("is not installed here"));
    }
}

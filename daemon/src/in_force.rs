//! Which configuration is in force when the daemon starts, and what is to be said about it.

use std::sync::Arc;

use holdfast_core::durable::Durable;
use holdfast_proto::config::{self, Config};
use holdfast_proto::ids::NodeId;

use crate::args::{self, Places};
use crate::journal::Record;
use crate::keys::NodeKeys;
use crate::office::{self, CONFIG_COPY};

/// The committed configuration rules. Without a record, a copy that was once committed, else the operator's file.
///
/// # Errors
/// When there is none of these, or what there is does not hold.
pub fn choose(
    places: &Places,
    durable: Option<&Durable>,
    remarks: &mut Vec<Record>,
) -> anyhow::Result<Arc<Config>> {
    let file = args::read_config(&places.config);
    if let Some(durable) = durable {
        let committed = Arc::clone(&durable.committed.config);
        match file {
            Ok(file) if file.source == committed.source => {}
            Ok(_) => {
                let path = places.config.display();
                let text = format!(
                    "{path} differs from the configuration in force (version {}), which is followed: `hactl config apply \
                     {path}` puts the file in force",
                    durable.committed.version
                );
                remarks.push(Record::new("config-differs", "info", text));
            }
            Err(error) => {
                let text =
                    format!("the configuration in force is followed; the local file is of no use: {error:#}");
                remarks.push(Record::new("config-differs", "warn", text));
            }
        }
        return Ok(committed);
    }
    let copy = places.state_dir.join(CONFIG_COPY);
    if let Ok(text) = std::fs::read_to_string(&copy)
        && let Ok(config) = config::parse(office::strip_header(&text), &copy.display().to_string())
    {
        return Ok(Arc::new(config));
    }
    Ok(Arc::new(file?))
}

/// Says so when other members will refuse this node's key.
pub fn remark_on_key(config: &Config, node: NodeId, name: &str, keys: &NodeKeys, remarks: &mut Vec<Record>) {
    let pins = match (&config.witness, config.node(node)) {
        (Some(witness), _) if node.is_witness() => &witness.keys,
        (_, Some(section)) => &section.keys,
        _ => return,
    };
    if !pins.contains(&keys.pin()) {
        let text = format!(
            "the key of {name} is not pinned in the configuration, so that other members refuse it: enter keys = [\"{}\"] in \
             its section and apply that",
            keys.pin()
        );
        remarks.push(Record::new("key-not-pinned", "alert", text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_configuration_rules_and_a_file_that_differs_is_told() {
        use clap::Parser;
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("holdfast.toml");
        let words = [
            "had",
            "--state-dir",
            &folder.path().display().to_string(),
            "--config",
        ];
        let words = words
            .map(str::to_owned)
            .into_iter()
            .chain([path.display().to_string()]);
        let places = args::Cli::try_parse_from(words).expect("places").places;
        let text = "[cluster]\nname = \"shop\"\nid = \"00000000000000aa\"\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n";
        let mut state = (*crate::status::fixture::healthy().view.state.expect("state")).clone();
        state.config = Arc::new(config::parse(text, "test").expect("valid"));
        let durable = Durable::initial(state);
        let start = |durable: Option<&Durable>| {
            let mut remarks = Vec::new();
            let chosen = choose(&places, durable, &mut remarks);
            let told: Vec<_> = remarks
                .into_iter()
                .map(|remark| (remark.level, remark.text))
                .collect();
            (chosen.map(|config| config.source.clone()), told)
        };

        let (chosen, told) = start(Some(&durable));
        assert_eq!(chosen.expect("committed"), text);
        assert!(
            told[0].0 == "warn" && told[0].1.contains("cannot read"),
            "{told:?}"
        );
        std::fs::write(&path, text).expect("written");
        assert!(start(Some(&durable)).1.is_empty(), "the same says nothing");
        let edited = format!("# mine\n{}", text);
        std::fs::write(&path, &edited).expect("written");
        let (chosen, told) = start(Some(&durable));
        assert_eq!(chosen.expect("committed"), text);
        assert!(told[0].1.contains("hactl config apply"), "{told:?}");

        // Without a record: a copy that was in force once, else the file.
        assert_eq!(start(None).0.expect("the file"), edited);
        std::fs::write(folder.path().join(CONFIG_COPY), text).expect("written");
        assert_eq!(start(None).0.expect("the copy"), text);
    }
}

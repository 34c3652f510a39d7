//! The configuration that `hactl cluster init` writes.

use std::net::IpAddr;

/// What is known when a cluster is made.
#[derive(Clone, Debug)]
pub struct Seed<'a> {
    /// Cluster name.
    pub cluster: &'a str,
    /// Cluster id, 16 hex digits.
    pub id: &'a str,
    /// Detection profile.
    pub profile: &'a str,
    /// The first node.
    pub node: &'a str,
    /// Its addresses.
    pub links: &'a [IpAddr],
    /// The pin of its key.
    pub pin: &'a str,
}

/// A new configuration with one node, and what usually comes next as comments.
#[must_use]
pub fn new_config(seed: &Seed) -> String {
    let links = seed
        .links
        .iter()
        .map(|link| format!("\"{link}\""))
        .collect::<Vec<_>>()
        .join(", ");
    let Seed {
        cluster,
        id,
        profile,
        node,
        pin,
        ..
    } = seed;
    format!(
        r#"# Holdfast: the configuration of the cluster, the same on every member.
# Edit a copy and let the cluster take it over:  hactl config apply FILE

[cluster]
name    = "{cluster}"
id      = "{id}"      # the cluster's identity for ever: never change it
profile = "{profile}"   # how fast silence counts as a failure: fast 300 ms, balanced 1 s, wan 5 s

[[node]]
name  = "{node}"
links = [{links}]
keys  = ["{pin}"]

# More nodes and the witness add themselves:  hactl cluster join TOKEN
# (a token comes from `hactl cluster token` or `hactl cluster token --witness`)

# How a node is powered off when it must be certain that it is off.
# [[fence]]
# node   = "{node}"
# agent  = "fence_ipmilan"
# params = {{ ip = "10.0.9.1", username = "ha", password_file = "/etc/holdfast/secrets/{node}-bmc" }}

# What is to be kept up: started in this order on one node, stopped in reverse.
# [[group]]
# name   = "web"
# prefer = ["{node}"]
#
# [[group.resource]]
# name = "service"
# type = "systemd"
# unit = "nginx.service"
#
# [[group.resource]]
# name    = "vip"
# type    = "vip"
# address = "10.0.0.100/24"
"#
    )
}

/// `text`, the operator's own, with the cluster id and the key of `node` added where they are missing. The rest
/// stays as it is, comments included.
///
/// # Errors
/// When there is no `[cluster]` or no such node to add them to.
pub fn completed(text: &str, id: &str, node: &str, pin: &str) -> Result<String, String> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| error.message().to_string())?;
    let mut lines: Vec<String> = text.lines().map(Into::into).collect();
    let cluster = table
        .get("cluster")
        .and_then(toml::Value::as_table)
        .ok_or("there is no [cluster]")?;
    let nodes = table
        .get("node")
        .and_then(toml::Value::as_array)
        .ok_or("there is no [[node]]")?;
    let ours = nodes
        .iter()
        .position(|entry| entry.get("name").and_then(toml::Value::as_str) == Some(node));
    let ours = ours.ok_or_else(|| format!("there is no [[node]] called \"{node}\""))?;
    // From the end to the beginning, so that the earlier insertion does not move the later place.
    let mut added = Vec::new();
    if !nodes[ours]
        .as_table()
        .is_some_and(|entry| entry.contains_key("keys"))
    {
        added.push((
            header_line(&lines, "[[node]]", ours)?,
            format!("keys = [\"{pin}\"]"),
        ));
    }
    if !cluster.contains_key("id") {
        let comment = "# the cluster's identity for ever: never change it";
        added.push((
            header_line(&lines, "[cluster]", 0)?,
            format!("id = \"{id}\"  {comment}"),
        ));
    }
    added.sort_by_key(|(line, _)| std::cmp::Reverse(*line));
    for (line, entry) in added {
        lines.insert(line + 1, entry);
    }
    Ok(lines.join("\n") + "\n")
}

/// The line of the header that appears for the `nth` time.
fn header_line(lines: &[String], header: &str, nth: usize) -> Result<usize, String> {
    let squeezed = |line: &str| {
        line.split('#')
            .next()
            .unwrap_or("")
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>()
    };
    let mut found = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| squeezed(line) == header)
        .map(|(line, _)| line);
    found
        .nth(nth)
        .ok_or_else(|| format!("{header} must stand on a line of its own"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_proto::config::parse;

    fn pin() -> String {
        "ab".repeat(32)
    }

    #[test]
    fn a_new_configuration_is_valid() {
        let links = ["10.0.0.1".parse().unwrap(), "192.168.7.1".parse().unwrap()];
        let pin = pin();
        let seed = Seed {
            cluster: "shop-db",
            id: "00112233445566ff",
            profile: "fast",
            node: "db1",
            links: &links,
            pin: &pin,
        };
        let config = parse(&new_config(&seed), "holdfast.toml").unwrap();
        assert_eq!(config.cluster.name, "shop-db");
        assert_eq!(config.cluster.detection_ms, 300);
        assert_eq!(config.nodes[0].links, links);
        assert_eq!(config.nodes[0].keys.len(), 1);
    }

    #[test]
    fn the_commented_examples_are_valid_too() {
        let links = ["10.0.0.1".parse().unwrap()];
        let pin = pin();
        let seed = Seed {
            cluster: "c",
            id: "1111111111111111",
            profile: "wan",
            node: "db1",
            links: &links,
            pin: &pin,
        };
        let text = new_config(&seed);
        let start = text.find("# [[fence]]").unwrap();
        let examples: String = text[start..]
            .lines()
            .filter(|line| line.starts_with("# [") || line.contains(" = ") || line.is_empty())
            .map(|line| format!("{}\n", line.trim_start_matches("# ")))
            .collect();
        let config = parse(&format!("{}{examples}", &text[..start]), "holdfast.toml").unwrap();
        assert_eq!((config.fences.len(), config.groups[0].resources.len()), (1, 2));
    }

    #[test]
    fn an_own_configuration_is_completed_and_otherwise_left_alone() {
        let own = "[cluster] # ours\nname = \"c\"\n\n[[node]]\nname = \"db1\"\nlinks = [\"10.0.0.1\"]\n\n\
                   [[node]]\nname = \"db2\"\nlinks = [\"10.0.0.2\"]\n";
        let text = completed(own, "00112233445566ff", "db2", &pin()).unwrap();
        let config = parse(&text, "holdfast.toml").unwrap();
        assert_eq!(config.cluster.id.to_string(), "00112233445566ff");
        assert!(config.nodes[0].keys.is_empty());
        assert_eq!(config.nodes[1].keys[0].to_string(), pin());
        assert!(text.starts_with("[cluster] # ours\nid = "));
        assert_eq!(completed(&text, "ffffffffffffffff", "db2", &pin()).unwrap(), text);
        assert!(
            completed(own, "00112233445566ff", "db3", &pin())
                .unwrap_err()
                .contains("db3")
        );
    }
}

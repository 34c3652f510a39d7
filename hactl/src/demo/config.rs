//! The configuration of the demo's cluster.

use std::fmt::Write;

use super::outlet::Machine;
use super::paths::Paths;
use super::service::PORT;
use super::switch::{self, VIP};
use super::{Profile, Service};

/// Name of the one group.
pub const GROUP: &str = "demo";

/// The machines of the demo.
pub fn machines() -> Vec<Machine> {
    vec![
        Machine {
            name: "n1",
            host: 1,
            links: 2,
            role: "data",
        },
        Machine {
            name: "n2",
            host: 2,
            links: 2,
            role: "data",
        },
        Machine {
            name: "witness",
            host: 3,
            links: 1,
            role: "witness",
        },
    ]
}

/// The configuration text; `pins` are the machines' key pins, in the order of `machines`.
pub fn text(
    id: &str,
    pins: &[String],
    profile: Profile,
    service: Service,
    requires: &str,
    paths: &Paths,
) -> String {
    let profile = profile.name();
    let mut text = format!("[cluster]\nname = \"demo\"\nid = \"{id}\"\nprofile = \"{profile}\"\n");
    for (machine, pin) in machines().iter().zip(pins) {
        let addresses: Vec<String> = (0..machine.links)
            .map(|lan| switch::address(lan, machine.host).to_string())
            .collect();
        // Writing to a String cannot fail.
        let _ = match machine.role {
            "witness" => {
                write!(
                    text,
                    "\n[witness]\nname = \"{}\"\naddress = \"{}\"\nkeys = [\"{pin}\"]\n",
                    machine.name, addresses[0]
                )
            }
            _ => data_node(&mut text, machine, &addresses, pin, paths),
        };
    }
    group(&mut text, service, requires, paths);
    text
}

fn data_node(
    text: &mut String,
    machine: &Machine,
    addresses: &[String],
    pin: &str,
    paths: &Paths,
) -> std::fmt::Result {
    let name = machine.name;
    write!(
        text,
        "\n[[node]]\nname = \"{name}\"\nlinks = {addresses:?}\nkeys = [\"{pin}\"]\n"
    )?;
    let program = paths.fence_program(name);
    write!(
        text,
        "\n[[fence]]\nnode = \"{name}\"\nagent = \"exec\"\nparams = {{ program = \"{}\" }}\n",
        program.display()
    )
}

fn group(text: &mut String, service: Service, requires: &str, paths: &Paths) {
    let kind = match service {
        Service::Builtin => Some("builtin"),
        Service::Redis => Some("redis"),
        Service::None => None,
    };
    text.push_str(&format!(
        "\n[[group]]\nname = \"{GROUP}\"\nprefer = [\"n1\"]\nrequires = \"{requires}\"\n"
    ));
    if let Some(kind) = kind {
        text.push_str(&format!(
            "\n[[group.resource]]\nname = \"service\"\ntype = \"exec\"\ncommand = [\"{}\", \"{kind}\"]\n",
            paths.service_program().display()
        ));
        if kind == "redis" {
            text.push_str(&format!(
                "\n[[group.resource.probe]]\ntcp = \"127.0.0.1:{PORT}\"\n"
            ));
        }
    }
    text.push_str(&format!(
        "\n[[group.resource]]\nname = \"vip\"\ntype = \"vip\"\naddress = \"{VIP}/{}\"\n",
        switch::PREFIX
    ));
}

#[cfg(test)]
mod tests {
    use holdfast_proto::config::parse;

    use super::*;

    #[test]
    fn the_demo_configuration_is_valid() {
        let pins = ["11", "22", "33"].map(|pair| pair.repeat(32));
        for profile in [Profile::Fast, Profile::Balanced, Profile::Wan] {
            for service in [Service::Builtin, Service::Redis, Service::None] {
                for requires in ["fencing", "lease"] {
                    let paths = Paths::in_stage();
                    let text = text("00000000000000aa", &pins, profile, service, requires, &paths);
                    let config = parse(&text, "holdfast.toml")
                        .unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
                    assert_eq!(config.groups.len(), 1);
                    assert_eq!(config.fences.len(), 2);
                }
            }
        }
    }
}

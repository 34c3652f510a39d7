//! The cluster that a seed draws.

use std::sync::Arc;

use holdfast_proto::config::{Config, parse};

use crate::rng::Rng;

/// Draws a configuration.
#[must_use]
pub fn draw(rng: &mut Rng) -> Arc<Config> {
    let nodes = if rng.chance(150) { 3 } else { 2 };
    let witness = rng.chance(600);
    let detection = *rng.pick(&["300ms", "1s"]);
    let mut text = format!(
        "[cluster]\nname = \"sim\"\nid = \"00000000000000aa\"\ndetection = \"{detection}\"\nfence_delay = \"3s\"\n\
         witness_grace = \"3s\"\nstartup_grace = \"8s\"\n"
    );
    for node in 1..=nodes {
        let key = format!("{node:064x}");
        text += &format!("[[node]]\nname = \"n{node}\"\nlinks = [\"10.0.0.{node}\"]\nkeys = [\"{key}\"]\n");
        text += &format!(
            "[[fence]]\nnode = \"n{node}\"\nagent = \"exec\"\nparams = {{ program = \"/bin/power\" }}\n"
        );
        if rng.chance(300) {
            text += &format!(
                "[[fence]]\nnode = \"n{node}\"\nagent = \"exec\"\nlevel = 2\nparams = {{ program = \"/bin/pdu\" }}\n"
            );
        }
    }
    if witness {
        text += &format!("[witness]\naddress = \"10.0.0.99\"\nkeys = [\"{:064x}\"]\n", 99);
    }
    for group in 0..rng.range(1, 5) {
        let requires = *rng.pick(&["fencing", "fencing", "lease"]);
        text += &format!("[[group]]\nname = \"g{group}\"\nrequires = \"{requires}\"\n");
        if rng.chance(300) {
            text += &format!("prefer = [\"n{}\"]\n", rng.range(1, nodes + 1));
        }
        if group > 0 && rng.chance(200) {
            text += "apart_from = [\"g0\"]\n";
        } else if group > 0 && rng.chance(200) {
            text += "after = [\"g0\"]\n";
        }
        text += &format!(
            "[[group.resource]]\nname = \"r\"\ntype = \"vip\"\naddress = \"10.1.0.{}/24\"\n",
            group + 1
        );
    }
    match parse(&text, "sim.toml") {
        Ok(config) => Arc::new(config),
        Err(why) => panic!("the simulator drew a configuration that is not valid:\n{why}\n{text}"),
    }
}

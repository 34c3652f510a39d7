//! Pacemaker's configuration, its agents for the bench, and what `crm_mon` says.

use holdfast_hactl::demo::switch::{PREFIX, VIP};

/// The one group.
pub const GROUP: &str = "bench";

/// Sections of the CIB: a service and an address that stay where they are, and a fence device for each node. A device is
/// told to switch off, as Holdfast's is; the bench gives the power back.
#[must_use]
pub fn service() -> [(&'static str, String); 3] {
    let option =
        |name: &str, value: &str| format!("<nvpair id=\"opt-{name}\" name=\"{name}\" value=\"{value}\"/>");
    let options = [option("stonith-enabled", "true"), option("stonith-action", "off")].concat();
    let operations = |id: &str| {
        format!(
            "<operations><op id=\"{id}-monitor\" name=\"monitor\" interval=\"10s\" timeout=\"20s\"/></operations>"
        )
    };
    let fences: String = ["n1", "n2", "n3"].iter().map(|node| fence(node)).collect();
    let group = format!(
        "<group id=\"{GROUP}\"><primitive id=\"service\" class=\"ocf\" provider=\"bench\" type=\"service\">{}</primitive>\
         <primitive id=\"vip\" class=\"ocf\" provider=\"heartbeat\" type=\"IPaddr2\"><instance_attributes id=\"vip-attrs\">\
         <nvpair id=\"vip-ip\" name=\"ip\" value=\"{VIP}\"/><nvpair id=\"vip-mask\" name=\"cidr_netmask\" value=\"{PREFIX}\"/>\
         </instance_attributes>{}</primitive></group>",
        operations("service"),
        operations("vip"),
    );
    [
        (
            "crm_config",
            format!(
                "<crm_config><cluster_property_set id=\"options\">{options}</cluster_property_set></crm_config>"
            ),
        ),
        ("resources", format!("<resources>{fences}{group}</resources>")),
        ("constraints", constraints()),
    ]
}

fn fence(node: &str) -> String {
    let attribute = |name: &str, value: &str| {
        format!("<nvpair id=\"fence-{node}-{name}\" name=\"{name}\" value=\"{value}\"/>")
    };
    format!(
        "<primitive id=\"fence-{node}\" class=\"stonith\" type=\"fence_outlet\"><instance_attributes id=\"fence-{node}-attrs\">\
         {}{}{}</instance_attributes></primitive>",
        attribute("pcmk_host_list", node),
        attribute("pcmk_host_check", "static-list"),
        attribute("plug", node),
    )
}

/// No node is the one to fence itself.
fn constraints() -> String {
    let rules: String = ["n1", "n2", "n3"]
        .iter()
        .map(|node| {
            format!(
                "<rsc_location id=\"not-self-{node}\" rsc=\"fence-{node}\" node=\"{node}\" score=\"-INFINITY\"/>"
            )
        })
        .collect();
    format!("<constraints>{rules}</constraints>")
}

/// The fence agent: the stage's power controller, asked by the same program as Holdfast's device.
#[must_use]
pub fn fence_agent(bench: &str) -> String {
    let actions: String = [
        "on",
        "off",
        "reboot",
        "status",
        "monitor",
        "metadata",
        "validate-all",
    ]
    .iter()
    .map(|action| format!("<action name=\"{action}\"/>"))
    .collect();
    format!(
        "#!/bin/sh\n\
         [ \"$1\" = -o ] && [ \"$2\" = metadata ] && input=action=metadata || input=$(cat)\n\
         case $input in *action=metadata*) cat <<'END'\n\
         <?xml version=\"1.0\"?>\n<resource-agent name=\"fence_outlet\" shortdesc=\"power outlets of the bench\">\
         <longdesc>power outlets of the bench</longdesc><vendor-url/><parameters>\
         <parameter name=\"plug\" unique=\"0\" required=\"1\"><getopt mixed=\"-n\"/><content type=\"string\"/>\
         <shortdesc lang=\"en\">node</shortdesc></parameter>\
         <parameter name=\"action\" unique=\"0\" required=\"0\"><getopt mixed=\"-o\"/><content type=\"string\"/>\
         <shortdesc lang=\"en\">action</shortdesc></parameter></parameters><actions>{actions}</actions></resource-agent>\n\
         END\nexit 0;; esac\n\
         echo \"$input\" | exec {bench} --internal outlet\n"
    )
}

/// The resource agent of the service: as little shell as there can be.
#[must_use]
pub fn service_agent(bench: &str) -> String {
    format!(
        "#!/bin/sh\n\
         pid=/run/bench-service.pid\n\
         alive() {{ [ -s $pid ] && kill -0 \"$(cat $pid)\" 2>/dev/null; }}\n\
         case $1 in\n\
         start) alive && exit 0; {bench} --internal service </dev/null >/dev/null 2>&1 & echo $! >$pid; exit 0;;\n\
         stop) alive && kill -9 \"$(cat $pid)\"; while alive; do sleep 0.01; done; rm -f $pid; exit 0;;\n\
         monitor) alive && exit 0; exit 7;;\n\
         meta-data) cat <<'END'\n\
         <?xml version=\"1.0\"?>\n<resource-agent name=\"service\" version=\"1.0\"><version>1.1</version>\
         <longdesc lang=\"en\">service of the bench</longdesc><shortdesc lang=\"en\">service</shortdesc><parameters/>\
         <actions><action name=\"start\" timeout=\"20s\"/><action name=\"stop\" timeout=\"20s\"/>\
         <action name=\"monitor\" timeout=\"20s\" interval=\"10s\"/><action name=\"meta-data\" timeout=\"5s\"/>\
         <action name=\"validate-all\" timeout=\"5s\"/></actions></resource-agent>\n\
         END\nexit 0;;\n\
         validate-all) exit 0;;\n\
         *) exit 3;;\n\
         esac\n"
    )
}

/// True when every machine is online and Pacemaker has elected its leader.
#[must_use]
pub fn formed(status: &str, machines: &[&str]) -> bool {
    nodes_trouble(status, machines).is_none()
}

/// What `status` (`crm_mon --output-as=xml`) says is wrong.
#[must_use]
pub fn trouble(status: &str, machines: &[&str]) -> Option<String> {
    if let Some(trouble) = nodes_trouble(status, machines) {
        return Some(trouble);
    }
    let resources = ["service", "vip", "fence-n1", "fence-n2", "fence-n3"];
    resources.iter().find_map(|id| {
        let Some(tag) = tag(status, "resource", "id", id) else {
            return Some(format!("Pacemaker does not know {id}"));
        };
        let right = attribute(tag, "role") == Some("Started")
            && attribute(tag, "failed") == Some("false")
            && attribute(tag, "blocked") == Some("false")
            && attribute(tag, "nodes_running_on") == Some("1");
        (!right).then(|| format!("{id} is not running as it should: {tag}"))
    })
}

fn nodes_trouble(status: &str, machines: &[&str]) -> Option<String> {
    let leader = status
        .find("<current_dc")
        .and_then(|at| attribute(&status[at..], "with_quorum"));
    if leader != Some("true") {
        return Some("Pacemaker has no leader with a quorum".into());
    }
    machines.iter().find_map(|machine| {
        let Some(tag) = tag(status, "node", "name", machine) else {
            return Some(format!("Pacemaker does not know {machine}"));
        };
        let right = attribute(tag, "online") == Some("true")
            && attribute(tag, "pending") == Some("false")
            && attribute(tag, "unclean") == Some("false");
        (!right).then(|| format!("{machine} is not online: {tag}"))
    })
}

/// The first opening tag `element` whose attribute `name` is `value`, without its brackets.
fn tag<'a>(xml: &'a str, element: &str, name: &str, value: &str) -> Option<&'a str> {
    xml.split('<')
        .filter_map(|part| part.split('>').next())
        .filter(|tag| tag.split_whitespace().next() == Some(element))
        .find(|tag| attribute(tag, name) == Some(value))
}

/// The value of attribute `name` in `tag`.
fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    let from = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    tag[from..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = r#"<summary><current_dc present="true" with_quorum="true"/></summary><nodes>
        <node name="n1" id="1" online="true" standby="false" pending="false" unclean="false"/>
        <node name="n2" id="2" online="false" standby="false" pending="false" unclean="true"/></nodes>
        <resources><resource id="vip" role="Started" failed="false" blocked="false" nodes_running_on="1">
        <node name="n1" id="1" cached="true"/></resource></resources>"#;

    #[test]
    fn what_is_wrong_is_found_in_the_status() {
        assert!(formed(STATUS, &["n1"]));
        assert!(
            nodes_trouble(STATUS, &["n1", "n2"])
                .unwrap()
                .contains("n2 is not online")
        );
        assert_eq!(
            trouble(STATUS, &["n1"]).unwrap(),
            "Pacemaker does not know service"
        );
        let without = STATUS.replace("with_quorum=\"true\"", "with_quorum=\"false\"");
        assert!(!formed(&without, &["n1"]));
    }

    #[test]
    fn every_section_is_one_element_of_its_name() {
        for (section, xml) in service() {
            assert!(xml.starts_with(&format!("<{section}>")), "{xml}");
            assert!(xml.ends_with(&format!("</{section}>")), "{xml}");
        }
    }
}

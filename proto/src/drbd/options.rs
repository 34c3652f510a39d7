//! Reads `drbdadm dump-xml` and names each option that contradicts a managed pair, with the reason.
//!
//! The rule behind all of them: the cluster decides who is promoted and who is given up, DRBD decides neither.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::markup;

/// Longest output of `drbdadm dump-xml` that is read.
pub const DUMP_BYTES_MAX: usize = 4 << 20;

/// One resource as `drbdadm dump-xml` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dumped {
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its connections are written one by one, as only DRBD 9 has them.
    has_connections: bool,
    /// Its own options.
    options: Options,
    /// Those of all resources: its own come before them.
    common: Arc<Options>,
}

/// Options by section and name: `net` `protocol`.
type Options = BTreeMap<(String, String), String>;

/// Something in the configuration of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// It could cost data, or lets DRBD decide by itself: the agent refuses to promote.
    pub is_error: bool,
    /// What is set, why that is wrong, and what to write.
    pub text: String,
}

/// All resources in `xml`, by name.
#[must_use]
pub fn read(xml: &str) -> BTreeMap<String, Dumped> {
    let mut common = Options::new();
    let mut resources: BTreeMap<String, Dumped> = BTreeMap::new();
    let (mut resource, mut section) = (None::<String>, String::new());
    for (tag, attributes) in markup::tags(xml) {
        let name = || markup::attribute(attributes, "name");
        match tag {
            "resource" => {
                resource = name();
                if let Some(name) = &resource {
                    resources.insert(name.clone(), Dumped::default());
                }
            }
            "/resource" => resource = None,
            "host" => {
                if let Some(dumped) = resource.as_ref().and_then(|name| resources.get_mut(name)) {
                    let hosts = &mut dumped.hosts;
                    hosts.extend(name().filter(|name| !hosts.contains(name)));
                }
            }
            "connection" => {
                if let Some(dumped) = resource.as_ref().and_then(|name| resources.get_mut(name)) {
                    dumped.has_connections = true;
                }
            }
            "section" => section = name().unwrap_or_default(),
            "/section" => section.clear(),
            "option" => {
                let (Some(key), value) = (name(), markup::attribute(attributes, "value")) else {
                    continue;
                };
                let value = value.unwrap_or_else(|| "yes".to_owned());
                let options = match resource.as_ref().and_then(|name| resources.get_mut(name)) {
                    Some(dumped) => &mut dumped.options,
                    None => &mut common,
                };
                options.insert((section.clone(), key), value);
            }
            _ => {}
        }
    }
    let common = Arc::new(common);
    for dumped in resources.values_mut() {
        dumped.common = Arc::clone(&common);
    }
    resources
}

impl Dumped {
    /// The value of an option in any of `sections`: 8.4 and 9 differ in where some of them stand.
    fn value(&self, sections: &[&str], key: &str) -> Option<&str> {
        let mut found = sections.iter().filter_map(|section| {
            let place = ((*section).to_owned(), key.to_owned());
            self.options.get(&place).or_else(|| self.common.get(&place))
        });
        found.next().map(String::as_str)
    }

    fn is_on(&self, sections: &[&str], key: &str) -> bool {
        self.value(sections, key)
            .is_some_and(|value| value != "no" && value != "off")
    }

    /// What contradicts a managed pair.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut say = |is_error: bool, text: String| found.push(Finding { is_error, text });
        if let Some(protocol) = self.value(&["net"], "protocol").filter(|value| *value != "C") {
            say(
                true,
                format!(
                    "net: protocol {protocol} acknowledges writes before the other side has them: write protocol C"
                ),
            );
        }
        if self.is_on(&["net"], "allow-two-primaries") {
            say(
                true,
                "net: allow-two-primaries lets both sides write: take it out".to_owned(),
            );
        }
        if self
            .value(&["options"], "auto-promote")
            .is_some_and(|value| value == "yes")
        {
            say(
                true,
                "options: auto-promote lets whoever opens the device promote it: write auto-promote no"
                    .to_owned(),
            );
        }
        self.check_fencing(&mut say);
        self.check_split_brain(&mut say);
        self.check_handlers(&mut say);
        if self
            .value(&["disk"], "on-io-error")
            .is_some_and(|value| value == "pass_on")
        {
            say(
                false,
                "disk: on-io-error pass_on shows I/O errors of the local disk to the service, although the other side is whole: \
                 write on-io-error detach"
                    .to_owned(),
            );
        }
        found
    }

    fn check_fencing(&self, say: &mut impl FnMut(bool, String)) {
        let quorum = self.value(&["options"], "quorum").filter(|value| *value != "off");
        let policy = self.value(&["net", "disk"], "fencing").unwrap_or("dont-care");
        if let Some(quorum) = quorum {
            say(
                policy != "dont-care",
                format!(
                    "options: quorum {quorum} decides beside the cluster, and may contradict it: write quorum off, and fencing \
                     resource-and-stonith"
                ),
            );
        }
        if policy != "resource-and-stonith" {
            say(
                true,
                format!(
                    "fencing {policy} lets a primary that lost the other side go on before the cluster has agreed to that: write \
                     fencing resource-and-stonith (in `disk` for DRBD 8.4, in `net` for DRBD 9)"
                ),
            );
        }
    }

    fn check_split_brain(&self, say: &mut impl FnMut(bool, String)) {
        for key in ["after-sb-0pri", "after-sb-1pri", "after-sb-2pri", "rr-conflict"] {
            if let Some(value) = self.value(&["net"], key).filter(|value| *value != "disconnect") {
                // These two give up nothing that was written.
                let is_harmless = matches!(value, "discard-zero-changes" | "retry-connect");
                say(
                    !is_harmless,
                    format!(
                        "net: {key} {value} lets DRBD choose by itself whose writes are thrown away: write {key} disconnect"
                    ),
                );
            }
        }
    }

    fn check_handlers(&self, say: &mut impl FnMut(bool, String)) {
        for (key, command) in [
            ("fence-peer", "hactl drbd fence-peer"),
            ("unfence-peer", "hactl drbd unfence-peer"),
        ] {
            let handler = self.value(&["handlers"], key);
            let is_ours = handler.is_some_and(|handler| handler.contains(command));
            let matters = key == "fence-peer";
            match handler {
                _ if is_ours => {}
                None if matters => say(
                    true,
                    format!(
                        "handlers: {key} is missing, so a frozen primary never goes on: write {key} \"/usr/bin/{command}\""
                    ),
                ),
                None => {}
                Some(other) => say(
                    matters,
                    format!(
                        "handlers: {key} is {other}, which does not ask this cluster: write {key} \"/usr/bin/{command}\""
                    ),
                ),
            }
        }
        for key in [
            "split-brain",
            "pri-lost-after-sb",
            "pri-on-incon-degr",
            "local-io-error",
        ] {
            let handler = self.value(&["handlers"], key).unwrap_or_default();
            if ["reboot", "halt", "sysrq", "poweroff"]
                .iter()
                .any(|word| handler.contains(word))
            {
                say(
                    false,
                    format!(
                        "handlers: {key} ends the node by itself ({handler}): the cluster does that where it is needed"
                    ),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = r#"<config file="/etc/drbd.conf">
    <common>
        <section name="net"><option name="protocol" value="C"/></section>
        <section name="handlers"><option name="fence-peer" value="/usr/lib/drbd/crm-fence-peer.sh"/></section>
    </common>
    <resource name="r0" conf-file-line="/etc/drbd.d/r0.res:1">
        <host name="n1"><volume vnr="0"><device minor="0">/dev/drbd0</device><disk>/dev/vdb</disk></volume></host>
        <host name="n2"><volume vnr="0"><device minor="0">/dev/drbd0</device></volume></host>
        <section name="net"><option name="after-sb-0pri" value="disconnect"/></section>
        <section name="disk"><option name="fencing" value="resource-and-stonith"/></section>
        <section name="handlers"><option name="fence-peer" value="/usr/bin/hactl drbd fence-peer"/></section>
    </resource>
    <resource name="wild">
        <host name="n1"/>
        <section name="net">
            <option name="protocol" value="A"/><option name="allow-two-primaries"/>
            <option name="after-sb-1pri" value="discard-secondary"/><option name="rr-conflict" value="retry-connect"/>
        </section>
        <section name="options"><option name="auto-promote" value="yes"/><option name="quorum" value="majority"/></section>
    </resource>
</config>"#;

    #[test]
    fn a_resource_for_a_managed_pair_has_nothing_against_it() {
        let resources = read(DUMP);
        let r0 = &resources["r0"];
        assert_eq!(r0.hosts, ["n1", "n2"]);
        assert_eq!(r0.findings(), []);
    }

    #[test]
    fn each_option_that_decides_by_itself_is_named() {
        let found = read(DUMP)["wild"].findings();
        let named = |word: &str| found.iter().find(|finding| finding.text.contains(word));
        for word in [
            "protocol A",
            "allow-two-primaries",
            "auto-promote",
            "after-sb-1pri discard-secondary",
            "fencing dont-care",
            "fence-peer is /usr/lib",
        ] {
            assert!(
                named(word).is_some_and(|finding| finding.is_error),
                "{word}: {found:#?}"
            );
        }
        for word in ["quorum majority", "rr-conflict retry-connect"] {
            assert!(
                named(word).is_some_and(|finding| !finding.is_error),
                "{word}: {found:#?}"
            );
        }
    }

    #[test]
    fn what_is_no_dump_has_no_resources() {
        for text in ["", "<resource", "<option name='x'/>", "no resources defined!"] {
            assert!(read(text).is_empty(), "{text}");
        }
    }
}

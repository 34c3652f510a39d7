//! The kinds of resources and what each takes. The one place to add a kind: parser, hints and documentation follow it.

use super::{Requires, Roles};
use crate::ocf;

/// A kind of resource.
#[derive(Clone, Copy, Debug)]
pub struct KindSpec {
    /// Its name, the value of `type`.
    pub kind: &'static str,
    /// What a takeover needs when it is in a group.
    pub requires: Requires,
    /// Whether it has roles: runs on every node, and is promoted on one.
    pub roles: Roles,
    /// Its parameters.
    pub params: &'static [ParamSpec],
}

/// A parameter of a kind.
#[derive(Clone, Copy, Debug)]
pub struct ParamSpec {
    /// The key.
    pub key: &'static str,
    /// What the value must be.
    pub form: ParamForm,
    /// It must be given.
    pub required: bool,
}

/// What a parameter's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamForm {
    /// One address with prefix length, or a list of them.
    Addresses,
    /// The name of a network interface.
    Interface,
    /// The name of a systemd unit; `.service` is added if there is no suffix.
    Unit,
    /// A program by absolute path, and its arguments.
    Command,
    /// The name of a user.
    User,
    /// An absolute path.
    Path,
    /// A block device, folder or image file by absolute path, or `UUID=`, `LABEL=`, `PARTUUID=`, `PARTLABEL=`.
    Device,
    /// A word of letters, digits, `.`, `_` and `-`.
    Word,
    /// A text that is not empty.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// `true` or `false`; the agent gets the word.
    Flag,
    /// A table of environment variables.
    Environment,
    /// A duration in this range of milliseconds; the agent gets the number, its key with `_ms` at the end.
    Millis(u32, u32),
    /// A duration of whole seconds in this range; the agent gets the number, its key with `_s` at the end.
    Seconds(u32, u32),
    /// A table of the parameters of an OCF agent; the agent gets each as `param.NAME`.
    AgentParams,
    /// A whole number in this range.
    Number(u32, u32),
}

const fn required(key: &'static str, form: ParamForm) -> ParamSpec {
    ParamSpec {
        key,
        form,
        required: true,
    }
}

const fn optional(key: &'static str, form: ParamForm) -> ParamSpec {
    ParamSpec {
        key,
        form,
        required: false,
    }
}

/// Every kind of resource.
pub const RESOURCE_KINDS: &[KindSpec] = &[
    KindSpec {
        kind: "vip",
        requires: Requires::Lease,
        roles: Roles::Never,
        params: &[
            required("address", ParamForm::Addresses),
            optional("interface", ParamForm::Interface),
            optional("duplicate_check", ParamForm::Millis(0, 5000)),
            optional("announce_interval", ParamForm::Seconds(1, 3600)),
        ],
    },
    KindSpec {
        kind: "systemd",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[required("unit", ParamForm::Unit)],
    },
    KindSpec {
        kind: "exec",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[
            required("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("cwd", ParamForm::Path),
            optional("env", ParamForm::Environment),
        ],
    },
    KindSpec {
        kind: "filesystem",
        requires: Requires::Fencing,
        roles: Roles::Never,
        params: &[
            required("device", ParamForm::Device),
            required("path", ParamForm::Path),
            optional("fstype", ParamForm::Word),
            optional("uuid", ParamForm::Word),
            optional("options", ParamForm::Text),
            optional("fsck", ParamForm::OneOf(&["preen", "none"])),
            optional("kill_users", ParamForm::Flag),
        ],
    },
    KindSpec {
        // The whole family `ocf:PROVIDER:TYPE`.
        kind: "ocf",
        requires: Requires::Fencing,
        roles: Roles::When("promotable", "true"),
        params: &[
            optional("params", ParamForm::AgentParams),
            optional("promotable", ParamForm::Flag),
            optional("notify", ParamForm::Flag),
            optional("monitor_interval", ParamForm::Millis(100, 86_400_000)),
            optional("monitor_timeout", ParamForm::Millis(100, 3_600_000)),
            optional("check_level", ParamForm::OneOf(&["10", "20"])),
            optional("check_interval", ParamForm::Millis(1000, 86_400_000)),
            optional("ocf_root", ParamForm::Path),
        ],
    },
    KindSpec {
        kind: "galera",
        requires: Requires::Fencing,
        roles: Roles::Always,
        params: &[
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("socket", ParamForm::Path),
            optional("datadir", ParamForm::Path),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("link", ParamForm::Number(1, 8)),
            optional("probe_interval", ParamForm::Millis(100, 60_000)),
            optional("probe_timeout", ParamForm::Millis(100, 60_000)),
        ],
    },
    KindSpec {
        kind: "mysqld",
        requires: Requires::Fencing,
        roles: Roles::When("mode", "replication"),
        params: &[
            optional("mode", ParamForm::OneOf(&["storage", "replication"])),
            optional("unit", ParamForm::Unit),
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("socket", ParamForm::Path),
            optional("datadir", ParamForm::Path),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("link", ParamForm::Number(1, 8)),
            optional("seed_port", ParamForm::Number(1, 65_535)),
            optional("replication_user", ParamForm::User),
            optional("tls_ca", ParamForm::Path),
            optional("tls_cert", ParamForm::Path),
            optional("tls_key", ParamForm::Path),
            optional("private_link", ParamForm::Flag),
            optional("durability", ParamForm::OneOf(&["full", "as-configured"])),
            optional("rejoin", ParamForm::OneOf(&["automatic", "reclone", "manual"])),
            optional("lag_alarm", ParamForm::Seconds(1, 86_400)),
            optional("probe_interval", ParamForm::Millis(100, 60_000)),
            optional("probe_timeout", ParamForm::Millis(100, 60_000)),
            optional("probe_failures", ParamForm::Number(1, 20)),
            optional("probe_of", ParamForm::Number(1, 20)),
        ],
    },
    KindSpec {
        kind: "redis",
        // What WAIT acknowledged is on the replica: a primary without a permit has nothing that would be missed.
        requires: Requires::Lease,
        roles: Roles::Always,
        params: &[
            optional("unit", ParamForm::Unit),
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("cwd", ParamForm::Path),
            optional("env", ParamForm::Environment),
            optional("config", ParamForm::Path),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("socket", ParamForm::Path),
            optional("username", ParamForm::Word),
            optional("password_file", ParamForm::Path),
            optional("min_replicas", ParamForm::OneOf(&["in_sync", "off"])),
            optional("max_lag", ParamForm::Seconds(2, 3600)),
            optional("sentinel_port", ParamForm::Number(1, 65_535)),
            optional("sentinel_name", ParamForm::Word),
            optional("probe_timeout", ParamForm::Millis(100, 60_000)),
            optional("probe_failures", ParamForm::Number(1, 100)),
            optional("probe_of", ParamForm::Number(1, 100)),
        ],
    },
    KindSpec {
        kind: "drbd",
        requires: Requires::Fencing,
        roles: Roles::Always,
        params: &[required("resource", ParamForm::Word)],
    },
    KindSpec {
        kind: "rabbitmq",
        requires: Requires::Fencing,
        roles: Roles::When("mode", "cluster"),
        params: &[
            required("node_name", ParamForm::Text),
            optional("mode", ParamForm::OneOf(&["storage", "cluster"])),
            optional("third", ParamForm::Text),
            optional("cookie_file", ParamForm::Path),
            optional("epmd_port", ParamForm::Number(1, 65_535)),
            optional("unit", ParamForm::Unit),
            optional("command", ParamForm::Command),
            optional("user", ParamForm::User),
            optional("cwd", ParamForm::Path),
            optional("env", ParamForm::Environment),
            optional("env_file", ParamForm::Path),
            optional("data_dir", ParamForm::Path),
            optional("address", ParamForm::Text),
            optional("port", ParamForm::Number(1, 65_535)),
            optional("management_port", ParamForm::Number(1, 65_535)),
            optional("username", ParamForm::Text),
            optional("password_file", ParamForm::Path),
            optional("vhost", ParamForm::Text),
            optional("probe_interval", ParamForm::Millis(100, 600_000)),
            optional("probe_timeout", ParamForm::Millis(100, 600_000)),
            optional("probe_failures", ParamForm::Number(1, 100)),
            optional("probe_of", ParamForm::Number(1, 100)),
        ],
    },
    #[cfg(test)]
    KindSpec {
        kind: "test-copy",
        requires: Requires::Lease,
        roles: Roles::When("cwd", "/replicated"),
        params: &[optional("cwd", ParamForm::Path)],
    },
];

impl KindSpec {
    /// The kind called `name`, or the family that it belongs to.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static KindSpec> {
        let family = ocf::parts(name).map(|_| "ocf");
        let wanted = family.unwrap_or(if name == "ocf" { "" } else { name });
        RESOURCE_KINDS.iter().find(|spec| spec.kind == wanted)
    }

    /// How the configuration writes it.
    #[must_use]
    pub fn written(&self) -> &'static str {
        match self.kind {
            "ocf" => "ocf:PROVIDER:TYPE",
            kind => kind,
        }
    }
}

impl ParamSpec {
    /// The key under which the agent gets the value: with the unit, where there is one.
    #[must_use]
    pub fn agent_key(&self) -> String {
        let unit = match self.form {
            ParamForm::Millis(..) => "_ms",
            ParamForm::Seconds(..) => "_s",
            _ => "",
        };
        format!("{}{unit}", self.key)
    }
}

//! Parameters of the `filesystem` agent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::params::Reader;

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "filesystem",
    summary: "mounts a file system, a folder (bind) or the image in a file (loop)",
    params: &[
        ParamMeta::required(
            "device",
            "the block device, folder or image file by absolute path; or UUID=, LABEL=, PARTUUID=, PARTLABEL=",
        ),
        ParamMeta::required("path", "where it is mounted; the folder is made if it is missing"),
        ParamMeta::optional(
            "fstype",
            "kind of file system; another one there is refused (default: what is found)",
        ),
        ParamMeta::optional(
            "uuid",
            "UUID that the file system must have; another one is refused (default: not checked)",
        ),
        ParamMeta::optional(
            "options",
            "options of mount, separated by commas (default: defaults)",
        ),
        ParamMeta::optional(
            "fsck",
            "check before mounting: preen (ext2, ext3, ext4, vfat: safe repairs) or none (default: preen)",
        ),
        ParamMeta::optional(
            "kill_users",
            "end the processes that keep it from being unmounted: true or false (default: true)",
        ),
    ],
};

/// Checked parameters.
#[derive(Clone, Debug)]
pub struct Params {
    /// What is mounted, as configured.
    pub device: String,
    /// Where.
    pub path: PathBuf,
    /// The kind it must have.
    pub fstype: Option<String>,
    /// The UUID it must have.
    pub uuid: Option<String>,
    /// Options of mount.
    pub options: Option<String>,
    /// Check and repair what is safe to repair before mounting.
    pub preen: bool,
    /// End processes in the way of an unmount.
    pub kill_users: bool,
}

/// What stands before the value in a `device` that is no path.
const TAGS: [&str; 4] = ["UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="];
/// Options that would undo what this agent promises, and why.
const REFUSED_OPTIONS: [(&str, &str); 5] = [
    ("noauto", "it belongs into /etc/fstab"),
    ("nofail", "it belongs into /etc/fstab"),
    ("remount", "the file system is mounted anew"),
    (
        "errors=continue",
        "a damaged file system would go on being written",
    ),
    ("errors=panic", "fencing is Holdfast's task"),
];

impl Params {
    /// Checks them.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn read(params: &BTreeMap<String, String>) -> Result<Params, AgentError> {
        META.check_keys(params)?;
        let read = Reader::new(META.kind, params);
        let text = |key: &str| read.text(key).map(str::to_owned);
        let params = Params {
            device: text("device").unwrap_or_default(),
            path: text("path").unwrap_or_default().into(),
            fstype: text("fstype"),
            uuid: text("uuid"),
            options: text("options"),
            preen: read.choice("fsck", &[("preen", true), ("none", false)])?,
            kill_users: read.choice("kill_users", &[("true", true), ("false", false)])?,
        };
        params.check()?;
        Ok(params)
    }

    fn check(&self) -> Result<(), AgentError> {
        let refuse = |text: String| Err(AgentError(format!("agent filesystem: {text}")));
        let tagged = TAGS
            .iter()
            .any(|tag| self.device.len() > tag.len() && self.device.starts_with(tag));
        if !tagged && !self.device.starts_with('/') {
            return refuse(format!(
                "device {:?} is neither an absolute path nor one of UUID=, LABEL=, PARTUUID=, PARTLABEL= with a value",
                self.device
            ));
        }
        let is_plain = |path: &PathBuf| {
            let parts = path.components().count();
            path.is_absolute() && parts > 1 && !path.components().any(|part| part.as_os_str() == "..")
        };
        if !is_plain(&self.path) {
            return refuse(format!(
                "path {} must be absolute, without `..`, and not the root",
                self.path.display()
            ));
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if let Some(fstype) = self.fstype.as_ref().filter(|name| !name.chars().all(plain)) {
            return refuse(format!("{fstype:?} is no kind of file system"));
        }
        for option in self.options() {
            if let Some((_, why)) = REFUSED_OPTIONS.iter().find(|(refused, _)| *refused == option) {
                return refuse(format!("option {option} is not for a managed mount: {why}"));
            }
        }
        Ok(())
    }

    /// The options one by one.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.options.iter().flat_map(|options| options.split(','))
    }

    /// It is meant to be read only.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.options().any(|option| option == "ro")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Params, AgentError> {
        let pairs = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        Params::read(&pairs.collect())
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (pairs, said) in [
            (&[("device", "sdb"), ("path", "/srv")][..], "absolute path"),
            (&[("device", "UUID="), ("path", "/srv")], "with a value"),
            (&[("device", "/dev/sdb"), ("path", "/")], "not the root"),
            (&[("device", "/dev/sdb"), ("path", "/srv/../etc")], "without `..`"),
            (
                &[("device", "/dev/sdb"), ("path", "/srv"), ("fsck", "force")],
                "preen or none",
            ),
            (
                &[("device", "/dev/sdb"), ("path", "/srv"), ("options", "rw,noauto")],
                "/etc/fstab",
            ),
            (
                &[("device", "/dev/sdb"), ("path", "/srv"), ("kill_users", "yes")],
                "true or false",
            ),
        ] {
            let error = read(pairs).unwrap_err().0;
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn defaults_check_and_kill() {
        let params = read(&[("device", "UUID=1234-ABCD"), ("path", "/srv/data/")]).unwrap();
        assert!(params.preen && params.kill_users && !params.read_only());
        assert_eq!(params.path, PathBuf::from("/srv/data"));
    }
}

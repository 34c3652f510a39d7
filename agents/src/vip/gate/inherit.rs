//! The addresses that an earlier had-agentd may have left, with the permits they run under.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::agent::GroupSpec;
use holdfast_proto::time::Time;

use super::Key;
use crate::agent::PermitView;
use crate::group::store::Loaded;
use crate::permits::saved;
use crate::vip::address;

/// Addresses of one resource.
#[derive(Clone, Debug)]
pub struct Inherited {
    /// The resource.
    pub key: Key,
    /// Its addresses.
    pub ips: Arc<[IpAddr]>,
    /// The last permit that was recorded.
    pub permit: PermitView,
    /// Length of a lease.
    pub lease: Duration,
}

/// True for a group whose successor waits for the end of the permit, and for nothing else.
#[must_use]
pub fn is_for(requires: &str) -> bool {
    requires == "lease"
}

/// What may be left of the groups in `loaded`. Their permits go on as they were: see [`saved`].
#[must_use]
pub fn inherit(loaded: &[Loaded], state_dir: &Path, maintenance: bool) -> Vec<Inherited> {
    let mut all = Vec::new();
    let saved = loaded.iter().filter_map(|(_, saved)| saved.as_ref().ok());
    for group in saved.filter(|group| group.may_run()) {
        let Some(spec) = group.spec.as_ref().filter(|spec| is_for(&spec.requires)) else {
            continue;
        };
        let lapsed = PermitView {
            epoch: group.epoch,
            until: Time::ZERO,
        };
        let mut permit = saved::read(state_dir, &group.group).unwrap_or(lapsed);
        if maintenance {
            permit.until = Time(u64::MAX);
        }
        all.extend(addresses(spec).map(|(name, ips)| Inherited {
            key: (group.group.clone(), name),
            ips,
            permit,
            lease: Duration::from_millis(group.lease_ms),
        }));
    }
    all
}

fn addresses(spec: &GroupSpec) -> impl Iterator<Item = (String, Arc<[IpAddr]>)> {
    let vips = spec.resources.iter().filter(|resource| resource.kind == "vip");
    vips.filter_map(|resource| {
        // What cannot be read was refused when it was to be started.
        let listed = address::parse_list(resource.params.get("address")?).ok()?;
        Some((resource.name.clone(), listed.iter().map(|vip| vip.ip).collect()))
    })
}

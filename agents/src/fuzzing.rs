//! What the fuzz targets reach of this crate beyond its public parts. Built with `--cfg fuzzing` only.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use crate::agent::{AgentContext, AgentError, EventSink, PermitView};

pub use crate::drbd::fuzzing as drbd;
pub use crate::exec::fuzzing::{last_line, stat};
pub use crate::jobs::fuzzing as jobs;
pub use crate::mysqld::fuzzing as mysqld;
pub use crate::ocf::fuzzing as ocf;
pub use crate::rabbitmq::fuzzing as rabbitmq;
pub use crate::redis::fuzzing as redis;
pub use crate::vip::fuzzing::{example, example_batch, read_netlink, through_netlink};

/// Runs what waits for nothing but memory.
pub(crate) fn at_once<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
        let made = Builder::new_current_thread().enable_time().build();
        made.expect("a runtime")
    });
    RUNTIME.block_on(work)
}

/// Whether the agent `kind` takes `params`. Builds it and touches nothing.
///
/// # Errors
/// What the agent refuses, in its words.
pub fn accepts(kind: &str, params: &BTreeMap<String, String>, saved: &str) -> Result<(), AgentError> {
    let (notes, _) = mpsc::channel(1);
    let (failures, _) = mpsc::unbounded_channel();
    let permit = PermitView {
        epoch: 1,
        until: Time(u64::MAX),
    };
    let context = AgentContext {
        group: "group".into(),
        resource: "resource".into(),
        params: params.clone(),
        lease: Duration::from_secs(1),
        permit: watch::channel(permit).1,
        events: EventSink::new(0, notes, failures),
        saved: saved.into(),
        state_dir: "/nonexistent".into(),
        roles: watch::channel(crate::roles::RolesView::default()).1,
        copy: crate::roles::CopySink::default(),
        gate: None,
    };
    crate::registry::build(kind, context).map(drop)
}

/// What the answer to an HTTP probe means.
///
/// # Errors
/// Why the probe failed.
pub fn http_answer(bytes: &[u8]) -> Result<(), String> {
    crate::probe::http::verdict(bytes)
}

/// Epoch and end (in microseconds) of a permit that was kept on disk.
#[must_use]
pub fn saved_permit(bytes: &[u8]) -> Option<(u64, u64)> {
    crate::permits::saved::decode(bytes).map(|permit| (permit.epoch, permit.until.0))
}

/// The record of a permit.
#[must_use]
pub fn permit_record(epoch: u64, until_us: u64) -> Vec<u8> {
    let until = Time(until_us);
    crate::permits::saved::encode(PermitView { epoch, until }).to_vec()
}

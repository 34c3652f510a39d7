//! Storage that shut this node out has to let it in again before anything starts (in Pacemaker: unfencing).
//!
//! A node whose reservation or port was taken away must not be let in by itself while something of it may still hold what it
//! meant to write there: so it is asked for only when nothing else runs here, and only under the permit of a new start.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use holdfast_proto::agent::FenceDevice;

use super::Group;
use super::start::Started;
use crate::agent::AgentError;
use crate::fence::Fencer;

/// Which groups of this node are other than down.
#[derive(Clone, Default)]
pub struct Occupied(Arc<Mutex<BTreeSet<String>>>);

impl Occupied {
    /// `group` may have something running, or has not.
    pub(super) fn note(&self, group: &str, may_run: bool) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if may_run {
            groups.insert(group.to_owned());
        } else {
            groups.remove(group);
        }
    }

    fn others(&self, group: &str) -> Vec<String> {
        let groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        groups.iter().filter(|other| *other != group).cloned().collect()
    }
}

impl Group {
    /// Has the node let in by its storage devices, unless an order that comes up meanwhile calls for something else.
    pub(super) async fn admit(&mut self, storage: Vec<FenceDevice>) -> Started {
        let (fencer, others) = (
            self.around.fencer.clone(),
            self.around.occupied.others(&self.name),
        );
        let asked = async {
            let mut told = Vec::new();
            for device in &storage {
                told.extend(let_in(&fencer, device, &others).await?);
            }
            Ok::<_, AgentError>(told)
        };
        let done = tokio::select! {
            biased;
            done = asked => done,
            () = self.mailbox.superseded(self.epoch, self.armed_epoch) => return Started::Superseded,
        };
        match done {
            Err(error) => Started::Failed(error.0),
            Ok(told) => {
                for text in told {
                    self.note("info", "storage-admitted", text);
                }
                Started::Whole
            }
        }
    }
}

/// What is to be told of one device; nothing when it had not shut this node out.
async fn let_in(
    fencer: &Fencer,
    device: &FenceDevice,
    others: &[String],
) -> Result<Option<String>, AgentError> {
    if !fencer.shuts_out(device).await? {
        return Ok(None);
    }
    if !others.is_empty() {
        return Err(AgentError(format!(
            "{} has shut this node out of its storage, and {} may still hold what was to be written there: restart this node",
            device.agent,
            others.join(", ")
        )));
    }
    fencer.let_in(device).await.map(Some)
}

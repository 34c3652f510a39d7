//! Storage devices from the side of the node that they shut out: are we shut out, and let us in again.

use std::time::Duration;

use holdfast_proto::agent::FenceDevice;
use tokio::time::Instant;

use super::state::{self, Power};
use super::{Fencer, deadline_of};
use crate::agent::AgentError;

/// Pause between two looks at whether we were let in.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

impl Fencer {
    /// Whether `device`, one of this node's own, has shut it out.
    ///
    /// # Errors
    /// When it does not say, in words: then nothing that needs it may start.
    pub async fn shuts_out(&self, device: &FenceDevice) -> Result<bool, AgentError> {
        let deadline = deadline_of(device, Instant::now());
        let _turn = self.take_turn(device, deadline).await?;
        let opened = self.open(device, deadline).await?;
        let run = opened.act("status", deadline).await?;
        match state::read(&run) {
            Power::Off => Ok(true),
            Power::On => Ok(false),
            Power::Unknown(why) => Err(AgentError(format!(
                "whether {} lets this node at its storage is not known, {why}: {}",
                opened.label,
                opened.complaint("status", &run)
            ))),
        }
    }

    /// Has `device` let this node in, and sees that it did. The sentence says so.
    ///
    /// # Errors
    /// When it did not, in words.
    pub async fn let_in(&self, device: &FenceDevice) -> Result<String, AgentError> {
        let deadline = deadline_of(device, Instant::now());
        let _turn = self.take_turn(device, deadline).await?;
        let opened = self.open(device, deadline).await?;
        let run = opened.act("on", deadline).await?;
        let told = if run.code == Some(0) {
            format!("{} on ended well in {:.1?}", opened.label, run.took)
        } else {
            opened.complaint("on", &run)
        };
        loop {
            let look = opened.act("status", deadline).await?;
            if state::read(&look) == Power::On {
                return Ok(format!(
                    "{} let {} at its storage again: {told}, and a separate status read says on",
                    opened.label, device.node
                ));
            }
            if run.code != Some(0) || Instant::now() + LOOK_PAUSE >= deadline {
                return Err(AgentError(format!(
                    "{} does not let {} at its storage: {told}; {}",
                    opened.label,
                    device.node,
                    opened.complaint("status", &look)
                )));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

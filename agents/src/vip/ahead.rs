//! The duplicate check ahead of time: it runs while the resources before this one are started.
//!
//! It changes nothing, and its answer is used only if it is fresh: what the check finds out (that no stranger has the
//! address) does not hinge on the milliseconds between, and a stranger that comes later is noticed anyway.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use super::announce::Wire;
use super::netlink::Link;
use super::packet::Mac;
use crate::clock;

/// Age beyond which an answer is not used.
const FRESH: Duration = Duration::from_secs(1);

/// A wire on which nobody else was heard, or who was.
pub type Checked = (Wire, io::Result<Option<(Mac, IpAddr)>>);

/// A check that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Ahead {
    link: Link,
    task: JoinHandle<(Checked, Time)>,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ahead {
    /// Begins to ask on `wire`, which is on `link`.
    pub fn begin(link: Link, wire: Wire, wait: Duration) -> Ahead {
        let check = async move {
            let found = wire.find_duplicate(wait).await;
            ((wire, found), clock::now())
        };
        Ahead {
            link,
            task: tokio::spawn(check),
        }
    }

    /// Waits for the answer. None if it is not about `link` as it is now, or stale.
    pub async fn answer(mut self, link: &Link) -> Option<Checked> {
        if self.link != *link {
            return None;
        }
        let (checked, at) = (&mut self.task).await.ok()?;
        (clock::now().since(at) <= FRESH).then_some(checked)
    }
}

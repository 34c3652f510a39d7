//! Whose key opens the door.

use std::sync::Arc;

use holdfast_proto::config::KeyPin;

use super::directory::Directory;
use super::refusal::{END, MARK};
use super::tls::{Judge, named};
use crate::join::JoinTokens;

/// Admits who is pinned, and, while a join token is open, a newcomer as far as the join protocol.
pub struct Gate {
    pub directory: Arc<Directory>,
    pub joins: Arc<JoinTokens>,
}

impl Judge for Gate {
    fn server(&self, name: &str, pin: KeyPin) -> Result<(), String> {
        let pins = named(name).map(|node| (node, self.directory.pins(node)));
        match pins {
            Some((_, pins)) if pins.contains(&pin) => Ok(()),
            Some((node, _)) => Err(format!(
                "{MARK}the key {pin} is not pinned for {}: put that pin under its 'keys' if it is the right one{END}",
                self.directory.config().name_of(node)
            )),
            None => Err(format!("{MARK}'{name}' is not the name of a member{END}")),
        }
    }

    fn client(&self, pin: KeyPin) -> Result<(), String> {
        if self.directory.owner_of(pin).is_some() || self.joins.any_open() {
            return Ok(());
        }
        Err(format!(
            "{MARK}the key {pin} is not pinned for any member: put that pin under 'keys' if it is the right one{END}"
        ))
    }
}

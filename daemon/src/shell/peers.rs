//! Takes in what the transport reports.

use holdfast_core::event::Event;

use super::Shell;
use super::api::{Chore, LinkSample};
use crate::journal::Record;
use crate::net::NetEvent;

impl Shell {
    pub(super) fn net_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Message { from, message } => self.feed(Event::Message { from, message }),
            NetEvent::Beat { from, beat } => self.feed(Event::Beat { from, beat }),
            NetEvent::Network(health) => self.feed(Event::Network(health)),
            NetEvent::LinkUp { peer, link, version } => {
                let name = self.parts.node.config().name_of(peer.node);
                let text = format!(
                    "link {} to {name} is up (had {version}, boot {})",
                    link + 1,
                    peer.boot
                );
                self.record(Record::new("link-up", "info", text));
            }
            NetEvent::LinkDown { peer, link, why } => {
                let name = self.parts.node.config().name_of(peer);
                self.record(Record::new(
                    "link-down",
                    "warn",
                    format!("link {} to {name} is down: {why}", link + 1),
                ));
            }
            NetEvent::Refused { sentence, .. } => self.record(Record::new("peer-refused", "warn", sentence)),
            NetEvent::Warning(sentence) => self.record(Record::new("transport", "warn", sentence)),
            NetEvent::Join(request) => self.chore(Chore::Join(request)),
        }
    }

    pub(super) fn links(&self) -> Vec<LinkSample> {
        let links = self.parts.net.links();
        let sample = |link: crate::net::LinkStatus| LinkSample {
            peer: link.peer,
            link: link.link,
            address: link.address.ip().to_string(),
            up: link.up,
            rtt_us: link.rtt_us,
            lost_percent: link.lost_percent,
        };
        links.into_iter().map(sample).collect()
    }
}

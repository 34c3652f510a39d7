//! The task beside addresses that are held: renews their lifetime, announces them, restores what somebody deleted,
//! and reports an interface that went away and hosts that claim the addresses too.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::task::JoinHandle;

use super::address::{Vip, summary};
use super::announce::Wire;
use super::conflict::{Claimed, Conflicts};
use super::hold::Hold;
use super::link::{Placement, check_usable};
use super::netlink::{self, Event, Link, Subscription};
use super::packet::Mac;
use crate::agent::{AgentContext, AgentError, EventSink};
use crate::clock;

/// Time between renewals. The kernel takes away an address up to a quarter of a second early, and lifetimes are never
/// below two seconds.
const RENEW: Duration = Duration::from_millis(800);
/// Pauses before the announcements after the first; `announce_interval_s` follows for ever.
const PAUSES_MS: [u64; 6] = [30, 100, 1000, 2000, 4000, 10_000];
/// Pause after listening failed.
const HEAR_AGAIN: Duration = Duration::from_millis(100);
/// Restorations within [`RESTORE_WINDOW`] after which we are fighting another program, not a slip of the hand.
const RESTORES_MAX: usize = 20;
const RESTORE_WINDOW: Duration = Duration::from_secs(10);

/// When announcements are due.
#[derive(Debug)]
struct Schedule {
    next: Time,
    sent: usize,
    interval: Duration,
}

impl Schedule {
    fn new(interval: Duration) -> Self {
        Schedule {
            next: clock::now(),
            sent: 0,
            interval,
        }
    }

    /// An announcement went out now.
    fn advance(&mut self) {
        let pause = PAUSES_MS
            .get(self.sent)
            .map_or(self.interval, |ms| Duration::from_millis(*ms));
        self.sent = self.sent.saturating_add(1);
        self.next = clock::now() + pause;
    }

    fn restart(&mut self) {
        *self = Schedule::new(self.interval);
    }
}

/// The running task. It ends when this is dropped; the addresses stay.
#[derive(Debug)]
pub struct Keeper(JoinHandle<()>);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A keeper that already hears events, so that none is missed, but does nothing yet.
#[derive(Debug)]
pub struct Prepared {
    hold: Arc<Hold>,
    events: EventSink,
    subscription: Subscription,
    link: Link,
    vips: Vec<Vip>,
    wire: Option<Wire>,
    schedule: Schedule,
    restores: VecDeque<Time>,
    conflicts: Conflicts,
    hear_from: Time,
    failed: bool,
}

impl Keeper {
    /// Prepares a keeper. To be called before the addresses are set.
    ///
    /// # Errors
    /// Events cannot be subscribed to.
    pub fn prepare(
        context: &AgentContext,
        hold: Arc<Hold>,
        placement: &Placement,
        wire: Option<Wire>,
        announce_interval: Duration,
        claimed: Claimed,
    ) -> Result<Prepared, AgentError> {
        let subscription = Subscription::open()
            .map_err(|error| AgentError(format!("cannot subscribe to network events: {error}")))?;
        Ok(Prepared {
            hold,
            events: context.events.clone(),
            subscription,
            link: placement.link.clone(),
            vips: placement.targets.iter().map(|(target, _)| target.vip).collect(),
            wire,
            schedule: Schedule::new(announce_interval),
            restores: VecDeque::new(),
            conflicts: Conflicts::new(claimed),
            hear_from: Time::ZERO,
            failed: false,
        })
    }
}

/// Waits for claims of others; for ever without a wire.
async fn hear(wire: Option<&Wire>) -> io::Result<Vec<(Mac, IpAddr)>> {
    match wire {
        Some(wire) => wire.hear().await,
        None => std::future::pending().await,
    }
}

/// Another address of the host with this MAC in words, if the kernel knows one.
fn host_of(mac: Mac, vips: &[Vip]) -> String {
    let known = netlink::neighbours().unwrap_or_default().into_iter();
    let mut others = known.filter(|(other, ip)| *other == mac && !vips.iter().any(|vip| vip.ip == *ip));
    others
        .next()
        .map_or(String::new(), |(_, ip)| format!(" (the host with {ip})"))
}

impl Prepared {
    /// Announces once, at once, and starts the task.
    ///
    /// # Errors
    /// The announcement could not be sent.
    pub fn start(mut self) -> Result<Keeper, AgentError> {
        self.announce(&self.vips.clone())
            .map_err(|error| AgentError(format!("cannot announce on {}: {error}", self.link.name)))?;
        self.schedule.advance();
        Ok(Keeper(tokio::spawn(self.run())))
    }

    fn announce(&self, vips: &[Vip]) -> io::Result<()> {
        self.wire
            .as_ref()
            .map_or(Ok(()), |wire| wire.announce(vips.iter().map(|vip| vip.ip)))
    }

    async fn run(mut self) {
        let mut renew = clock::now() + RENEW;
        loop {
            tokio::select! {
                events = self.subscription.next() => match events {
                    Ok(events) => self.handle(&events),
                    Err(error) => return self.fail(format!("network events ended: {error}")),
                },
                () = clock::sleep_until(renew) => {
                    self.renew();
                    renew = clock::now() + RENEW;
                }
                () = clock::sleep_until(self.schedule.next) => self.repeat(),
                claims = hear(self.wire.as_ref()), if clock::now() >= self.hear_from => match claims {
                    Ok(claims) => self.on_claims(&claims),
                    // The link went down or away, which its own event reports.
                    Err(_) => self.hear_from = clock::now() + HEAR_AGAIN,
                },
            }
        }
    }

    /// The announcement that is due, and the question whether anybody else has the addresses: hosts that hold one
    /// without using it tell only when they are asked.
    fn repeat(&mut self) {
        // What is lost is followed by others; a link that is gone is reported by its own event.
        if self.hold.is_armed() {
            let _ = self.announce(&self.vips);
            let _ = self.wire.as_ref().map_or(Ok(()), Wire::ask);
        }
        self.schedule.advance();
        if self.conflicts.look(clock::now()) {
            self.events.detail_changed();
        }
    }

    fn on_claims(&mut self, claims: &[(Mac, IpAddr)]) {
        let Some((mac, ip)) = claims.first().filter(|_| self.hold.is_armed()) else {
            return;
        };
        let reaction = self.conflicts.heard(clock::now(), claims.len());
        if reaction.defend {
            let mut ips: Vec<_> = claims.iter().map(|(_, ip)| *ip).collect();
            ips.sort_unstable();
            ips.dedup();
            let _ = self.wire.as_ref().map_or(Ok(()), |wire| wire.announce(ips));
        }
        if self.conflicts.show(format!(", also claimed by {mac}")) {
            self.events.detail_changed();
        }
        if let Some(count) = reaction.tell {
            let (who, name) = (host_of(*mac, &self.vips), &self.link.name);
            let often = if count > 1 {
                format!(" {count} times since the last note")
            } else {
                String::new()
            };
            let text = format!(
                "{mac}{who} on {name} also claims {ip}{often}; clients reach now this node, now that one: find that host \
                 (its switch port shows the MAC) and remove the address there"
            );
            self.events.note("warn", "vip-conflict", text);
        }
    }

    fn renew(&mut self) {
        // A lapsed permit is for the permit thread to act on: it has cut, or is about to.
        if super::hold::lifetime_s(self.hold.permit(), clock::now()).is_none() || !self.hold.is_armed() {
            return;
        }
        if let Err(error) = self.hold.set_all() {
            // Unless the permit lapsed meanwhile.
            if self.hold.is_armed() {
                self.fail(error.0);
            }
        }
    }

    /// Reports a failure, the first since the start only.
    fn fail(&mut self, reason: String) {
        if !std::mem::replace(&mut self.failed, true) {
            self.events.failed(reason);
        }
    }

    fn handle(&mut self, events: &[Event]) {
        let seen = clock::now();
        let mut look = false;
        for event in events {
            match event {
                Event::AddressRemoved(gone) => {
                    look |=
                        gone.index == self.link.index && self.vips.iter().any(|vip| vip.ip == gone.vip.ip);
                }
                Event::Link(link) if link.index == self.link.index => {
                    let old = std::mem::replace(&mut self.link, link.clone());
                    if let Err(error) = check_usable(link) {
                        self.fail(error.0);
                    } else if old.mac != link.mac {
                        self.follow_mac();
                    }
                }
                Event::LinkRemoved(index) if *index == self.link.index => {
                    self.fail(format!("interface {} was removed", self.link.name));
                }
                Event::Overrun => look = true,
                Event::Link(_) | Event::LinkRemoved(_) => {}
            }
        }
        if look
            && !self.failed
            && self.hold.is_armed()
            && let Err(error) = self.restore(seen)
        {
            self.fail(error.0);
        }
    }

    /// What the neighbours learned is not true any more.
    fn follow_mac(&mut self) {
        let (Some(wire), Some(mac)) = (&mut self.wire, self.link.mac) else {
            return;
        };
        wire.set_mac(mac);
        if self.hold.is_armed() {
            let _ = self.announce(&self.vips);
            self.schedule.restart();
            self.schedule.advance();
            let text = format!("{} is {mac} now; announced again", self.link.name);
            self.events.note("info", "vip-announced", text);
        }
    }

    /// Puts back what is missing, if anything is and the link is fit to carry it.
    fn restore(&mut self, seen: Time) -> Result<(), AgentError> {
        let wrong = |error: io::Error| AgentError(format!("cannot look at the addresses: {error}"));
        let missing = self.hold.missing().map_err(wrong)?;
        if missing.is_empty() || super::hold::lifetime_s(self.hold.permit(), seen).is_none() {
            return Ok(());
        }
        // IPv6 addresses go with a link that is set down, and their events come before the link's own.
        match netlink::links()
            .map_err(wrong)?
            .into_iter()
            .find(|link| link.index == self.link.index)
        {
            Some(link) => check_usable(&link)?,
            None => return Err(AgentError(format!("interface {} was removed", self.link.name))),
        }
        self.hold.set(&missing)?;
        let vips: Vec<Vip> = missing.iter().map(|(target, _)| target.vip).collect();
        self.announce(&vips)
            .map_err(|error| AgentError(format!("cannot announce on {}: {error}", self.link.name)))?;
        self.schedule.restart();
        self.schedule.advance();
        let ms = clock::now().since(seen).as_micros() as f64 / 1000.0;
        self.events.note(
            "warn",
            "vip-restored",
            format!(
                "{} was removed from {} by somebody; restored in {ms:.1} ms",
                summary(&vips),
                self.link.name
            ),
        );
        self.count_restore(seen)
    }

    fn count_restore(&mut self, seen: Time) -> Result<(), AgentError> {
        self.restores.retain(|at| seen.since(*at) < RESTORE_WINDOW);
        self.restores.push_back(seen);
        if self.restores.len() > RESTORES_MAX {
            return Err(AgentError(format!(
                "another program keeps removing {} from {}: {} times within {} s; find it (NetworkManager, networkd, a script)",
                summary(&self.vips),
                self.link.name,
                self.restores.len(),
                RESTORE_WINDOW.as_secs()
            )));
        }
        Ok(())
    }
}

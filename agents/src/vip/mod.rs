//! The `vip` agent: virtual IP addresses that are held under a permit.
//!
//! - [`address`]: what the operator writes. [`link`]: which interface it belongs on.
//! - [`netlink`] (bytes in `codec`): addresses in the kernel.
//! - [`packet`], [`announce`] (what is let through in `filter`): duplicate check and announcements on the wire.
//!   [`conflict`]: what is done about another host that claims an address later.
//! - [`hold`]: the addresses while they are ours, with the race between renewal and cut. [`keeper`]: the task that
//!   renews, announces, and restores what was deleted by hand.
//!
//! Every address carries a lifetime in the kernel, a little longer than the permit and renewed with it: when
//! had-agentd dies or hangs, the kernel removes the address by itself. [`gate`] silences it to the millisecond for
//! groups whose successor waits for nothing but the end of the permit.

pub mod address;
mod ahead;
pub mod announce;
pub(crate) mod codec;
pub mod conflict;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
pub mod gate;
pub mod hold;
pub mod keeper;
pub mod link;
pub mod netlink;
pub mod packet;
mod settings;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::oneshot;

use self::address::{Vip, summary};
use self::ahead::{Ahead, Checked};
use self::announce::Wire;
use self::conflict::Claimed;
use self::hold::Hold;
use self::keeper::{Keeper, Prepared};
use self::link::Placement;
use self::netlink::{Assigned, Change};
pub use self::settings::META;
use self::settings::Settings;
use crate::agent::{Action, AgentContext, AgentError, Cutter, Presence, ResourceAgent};
use crate::clock;

/// How long an address that somebody else has is waited for. The owner before us may be hung: then its kernel removes
/// the address by itself, at most two seconds after the permit ended.
const PREDECESSOR: Duration = Duration::from_secs(3);
/// Pause between questions while waiting.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// How long the addresses wait for the gate, which takes less than a millisecond: a service that moves waits with them.
const GATE_WAIT: Duration = Duration::from_millis(50);
/// Builds the agent for one resource. Touches nothing.
///
/// # Errors
/// Parameters that are wrong, in words.
pub fn build(context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    Ok(Box::new(VipAgent::new(context)?))
}

/// The agent of one resource.
pub struct VipAgent {
    settings: Settings,
    context: AgentContext,
    hold: Arc<Hold>,
    ahead: Option<Ahead>,
    keeper: Option<Keeper>,
    interface: String,
    claimed: Claimed,
}

impl VipAgent {
    /// See [`build`].
    ///
    /// # Errors
    /// Parameters that are wrong, in words.
    pub fn new(context: AgentContext) -> Result<Self, AgentError> {
        let settings = Settings::parse(&context)?;
        let interface = settings.interface.clone().unwrap_or_default();
        Ok(VipAgent {
            settings,
            hold: Arc::new(Hold::new(context.permit.clone())),
            context,
            ahead: None,
            keeper: None,
            interface,
            claimed: Claimed::default(),
        })
    }

    fn place(&mut self) -> Result<(Placement, Vec<Assigned>), AgentError> {
        let (links, addresses) = link::survey()?;
        let placement = link::place(
            &self.settings.vips,
            self.settings.interface.as_deref(),
            &links,
            &addresses,
        )?;
        self.interface.clone_from(&placement.link.name);
        Ok((placement, addresses))
    }

    /// The wire to announce on; None on an interface where nobody resolves addresses.
    fn wire(&self, placement: &Placement) -> Result<Option<Wire>, AgentError> {
        if !placement.link.resolves_neighbours() {
            return Ok(None);
        }
        let ips = self.settings.vips.iter().map(|vip| vip.ip).collect();
        match Wire::open(&placement.link, ips) {
            Ok(wire) => Ok(Some(wire)),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(None),
            Err(error) => Err(AgentError(format!(
                "cannot announce on {}: {error}",
                placement.link.name
            ))),
        }
    }

    /// A wire on which the duplicate check found nobody; None on an interface where nobody resolves addresses.
    async fn checked_wire(
        &mut self,
        placement: &Placement,
        deadline: Time,
    ) -> Result<Option<Wire>, AgentError> {
        let wait = self.settings.duplicate_check;
        let ahead = match self.ahead.take() {
            Some(ahead) => ahead.answer(&placement.link).await,
            None => None,
        };
        let (wire, mut found): Checked = match ahead {
            Some(checked) => checked,
            None => match self.wire(placement)? {
                None => return Ok(None),
                Some(wire) if wait.is_zero() => return Ok(Some(wire)),
                Some(wire) => {
                    let found = wire.find_duplicate(wait).await;
                    (wire, found)
                }
            },
        };
        let patient_until = (clock::now() + PREDECESSOR).min(deadline);
        let mut told = false;
        loop {
            let wrong = |error| AgentError(format!("cannot ask {} for duplicates: {error}", self.interface));
            let Some((mac, ip)) = found.map_err(wrong)? else {
                return Ok(Some(wire));
            };
            if clock::now() + ASK_AGAIN + wait >= patient_until {
                return Err(AgentError(format!(
                    "{ip} is in use by {mac} on {}; find that host (its switch port shows the MAC) and remove the address there",
                    self.interface
                )));
            }
            if !std::mem::replace(&mut told, true) {
                let text = format!(
                    "{ip} is still held by {mac} on {}; waiting for it to go",
                    self.interface
                );
                self.context.events.note("warn", "vip-waits", text);
            }
            tokio::time::sleep(ASK_AGAIN).await;
            found = wire.find_duplicate(wait).await;
        }
    }

    /// Begins the duplicate check. What hinders it is for `start` to tell.
    fn check_ahead(&mut self) {
        self.ahead = None;
        if self.settings.duplicate_check.is_zero() {
            return;
        }
        let Ok((placement, _)) = self.place() else { return };
        let usable = link::check_usable(&placement.link).is_ok();
        if let Some(wire) = self.wire(&placement).ok().flatten().filter(|_| usable) {
            self.ahead = Some(Ahead::begin(placement.link, wire, self.settings.duplicate_check));
        }
    }

    /// What keeps the addresses of `placement` there once they are set.
    fn prepare_keeper(&self, placement: &Placement, wire: Option<Wire>) -> Result<Prepared, AgentError> {
        Keeper::prepare(
            &self.context,
            self.hold.clone(),
            placement,
            wire,
            self.settings.announce_interval,
            self.claimed.clone(),
        )
    }

    async fn activate(&mut self, deadline: Time) -> Result<(), AgentError> {
        self.release();
        let begun = clock::now();
        let (placement, _) = self.place()?;
        link::check_usable(&placement.link)?;
        let gate = self.enter_gate();
        let wire = self.checked_wire(&placement, deadline).await?;
        if let Some(ready) = gate {
            // If not, the gate says so itself, and the address has its lifetime.
            let _ = tokio::time::timeout(GATE_WAIT, ready).await;
        }
        let checked = clock::now();
        let keeper = self.prepare_keeper(&placement, wire)?;
        self.hold.arm(placement);
        if let Err(error) = self.hold.set_all() {
            // Half a set of addresses is of no use to anybody.
            return Err(self.hold.cut().err().unwrap_or(error));
        }
        let added = clock::now();
        self.keeper = Some(keeper.start()?);
        let ms = |from: Time, to: Time| to.since(from).as_micros() as f64 / 1000.0;
        self.context.events.note(
            "info",
            "vip-announced",
            format!(
                "{} on {} announced (duplicate check {:.1} ms, added in {:.1} ms, announced in {:.1} ms)",
                summary(&self.settings.vips),
                self.interface,
                ms(begun, checked),
                ms(checked, added),
                ms(added, clock::now())
            ),
        );
        Ok(())
    }

    /// From here on the addresses pass only while the permit lives.
    fn enter_gate(&self) -> Option<oneshot::Receiver<Result<(), String>>> {
        let gate = self.context.gate.as_ref()?;
        let ips = self.settings.vips.iter().map(|vip| vip.ip);
        Some(gate.admit(
            self.key(),
            ips,
            self.context.permit.clone(),
            self.context.lease,
            self.context.events.clone(),
        ))
    }

    /// The addresses are gone.
    fn leave_gate(&self) {
        if let Some(gate) = &self.context.gate {
            gate.dismiss(&self.key());
        }
    }

    fn key(&self) -> gate::Key {
        (self.context.group.clone(), self.context.resource.clone())
    }

    /// Ends the keeper, so that nothing puts an address back.
    fn release(&mut self) {
        self.keeper = None;
        self.hold.disarm();
    }

    /// Removes our addresses from wherever they are, and looks again.
    fn remove(&mut self) -> Result<(), AgentError> {
        self.release();
        let held = |assigned: &Assigned| self.settings.vips.iter().any(|vip| vip.ip == assigned.vip.ip);
        let mut left = Vec::new();
        for _ in 0..3 {
            let (_, addresses) = link::survey()?;
            left = addresses.into_iter().filter(held).collect();
            if left.is_empty() {
                self.leave_gate();
                return Ok(());
            }
            netlink::apply(&left, Change::Remove)
                .map_err(|(vip, error)| AgentError(format!("cannot remove {vip}: {error}")))?;
        }
        let left: Vec<Vip> = left.iter().map(|assigned| assigned.vip).collect();
        Err(AgentError(format!(
            "{} is put back by somebody else each time it is removed",
            summary(&left)
        )))
    }

    fn look(&mut self) -> Presence {
        let (placement, addresses) = match self.place() {
            Ok(found) => found,
            Err(error) => return self.look_without_interface(&error),
        };
        let present = placement
            .targets
            .iter()
            .filter(|(target, _)| addresses.contains(target))
            .count();
        let anywhere = addresses
            .iter()
            .any(|a| self.settings.vips.iter().any(|vip| vip.ip == a.vip.ip));
        match present {
            all if all == placement.targets.len() => Presence::Active,
            0 if !anywhere => Presence::Inactive,
            some => Presence::Partial(format!(
                "{some} of {} addresses are on {}",
                placement.targets.len(),
                placement.link.name
            )),
        }
    }

    /// Without the interface that they belong on the addresses can still be looked for everywhere.
    fn look_without_interface(&self, error: &AgentError) -> Presence {
        match netlink::addresses() {
            Err(error) => Presence::Unknown(format!("cannot read the addresses: {error}")),
            Ok(all)
                if all
                    .iter()
                    .any(|a| self.settings.vips.iter().any(|vip| vip.ip == a.vip.ip)) =>
            {
                Presence::Partial(error.0.clone())
            }
            Ok(_) => Presence::Inactive,
        }
    }

    fn take_over(&mut self) -> Result<(), AgentError> {
        self.release();
        let (placement, _) = self.place()?;
        let wire = self.wire(&placement)?;
        let keeper = self.prepare_keeper(&placement, wire)?;
        // It was admitted by the had-agentd before this one, so there is nothing to wait for.
        drop(self.enter_gate());
        self.hold.arm(placement);
        self.hold.set_all()?;
        self.keeper = Some(keeper.start()?);
        Ok(())
    }
}

impl ResourceAgent for VipAgent {
    fn prepare(&mut self) {
        self.check_ahead();
    }

    fn start(&mut self, deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.activate(deadline))
    }

    fn stop(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async { self.remove() })
    }

    fn probe(&mut self) -> Action<'_, Presence> {
        Box::pin(async { self.look() })
    }

    fn adopt(&mut self) -> Action<'_, Result<(), AgentError>> {
        Box::pin(async { self.take_over() })
    }

    fn cutter(&self) -> Option<Cutter> {
        let hold = self.hold.clone();
        Some(Arc::new(move || hold.cut()))
    }

    fn detail(&self) -> String {
        let interface = if self.interface.is_empty() {
            "?"
        } else {
            &self.interface
        };
        let claimed = self
            .keeper
            .as_ref()
            .map_or(String::new(), |_| self.claimed.text());
        let trouble = self
            .context
            .gate
            .as_ref()
            .map_or(String::new(), gate::Gate::trouble);
        let trouble = if trouble.is_empty() {
            trouble
        } else {
            format!(", {trouble}")
        };
        format!(
            "{} on {interface}{claimed}{trouble}",
            summary(&self.settings.vips)
        )
    }
}

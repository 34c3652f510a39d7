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
//! had-agentd dies or hangs, the kernel removes the address by itself.

pub mod address;
pub mod announce;
mod codec;
pub mod conflict;
mod filter;
pub mod hold;
pub mod keeper;
pub mod link;
pub mod netlink;
pub mod packet;

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;

use self::address::{Vip, summary};
use self::announce::Wire;
use self::conflict::Claimed;
use self::hold::Hold;
use self::keeper::Keeper;
use self::link::Placement;
use self::netlink::{Assigned, Change};
use crate::agent::{Action, AgentContext, AgentError, AgentMeta, Cutter, ParamMeta, Presence, ResourceAgent};
use crate::clock;

/// What the agent is.
pub const META: AgentMeta = AgentMeta {
    kind: "vip",
    summary: "virtual IPv4 and IPv6 addresses, announced to the network and removed by the kernel when a permit lapses",
    params: &[
        ParamMeta {
            name: "address",
            required: true,
            help: "ADDRESS/PREFIX, one or several",
        },
        ParamMeta {
            name: "interface",
            required: false,
            help: "where to put them (default: the interface that has an address in the same subnet)",
        },
        ParamMeta {
            name: "duplicate_check_ms",
            required: false,
            help: "how long to listen for another host that has the address; 0 asks nobody (default 5)",
        },
        ParamMeta {
            name: "announce_interval_s",
            required: false,
            help: "time between announcements after those of the first 17 seconds (default 60)",
        },
    ],
};

/// Longest `duplicate_check_ms`: the service is down while it runs.
const DUPLICATE_CHECK_MS_MAX: u64 = 5000;

/// The parameters, checked.
#[derive(Clone, Debug)]
struct Settings {
    vips: Vec<Vip>,
    interface: Option<String>,
    duplicate_check: Duration,
    announce_interval: Duration,
}

impl Settings {
    fn parse(context: &AgentContext) -> Result<Self, AgentError> {
        META.check_keys(&context.params)?;
        let get = |key: &str| {
            context
                .params
                .get(key)
                .map(|value| value.trim())
                .filter(|value| !value.is_empty())
        };
        let number = |key: &str, default: u64, range: std::ops::RangeInclusive<u64>| match get(key) {
            None => Ok(default),
            Some(text) => text
                .parse()
                .ok()
                .filter(|value| range.contains(value))
                .ok_or_else(|| {
                    AgentError(format!(
                        "{key} = {text:?} is not a number from {} to {}",
                        range.start(),
                        range.end()
                    ))
                }),
        };
        Ok(Settings {
            vips: address::parse_list(get("address").unwrap_or_default())?,
            interface: get("interface").map(str::to_owned),
            duplicate_check: Duration::from_millis(number(
                "duplicate_check_ms",
                5,
                0..=DUPLICATE_CHECK_MS_MAX,
            )?),
            announce_interval: Duration::from_secs(number("announce_interval_s", 60, 1..=3600)?),
        })
    }
}

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

    async fn check_duplicates(&self, wire: &Wire) -> Result<(), AgentError> {
        let found = wire.find_duplicate(self.settings.duplicate_check).await;
        match found
            .map_err(|error| AgentError(format!("cannot ask {} for duplicates: {error}", self.interface)))?
        {
            None => Ok(()),
            Some((mac, ip)) => Err(AgentError(format!(
                "{ip} is in use by {mac} on {}; find that host (its switch port shows the MAC) and remove the address there",
                self.interface
            ))),
        }
    }

    async fn activate(&mut self) -> Result<(), AgentError> {
        self.release();
        let begun = clock::now();
        let (placement, _) = self.place()?;
        link::check_usable(&placement.link)?;
        let wire = self.wire(&placement)?;
        if let Some(wire) = wire.as_ref().filter(|_| !self.settings.duplicate_check.is_zero()) {
            self.check_duplicates(wire).await?;
        }
        let checked = clock::now();
        let keeper = Keeper::new(
            &self.context,
            self.hold.clone(),
            &placement,
            wire,
            self.settings.announce_interval,
            self.claimed.clone(),
        )?;
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
        let keeper = Keeper::new(
            &self.context,
            self.hold.clone(),
            &placement,
            wire,
            self.settings.announce_interval,
            self.claimed.clone(),
        )?;
        self.hold.arm(placement);
        self.hold.set_all()?;
        self.keeper = Some(keeper.start()?);
        Ok(())
    }
}

impl ResourceAgent for VipAgent {
    fn start(&mut self, _deadline: Time) -> Action<'_, Result<(), AgentError>> {
        Box::pin(self.activate())
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
        format!("{} on {interface}{claimed}", summary(&self.settings.vips))
    }
}

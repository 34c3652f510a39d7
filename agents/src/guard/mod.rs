//! The guard: one thread, under SCHED_FIFO where that is allowed, that enforces permits, talks with `had` and pets the
//! watchdog. Nothing on it blocks, and no work of agents runs on it, so a lapse is acted on whatever they do.

mod book;
mod leaving;
mod link;
mod messages;
mod petting;
mod pulse;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use holdfast_proto::agent::{Alive, GroupStatus, Note};
use holdfast_proto::time::Time;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::group::Order;
use crate::permits::PermitTable;
use crate::permits::saved::SavedPermits;
use crate::roles::Peer;
use crate::sbd::end::EndNode;
use crate::sbd::watch::Watch;
use crate::vip::gate::Gate;
use crate::watchdog::Watchdog;
use crate::{clock, register, rt, sbd, sys};
use book::Book;
use leaving::Leaving;
use link::Link;
pub use link::{Admission, listen};
pub use messages::{Command, Request};
use petting::{Petting, Refusal};
use pulse::Pulse;

/// Requests from `had` that may wait for the agents' thread.
pub const REQUESTS_MAX: usize = 1024;
/// Where nothing is to be waited for.
const NEVER: Duration = Duration::from_secs(3600);
/// Stack of the thread: locked memory counts.
const STACK_BYTES: usize = 512 << 10;

/// Pause between two looks whether a watchdog that was left alone may be held.
const SETTLED_LOOK: Duration = Duration::from_millis(250);

/// What the guard is made from.
pub struct Parts {
    /// Where `had` connects.
    pub listener: StdListener,
    /// Who may connect.
    pub admission: Admission,
    /// From the agents' thread.
    pub commands: mpsc::UnboundedReceiver<Command>,
    /// To the agents' thread.
    pub requests: mpsc::Sender<Request>,
    /// The armed watchdog, if any.
    pub watchdog: Option<Box<dyn Watchdog>>,
    /// There is one, and it was left alone because a group may run beyond its permit.
    pub left_alone: bool,
    /// Ends the node before the watchdog has to.
    pub end: Arc<dyn EndNode>,
    /// Agent kinds, told to `had`.
    pub kinds: Vec<String>,
    /// Maintenance as it was before a restart.
    pub maintenance: bool,
    /// Groups that may still run from before a restart.
    pub groups: Vec<GroupStatus>,
    /// Folder of state files.
    pub state_dir: PathBuf,
    /// The watch on shared disks, which the watchdog may depend on.
    pub disks: Arc<Watch>,
    /// Woken when permits were renewed.
    pub gate: Option<Gate>,
}

/// Starts the thread. It ends on [`Command::Shutdown`].
///
/// # Errors
/// When the thread cannot be made.
pub fn spawn(parts: Parts) -> io::Result<thread::JoinHandle<io::Result<()>>> {
    thread::Builder::new()
        .name("guard".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            rt::schedule_guard();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .enable_time()
                .build()?;
            runtime.block_on(async { Guard::new(parts)?.run().await })
        })
}

struct Guard {
    permits: PermitTable,
    saved: SavedPermits,
    book: Book,
    link: Link,
    timer: TimerFd,
    /// What it is set to.
    timer_at: Option<Time>,
    /// The timer's descriptor, for tokio.
    timer_ready: AsyncFd<OwnedFd>,
    commands: mpsc::UnboundedReceiver<Command>,
    requests: mpsc::Sender<Request>,
    left_alone: bool,
    petting: Option<Petting>,
    end: Arc<dyn EndNode>,
    leaving: Option<Leaving>,
    lease: Duration,
    node: String,
    /// The quorum stands in for shared disks that cannot be read.
    excused: bool,
    pulse: Pulse,
    gate: Option<Gate>,
    disks: Arc<Watch>,
}

enum Wake {
    Timer,
    Command(Option<Command>),
    Link,
    Pet,
    Held,
}

impl Guard {
    fn new(parts: Parts) -> io::Result<Guard> {
        parts.listener.set_nonblocking(true)?;
        let timer = TimerFd::new(
            ClockId::CLOCK_BOOTTIME,
            TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC,
        )?;
        let watchdog = parts.watchdog.as_ref();
        let watchdog = watchdog.map(|dog| (dog.timeout().as_millis() as u32, dog.identity().to_string()));
        let now = clock::now();
        let end = Arc::clone(&parts.end);
        let petting = parts.watchdog.map(|watchdog| Petting::new(watchdog, end, now));
        let mut permits = PermitTable::default();
        permits.set_maintenance(parts.maintenance);
        let mut book = Book::new(parts.kinds, watchdog);
        parts.groups.into_iter().for_each(|status| book.status(status));
        Ok(Guard {
            permits,
            saved: SavedPermits::new(parts.state_dir),
            book,
            link: Link::new(UnixListener::from_std(parts.listener)?, parts.admission),
            timer_ready: sys::watch_readable(timer.as_fd().try_clone_to_owned()?)?,
            timer,
            timer_at: None,
            commands: parts.commands,
            requests: parts.requests,
            left_alone: parts.left_alone,
            petting,
            end: parts.end,
            leaving: None,
            disks: parts.disks,
            lease: Duration::from_secs(1),
            node: String::new(),
            excused: false,
            pulse: Pulse::begin(now),
            gate: parts.gate,
        })
    }

    async fn run(mut self) -> io::Result<()> {
        let mut pets = tokio::time::interval(self.pet_period());
        pets.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.enforce()?;
            self.record();
            if self.leave() {
                return Ok(());
            }
            self.link.fill(&mut self.book);
            let held_for = self
                .leaving
                .as_ref()
                .and_then(|leaving| leaving.held_for(clock::now()));
            let ends_in = self
                .petting
                .as_ref()
                .and_then(|petting| petting.ends_in(clock::now()));
            let wake = tokio::select! {
                biased;
                ready = self.timer_ready.readable() => { ready?.clear_ready(); Wake::Timer }
                () = self.link.turn() => Wake::Link,
                command = self.commands.recv() => Wake::Command(command),
                _ = pets.tick() => Wake::Pet,
                () = tokio::time::sleep(ends_in.unwrap_or(NEVER)), if ends_in.is_some() => Wake::Pet,
                () = tokio::time::sleep(held_for.unwrap_or(NEVER)), if held_for.is_some() => Wake::Held,
            };
            match wake {
                // It is set anew, even if it rang for nothing.
                Wake::Timer => self.timer_at = None,
                Wake::Link => self.serve(),
                Wake::Command(Some(Command::Shutdown(done))) => {
                    self.leaving = Some(Leaving::new(done, clock::now()));
                }
                Wake::Held => {}
                Wake::Command(Some(command)) => self.obey(command),
                Wake::Command(None) => return Ok(()),
                Wake::Pet if self.left_alone => self.end_when_settled()?,
                Wake::Pet => self.pet(),
            }
        }
    }

    fn pet_period(&self) -> Duration {
        match &self.petting {
            Some(petting) => petting.period(),
            None if self.left_alone => SETTLED_LOOK,
            None => NEVER,
        }
    }

    /// Records permits for the next had-agentd.
    fn record(&mut self) {
        for (group, permit) in self.permits.take_changed() {
            if let Err(error) = self.saved.record(&group, permit) {
                tracing::error!(
                    group,
                    "its permit cannot be recorded, a restart will stop it: {error}"
                );
            }
        }
    }

    /// Acts on permits that have lapsed, and sets the timer for the next one.
    fn enforce(&mut self) -> io::Result<()> {
        let now = clock::now();
        for lapse in self.permits.lapse(now) {
            let mut text = format!("the permit of epoch {} lapsed", lapse.epoch);
            for cut in &lapse.cutters {
                if let Err(error) = cut() {
                    text = format!("{text}; not all of it was cut off: {error}");
                }
            }
            let (late, took) = (now.since(lapse.until), clock::now().since(now));
            tracing::warn!(group = lapse.group, ?late, ?took, "{text}");
            self.book.note(Note {
                group: lapse.group,
                text: format!("{text}: stopping it without word from had"),
                level: "alert".into(),
                kind: "permit-lapsed".into(),
                at_us: now.0,
            });
            // The task is gone only when the process ends.
            let _ = lapse.runner.send(Order::Lapsed {
                epoch: lapse.epoch,
                text,
            });
        }
        let next = self.permits.next_lapse();
        if next != self.timer_at {
            match next {
                Some(at) => {
                    let at = TimeSpec::from_duration(Duration::from_micros(at.0.max(1)));
                    self.timer
                        .set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
                }
                None => self.timer.unset()?,
            }
            self.timer_at = next;
        }
        Ok(())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Arm { group, armed } => self.permits.arm(&group, armed),
            Command::Disarm(group) => {
                self.permits.disarm(&group);
                self.saved.forget(&group);
            }
            Command::Status(status) => self.book.status(status),
            Command::Note(note) => self.book.note(note),
            Command::Fenced(outcome) => self.book.fenced(outcome),
            Command::Registered(answer) => self.book.registered(answer),
            Command::Job(status) => self.book.job(status),
            Command::Ping(answer) => drop(answer.send(())),
            Command::Alive => self.pulse.answered(clock::now()),
            Command::Shutdown(_) => {}
        }
    }

    fn wake_gate(&self) {
        if let Some(gate) = &self.gate {
            gate.wake();
        }
    }

    /// Tells `had` that this thread lives, and when the other one last did.
    fn show_life(&mut self) {
        let now = clock::now();
        self.book.alive(Alive {
            at_us: now.0,
            agents_at_us: self.pulse.last().0,
        });
        // A question that finds no room is asked with the next permits.
        if self.pulse.is_due(now) && self.requests.try_send(Request::Ping).is_ok() {
            self.pulse.asked();
        }
    }

    fn may_pet(&self, now: Time) -> Result<(), Refusal> {
        match (self.permits.may_pet(now), self.disks.may_pet(now)) {
            (true, true) => Ok(()),
            (false, true) => Err("a group without permit"),
            (_, false) => Err("the mailbox on the shared disks is not read, or holds an order"),
        }
    }

    fn pet(&mut self) {
        let now = clock::now();
        let may = self.may_pet(now);
        let Some(petting) = &mut self.petting else {
            return;
        };
        let excused = may.is_ok() && self.disks.rests_on_quorum(now);
        if excused != std::mem::replace(&mut self.excused, excused) {
            tracing::warn!(
                "{}",
                if excused {
                    "not enough shared disks can be read; this node goes on only as long as it is part of a quorum"
                } else {
                    "the watchdog no longer rests on the quorum instead of the shared disks"
                }
            );
        }
        petting.look(now, may);
    }

    /// Deals with what came from `had`.
    fn serve(&mut self) {
        use holdfast_proto::agent::agent_request::Body;
        while let Some(request) = self.link.next_request() {
            let forward = match request.body {
                Some(Body::Attach(attach)) => {
                    self.lease = Duration::from_millis(attach.lease_ms.max(1).into());
                    tracing::info!("{} of cluster {} attached", attach.node, attach.cluster);
                    let disks = Request::Disks(sbd::Settings::of(&attach), register::Settings::of(&attach));
                    self.node = attach.node;
                    self.book.attached();
                    self.link.attached();
                    disks
                }
                Some(Body::Permits(permits)) => {
                    let now = clock::now();
                    if permits.quorum_at_us > 0 {
                        self.disks.has_quorum(Time(permits.quorum_at_us).min(now));
                    }
                    permits
                        .permits
                        .iter()
                        .for_each(|permit| self.permits.offer(permit, now));
                    self.wake_gate();
                    self.show_life();
                    continue;
                }
                Some(Body::Start(start)) => match (start.permit, start.spec) {
                    (Some(permit), Some(spec)) if !permit.group.is_empty() && permit.group == spec.name => {
                        let now = clock::now();
                        self.permits.offer(&permit, now);
                        self.permits.raise(&permit, now);
                        self.wake_gate();
                        Request::Start {
                            permit,
                            spec,
                            lease: self.lease,
                            storage: start.storage,
                        }
                    }
                    _ => {
                        tracing::warn!(
                            "had asked for a start without a permit and a definition that belong together"
                        );
                        continue;
                    }
                },
                Some(Body::Stop(stop)) => Request::Group(
                    stop.group,
                    Order::Stop {
                        epoch: stop.epoch,
                        reason: stop.reason,
                        toward: stop.toward.as_ref().map(Peer::from_wire),
                    },
                ),
                Some(Body::Roles(roles)) => {
                    let group = roles.spec.as_ref().map(|spec| spec.name.clone());
                    Request::Group(group.unwrap_or_default(), Order::Roles(Box::new(roles)))
                }
                Some(Body::Restart(restart)) => {
                    let order = Order::Restart {
                        epoch: restart.epoch,
                        resource: restart.resource,
                    };
                    Request::Group(restart.group, order)
                }
                Some(Body::Fence(device)) => Request::Fence {
                    device,
                    own: self.node.clone(),
                },
                Some(Body::Register(call)) => Request::Register(call),
                Some(Body::Job(order)) => Request::Job(order),
                Some(Body::Maintenance(maintenance)) => {
                    self.permits.set_maintenance(maintenance.on);
                    self.wake_gate();
                    Request::Maintenance(maintenance.on)
                }
                None => {
                    tracing::warn!(
                        "had sent a request that this had-agentd does not know: it is of a newer version"
                    );
                    continue;
                }
            };
            if self.requests.try_send(forward).is_err() {
                // A connection that lost a request is of no use: had attaches again and asks again.
                tracing::error!("{REQUESTS_MAX} requests wait for the agents: closing the connection");
                self.link.close();
            }
        }
    }
}

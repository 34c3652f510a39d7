//! The deciding thread's loop: one owner of the core. Events go in, effects are carried out, nothing blocks.

mod agent;
pub mod api;
mod ask;
mod effects;
mod fence_tests;
mod peers;
mod register;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use holdfast_core::effect::FenceId;
use holdfast_core::event::{Event, Identity};
use holdfast_core::node::Node;
use holdfast_core::witness::Proxy;
use holdfast_proto::operator::OperatorOutcome;
use holdfast_proto::time::Time;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use crate::agentd_link::{AgentdLink, LinkEvent};
use crate::clock::{self, Alarm};
use crate::fence_tests::FenceTests;
use crate::journal::Record;
use crate::net::{NetEvent, NetHandle};
use crate::notify::{self, Notifier};
use crate::register::{Answer, RegisterLink};
use crate::rt::Scheduling;
use crate::store::{StoreReport, StoreWriter};
use api::{AgentPicture, Ask, Chore};
use register::Register;

/// Events taken from one queue before the others get their turn, and before the deadline is looked at.
const TURN: usize = 32;
/// Deadlines that may pass at one waking before the queues get their turn.
const DEADLINES: usize = 8;
/// Time for a handover when asked to end.
const SHUTDOWN: Duration = Duration::from_secs(1);
/// Time for peers to be told goodbye.
const GOODBYE: Duration = Duration::from_millis(300);

/// What the shell is made of.
pub struct Parts {
    /// The core.
    pub node: Node,
    /// Who this is.
    pub identity: Identity,
    /// To peers.
    pub net: NetHandle,
    /// From peers.
    pub net_events: mpsc::Receiver<NetEvent>,
    /// To the disk.
    pub store: StoreWriter,
    /// From the disk.
    pub store_reports: mpsc::Receiver<StoreReport>,
    /// To and from the agent process; a witness has none.
    pub link: Option<AgentdLink>,
    /// The witness that is kept in etcd, for when the configuration has one; a witness has none.
    pub register: Option<(Proxy, RegisterLink)>,
    /// From the ordinary thread.
    pub asks: mpsc::Receiver<Ask>,
    /// To the ordinary thread.
    pub chores: mpsc::Sender<Chore>,
    /// Counts changes worth another look.
    pub changed: watch::Sender<u64>,
    /// To systemd.
    pub notifier: Notifier,
    /// How this thread runs.
    pub scheduling: Scheduling,
}

/// The loop's state.
pub struct Shell {
    parts: Parts,
    register: Option<Register>,
    agent: AgentPicture,
    /// Wire numbers of fence commands under way. They are not the core's numbers, which begin anew with each run of
    /// `had`: the answer to a command of an earlier run must not be taken for one of this run.
    fences: BTreeMap<u64, FenceId>,
    next_fence: u64,
    fence_tests: FenceTests,
    asked_tests: Vec<fence_tests::Asked>,
    replies: BTreeMap<u64, oneshot::Sender<OperatorOutcome>>,
    next_request: u64,
    /// Events that arise while effects are carried out.
    inbox: VecDeque<Event>,
    disk_trouble: String,
    lost_chores: u64,
    ready: bool,
    pet_every: Option<Duration>,
    pet_at: Time,
    /// When to end even without the core's word.
    end_at: Option<Time>,
    ended: bool,
    worth_a_look: bool,
}

impl Shell {
    /// A shell around `parts`.
    #[must_use]
    pub fn new(mut parts: Parts) -> Shell {
        let register = parts.register.take().map(|(proxy, link)| {
            let mut register = Register::new(proxy, link);
            register.follow(parts.node.config());
            register
        });
        let agent = AgentPicture {
            wanted: parts.link.is_some(),
            ..AgentPicture::default()
        };
        let now = clock::now();
        Shell {
            fence_tests: FenceTests::new(parts.node.config(), parts.identity.node, now),
            asked_tests: Vec::new(),
            register,
            agent,
            parts,
            fences: BTreeMap::new(),
            next_fence: now.0,
            replies: BTreeMap::new(),
            next_request: 0,
            inbox: VecDeque::new(),
            disk_trouble: String::new(),
            lost_chores: 0,
            ready: false,
            pet_every: notify::watchdog_interval(),
            pet_at: Time::ZERO,
            end_at: None,
            ended: false,
            worth_a_look: true,
        }
    }

    /// Runs until SIGTERM has been dealt with. Resources are not touched by the end.
    ///
    /// # Errors
    /// When the kernel gives no timer or signal handler, or a part that must live is gone.
    pub async fn run(mut self) -> anyhow::Result<()> {
        let mut alarm = Alarm::new()?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        self.carry_out();
        while !self.ended {
            self.pet();
            alarm.set(self.next_alarm())?;
            let Parts {
                net_events,
                store_reports,
                link,
                asks,
                ..
            } = &mut self.parts;
            tokio::select! {
                biased;
                () = alarm.due() => {}
                event = net_events.recv() => match event {
                    Some(event) => self.net_event(event),
                    None => anyhow::bail!("the transport ended"),
                },
                event = next_of(link) => self.link_event(event),
                report = store_reports.recv() => match report {
                    Some(report) => self.stored(report),
                    None => anyhow::bail!("the thread that writes the state file ended"),
                },
                answer = next_answer(&mut self.register) => match answer {
                    Some(answer) => self.registered(answer),
                    None => anyhow::bail!("the thread that calls etcd ended"),
                },
                ask = asks.recv() => match ask {
                    Some(ask) => self.ask(ask),
                    None => anyhow::bail!("the control thread ended"),
                },
                _ = terminate.recv() => self.shut_down(),
                _ = interrupt.recv() => self.shut_down(),
            }
            self.pass_deadlines();
            self.take_turns();
            self.tell_changes();
        }
        self.say_goodbye().await;
        Ok(())
    }

    /// Gives each queue its turn, so that a flood in one starves no other.
    fn take_turns(&mut self) {
        for _ in 0..TURN {
            let mut idle = true;
            if let Ok(event) = self.parts.net_events.try_recv() {
                self.net_event(event);
                idle = false;
            }
            if let Some(event) = self.parts.link.as_mut().and_then(AgentdLink::try_next) {
                self.link_event(event);
                idle = false;
            }
            if let Ok(report) = self.parts.store_reports.try_recv() {
                self.stored(report);
                idle = false;
            }
            if idle {
                break;
            }
        }
        self.pass_deadlines();
    }

    /// Tells the core of deadlines that have passed.
    fn pass_deadlines(&mut self) {
        for _ in 0..DEADLINES {
            match self.parts.node.poll_timeout() {
                Some((at, _)) if at <= clock::now() => self.feed(Event::Timeout),
                _ => break,
            }
        }
        self.pass_register();
        self.test_fences();
        if self.end_at.is_some_and(|at| at <= clock::now()) {
            self.ended = true;
        }
    }

    /// Gives one event to the core and carries out what follows.
    fn feed(&mut self, event: Event) {
        self.worth_a_look |= !matches!(event, Event::Beat { .. } | Event::Timeout);
        self.parts.node.handle(clock::now(), event);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            while let Some(effect) = self.parts.node.poll_effect() {
                self.perform(effect);
            }
            let Some(event) = self.inbox.pop_front() else {
                return;
            };
            self.parts.node.handle(clock::now(), event);
        }
    }

    fn stored(&mut self, report: StoreReport) {
        let StoreReport { id, error } = report;
        match error {
            None => {
                self.disk_trouble.clear();
                self.feed(Event::Persisted(id));
            }
            Some(error) => {
                // For status output; the core writes the journal entry, once.
                self.disk_trouble =
                    format!("this node does not vote, because its state file cannot be written: {error}");
                self.feed(Event::PersistFailed(id, error));
            }
        }
    }

    fn shut_down(&mut self) {
        if self.end_at.is_none() {
            self.parts.notifier.send("STOPPING=1");
            self.end_at = Some(clock::now() + SHUTDOWN);
            self.feed(Event::Shutdown);
        }
    }

    async fn say_goodbye(&mut self) {
        let goodbye = self.parts.net.close("had was asked to end");
        if tokio::time::timeout(GOODBYE, goodbye).await.is_err() {
            tracing::debug!("not every peer took the goodbye in time");
        }
    }

    /// The earliest of the core's deadline, that of a call to etcd, the next petting, the next test of a fence device, and the end.
    fn next_alarm(&self) -> Option<Time> {
        let core = self.parts.node.poll_timeout().map(|(at, _)| at);
        let pet = self.pet_every.map(|every| self.pet_at + every);
        let test = self.fence_tests.next_due();
        let register = self.register.as_ref().and_then(Register::poll_timeout);
        [core, pet, test, register, self.end_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Pets systemd's watchdog: only this loop does.
    fn pet(&mut self) {
        let Some(every) = self.pet_every else { return };
        let now = clock::now();
        if self.pet_at == Time::ZERO || now >= self.pet_at + every {
            self.parts.notifier.send("WATCHDOG=1");
            self.pet_at = now;
        }
    }

    /// READY=1, once: the control socket was there before this loop, and the agent process was tried.
    fn become_ready(&mut self) {
        if !self.ready {
            self.ready = true;
            self.parts.notifier.send("READY=1");
        }
    }

    fn tell_changes(&mut self) {
        if self.parts.link.is_none() {
            self.become_ready();
        }
        if std::mem::take(&mut self.worth_a_look) {
            self.parts.changed.send_modify(|count| *count += 1);
        }
    }

    /// Hands a record to the journal.
    fn record(&mut self, record: Record) {
        self.worth_a_look = true;
        self.chore(Chore::Record(record));
    }

    /// Hands over what may block. When the ordinary thread is far behind, it is counted and dropped: deciding goes on.
    fn chore(&mut self, chore: Chore) {
        if self.lost_chores > 0 {
            let text = format!(
                "{} journal entries were lost because the disk or the log was too slow",
                self.lost_chores
            );
            if self
                .parts
                .chores
                .try_send(Chore::Record(Record::new("journal-lost", "warn", text)))
                .is_ok()
            {
                self.lost_chores = 0;
            }
        }
        if self.parts.chores.try_send(chore).is_err() {
            self.lost_chores += 1;
        }
    }
}

async fn next_answer(register: &mut Option<Register>) -> Option<Answer> {
    match register {
        Some(register) => register.next().await,
        None => std::future::pending().await,
    }
}

async fn next_of(link: &mut Option<AgentdLink>) -> LinkEvent {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

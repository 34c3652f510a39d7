//! A witness that is kept in a register: its proxy stands between the core and the thread that calls etcd, or the agent process,
//! which does the work on shared disks.

use holdfast_core::witness::{Call, Input, Outcome, Proxy};
use holdfast_proto::agent::RegisterAnswer;
use holdfast_proto::agent::agent_request::Body;
use holdfast_proto::config::{Config, RegisterPlace};
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::Shell;
use crate::clock;
use crate::journal::Record;
use crate::register::{Answer, Disks, Picture, RegisterLink};

/// A call to shared disks is answered a little before the proxy gives it up.
const PATIENCE_PERCENT: u32 = 90;

/// The proxy, the ways to a register, and how that is.
#[derive(Debug)]
pub struct Register {
    proxy: Proxy,
    link: RegisterLink,
    disks: Disks,
    picture: Picture,
    /// Where the configuration has such a witness now.
    place: Option<RegisterPlace>,
    /// It was told that the register does not answer.
    told: bool,
}

impl Register {
    pub(super) fn new(proxy: Proxy, link: RegisterLink) -> Register {
        Register {
            proxy,
            link,
            disks: Disks::new(clock::now().0),
            picture: Picture::default(),
            place: None,
            told: false,
        }
    }

    /// The next answer of etcd.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.link.next().await
    }

    pub(super) fn follow(&mut self, config: &Config) {
        self.place = config.register.as_ref().map(|register| register.place.clone());
        self.link.follow(config);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.proxy.poll_timeout()
    }

    /// What status output says about it.
    pub(super) fn picture(&self) -> Option<Picture> {
        self.place.as_ref().map(|_| Picture {
            trouble: self.proxy.trouble().into(),
            ..self.picture.clone()
        })
    }
}

impl Shell {
    /// True when what the core sends to `to` goes to the proxy.
    pub(super) fn is_register(&self, to: NodeId) -> bool {
        to.is_witness()
            && self
                .register
                .as_ref()
                .is_some_and(|register| register.place.is_some())
    }

    /// Gives something to the proxy; what it answers the core waits in the inbox.
    pub(super) fn ask_register(&mut self, input: Input) {
        let trusted = self.parts.node.trusted_register();
        let Some(register) = &mut self.register else {
            return;
        };
        register.proxy.handle(clock::now(), trusted, input);
        while let Some(event) = register.proxy.poll_answer() {
            self.inbox.push_back(event);
        }
        while let Some(call) = self
            .register
            .as_mut()
            .and_then(|register| register.proxy.poll_call())
        {
            self.call_register(call);
        }
    }

    fn call_register(&mut self, call: Call) {
        let Some(register) = &mut self.register else {
            return;
        };
        let Some(RegisterPlace::Disks(_)) = &register.place else {
            return register.link.submit(call);
        };
        if self.agent.attached {
            let now = clock::now();
            let given_up = register.proxy.poll_timeout().unwrap_or(now);
            let patience = now.until(given_up) * PATIENCE_PERCENT / 100;
            let request = register.disks.request(&call, patience);
            return self.to_agentd(Body::Register(request));
        }
        let why = "had-agentd, which reads and writes the shared disks, is not attached";
        let trusted = self.parts.node.trusted_register();
        let failed = Input::Answer(call.id, Outcome::Failed(why.into()));
        register.proxy.handle(clock::now(), trusted, failed);
    }

    /// The agent process answered a call to the shared disks.
    pub(super) fn registered_on_disks(&mut self, answer: RegisterAnswer) {
        if let Some(register) = &mut self.register
            && let Some(RegisterPlace::Disks(disks)) = &register.place
        {
            let answer = register.disks.answer(answer, &disks.join(", "));
            self.registered(answer);
        }
    }

    /// The register answered, or did not.
    pub(super) fn registered(&mut self, answer: Answer) {
        if let Some(register) = &mut self.register {
            register.picture = answer.picture;
        }
        self.ask_register(Input::Answer(answer.id, answer.outcome));
        self.read_inbox();
        self.tell_of_register();
    }

    /// The deadline of a call has passed.
    pub(super) fn pass_register(&mut self) {
        let due = self.register.as_ref().and_then(Register::poll_timeout);
        if due.is_some_and(|at| at <= clock::now()) {
            self.ask_register(Input::Timeout);
            self.read_inbox();
            self.tell_of_register();
        }
    }

    fn read_inbox(&mut self) {
        while let Some(event) = self.inbox.pop_front() {
            self.feed(event);
        }
    }

    /// Once when it falls silent, and once when it answers again.
    fn tell_of_register(&mut self) {
        let name = self.parts.node.config().name_of(NodeId::WITNESS);
        let Some(register) = &mut self.register else {
            return;
        };
        let trouble = register.proxy.trouble();
        if trouble.is_empty() == register.told {
            let record = if register.told {
                Record::new(
                    "register-back",
                    "info",
                    format!("the witness {name} answers again"),
                )
            } else {
                let text = format!("the witness {name} does not answer: {trouble}");
                Record::new("register-lost", "warn", text)
            };
            register.told = !register.told;
            self.record(record);
        }
    }
}

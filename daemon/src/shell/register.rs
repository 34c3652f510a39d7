//! A witness that is kept in etcd: its proxy stands between the core and the thread that calls etcd.

use holdfast_core::witness::{Input, Proxy};
use holdfast_proto::config::Config;
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use super::Shell;
use crate::clock;
use crate::journal::Record;
use crate::register::{Answer, Picture, RegisterLink};

/// The proxy, the way to etcd, and how that is.
#[derive(Debug)]
pub struct Register {
    proxy: Proxy,
    link: RegisterLink,
    picture: Picture,
    /// The configuration has such a witness now.
    wanted: bool,
    /// It was told that etcd does not answer.
    told: bool,
}

impl Register {
    pub(super) fn new(proxy: Proxy, link: RegisterLink) -> Register {
        Register {
            proxy,
            link,
            picture: Picture::default(),
            wanted: false,
            told: false,
        }
    }

    /// The next answer of etcd.
    pub(super) async fn next(&mut self) -> Option<Answer> {
        self.link.next().await
    }

    pub(super) fn follow(&mut self, config: &Config) {
        self.wanted = config.register.is_some();
        self.link.follow(config);
    }

    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.proxy.poll_timeout()
    }

    /// What status output says about it.
    pub(super) fn picture(&self) -> Option<Picture> {
        self.wanted.then(|| Picture {
            trouble: self.proxy.trouble().into(),
            ..self.picture.clone()
        })
    }
}

impl Shell {
    /// True when what the core sends to `to` goes to the proxy.
    pub(super) fn is_register(&self, to: NodeId) -> bool {
        to.is_witness() && self.register.as_ref().is_some_and(|register| register.wanted)
    }

    /// Gives something to the proxy; what it answers the core waits in the inbox.
    pub(super) fn ask_register(&mut self, input: Input) {
        let trusted = self.parts.node.trusted_register();
        let Some(register) = &mut self.register else {
            return;
        };
        register.proxy.handle(clock::now(), trusted, input);
        while let Some(call) = register.proxy.poll_call() {
            register.link.submit(call);
        }
        while let Some(event) = register.proxy.poll_answer() {
            self.inbox.push_back(event);
        }
    }

    /// Etcd answered, or did not.
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

//! Two real brokers on this machine, each under an agent; the test stands for the cluster that commits what they wish.

#[path = "../../../tests/rabbitmq/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use stage::Stage;
use tokio::sync::{mpsc, watch};

use super::*;
use crate::agent::{AgentEvent, EventSink};
use crate::rabbitmq::erlang::node::Node;
use crate::rabbitmq::erlang::term::Term;
use crate::roles::{CopySink, CopyStatus};

/// Far beyond anything that is waited for: reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(240);
const NAMES: [&str; 2] = ["n1", "n2"];

/// One of the two nodes.
struct Member {
    name: &'static str,
    agent: Box<dyn ResourceAgent>,
    roles: watch::Sender<RolesView>,
    copies: CopySink,
    notes: mpsc::Receiver<(usize, AgentEvent)>,
    seen: Vec<String>,
}

impl Stage {
    fn member(&self, name: &'static str) -> Member {
        let (_, mut params) = self.broker(name, "cluster_partition_handling = pause_minority\n");
        std::fs::create_dir_all(self.file(&format!("{name}.state"))).unwrap();
        let more = [
            ("mode", "cluster".to_owned()),
            ("node_name", "{node}@localhost".into()),
            ("epmd_port", self.epmd.to_string()),
            ("cookie_file", self.cookie().display().to_string()),
            ("probe_timeout_ms", "10000".into()),
        ];
        params.extend(more.map(|(key, value)| (key.into(), value)));
        let (note_sink, notes) = mpsc::channel(1000);
        let (failures, _) = mpsc::unbounded_channel();
        let roles = watch::Sender::new(view(name, None, (0, &[])));
        let copies = CopySink::default();
        let context = AgentContext {
            params,
            resource: name.into(),
            events: EventSink::new(0, note_sink, failures),
            state_dir: self.file(&format!("{name}.state")),
            roles: roles.subscribe(),
            copy: copies.clone(),
            ..crate::agent::tests::context()
        };
        let agent = crate::rabbitmq::build(context).unwrap();
        Member {
            name,
            agent,
            roles,
            copies,
            notes,
            seen: Vec::new(),
        }
    }

    /// Asks a broker under a name of the test's own.
    async fn eval(&self, member: &Member, text: &str) -> Term {
        let site = Site {
            name: format!("{}@localhost", member.name),
            own_name: "test@localhost".into(),
            epmd_port: self.epmd,
            cookie_file: self.cookie(),
            limit: PATIENCE,
        };
        let mut node = Node::connect(&site).await.unwrap();
        node.eval(text, PATIENCE).await.unwrap()
    }
}

fn view(own: &str, primary: Option<&str>, (generation, nodes): (u64, &[&str])) -> RolesView {
    let peer = |name: &str| Peer {
        name: name.into(),
        id: 1,
        addresses: vec!["127.0.0.1".parse().unwrap()],
    };
    RolesView {
        own: peer(own),
        others: NAMES
            .iter()
            .filter(|name| **name != own)
            .map(|name| peer(name))
            .collect(),
        primary: primary.map(str::to_owned),
        epoch: 1,
        in_sync: InSync {
            generation,
            nodes: nodes.iter().map(|name| (*name).to_owned()).collect(),
        },
    }
}

impl Member {
    fn told(&self) -> CopyStatus {
        let copies = self.copies.subscribe();
        let copy = copies.borrow().get(&0).cloned();
        copy.unwrap_or_default()
    }

    async fn until(&mut self, what: &str, done: impl Fn(&CopyStatus) -> bool) -> CopyStatus {
        let mut copies = self.copies.subscribe();
        let wait = async {
            loop {
                let copy = copies.borrow_and_update().get(&0).cloned().unwrap_or_default();
                if done(&copy) {
                    return copy;
                }
                copies.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(copy) => copy,
            Err(_) => panic!("{what}: {:?}, {}", self.told(), self.agent.detail()),
        }
    }

    /// What it wishes, as soon as that is this set.
    async fn wishes(&mut self, nodes: &[&str]) -> InSync {
        let wanted: BTreeSet<String> = nodes.iter().map(|name| (*name).to_owned()).collect();
        let what = format!("a wish for {nodes:?}");
        let is_it = |copy: &CopyStatus| copy.wish.as_ref().is_some_and(|wish| wish.nodes == wanted);
        self.until(&what, is_it).await.wish.unwrap()
    }

    /// Waits for a note that says this.
    async fn notes(&mut self, words: &str) -> String {
        loop {
            if let Some(text) = self.seen.iter().find(|text| text.contains(words)) {
                return text.clone();
            }
            let event = tokio::time::timeout(PATIENCE, self.notes.recv()).await;
            let event = event.unwrap_or_else(|_| panic!("{words}: only {:?}", self.seen));
            if let Some((_, AgentEvent::Note { text, .. })) = event {
                self.seen.push(text);
            }
        }
    }
}

fn commit(members: &[&mut Member], primary: &str, set: (u64, &[&str])) {
    for member in members {
        member.roles.send_replace(view(member.name, Some(primary), set));
    }
}

fn soon() -> Time {
    clock::now() + PATIENCE
}

/// Both run as one cluster, n1 is promoted, and the set is committed.
async fn pair(stage: &Stage) -> (Member, Member) {
    let (mut first, mut second) = (stage.member("n1"), stage.member("n2"));
    first.agent.start(soon()).await.unwrap();
    second.agent.start(soon()).await.unwrap();
    commit(&[&mut first, &mut second], "n1", (1, &["n1"]));
    first.agent.promote(soon()).await.unwrap();
    let wish = first.wishes(&["n1", "n2"]).await;
    assert_eq!(wish.generation, 2);
    commit(&[&mut first, &mut second], "n1", (2, &["n1", "n2"]));
    (first, second)
}

const DECLARE: &str = "Name = rabbit_misc:r(<<\"/\">>, queue, <<\"orders\">>),
  Args = [{<<\"x-queue-type\">>, longstr, <<\"quorum\">>}],
  element(1, rabbit_amqqueue:declare(Name, true, false, Args, none, <<\"test\">>)).";
const MEMBERS: &str = "{ok, Q} = rabbit_amqqueue:lookup(rabbit_misc:r(<<\"/\">>, queue, <<\"orders\">>)),
  lists:sort(maps:get(nodes, amqqueue:get_type_state(Q))).";

/// With another cookie the two cannot connect.
const CUT: &str = "erlang:set_cookie('n2@localhost', other),
  erlang:disconnect_node('n2@localhost').";
const MEND: &str = "erlang:set_cookie('n2@localhost', erlang:get_cookie()).";
const APART: &str = "Wait = fun Again() ->
    lists:member('n1@localhost', mnesia:system_info(running_db_nodes)) andalso begin timer:sleep(50), Again() end
  end,
  Wait().";

#[tokio::test]
async fn two_brokers_find_together_and_one_that_is_lost_comes_back() {
    let Some(stage) = Stage::new() else { return };
    let (mut first, mut second) = pair(&stage).await;
    let told = first.notes("cluster_partition_handling was pause_minority").await;
    assert!(told.contains("set to ignore"), "{told}");
    assert_eq!(stage.eval(&first, DECLARE).await, Term::atom("new"));
    let both = "[n1@localhost,n2@localhost]";
    assert_eq!(stage.eval(&first, MEMBERS).await.shown(), both);
    second.agent.kill(soon()).await.unwrap();
    let wish = first.wishes(&["n1"]).await;
    assert!(
        !first.seen.iter().any(|text| text.contains("quorum queues")),
        "nothing goes on before it is committed"
    );
    commit(&[&mut first, &mut second], "n1", (wish.generation, &["n1"]));
    // What follows depends on the version: 3.10 cannot go on with one of two.
    let told = first.notes("quorum queues").await;
    assert!(
        told.contains("go on without n2@localhost") || told.contains("cannot go on with one of two"),
        "{told}"
    );
    second.agent.start(soon()).await.unwrap();
    let wish = first.wishes(&["n1", "n2"]).await;
    assert_eq!(stage.eval(&first, MEMBERS).await.shown(), both);
    commit(&[&mut first, &mut second], "n1", (wish.generation, &["n1", "n2"]));
    // A planned move: nothing is started, and nothing shrinks.
    first.agent.demote(None, soon()).await.unwrap();
    commit(&[&mut first, &mut second], "n2", (wish.generation, &["n1", "n2"]));
    second.agent.promote(soon()).await.unwrap();
    assert_eq!(stage.eval(&second, MEMBERS).await.shown(), both);
    second.agent.stop(soon()).await.unwrap();
    first.agent.stop(soon()).await.unwrap();
}

#[tokio::test]
async fn the_loser_of_a_partition_starts_anew_and_a_stranger_is_put_aside() {
    let Some(stage) = Stage::new() else { return };
    let (mut first, mut second) = pair(&stage).await;
    second.notes("set to ignore").await;
    // Both see the other one go, and come back: neither knows what the other did meanwhile.
    stage.eval(&first, CUT).await;
    stage.eval(&second, APART).await;
    stage.eval(&first, MEND).await;
    second.notes("it is started anew").await;
    second.until("the loser is back", |copy| copy.readable).await;
    assert!(!first.seen.iter().any(|text| text.contains("started anew")));
    // Somebody makes the second one a cluster of its own.
    second.agent.stop(soon()).await.unwrap();
    let wish = first.wishes(&["n1"]).await;
    commit(&[&mut first, &mut second], "n1", (wish.generation, &["n1"]));
    let forget = "rabbit_mnesia:forget_cluster_node('n2@localhost', false).";
    assert_eq!(stage.eval(&first, forget).await, Term::atom("ok"));
    second.agent.start(soon()).await.unwrap();
    let told = second.notes("was put aside").await;
    first.wishes(&["n1", "n2"]).await;
    let aside = std::fs::read_dir(stage.file("n2"))
        .unwrap()
        .filter_map(Result::ok);
    let mut aside = aside.filter(|entry| entry.file_name().to_string_lossy().starts_with("aside-"));
    assert!(
        aside.any(|entry| entry.path().join("schema.DAT").exists()),
        "{told}"
    );
    second.agent.stop(soon()).await.unwrap();
    first.agent.stop(soon()).await.unwrap();
}

#[tokio::test]
async fn the_one_that_has_everything_does_not_wait_for_the_other_and_an_empty_one_is_not_promoted() {
    let Some(stage) = Stage::new() else { return };
    let (mut first, mut second) = pair(&stage).await;
    // The first stops first, so at its next start RabbitMQ would wait for the second.
    first.agent.stop(soon()).await.unwrap();
    second.agent.stop(soon()).await.unwrap();
    drop(second);
    commit(&[&mut first], "n1", (3, &["n1"]));
    first.agent.promote(soon()).await.unwrap();
    first.notes("starts without waiting").await;
    first.agent.stop(soon()).await.unwrap();
    let broker = stage.file("n1/n1@localhost");
    std::fs::rename(&broker, stage.file("elsewhere")).unwrap();
    let refused = first.agent.promote(soon()).await.unwrap_err().0;
    assert!(
        refused.contains("an empty broker is not made the primary"),
        "{refused}"
    );
    assert!(!broker.exists(), "nothing was started");
}

//! What a broker says of its cluster, and a connection to it that is made anew when it broke.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::rabbitmq::erlang::node::{Fault, Node, Site};
use crate::rabbitmq::erlang::term::Term;

/// Asks for everything at once. Only what the broker knows by itself: a question that it passes on waits for a broker that is
/// gone (`rabbit_amqqueue:list` asks all nodes whether they run; the monitor of nodes may be waiting for one itself). Functions differ between 3.10 and 4.x, so it is looked which
/// there are.
const ASK: &str = "case rabbit:is_running() of
  false -> booting;
  true ->
    Has = fun(M, F, A) -> _ = code:ensure_loaded(M), erlang:function_exported(M, F, A) end,
    Khepri = Has(rabbit_khepri, is_enabled, 0) andalso rabbit_khepri:is_enabled(),
    Members = case Has(rabbit_nodes, list_members, 0) of
      true -> rabbit_nodes:list_members();
      false -> rabbit_nodes:all()
    end,
    Running = case Khepri of
      true -> [node() | [N || N <- Members, lists:member(N, nodes())]];
      false -> mnesia:system_info(running_db_nodes)
    end,
    All = case Has(rabbit_db_queue, get_all, 0) of
      true -> rabbit_db_queue:get_all();
      false -> ets:tab2list(rabbit_queue)
    end,
    Queues = [case maps:get(nodes, amqqueue:get_type_state(Q), []) of
        Nodes when is_map(Nodes) -> maps:keys(Nodes);
        Nodes -> Nodes
      end || Q <- All, amqqueue:get_type(Q) =:= rabbit_quorum_queue],
    Counts = [{N, length([here || Nodes <- Queues, lists:member(N, Nodes)])}
      || N <- lists:usort(lists:append(Queues))],
    Handling = case application:get_env(rabbit, cluster_partition_handling, ignore) of
      Word when is_atom(Word) -> Word;
      _ -> other
    end,
    CanShrink = Has(rabbit_quorum_queue, force_shrink_member_to_current_member, 2),
    Partitions = try gen_server:call(rabbit_node_monitor, partitions, 300) catch _:_ -> [] end,
    {running, Khepri, Members, Running, Partitions, length(Queues), Counts, CanShrink, Handling,
      erlang:system_info(creation)}
end.";

/// A broker that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its metadata is in Khepri, not in Mnesia.
    pub is_khepri: bool,
    /// Brokers of the cluster.
    pub members: BTreeSet<String>,
    /// Those whose database it is connected with, itself among them.
    pub running: BTreeSet<String>,
    /// Those that went on without it for a time: their metadata may differ.
    pub partitions: BTreeSet<String>,
    /// Quorum queues.
    pub queues: i64,
    /// How many of them have a member on each broker.
    pub queues_at: BTreeMap<String, i64>,
    /// It can let a queue go on with the one member that is left.
    pub can_shrink: bool,
    /// What it does by itself when brokers lose each other.
    pub handling: String,
    /// Another number after each start.
    pub boot: i64,
}

/// What an Erlang node that was to be a broker says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broker {
    /// The broker in it starts, or was stopped.
    Booting,
    /// It runs.
    Running(Facts),
}

impl Facts {
    /// Reads an answer to [`ASK`].
    pub(in crate::rabbitmq) fn read(answer: &Term) -> Option<Broker> {
        if answer.name() == Some("booting") {
            return Some(Broker::Booting);
        }
        let [
            khepri,
            members,
            running,
            partitions,
            queues,
            counts,
            can_shrink,
            handling,
            boot,
        ] = answer.tagged("running", 9)?
        else {
            return None;
        };
        let count = |pair: &Term| match pair {
            Term::Tuple(parts) => match parts.as_slice() {
                [name, count] => Some((name.name()?.to_owned(), count.int()?)),
                _ => None,
            },
            _ => None,
        };
        Some(Broker::Running(Facts {
            is_khepri: khepri.bool()?,
            members: names(members)?,
            running: names(running)?,
            partitions: names(partitions)?,
            queues: queues.int()?,
            queues_at: counts.list()?.iter().map(count).collect::<Option<_>>()?,
            can_shrink: can_shrink.bool()?,
            handling: handling.name()?.to_owned(),
            boot: boot.int()?,
        }))
    }

    /// Every quorum queue has a member on that broker.
    #[must_use]
    pub fn has_all_queues(&self, broker: &str) -> bool {
        self.queues_on(broker) == self.queues
    }

    /// How many quorum queues have a member on that broker.
    #[must_use]
    pub fn queues_on(&self, broker: &str) -> i64 {
        self.queues_at.get(broker).copied().unwrap_or(0)
    }
}

fn names(list: &Term) -> Option<BTreeSet<String>> {
    let names = list.list()?.iter();
    names.map(|name| name.name().map(str::to_owned)).collect()
}

/// A connection to one broker.
pub struct Link {
    site: Site,
    node: Option<Node>,
}

impl Link {
    /// Not connected yet.
    #[must_use]
    pub fn new(site: Site) -> Link {
        Link { site, node: None }
    }

    /// What it says of its cluster.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn facts(&mut self) -> Result<Broker, Fault> {
        let answer = self.eval(ASK, self.site.limit).await?;
        Facts::read(&answer).ok_or(Fault::Malformed)
    }

    /// Evaluates expressions there. Evaluated twice if the connection breaks, so they must be safe to repeat.
    ///
    /// # Errors
    /// See [`Fault`].
    pub async fn eval(&mut self, text: &str, limit: Duration) -> Result<Term, Fault> {
        // Taken out meanwhile: one that is dropped in the middle of a call is of no use any more.
        if let Some(mut node) = self.node.take() {
            match node.eval(text, limit).await {
                // Of before: it may have been closed long ago.
                Err(Fault::Connection(_)) => {}
                result => {
                    self.keep(node, &result);
                    return result;
                }
            }
        }
        let mut node = Node::connect(&self.site).await?;
        let result = node.eval(text, limit).await;
        self.keep(node, &result);
        result
    }

    fn keep(&mut self, node: Node, result: &Result<Term, Fault>) {
        if matches!(result, Ok(_) | Err(Fault::Failed(_))) {
            self.node = Some(node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Term {
        Term::List(names.iter().map(|name| Term::atom(name)).collect())
    }

    #[test]
    fn an_answer_is_read() {
        let count = Term::Tuple(vec![Term::atom("a@x"), Term::Int(2)]);
        let answer = Term::Tuple(vec![
            Term::atom("running"),
            Term::atom("false"),
            list(&["a@x", "b@x"]),
            list(&["a@x"]),
            list(&[]),
            Term::Int(2),
            Term::List(vec![count]),
            Term::atom("true"),
            Term::atom("ignore"),
            Term::Int(7),
        ]);
        let Some(Broker::Running(facts)) = Facts::read(&answer) else {
            panic!("not read");
        };
        assert!(facts.has_all_queues("a@x") && !facts.has_all_queues("b@x"));
        assert_eq!((facts.members.len(), facts.running.len()), (2, 1));
        assert_eq!(Facts::read(&Term::atom("booting")), Some(Broker::Booting));
        assert_eq!(Facts::read(&Term::Int(1)), None);
        assert_eq!(Facts::read(&Term::Tuple(vec![Term::atom("running")])), None);
    }
}

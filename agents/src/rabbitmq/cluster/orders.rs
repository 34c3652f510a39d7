//! What brokers are told to do. Each order is safe to repeat; which proof allows it is said where it is given.

use std::time::Duration;

use super::facts::Link;
use crate::rabbitmq::erlang::node::Fault;
use crate::rabbitmq::erlang::term::Term;

/// Joining copies the metadata and starts the broker anew.
const JOIN: Duration = Duration::from_secs(120);
/// Longest wait for members of queues to catch up within one look.
const CATCH_UP: Duration = Duration::from_secs(10);
/// What only starts something.
const SHORT: Duration = Duration::from_secs(5);

/// All quorum queues, as `Queues`; see [`super::facts`] for how they are found.
const QUEUES: &str = "Nodes = fun(Q) -> case maps:get(nodes, amqqueue:get_type_state(Q), []) of
    Map when is_map(Map) -> maps:keys(Map);
    List -> List
  end end,
  _ = code:ensure_loaded(rabbit_db_queue),
  All = case erlang:function_exported(rabbit_db_queue, get_all, 0) of
    true -> rabbit_db_queue:get_all();
    false -> ets:tab2list(rabbit_queue)
  end,
  Queues = [Q || Q <- All, amqqueue:get_type(Q) =:= rabbit_quorum_queue],";

/// The quorum queues go on with the member that this broker has; `gone` is the other broker of the pair. Each queue in a process of its own: the last step of each tries to reach the other
/// broker, and waits.
pub async fn shrink(link: &mut Link, gone: &str) -> Result<(), Fault> {
    let text = format!(
        "{QUEUES}
  _ = erlang:disconnect_node('{gone}'),
  [spawn(fun() ->
      {{resource, VHost, queue, Name}} = amqqueue:get_name(Q),
      rabbit_quorum_queue:force_shrink_member_to_current_member(VHost, Name)
    end) || Q <- Queues, lists:member('{gone}', Nodes(Q)), lists:member(node(), Nodes(Q))],
  ok."
    );
    link.eval(&text, SHORT).await.map(drop)
}

/// Erlang may take a minute to notice that a node without power is gone, and what asks it meanwhile waits: so it is told.
pub async fn disconnect(link: &mut Link, gone: &str) -> Result<(), Fault> {
    let text = format!("erlang:disconnect_node('{gone}').");
    link.eval(&text, SHORT).await.map(drop)
}

/// Gives every quorum queue a member on the broker `on`, in a process that goes on by itself. Done once at a time.
pub async fn grow(link: &mut Link, on: &str) -> Result<(), Fault> {
    let text = format!(
        "case whereis(holdfast_grow) of
    undefined ->
      Grow = spawn(fun() ->
        receive go -> ok end,
        rabbit_quorum_queue:grow('{on}', <<\".*\">>, <<\".*\">>, all)
      end),
      true = register(holdfast_grow, Grow),
      Grow ! go,
      started;
    _ -> runs
  end."
    );
    link.eval(&text, SHORT).await.map(drop)
}

/// Whether the members on broker `on` vote, and have everything that this broker's had when it was asked: then no message is
/// confirmed any more that they do not have, and they have all that were. A member that lost its log in a crash is only found
/// to lack it when there is something new (seen with 3.10), so queues that are behind get an entry that does nothing, as
/// `rabbitmq-queues reclaim_quorum_memory` makes one.
pub async fn has_caught_up(link: &mut Link, on: &str) -> Result<bool, Fault> {
    let text = format!(
        "{QUEUES}
  Row = fun(Q, Node) ->
    {{resource, VHost, queue, Name}} = amqqueue:get_name(Q),
    Rows = rabbit_quorum_queue:status(VHost, Name),
    case [R || R <- Rows, proplists:get_value(<<\"Node Name\">>, R) =:= Node] of [R] -> R; _ -> [] end
  end,
  Last = fun(R) -> proplists:get_value(<<\"Last Log Index\">>, R, proplists:get_value(<<\"Log Index\">>, R)) end,
  Wanted = [{{Q, Last(Row(Q, node()))}} || Q <- Queues],
  Has = fun(Q, Want) ->
    R = Row(Q, '{on}'),
    Commit = proplists:get_value(<<\"Commit Index\">>, R),
    is_integer(Want) andalso is_integer(Commit) andalso Commit >= Want
      andalso lists:member(proplists:get_value(<<\"Membership\">>, R, voter), [voter, unknown])
  end,
  Wait = fun Again(_, _, 0) -> false;
    Again(Q, Want, Left) -> Has(Q, Want) orelse begin timer:sleep(50), Again(Q, Want, Left - 1) end
  end,
  Behind = [Pair || {{Q, Want}} = Pair <- Wanted, not Has(Q, Want)],
  _ = [begin
      {{resource, VHost, queue, Name}} = amqqueue:get_name(Q),
      catch rabbit_quorum_queue:reclaim_memory(VHost, Name)
    end || {{Q, _}} <- Behind],
  lists:all(fun({{Q, Want}}) -> Wait(Q, Want, 20) end, Behind)."
    );
    let answer = link.eval(&text, CATCH_UP).await?;
    Ok(answer.bool() == Some(true))
}

/// New quorum queues get a member here only, or as many as was configured. With two members of which one cannot be reached they
/// could not be declared at all.
pub async fn set_alone(link: &mut Link, alone: bool) -> Result<(), Fault> {
    let text = if alone {
        "case application:get_env(rabbit, holdfast_cluster_size) of
    {ok, _} -> ok;
    undefined ->
      application:set_env(rabbit, holdfast_cluster_size, application:get_env(rabbit, quorum_cluster_size, 3)),
      application:set_env(rabbit, quorum_cluster_size, 1)
  end."
    } else {
        "case application:get_env(rabbit, holdfast_cluster_size) of
    {ok, Size} ->
      application:set_env(rabbit, quorum_cluster_size, Size),
      application:unset_env(rabbit, holdfast_cluster_size);
    undefined -> ok
  end."
    };
    link.eval(text, SHORT).await.map(drop)
}

/// The broker itself decides nothing any more when it loses another: the register does.
pub async fn leave_partitions_alone(link: &mut Link) -> Result<(), Fault> {
    let text = "application:set_env(rabbit, cluster_partition_handling, ignore).";
    link.eval(text, SHORT).await.map(drop)
}

/// Makes the broker of `link`, whose database is empty, a member of the cluster of `of`.
pub async fn join(link: &mut Link, of: &str) -> Result<(), Fault> {
    let text = format!(
        "_ = code:ensure_loaded(rabbit_db_cluster),
  case erlang:function_exported(rabbit_db_cluster, join, 2) of
    true -> rabbit_db_cluster:join('{of}', disc);
    false ->
      rabbit:stop(),
      Joined = rabbit_mnesia:join_cluster('{of}', disc),
      rabbit:start(),
      Joined
  end."
    );
    done(&link.eval(&text, JOIN).await?)
}

/// The broker of `link` forgets the member `gone`.
pub async fn forget(link: &mut Link, gone: &str) -> Result<(), Fault> {
    let text = format!(
        "_ = code:ensure_loaded(rabbit_db_cluster),
  Forgotten = case erlang:function_exported(rabbit_db_cluster, forget_member, 2) of
    true -> rabbit_db_cluster:forget_member('{gone}', false);
    false -> rabbit_mnesia:forget_cluster_node('{gone}', false)
  end,
  Forgotten =:= ok andalso rabbit_quorum_queue:shrink_all('{gone}'),
  Forgotten."
    );
    done(&link.eval(&text, JOIN).await?)
}

/// `ok`, or `{ok, already_member}`.
fn done(answer: &Term) -> Result<(), Fault> {
    if answer.name() == Some("ok") || answer.tagged("ok", 1).is_some() {
        Ok(())
    } else {
        Err(Fault::Failed(answer.shown()))
    }
}

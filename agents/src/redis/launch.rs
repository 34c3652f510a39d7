//! The start of the process until it has read its data, and what is done when it ends because that is damaged.

use std::sync::Arc;
use std::time::Duration;

use holdfast_proto::time::Time;

use super::client::Fault;
use super::data::Data;
use super::info::Info;
use super::state::State;
use super::{RedisAgent, held};
use crate::agent::AgentError;
use crate::clock;
use crate::roles::RolesView;

/// Pause between looks at one that begins.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Bound on asking another node.
const ASK: Duration = Duration::from_secs(1);

/// Why it did not start.
enum Unstarted {
    /// Its process ended.
    Ended(AgentError),
    /// It is there, and of no use.
    Useless(AgentError),
}

impl RedisAgent {
    /// Starts the process, and returns when it has read its data. Data that is damaged is set aside if that may be, and it
    /// starts empty then: it is a replica, and gets a whole copy.
    pub(super) async fn launch(&mut self, state: &State, deadline: Time) -> Result<Info, AgentError> {
        let ended = match self.launch_once(state, deadline).await {
            Ok(info) => return Ok(info),
            Err(Unstarted::Useless(error)) => return Err(error),
            Err(Unstarted::Ended(error)) => error,
        };
        // A manager may be about to start it again.
        self.inner.agent.stop(deadline).await?;
        self.set_damaged_aside(state, ended, deadline).await?;
        self.launch_once(state, deadline)
            .await
            .map_err(|(Unstarted::Ended(error) | Unstarted::Useless(error))| error)
    }

    async fn launch_once(&mut self, state: &State, deadline: Time) -> Result<Info, Unstarted> {
        let end = Arc::clone(&self.inner.end);
        end.forget();
        self.inner.agent.start(deadline).await.map_err(Unstarted::Ended)?;
        tokio::select! {
            ready = ready(state, deadline) => ready.map_err(Unstarted::Useless),
            reason = end.happened() => Err(Unstarted::Ended(AgentError(reason))),
        }
    }

    /// `ended` is what is known of its end; it is given back when its data is not to blame.
    async fn set_damaged_aside(
        &mut self,
        state: &State,
        ended: AgentError,
        deadline: Time,
    ) -> Result<(), AgentError> {
        let Ok(data) = Data::find(&self.params).await else {
            return Err(ended);
        };
        let damage = match data.damage(clock::now().until(deadline)).await {
            Ok(Some(damage)) => damage,
            Ok(None) => return Err(ended),
            Err(unknown) => return Err(AgentError(format!("{ended}; {unknown}"))),
        };
        let view = self.context.roles.borrow().clone();
        let folder = data.folder().display();
        let primary = match promoted_elsewhere(state, &view).await {
            Ok(primary) => primary,
            Err(why) => {
                return Err(AgentError(format!(
                    "redis cannot read its data in {folder}: {damage}; it is left as it is, because {why}; {}",
                    advice(&data, &view)
                )));
            }
        };
        let aside = data.set_aside().await.map_err(|error| {
            AgentError(format!(
                "redis cannot read its data in {folder}: {damage}; {} cannot be moved aside: {error}",
                data.path().display()
            ))
        })?;
        let removed: Vec<String> = aside
            .removed
            .iter()
            .map(|path| format!("; removed for it: {}", path.display()))
            .collect();
        self.context.events.note(
            "warn",
            "redis-set-aside",
            format!(
                "redis could not read its data in {folder}: {damage}; it was moved to {}{}, and a whole copy is fetched from \
                 {primary}",
                aside.kept.display(),
                removed.concat()
            ),
        );
        Ok(())
    }
}

/// What allows that a copy is set aside: another node is committed as the primary, its copy is in the committed set (so it holds
/// all that was acknowledged), and it answers right now as a master that takes writes: only a promotion lets it. The copy here
/// can be promoted again only after it was seen to be whole, because its process is a new one. Gives its name.
async fn promoted_elsewhere(state: &State, view: &RolesView) -> Result<String, String> {
    let Some(primary) = view.remote_primary() else {
        return Err("no other node is promoted".into());
    };
    let name = &primary.name;
    if !view.in_sync.nodes.contains(name) {
        return Err(format!("the copy of {name} is not known to be whole"));
    }
    for address in primary.addresses.iter().copied() {
        let mut remote = state.remote(address, ASK);
        let looked = async { Ok::<_, Fault>((remote.info().await?, remote.demands().await?)) };
        if let Ok((info, demands)) = looked.await
            && info.is_master
            && !info.loading
            && demands != held::REPLICAS
        {
            return Ok(name.clone());
        }
    }
    Err(format!("the redis of {name} does not answer as the primary"))
}

/// What an operator may do about it.
fn advice(data: &Data, view: &RolesView) -> String {
    let others: Vec<&str> = view
        .in_sync
        .nodes
        .iter()
        .map(String::as_str)
        .filter(|node| *node != view.own.name)
        .collect();
    let mend = format!("back it up, and then {}", data.mending());
    match others.is_empty() {
        true => mend,
        false => format!(
            "bring back {}, whose copy is whole as well: this one is fetched anew then; or {mend}",
            others.join(" or ")
        ),
    }
}

/// Waits until it answers and has read its data.
async fn ready(state: &State, deadline: Time) -> Result<Info, AgentError> {
    loop {
        let looked = state.local.lock().await.info().await;
        let fault = match looked {
            Ok(info) if !info.loading => return Ok(info),
            Ok(_) => "it still reads its data; give it more time with start_timeout".to_owned(),
            // What it says will not change.
            Err(Fault::Refused(text)) if !text.starts_with("LOADING") => {
                return Err(AgentError(format!("redis refuses us: {text}")));
            }
            Err(fault) => fault.to_string(),
        };
        if clock::now() >= deadline {
            let place = state.params.place();
            return Err(AgentError(format!("redis does not answer at {place}: {fault}")));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

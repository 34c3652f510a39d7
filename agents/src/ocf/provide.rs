//! The other way round: our own agents answer as OCF agents, so that Pacemaker users can try them.
//!
//! `had-agentd ocf TYPE ACTION` is what a script in `/usr/lib/ocf/resource.d/holdfast/` runs. There is no daemon then and no
//! cluster of ours: no permit ends (Pacemaker stops what must not run), nobody watches between two looks, and roles, which
//! rest on what our register has committed, are refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_proto::time::Time;
use tokio::sync::{mpsc, watch};

use super::environment::TEMPORARY;
use crate::agent::{AgentContext, AgentError, AgentMeta, EventSink, PermitView, Presence, ResourceAgent};
use crate::roles::{CopySink, RolesView};
use crate::{clock, registry};

/// How long an action may take if nobody says.
const TIMEOUT: Duration = Duration::from_secs(20);
/// Kept free of the caller's time for the answer.
const RESERVE: Duration = Duration::from_millis(500);
/// Time to read what a program printed since the last look.
const DRAIN: Duration = Duration::from_millis(100);
/// From which lifetimes and intervals derive that a cluster would set.
const LEASE: Duration = Duration::from_secs(1);

/// An exit code, and why.
struct Answer {
    code: i32,
    reason: String,
}

impl Answer {
    const SUCCESS: Answer = Answer {
        code: 0,
        reason: String::new(),
    };

    fn of(code: i32, reason: impl Into<String>) -> Answer {
        Answer {
            code,
            reason: reason.into(),
        }
    }
}

/// If this process was called as `had-agentd ocf TYPE ACTION`, answers as that OCF agent and ends.
pub fn run_if_called() {
    let args: Vec<String> = std::env::args().collect();
    if args.get(1).map(String::as_str) != Some("ocf") {
        return;
    }
    let answer = match args.get(2..) {
        Some([kind, action, ..]) => answer(kind, action),
        _ => Answer::of(2, "call it as: had-agentd ocf TYPE ACTION"),
    };
    if !answer.reason.is_empty() {
        let prefix = std::env::var("OCF_EXIT_REASON_PREFIX").unwrap_or_default();
        // Who asked may have ended; the exit code counts.
        let _ = writeln!(io::stderr(), "{prefix}{}", answer.reason.replace('\n', " "));
    }
    std::process::exit(answer.code);
}

/// Our kinds that make sense as an OCF agent.
fn find(kind: &str) -> Option<&'static AgentMeta> {
    registry::AGENTS
        .iter()
        .copied()
        .find(|meta| meta.kind == kind && meta.kind != "ocf")
}

fn answer(kind: &str, action: &str) -> Answer {
    let Some(meta) = find(kind) else {
        return Answer::of(5, format!("had-agentd has no agent {kind:?}"));
    };
    match action {
        "meta-data" => match io::stdout().write_all(describe(meta).as_bytes()) {
            Ok(()) => Answer::SUCCESS,
            Err(error) => Answer::of(1, format!("the meta-data cannot be printed: {error}")),
        },
        "start" | "stop" | "monitor" | "status" | "validate-all" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => runtime.block_on(Resource::of(meta).act(action)),
                Err(error) => Answer::of(1, error.to_string()),
            }
        }
        "promote" | "demote" | "notify" => Answer::of(
            3,
            format!(
                "{kind} has no roles outside a Holdfast cluster, whose register says who may be promoted"
            ),
        ),
        _ => Answer::of(
            3,
            format!(
                "{kind} has no action {action:?}; it has start, stop, monitor, validate-all and meta-data"
            ),
        ),
    }
}

/// The agent's description of itself, as OCF has it.
fn describe(meta: &AgentMeta) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE resource-agent SYSTEM \"ra-api-1.dtd\">\n<resource-agent name=\"{0}\" version=\"{1}\">\n<version>1.1</version>\n\
         <longdesc lang=\"en\">\nHoldfast's own agent {0} under another manager: {2}.\n</longdesc>\n\
         <shortdesc lang=\"en\">{2}</shortdesc>\n<parameters>\n",
        meta.kind,
        env!("CARGO_PKG_VERSION"),
        escaped(meta.summary)
    );
    for param in meta.params {
        let help = escaped(param.help);
        // A String takes all that is written to it.
        let _ = writeln!(
            text,
            "<parameter name=\"{}\" required=\"{}\">\n<longdesc lang=\"en\">\n{help}\n</longdesc>\n\
             <shortdesc lang=\"en\">{help}</shortdesc>\n<content type=\"string\"/>\n</parameter>",
            param.name,
            u8::from(param.required),
        );
    }
    text += "</parameters>\n<actions>\n<action name=\"start\" timeout=\"60s\"/>\n<action name=\"stop\" timeout=\"60s\"/>\n\
             <action name=\"monitor\" timeout=\"20s\" interval=\"10s\" depth=\"0\"/>\n\
             <action name=\"validate-all\" timeout=\"20s\"/>\n<action name=\"meta-data\" timeout=\"5s\"/>\n</actions>\n\
             </resource-agent>\n";
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// Lists are one item a line for our agents; other managers, which know no lists, may have blanks between the items.
fn as_lines(name: &str, value: String) -> String {
    if matches!(name, "command" | "address") && !value.trim().contains('\n') {
        value.split_whitespace().collect::<Vec<_>>().join("\n")
    } else {
        value
    }
}

/// One resource of the other manager.
struct Resource {
    meta: &'static AgentMeta,
    /// Its name there, fit for the name of a file.
    name: String,
    folder: PathBuf,
    deadline: Time,
}

impl Resource {
    fn of(meta: &'static AgentMeta) -> Resource {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                c
            } else {
                '_'
            }
        };
        let name = variable("OCF_RESOURCE_INSTANCE").unwrap_or_else(|| "default".to_owned());
        let timeout = variable("OCF_RESKEY_CRM_meta_timeout")
            .and_then(|ms| ms.parse().ok())
            .map_or(TIMEOUT, Duration::from_millis);
        let temporary = variable("HA_RSCTMP").unwrap_or_else(|| TEMPORARY.to_owned());
        Resource {
            meta,
            name: name.chars().map(plain).collect(),
            folder: Path::new(&temporary).join("holdfast"),
            deadline: clock::now() + timeout.saturating_sub(RESERVE),
        }
    }

    fn saved_path(&self) -> PathBuf {
        self.folder
            .join(format!("{}.{}.saved", self.meta.kind, self.name))
    }

    /// Builds the agent from `OCF_RESKEY_*`.
    fn build(&self) -> Result<Box<dyn ResourceAgent>, AgentError> {
        let given = |key: &str| std::env::var(format!("OCF_RESKEY_{key}")).ok();
        let params: BTreeMap<String, String> = self
            .meta
            .params
            .iter()
            .filter_map(|param| Some((param.name.to_owned(), given(param.name)?)))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                let value = as_lines(&name, value);
                (name, value)
            })
            .collect();
        let saved = match fs::read_to_string(self.saved_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = self.saved_path();
                return Err(AgentError(format!("{} cannot be read: {error}", path.display())));
            }
            saved => saved.unwrap_or_default(),
        };
        let (notes, _) = mpsc::channel(1);
        let (failures, _) = mpsc::unbounded_channel();
        let context = AgentContext {
            group: "ocf".to_owned(),
            resource: self.name.clone(),
            params,
            lease: LEASE,
            // The other manager decides what runs: nothing lapses by itself.
            permit: watch::channel(PermitView {
                epoch: 1,
                until: Time(u64::MAX),
            })
            .1,
            events: EventSink::new(0, notes, failures),
            saved,
            state_dir: self.folder.clone(),
            roles: watch::channel(RolesView::default()).1,
            copy: CopySink::default(),
            gate: None,
        };
        registry::build(self.meta.kind, context)
    }

    async fn act(&self, action: &str) -> Answer {
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder);
        if let Err(error) = made {
            return Answer::of(1, format!("{} cannot be made: {error}", self.folder.display()));
        }
        let mut agent = match self.build() {
            Ok(agent) => agent,
            Err(error) => return Answer::of(6, error.0),
        };
        if agent.has_roles() {
            return Answer::of(
                6,
                format!(
                    "{} with these parameters has roles, and who may be promoted is committed in a Holdfast cluster: \
                     outside of one it can only be used without replication",
                    self.meta.kind
                ),
            );
        }
        match action {
            "start" => self.start(agent.as_mut()).await,
            "stop" => self.stop(agent.as_mut()).await,
            "validate-all" => Answer::SUCCESS,
            _ => self.monitor(agent.as_mut()).await,
        }
    }

    async fn start(&self, agent: &mut dyn ResourceAgent) -> Answer {
        match agent.probe().await {
            Presence::Active => return Answer::SUCCESS,
            Presence::Inactive => {}
            Presence::Partial(_) | Presence::Unknown(_) => {
                // What is half there is stopped before it is started, as under Holdfast.
                if let Err(error) = agent.stop(self.deadline).await {
                    return Answer::of(1, error.0);
                }
            }
        }
        let started = self.within(agent.start(self.deadline)).await;
        // Also after a failure: there may be something that has to be found to be stopped.
        let kept = self.keep(&agent.saved());
        match started.and(kept) {
            Ok(()) => Answer::SUCCESS,
            Err(error) => Answer::of(1, error.0),
        }
    }

    async fn stop(&self, agent: &mut dyn ResourceAgent) -> Answer {
        let mut stopped = self.within(agent.stop(self.deadline)).await;
        if stopped.is_err() {
            stopped = agent.kill(self.deadline + RESERVE).await;
        }
        match stopped {
            Ok(()) => {
                // It may never have been there.
                let _ = fs::remove_file(self.saved_path());
                Answer::SUCCESS
            }
            Err(error) => Answer::of(1, error.0),
        }
    }

    async fn monitor(&self, agent: &mut dyn ResourceAgent) -> Answer {
        match agent.probe().await {
            Presence::Active => {}
            Presence::Inactive => return Answer::of(7, ""),
            Presence::Partial(what) | Presence::Unknown(what) => return Answer::of(1, what),
        }
        if self.meta.kind == "exec" {
            // Nobody else reads what the program prints, and it would wait when the pipe is full.
            if let Err(error) = agent.adopt().await {
                return Answer::of(1, error.0);
            }
            tokio::time::sleep(DRAIN).await;
        }
        Answer::SUCCESS
    }

    /// Leaves time for the answer.
    async fn within(
        &self,
        action: crate::agent::Action<'_, Result<(), AgentError>>,
    ) -> Result<(), AgentError> {
        let limit = self.deadline.since(clock::now());
        tokio::time::timeout(limit, action).await.unwrap_or_else(|_| {
            Err(AgentError(format!(
                "it was not done within {} ms",
                limit.as_millis()
            )))
        })
    }

    fn keep(&self, saved: &str) -> Result<(), AgentError> {
        let path = self.saved_path();
        let file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| io::Write::write_all(&mut file, saved.as_bytes()))
            .map_err(|error| AgentError(format!("{} cannot be written: {error}", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_agent_describes_itself_in_a_way_that_a_host_understands() {
        for meta in registry::AGENTS.iter().filter(|meta| meta.kind != "ocf") {
            let found = holdfast_proto::ocf::parse(&describe(meta)).unwrap();
            let names: Vec<_> = found.parameters.iter().map(|p| p.name.as_str()).collect();
            let expected: Vec<_> = meta.params.iter().map(|param| param.name).collect();
            assert_eq!(names, expected, "{}", meta.kind);
            assert!(found.has("start") && found.has("stop") && found.monitor(false, 0).is_some());
        }
        assert!(find("ocf").is_none() && find("nothing").is_none());
    }

    #[test]
    fn what_rests_on_a_cluster_is_refused_with_words() {
        let refused = answer("redis", "promote");
        assert_eq!(refused.code, 3);
        assert!(refused.reason.contains("no roles outside"), "{}", refused.reason);
        assert_eq!(answer("vip", "dance").code, 3);
        assert_eq!(answer("nothing", "start").code, 5);
    }
}

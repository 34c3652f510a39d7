//! Holdfast's OCF host, driven as the runner of groups drives it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use holdfast_agents::agent::{AgentContext, AgentError, AgentEvent, EventSink, PermitView, ResourceAgent};
use holdfast_agents::ocf::action::{Host as Direct, NotRun};
use holdfast_agents::ocf::environment::Call;
use holdfast_agents::ocf::settings::Settings;
use holdfast_agents::roles::{CopySink, Peer, RolesView};
use holdfast_agents::{clock, registry};
use holdfast_proto::time::Time;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::cases::Case;
use crate::inside::Host;

/// As long as Pacemaker's executor is given.
const LIMIT: Duration = Duration::from_secs(180);
/// How long the recurring look may take to say that it is broken: a failure when it is over.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one case.
pub struct Runner {
    runtime: Runtime,
    agent: Box<dyn ResourceAgent>,
    /// Asks the agent for the very exit code, which the runner has no use for.
    direct: Direct,
    failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
}

impl Runner {
    pub fn new(case: &Case) -> Result<Runner> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut params: BTreeMap<String, String> = case
            .params
            .iter()
            .map(|(name, value)| (format!("param.{name}"), (*value).to_owned()))
            .collect();
        params.insert("monitor_interval_ms".into(), "500".into());
        if case.promotable {
            params.insert("promotable".into(), "true".into());
        }
        let kind = format!("ocf:{}", case.agent);
        let (notes, _) = mpsc::channel(1);
        let (failed, failures) = mpsc::unbounded_channel();
        let own = Peer {
            name: nix::unistd::gethostname()?.to_string_lossy().into_owned(),
            ..Peer::default()
        };
        let roles = RolesView {
            own,
            ..RolesView::default()
        };
        let state_dir = Path::new("/run/holdfast-agentd");
        std::fs::create_dir_all(state_dir)?;
        let context = AgentContext {
            group: "shop".into(),
            resource: "db".into(),
            params: params.clone(),
            lease: Duration::from_secs(1),
            permit: watch::channel(PermitView {
                epoch: 1,
                until: Time(u64::MAX),
            })
            .1,
            events: EventSink::new(0, notes, failed),
            saved: String::new(),
            state_dir: state_dir.to_owned(),
            roles: watch::channel(roles).1,
            copy: CopySink::default(),
            gate: None,
        };
        let settings = Settings::read(&kind, &params)?;
        let direct = Direct::new("shop", "db", settings, state_dir);
        let agent = runtime.block_on(async { registry::build(&kind, context) })?;
        Ok(Runner {
            runtime,
            agent,
            direct,
            failures,
        })
    }
}

impl Host for Runner {
    fn action(&mut self, action: &str) -> Result<(Option<i32>, String)> {
        let deadline = clock::now() + LIMIT;
        let Runner {
            runtime,
            agent,
            direct,
            ..
        } = self;
        let done = runtime.block_on(async {
            if action == "monitor" {
                // Ends the recurring looks: two actions of one resource never run at a time.
                let _ = agent.probe().await;
            }
            match action {
                "monitor" => match direct.look(&Call::new("monitor", LIMIT)).await {
                    Ok(ran) => Ok((Some(ran.code.0), ran.reason)),
                    Err(error @ (NotRun::TimedOut(_) | NotRun::Failed(_))) => Ok((None, error.to_string())),
                },
                "start" => Ok(outcome(agent.start(deadline).await)),
                "stop" => Ok(outcome(agent.stop(deadline).await)),
                "promote" => Ok(outcome(agent.promote(deadline).await)),
                "demote" => Ok(outcome(agent.demote(None, deadline).await)),
                _ => Err(anyhow::anyhow!("there is no action {action}")),
            }
        });
        done.context("asking the agent")
    }

    fn noticed(&mut self) -> Option<String> {
        let Runner {
            runtime,
            agent,
            failures,
            ..
        } = self;
        let wait = async {
            // As after a restart of had-agentd: from here on it is looked at again.
            let _ = agent.adopt().await;
            tokio::time::timeout(PATIENCE, failures.recv()).await
        };
        Some(match runtime.block_on(wait) {
            Ok(Some((_, AgentEvent::Failed(reason)))) => reason,
            Ok(other) => format!("not noticed: {other:?}"),
            Err(_) => "not noticed".to_owned(),
        })
    }
}

/// The exit code, which an error names.
fn outcome(result: Result<(), AgentError>) -> (Option<i32>, String) {
    match result {
        Ok(()) => (Some(0), String::new()),
        Err(error) => {
            let code = error
                .0
                .split(" ended with ")
                .nth(1)
                .and_then(|rest| rest.split(' ').next()?.parse().ok());
            (code, error.0)
        }
    }
}

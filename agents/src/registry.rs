//! The resource agents that are built in.

use crate::agent::{AgentContext, AgentError, AgentMeta, ResourceAgent};
use crate::{drbd, exec, filesystem, galera, mysqld, ocf, rabbitmq, redis, systemd, vip};

/// All agents.
pub const AGENTS: &[&AgentMeta] = &[
    &vip::META,
    &systemd::META,
    &exec::META,
    &filesystem::META,
    &mysqld::META,
    &drbd::META,
    &ocf::META,
    &redis::META,
    &rabbitmq::META,
    &galera::META,
];

/// Builds the agent `kind` for one resource, checking its parameters. Touches nothing.
///
/// # Errors
/// An unknown kind, or parameters that the agent refuses.
pub fn build(kind: &str, context: AgentContext) -> Result<Box<dyn ResourceAgent>, AgentError> {
    match kind {
        "vip" => vip::build(context),
        "systemd" => systemd::build(context),
        "exec" => exec::build(context),
        "filesystem" => filesystem::build(context),
        "mysqld" => mysqld::build(context),
        "drbd" => drbd::build(context),
        kind if kind.starts_with(holdfast_proto::ocf::PREFIX) => ocf::build(kind, context),
        "redis" => redis::build(context),
        "rabbitmq" => rabbitmq::build(context),
        "galera" => galera::build(context),
        #[cfg(test)]
        "scripted" => Ok(crate::group::tests::scripted(context)),
        _ => {
            let known: Vec<_> = AGENTS.iter().map(|meta| meta.kind).collect();
            Err(AgentError(format!(
                "there is no agent {kind:?}; this had-agentd has: {}",
                known.join(", ")
            )))
        }
    }
}

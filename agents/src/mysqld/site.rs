//! What every part of replication needs: parameters, what the cluster agreed on, where word goes.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use holdfast_proto::mysqld::{seed_refusal, seed_request};
use holdfast_proto::time::Time;
use tokio::sync::watch;

use super::client::{Client, SqlError};
use super::gtid::Gtids;
use super::params::Params;
use super::tls::Tls;
use crate::agent::{AgentContext, AgentError, EventSink, PermitView};
use crate::clock;
use crate::roles::{CopySink, Peer, RolesView};
use crate::seen::Seen;

/// One resource on one node.
pub struct Site {
    /// Parameters.
    pub params: Arc<Params>,
    /// Its group.
    group: String,
    /// TLS to other nodes' servers; None on a private link.
    pub tls: Option<Tls>,
    /// Where notes go.
    pub events: EventSink,
    /// What is said in the details.
    pub seen: Arc<Seen>,
    /// What the cluster agreed on.
    pub roles: watch::Receiver<RolesView>,
    /// The permit of the group.
    pub permit: watch::Receiver<PermitView>,
    /// Where word of the copy goes.
    pub copy: CopySink,
    /// Length of a lease.
    pub lease: Duration,
    /// See [`super::mark`]: a file that outlives had-agentd and not the server. Since its start it has not caught up yet.
    pub doubt: PathBuf,
    /// The file with what was wished to be committed.
    pub wishes: PathBuf,
    /// For scratch files that need not outlive a reboot.
    pub scratch: PathBuf,
    /// The server began under the number that all servers begin with, and was given its own: see [`super::hold`].
    pub renumbered: AtomicBool,
    /// See [`super::seed`]: a file that an operator makes to have this node's data fetched anew.
    pub seed_request: PathBuf,
    /// Why that was not done.
    pub seed_refusal: PathBuf,
    /// After an attempt to fetch it that failed: until when none is made, and why it failed.
    pub seed_pause: tokio::sync::Mutex<Option<(Time, String)>>,
    /// Held during a turn of what looks after the server. An action takes it first: no statement of a turn may still be under
    /// way when the role changes, or it could undo what the action did.
    pub turn: tokio::sync::Mutex<()>,
}

impl Site {
    /// Reads the TLS files.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(context: &AgentContext, params: Arc<Params>, seen: Arc<Seen>) -> Result<Site, AgentError> {
        let tls = params.tls.as_ref().map(Tls::load).transpose();
        let tls = tls.map_err(|error| AgentError(format!("agent mysqld: TLS for replication: {error}")))?;
        Ok(Site {
            params,
            group: context.group.clone(),
            tls,
            events: context.events.clone(),
            seen,
            roles: context.roles.clone(),
            permit: context.permit.clone(),
            copy: context.copy.clone(),
            lease: context.lease,
            doubt: context.file("doubt"),
            wishes: context.file("wishes"),
            scratch: context.state_dir.clone(),
            renumbered: AtomicBool::new(false),
            seed_request: seed_request(&context.state_dir, &context.group),
            seed_refusal: seed_refusal(&context.state_dir, &context.group),
            seed_pause: tokio::sync::Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        })
    }

    /// What the cluster agreed on, as it is now.
    pub fn view(&self) -> RolesView {
        self.roles.borrow().clone()
    }

    /// What an operator types to have this node's data replaced by the primary's.
    pub fn seed_command(&self) -> String {
        format!(
            "hactl mysqld seed {} {}",
            self.group,
            self.roles.borrow().own.name
        )
    }

    /// See [`RolesView::is_dispensable`].
    pub fn is_dispensable(&self) -> bool {
        self.roles.borrow().is_dispensable()
    }

    /// True when what this node knows names it as the primary, and no permit says so now: the cluster goes on, and this node has
    /// not heard yet how. It was off, or cut off, or its server failed, and the group is about to leave it.
    pub fn is_behind(&self) -> bool {
        let (view, permit) = (self.roles.borrow(), *self.permit.borrow());
        let primary = view.primary.as_ref() == Some(&view.own.name);
        primary && (permit.epoch != view.epoch || permit.until <= clock::now())
    }

    /// The address of another node that replication uses.
    pub fn address(&self, peer: &Peer) -> Option<IpAddr> {
        let wanted = peer.addresses.get(self.params.link);
        wanted.or(peer.addresses.first()).copied()
    }

    /// A connection to another node's server, as the account of replication.
    ///
    /// # Errors
    /// None.
    pub async fn connect(&self, peer: &Peer) -> Result<Client, SqlError> {
        let address = self
            .address(peer)
            .ok_or_else(|| SqlError::Login(format!("{} has no address", peer.name)))?;
        Client::remote(
            SocketAddr::new(address, self.params.port),
            &self.params.replication_user,
            self.tls.as_ref(),
            self.params.probing.timeout,
        )
        .await
    }

    /// A connection to the own server.
    ///
    /// # Errors
    /// None.
    pub async fn local(&self) -> Result<Client, AgentError> {
        Client::local(&self.params.socket, self.params.probing.timeout)
            .await
            .map_err(|error| AgentError(format!("cannot talk to the server: {error}")))
    }
}

/// What a server has applied.
///
/// # Errors
/// It does not say, or not in words that are understood.
pub async fn applied(client: &mut Client) -> Result<Gtids, SqlError> {
    let server = client.server();
    let what = if server.mariadb {
        "CONCAT_WS(',', @@GLOBAL.gtid_binlog_state, @@GLOBAL.gtid_slave_pos)"
    } else {
        "@@GLOBAL.gtid_executed"
    };
    let text = client.value(&format!("SELECT {what}")).await?;
    Gtids::parse(server, &text).map_err(SqlError::Login)
}

/// The same in the server's own words, for people.
///
/// # Errors
/// It does not say.
pub async fn position_text(client: &mut Client) -> Result<String, SqlError> {
    let what = if client.server().mariadb {
        "IF(@@GLOBAL.gtid_binlog_pos = '', @@GLOBAL.gtid_slave_pos, @@GLOBAL.gtid_binlog_pos)"
    } else {
        "@@GLOBAL.gtid_executed"
    };
    let text = client.value(&format!("SELECT {what}")).await?;
    Ok(text.replace('\n', "").chars().take(400).collect())
}

/// True when it takes no writes.
///
/// # Errors
/// It does not say.
pub async fn is_read_only(client: &mut Client) -> Result<bool, SqlError> {
    // On MariaDB the value may be a word from 12.0 on.
    let value = client.value("SELECT @@GLOBAL.read_only").await?;
    Ok(!matches!(value.as_str(), "0" | "OFF"))
}

/// An SQL error with what was being done.
pub fn failed(what: &str, error: &SqlError) -> AgentError {
    AgentError(format!("{what}: {error}"))
}

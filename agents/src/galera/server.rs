//! The server's process: launched to join, or to found a cluster.

use std::time::Duration;

use holdfast_guards::options::{Flavour, Options};
use holdfast_guards::{Disk, Node, galera as guard};
use holdfast_proto::time::Time;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::params::Params;
use super::place::{self, Place};
use super::status::Status;
use crate::agent::{AgentContext, AgentError, Cutter, Presence};
use crate::blocking::blocking;
use crate::mysqld::client::Client;
use crate::mysqld::inner::Inner;
use crate::relaunch::Relaunch;
use crate::roles::{Peer, RolesView};

/// How long another member's port may take to answer.
const REACH: Duration = Duration::from_millis(1000);
/// Pause between looks at a server that is to become ready.
const PAUSE: Duration = Duration::from_millis(100);

/// How a server is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As a member of the cluster that others run.
    Join,
    /// As the first member. Needs the right to: see [`super::GaleraAgent`].
    Found,
}

/// One server.
pub struct Server {
    /// Runs the process.
    pub inner: Inner,
    params: Params,
    relaunch: Relaunch,
}

impl Server {
    /// Takes over what an earlier had-agentd started, if it still runs.
    ///
    /// # Errors
    /// Parameters that are wrong.
    pub fn build(context: &AgentContext, params: &Params) -> Result<Server, AgentError> {
        let relaunch = Relaunch::new(context, "galera");
        let inner = Inner::build(&relaunch.resumed(), &params.runner()?, &[])?;
        relaunch.is_newest(inner.agent.as_ref());
        Ok(Server {
            inner,
            params: params.clone(),
            relaunch,
        })
    }

    /// See [`Relaunch::halter`].
    #[must_use]
    pub fn halter(&self) -> Cutter {
        self.relaunch.halter()
    }

    /// True while its process is there.
    pub async fn is_up(&mut self) -> bool {
        self.inner.agent.probe().await == Presence::Active
    }

    /// Starts the process. It is ready later: [`Server::ready`].
    ///
    /// # Errors
    /// It is refused, or did not start.
    pub async fn launch(
        &mut self,
        how: How,
        place: &Place,
        roles: &RolesView,
        deadline: Time,
    ) -> Result<(), AgentError> {
        refuse_founding(&self.params).await?;
        let (datadir, found) = (self.params.datadir.clone(), how == How::Found);
        let prepared = blocking(move || {
            if found {
                return place::allow_founding(&datadir);
            }
            // From here until it is in step again it may lack something.
            place::mark_whole(&datadir, false)
                .map_err(|error| AgentError(format!("{} cannot be written to: {error}", datadir.display())))
        });
        prepared.await?;
        let arguments = self.arguments(how, place, roles)?;
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.inner = Inner::build(&self.relaunch.fresh(), &self.params.runner()?, &words)?;
        self.relaunch.is_newest(self.inner.agent.as_ref());
        self.inner.listen();
        self.inner.agent.start(deadline).await?;
        self.relaunch.has_started(self.inner.agent.as_ref())?;
        self.inner.end.arm().map_err(AgentError)
    }

    fn arguments(&self, how: How, place: &Place, roles: &RolesView) -> Result<Vec<String>, AgentError> {
        let address = |peer: &Peer| {
            let address = peer.addresses.get(self.params.link).or(peer.addresses.first())?;
            Some(std::net::SocketAddr::new(*address, self.params.port).to_string())
        };
        let others: Vec<String> = roles.others.iter().filter_map(address).collect();
        let Some(own) = roles
            .own
            .addresses
            .get(self.params.link)
            .or(roles.own.addresses.first())
        else {
            return Err(AgentError::new("the addresses of the nodes are not known yet"));
        };
        // The list names the others only: whatever stands in files, this process joins them or nobody.
        let mut arguments = vec![
            "--wsrep-on=ON".to_owned(),
            format!("--wsrep-cluster-address=gcomm://{}", others.join(",")),
            format!("--wsrep-node-name={}", roles.own.name),
            format!("--wsrep-node-incoming-address={own}"),
        ];
        if !self
            .params
            .command
            .iter()
            .any(|word| word.starts_with("--wsrep-node-address"))
        {
            arguments.push(format!("--wsrep-node-address={own}"));
        }
        if !place.history.is_empty() {
            arguments.push(format!("--wsrep-start-position={}", place.text()));
        }
        match how {
            How::Found => arguments.push("--wsrep-new-cluster".into()),
            // Without a host behind it this would found a cluster.
            How::Join if others.is_empty() => {
                return Err(AgentError::new("there is no other node to join"));
            }
            How::Join => {}
        }
        Ok(arguments)
    }

    /// Says whether a start would be refused.
    ///
    /// # Errors
    /// It would, and why.
    pub async fn refusal(&mut self) -> Result<(), AgentError> {
        refuse_founding(&self.params).await
    }

    /// Waits until it is a member of the primary component and has everything. The caller bounds the wait.
    ///
    /// # Errors
    /// It ended.
    pub async fn ready(&mut self) -> Result<Status, AgentError> {
        loop {
            if let Some(reason) = self.inner.end.reason() {
                return Err(AgentError(format!("the server ended: {reason}")));
            }
            if let Ok(mut client) = Client::local(&self.params.socket, self.params.timeout).await
                && let Ok(status) = Status::ask(&mut client).await
                && status.is_synced
            {
                return Ok(status);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Other nodes on which a member of the cluster listens.
    pub async fn members(&mut self, roles: &RolesView) -> Vec<String> {
        let mut found = Vec::new();
        for peer in &roles.others {
            let Some(address) = peer.addresses.get(self.params.link).or(peer.addresses.first()) else {
                continue;
            };
            let connected = timeout(REACH, TcpStream::connect((*address, self.params.port))).await;
            if matches!(connected, Ok(Ok(_))) {
                found.push(peer.name.clone());
            }
        }
        found
    }
}

/// A node whose files would found a cluster is not started at all: what the agent says on the command line overrides them, but
/// whoever wrote that will start the server by other means too.
async fn refuse_founding(params: &Params) -> Result<(), AgentError> {
    let files = params.option_files();
    blocking(move || {
        let disk = Disk::here();
        let node = Node::new(&disk);
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        let options = Options::read(&files, Flavour::MariaDb, &node);
        let Some((setting, what)) = guard::founding(&options) else {
            return Ok(());
        };
        let line = setting.place.line.map(|line| format!(":{line}")).unwrap_or_default();
        Err(AgentError(format!(
            "refused: {}{line} says {what}, which founds a cluster of its own when the server is restarted: write the addresses \
             of the nodes there; a cluster is founded with hactl galera bootstrap",
            setting.place.file
        )))
    })
    .await
}

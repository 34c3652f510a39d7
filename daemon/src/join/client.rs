//! `had join`: the newcomer's side.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use holdfast_proto::config::{self, Config, KeyPin};
use prost::Message as _;

use super::protocol::{BYTES_MAX, JoinAnswer, JoinCall};
use super::{ALPN, Token};
use crate::args::Places;
use crate::init::refuse_state;
use crate::keys::NodeKeys;
use crate::net::{Judge, client_config, explain, open_endpoint, server_name, tls_client};
use crate::store::write_synced;

/// Time to reach one address.
const CONNECT: Duration = Duration::from_secs(3);
/// Time for the cluster to answer.
const ANSWER: Duration = Duration::from_secs(40);
const TOKEN_BYTES_MAX: u64 = 4096;

/// Options of `had join`.
#[derive(Clone, Debug, Default, Args)]
pub struct JoinArgs {
    /// Join as the witness.
    #[arg(long)]
    pub witness: bool,
    /// Addresses of this machine, one per link, separated by commas (default: the one that reaches the cluster).
    #[arg(long, value_delimiter = ',', value_name = "ADDRESSES")]
    pub links: Vec<IpAddr>,
}

/// Joins with the token on standard input: makes the keys, asks the member that made the token, and writes the
/// configuration. Returns a sentence.
///
/// # Errors
/// When the token is not valid, this machine has the state of a cluster already, no member answers or it refuses, or a
/// file cannot be written.
pub fn join(places: &Places, args: &JoinArgs) -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .lock()
        .take(TOKEN_BYTES_MAX)
        .read_to_string(&mut text)
        .context("cannot read the token")?;
    let token = Token::parse(&text)?;
    let name = match (&places.node, args.witness) {
        (None, true) => "witness".to_string(),
        _ => places.node_name()?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(join_as(&token, &name, args, &places.state_dir, &places.config))
}

/// [`join`] with everything given.
pub(super) async fn join_as(
    token: &Token,
    name: &str,
    args: &JoinArgs,
    state_dir: &Path,
    config: &Path,
) -> anyhow::Result<String> {
    if token.witness != args.witness {
        let (made, used) = if token.witness {
            ("a witness", "without")
        } else {
            ("a data node", "with")
        };
        bail!("the token was made for {made}, and 'had join' was called {used} --witness");
    }
    // Before the token is spent. With the register of another cluster it would never be heard in this one.
    refuse_state(state_dir, "join")?;
    let keys = NodeKeys::load_or_create(state_dir)?;
    let call = JoinCall {
        secret: token.secret.to_vec(),
        name: name.into(),
        links: args.links.iter().map(ToString::to_string).collect(),
        witness: args.witness,
    };
    let text = ask(token, &keys, &call).await?;
    let committed = check(&text, name, keys.pin())?;
    keep_old(config)?;
    write_synced(config, text.as_bytes())?;
    let role = if args.witness {
        "the witness"
    } else {
        "a data node"
    };
    Ok(format!(
        "{name} is {role} in the configuration of cluster {}, written to {}: start had",
        committed.cluster.name,
        config.display()
    ))
}

/// What came from the network is checked like what an operator wrote.
fn check(text: &str, name: &str, pin: KeyPin) -> anyhow::Result<Config> {
    let committed = config::parse(text, "the cluster's configuration").map_err(|wrong| {
        anyhow::anyhow!(
            "the cluster's configuration is not understood here:\n{}",
            wrong.render(false)
        )
    })?;
    let Some(node) = committed.node_by_name(name) else {
        bail!("the configuration that the cluster sent has no member called {name}");
    };
    let keys = committed.node(node).map(|section| &section.keys);
    let keys = keys.or(committed.witness.as_ref().map(|witness| &witness.keys));
    if !keys.is_some_and(|keys| keys.contains(&pin)) {
        bail!("the configuration that the cluster sent pins another key for {name}");
    }
    Ok(committed)
}

/// A configuration that is there already may be the only copy of somebody's work.
fn keep_old(config: &Path) -> anyhow::Result<()> {
    let old = config.with_extension("toml.before-join");
    match std::fs::rename(config, &old) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot move {} to {}", config.display(), old.display()))
        }
        _ => Ok(()),
    }
}

/// Asks at each address of the token until one answers.
async fn ask(token: &Token, keys: &NodeKeys, call: &JoinCall) -> anyhow::Result<String> {
    let mut tried = Vec::new();
    for address in &token.addresses {
        let answer = match ask_at(*address, token, keys, call).await {
            Ok(answer) => answer,
            Err(why) => {
                tried.push(why);
                continue;
            }
        };
        if answer.refused.is_empty() {
            return Ok(answer.config);
        }
        bail!(
            "the cluster refused: {}",
            crate::net::clean(answer.refused.as_bytes())
        );
    }
    bail!(
        "the member that made the token was not reached: {}",
        tried.join("; ")
    )
}

async fn ask_at(
    address: SocketAddr,
    token: &Token,
    keys: &NodeKeys,
    call: &JoinCall,
) -> Result<JoinAnswer, String> {
    let judge = Arc::new(OnlyPin(token.pin));
    let tls = tls_client(keys, judge, &[ALPN]).map_err(|error| error.to_string())?;
    let config = client_config(tls, true)?;
    let here = if address.is_ipv4() {
        IpAddr::from(Ipv4Addr::UNSPECIFIED)
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    // A link of its own, where one is named, so that the member sees the address that it is to know.
    let links = call.links.iter().filter_map(|link| link.parse::<IpAddr>().ok());
    let here = links
        .into_iter()
        .find(|link| link.is_ipv4() == address.is_ipv4())
        .unwrap_or(here);
    let endpoint =
        open_endpoint(SocketAddr::new(here, 0), keys, None).map_err(|error| format!("{here}: {error}"))?;
    let name = server_name(token.server);
    let connecting = endpoint
        .connect_with(config, address, &name)
        .map_err(|error| format!("{address}: {error}"))?;
    let connection = match tokio::time::timeout(CONNECT, connecting).await {
        Err(_) => return Err(format!("{address} does not answer")),
        Ok(connected) => connected.map_err(|error| explain(&error, &address.to_string()).into_words())?,
    };
    let exchange = async {
        let (mut send, mut receive) = connection.open_bi().await.ok()?;
        send.write_all(&call.encode_to_vec()).await.ok()?;
        send.finish().ok()?;
        receive.read_to_end(BYTES_MAX).await.ok()
    };
    let answer = tokio::time::timeout(ANSWER, exchange).await;
    let ended = connection.close_reason();
    connection.close(quinn::VarInt::from_u32(0), b"joined");
    drop(tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await);
    match (answer, ended) {
        (Err(_), _) => Err(format!("{address} did not answer in time")),
        (Ok(None), Some(error)) => Err(explain(&error, &address.to_string()).into_words()),
        (Ok(None), None) => Err(format!("{address} ended the connection")),
        (Ok(Some(bytes)), _) => JoinAnswer::decode(bytes.as_slice())
            .map_err(|_| format!("the answer of {address} does not decode")),
    }
}

/// The newcomer trusts the key in the token and no other.
struct OnlyPin(KeyPin);

impl Judge for OnlyPin {
    fn server(&self, _name: &str, pin: KeyPin) -> Result<(), String> {
        if pin == self.0 {
            return Ok(());
        }
        Err(format!(
            "the token names the key {}, whoever answers there has {pin}: make a new token",
            self.0
        ))
    }

    fn client(&self, _pin: KeyPin) -> Result<(), String> {
        Err("a newcomer accepts no connection".into())
    }
}

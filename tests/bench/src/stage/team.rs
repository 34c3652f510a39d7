//! A cluster on the stage, whatever manages it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use holdfast_hactl::demo::client::Client;
use holdfast_hactl::demo::clock::now_us;
use holdfast_hactl::demo::cluster::NODES;
use holdfast_hactl::demo::outlet::Outlets;
use holdfast_hactl::demo::story::Story;
use holdfast_hactl::demo::truth::Truth;

/// What is around every cluster.
#[derive(Clone)]
pub struct Surroundings {
    /// Power.
    pub outlets: Arc<Outlets>,
    /// Who asks the service.
    pub client: Arc<Client>,
    /// What is active where.
    pub truth: Arc<Truth>,
    /// What happened.
    pub story: Arc<Story>,
}

/// A cluster and its manager.
pub trait Team {
    /// What is around it.
    fn around(&self) -> &Surroundings;

    /// Its machines; the first two can run the service.
    fn machines(&self) -> &[&'static str];

    /// What the manager itself says is wrong, if anything is.
    fn trouble(&self) -> Option<String>;

    /// Moves the service from one node to the other, as an operator would.
    ///
    /// # Errors
    /// When the order is refused.
    fn switch(&self, from: &str, to: &str) -> anyhow::Result<()>;

    /// Puts away what the manager remembers of a fault and would act on later.
    ///
    /// # Errors
    /// When it cannot be told.
    fn tidy(&self) -> anyhow::Result<()>;

    /// Longest wait for the cluster to be whole.
    fn patience(&self) -> Duration;
}

/// Waits until the manager is content and the client is answered; the active node.
pub fn wait_ready(team: &dyn Team) -> anyhow::Result<String> {
    let begun = Instant::now();
    loop {
        let trouble = match look(team) {
            Ok(active) => return Ok(active),
            Err(trouble) => trouble,
        };
        anyhow::ensure!(
            begun.elapsed() < team.patience(),
            "the cluster is not whole after {} s: {trouble}",
            begun.elapsed().as_secs()
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn look(team: &dyn Team) -> Result<String, String> {
    let around = team.around();
    let active = around.truth.vip_owner().ok_or("no node has the virtual IP")?;
    if around.truth.service_pid(&active).is_none() {
        return Err(format!("{active} has the virtual IP but no service"));
    }
    let asks = around.client.since(now_us().saturating_sub(300_000));
    let answered = asks.iter().filter(|ask| ask.answered_us.is_some()).count();
    if asks.len() < 50 || answered < asks.len() {
        return Err(format!(
            "the client got {answered} answers to its last {} asks",
            asks.len()
        ));
    }
    match team.trouble() {
        Some(trouble) => Err(trouble),
        None => Ok(active),
    }
}

/// The node that `node` hands over to.
#[must_use]
pub fn other(node: &str) -> &'static str {
    if node == NODES[0] { NODES[1] } else { NODES[0] }
}

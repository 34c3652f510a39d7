//! The witness that is kept in a register. In an existing etcd cluster: a thread that carries out, one after the other, what
//! the proxy in the core asks of it; a call that was given up makes room for the next. On shared disks: had-agentd does the
//! work ([`Disks`]).

mod body;
mod disks;
mod etcd;
mod http;
mod login;
mod text;

use std::time::Duration;

use anyhow::Context;
use holdfast_core::witness::{Call, CallId, Outcome};
use holdfast_proto::config::{Config, RegisterPlace};
use tokio::sync::mpsc;

pub use disks::Disks;
use etcd::Etcd;

/// Calls that may wait: the proxy has one under way, and gives it up before it asks for the next.
const CALLS: usize = 4;

/// How a call ended.
#[derive(Debug)]
pub struct Answer {
    /// Which call.
    pub id: CallId,
    /// How it ended.
    pub outcome: Outcome,
    /// How it was reached.
    pub picture: Picture,
}

/// The register as it was last seen, for status output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The member of etcd that was asked, or the disks.
    pub endpoint: String,
    /// What stands in the way; empty if nothing does.
    pub trouble: String,
    /// How long the last answer took.
    pub took_us: u32,
}

enum Order {
    Follow(Box<Etcd>),
    Call(Call),
}

/// To and from that thread. It ends when this is dropped.
#[derive(Debug)]
pub struct RegisterLink {
    orders: mpsc::Sender<Order>,
    answers: mpsc::Receiver<Answer>,
}

impl RegisterLink {
    /// Starts the thread; it waits until it is told of an etcd.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn start() -> anyhow::Result<RegisterLink> {
        let (orders, order_queue) = mpsc::channel(CALLS);
        let (answer_queue, answers) = mpsc::channel(CALLS);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_stack_size(crate::rt::STACK_BYTES)
            .build()
            .context("cannot start the runtime that calls etcd")?;
        std::thread::Builder::new()
            .name("had-register".into())
            .stack_size(crate::rt::STACK_BYTES)
            .spawn(move || runtime.block_on(serve(order_queue, answer_queue)))
            .context("cannot start the thread that calls etcd")?;
        Ok(RegisterLink { orders, answers })
    }

    /// Calls the etcd that `config` names from now on.
    pub fn follow(&self, config: &Config) {
        if let Some(RegisterPlace::Etcd(section)) = config.register.as_ref().map(|register| &register.place) {
            let patience = patience(config.timers().lease);
            let etcd = Etcd::new(section.clone(), config.cluster.id, patience);
            self.order(Order::Follow(Box::new(etcd)));
        }
    }

    /// Carries out `call`; one that is still under way is given up.
    pub fn submit(&self, call: Call) {
        self.order(Order::Call(call));
    }

    /// The next answer.
    pub async fn next(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }

    fn order(&self, order: Order) {
        // The thread takes every order at once. Should it not, the proxy hears no answer and asks again.
        if self.orders.try_send(order).is_err() {
            tracing::warn!("the thread that calls etcd does not keep up");
        }
    }
}

/// How long one member of etcd may take before the next is asked.
fn patience(lease: Duration) -> Duration {
    (lease / 2).clamp(Duration::from_millis(250), Duration::from_secs(2))
}

async fn serve(mut orders: mpsc::Receiver<Order>, answers: mpsc::Sender<Answer>) {
    let mut etcd: Option<Box<Etcd>> = None;
    let mut next = orders.recv().await;
    while let Some(order) = next {
        next = match (order, &mut etcd) {
            (Order::Follow(followed), _) => {
                etcd = Some(followed);
                orders.recv().await
            }
            (Order::Call(_), None) => orders.recv().await,
            (Order::Call(call), Some(etcd)) => {
                etcd.log_in().await;
                match orders.try_recv() {
                    // It was given up during the login.
                    Ok(newer) => Some(newer),
                    Err(_) => carry_out(etcd, call, &mut orders, &answers).await,
                }
            }
        };
    }
}

/// Carries out `call` unless something newer comes; the next order.
async fn carry_out(
    etcd: &mut Etcd,
    call: Call,
    orders: &mut mpsc::Receiver<Order>,
    answers: &mpsc::Sender<Answer>,
) -> Option<Order> {
    tokio::select! {
        biased;
        outcome = etcd.call(&call.op) => {
            let picture = etcd.picture();
            // Whoever asked ends, and this with it.
            let _ = answers.send(Answer { id: call.id, outcome, picture }).await;
        }
        newer = orders.recv() => {
            etcd.hang_up("it did not answer in time");
            return newer;
        }
    }
    orders.recv().await
}

#[cfg(test)]
mod tests;

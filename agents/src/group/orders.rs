//! What a group's task is told, and how its orders wait.

use std::collections::VecDeque;
use std::time::Duration;

use holdfast_proto::agent::{FenceDevice, GroupRoles, GroupSpec};
use tokio::sync::{mpsc, watch};

use crate::agent::PermitView;
use crate::roles::{Peer, RolesView};

/// What a group's task is told.
#[derive(Debug)]
pub enum Order {
    /// Start under a permit.
    Start {
        /// The permit.
        permit: PermitView,
        /// What to run.
        spec: GroupSpec,
        /// Length of a lease.
        lease: Duration,
        /// This node's own storage devices, which have to let it in first.
        storage: Vec<FenceDevice>,
    },
    /// Stop.
    Stop {
        /// Epoch of the decision.
        epoch: u64,
        /// Why.
        reason: String,
        /// Who is to be promoted next, if that is known.
        toward: Option<Peer>,
    },
    /// What is committed about the roles of its resources.
    Roles(Box<GroupRoles>),
    /// Restart a resource and those after it; the whole group if empty.
    Restart {
        /// Epoch the group runs under.
        epoch: u64,
        /// The resource.
        resource: String,
    },
    /// The permit lapsed and access was cut.
    Lapsed {
        /// Epoch of the permit.
        epoch: u64,
        /// What happened, for people.
        text: String,
    },
    /// Maintenance.
    Maintenance(bool),
}

impl Order {
    /// True when a start of the part that needs no permit has to wait for this order.
    fn interrupts(&self) -> bool {
        match self {
            Order::Start { .. } | Order::Stop { .. } | Order::Maintenance(true) => true,
            Order::Roles(roles) => !roles.wanted,
            _ => false,
        }
    }
}

/// Orders, with those that came while another was carried out.
pub(super) struct Mailbox {
    pub(super) receiver: mpsc::UnboundedReceiver<Order>,
    pub(super) waiting: VecDeque<Order>,
}

impl Mailbox {
    /// Returns once an order came in that has to be obeyed before anything else. All orders wait for [`Mailbox::next`].
    pub(super) async fn interrupts(&mut self) {
        while !self.waiting.iter().any(Order::interrupts) {
            match self.receiver.recv().await {
                Some(order) => self.waiting.push_back(order),
                None => std::future::pending().await,
            }
        }
    }

    pub(super) async fn next(&mut self) -> Option<Order> {
        match self.waiting.pop_front() {
            Some(order) => Some(order),
            None => self.receiver.recv().await,
        }
    }

    /// Returns once an order came in that ends a start under `epoch`, `armed_epoch` being that of the permit which the guard
    /// was given first. All orders wait for [`Mailbox::next`].
    pub(super) async fn superseded(&mut self, epoch: u64, armed_epoch: u64) {
        while let Some(order) = self.receiver.recv().await {
            let ends_it = match &order {
                Order::Stop { epoch: asked, .. } => *asked >= epoch,
                Order::Lapsed { epoch: lapsed, .. } => *lapsed >= armed_epoch,
                _ => false,
            };
            self.waiting.push_back(order);
            if ends_it {
                return;
            }
        }
        std::future::pending().await
    }
}

/// How the group's task is reached.
pub struct Handle {
    pub(super) orders: mpsc::UnboundedSender<Order>,
    pub(super) roles: watch::Sender<RolesView>,
}

impl Handle {
    /// Gives an order. What is committed about roles the agents see at once, whatever the task is doing. False when the task
    /// is gone.
    pub fn tell(&self, order: Order) -> bool {
        if let Order::Roles(roles) = &order {
            let view = RolesView::from_wire(roles);
            self.roles
                .send_if_modified(|known| std::mem::replace(known, view.clone()) != view);
        }
        self.orders.send(order).is_ok()
    }
}

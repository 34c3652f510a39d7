//! The power controller: what a management board or a switched outlet is elsewhere. It listens in the management
//! network; the fence device on the nodes (`files/fence_lab`) asks it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::machine::Machine;
use crate::net::{HARNESS, MANAGEMENT, Net, address};

/// TCP port of the controller.
const PORT: u16 = 7900;
/// Longest line that is read.
const LINE_MAX: u64 = 128;

/// What is wrong with an outlet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It takes that long for every answer.
    Slow(Duration),
    /// It says yes to every order and does nothing.
    Deaf,
    /// It says yes, and does it that much later.
    Late(Duration),
}

/// What the controller may switch, and what it was told.
#[derive(Debug, Default)]
struct Panel {
    machines: Vec<Arc<Machine>>,
    orders: Vec<String>,
    troubles: BTreeMap<String, Trouble>,
}

/// The controller of a lab.
#[derive(Clone, Debug)]
pub struct Power {
    panel: Arc<Mutex<Panel>>,
}

impl Power {
    /// Starts it in the management network.
    pub fn start(net: &Net) -> Result<Power> {
        let power = Power {
            panel: Arc::default(),
        };
        let (net, serving) = (net.clone(), power.clone());
        let (ready, listening) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("power".into()).spawn(move || {
            let listener = net.enter().and_then(|()| {
                let at = format!("{}:{PORT}", address(MANAGEMENT, HARNESS));
                TcpListener::bind(&at).with_context(|| at)
            });
            let listener = match listener {
                Ok(listener) => listener,
                Err(error) => return drop(ready.send(Err(error))),
            };
            let _ = ready.send(Ok(()));
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // Each order on a thread of its own: a slow one must not hold up the others.
                std::thread::spawn(move || serving.serve(&stream));
            }
        })?;
        listening.recv().context("the power controller did not start")??;
        Ok(power)
    }

    /// The machines on its outlets from now on; forgets past orders.
    pub fn wire(&self, machines: &[Arc<Machine>]) {
        *self.panel() = Panel {
            machines: machines.to_vec(),
            ..Panel::default()
        };
    }

    /// Breaks the outlet of the node `name`, or mends it. An order that a late outlet has not carried out is forgotten.
    pub fn trouble(&self, name: &str, trouble: Option<Trouble>) {
        let mut panel = self.panel();
        panel.troubles.remove(name);
        panel
            .troubles
            .extend(trouble.map(|trouble| (name.to_string(), trouble)));
    }

    /// Takes the orders that changed something since the last call: `off n1`, `on n1`.
    #[must_use]
    pub fn take_orders(&self) -> Vec<String> {
        std::mem::take(&mut self.panel().orders)
    }

    fn panel(&self) -> std::sync::MutexGuard<'_, Panel> {
        self.panel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut line = String::new();
        if BufReader::new(stream.take(LINE_MAX))
            .read_line(&mut line)
            .is_err()
        {
            return;
        }
        let reply = match self.obey(line.trim()) {
            Ok(true) => "on\n".to_string(),
            Ok(false) => "off\n".to_string(),
            Err(error) => format!("error {error:#}\n"),
        };
        // A node that lost its power while it asked does not read the answer.
        let _ = stream.write_all(reply.as_bytes());
    }

    /// Carries out one order; whether the machine has power then.
    fn obey(&self, line: &str) -> Result<bool> {
        let (action, name) = line.split_once(' ').context("an order is ACTION NODE")?;
        if !["off", "on", "reboot", "status"].contains(&action) {
            bail!("unknown order {action}");
        }
        let (machine, trouble) = {
            let mut panel = self.panel();
            let machine = panel.machines.iter().find(|machine| machine.name == name);
            let machine = machine
                .cloned()
                .with_context(|| format!("no outlet for {name}"))?;
            if action != "status" {
                panel.orders.push(line.to_string());
            }
            (machine, panel.troubles.get(name).copied())
        };
        match trouble {
            Some(Trouble::Deaf) => return Ok(machine.node().is_on()),
            Some(Trouble::Late(after)) if action != "status" => {
                let (power, action) = (self.clone(), action.to_string());
                std::thread::spawn(move || power.obey_late(&machine, &action, after));
                return Ok(true);
            }
            Some(Trouble::Slow(by)) => std::thread::sleep(by),
            _ => {}
        }
        switch(&machine, action)
    }

    /// Carries out `action` after a while, if the outlet is still as late as it was.
    fn obey_late(&self, machine: &Machine, action: &str, after: Duration) {
        std::thread::sleep(after);
        if self.panel().troubles.get(&machine.name) == Some(&Trouble::Late(after)) {
            // Whoever ordered it reads the state back and sees if it failed.
            let _ = switch(machine, action);
        }
    }
}

/// Switches the power of `machine`; whether it has power then.
fn switch(machine: &Machine, action: &str) -> Result<bool> {
    let mut node = machine.node();
    if ["off", "reboot"].contains(&action) {
        node.power_off()?;
    }
    if ["on", "reboot"].contains(&action) {
        node.power_on()?;
    }
    Ok(node.is_on())
}

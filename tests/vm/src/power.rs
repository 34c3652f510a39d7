//! The power controller: what the management boards ask to switch a machine. It listens in the management network; the
//! chassis control of the boards (`tests/lab/files/bmc_chassis`) speaks to it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::machine::Machine;
use crate::net::{HARNESS, MANAGEMENT, Net, address};

/// TCP port of the controller, which the chassis control knows.
const PORT: u16 = 7900;
/// Longest line that is read.
const LINE_MAX: u64 = 128;

/// An order that changed something.
#[derive(Clone, Debug)]
pub struct Order {
    /// When it was carried out.
    pub at: Instant,
    /// `off n1`, `on n1`, `reboot n1`.
    pub text: String,
}

#[derive(Debug, Default)]
struct Panel {
    machines: Vec<Arc<Machine>>,
    orders: Vec<Order>,
}

/// The controller.
#[derive(Clone, Debug, Default)]
pub struct Power {
    panel: Arc<Mutex<Panel>>,
}

impl Power {
    /// Starts it in the management network.
    pub fn start(net: &Net) -> Result<Power> {
        let power = Power::default();
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
            orders: Vec::new(),
        };
    }

    /// The orders that changed something, oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<Order> {
        self.panel().orders.clone()
    }

    fn panel(&self) -> MutexGuard<'_, Panel> {
        self.panel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: &TcpStream) {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let mut line = String::new();
        let read = BufReader::new(stream.take(LINE_MAX)).read_line(&mut line);
        if read.is_err() {
            return;
        }
        let reply = match self.obey(line.trim()) {
            Ok(true) => "on\n".to_string(),
            Ok(false) => "off\n".to_string(),
            Err(error) => format!("error {error:#}\n"),
        };
        // A board that was killed while it asked does not read the answer.
        let _ = stream.write_all(reply.as_bytes());
    }

    /// Carries out one order; whether the machine has power then.
    fn obey(&self, line: &str) -> Result<bool> {
        let (action, name) = line.split_once(' ').context("an order is ACTION NODE")?;
        let machine = {
            let panel = self.panel();
            let found = panel.machines.iter().find(|machine| machine.name == name);
            found.cloned().with_context(|| format!("no outlet for {name}"))?
        };
        let mut vm = machine.vm();
        if ["off", "reboot"].contains(&action) {
            vm.power_off()?;
        }
        if ["on", "reboot"].contains(&action) {
            vm.power_on()?;
        }
        if action != "status" {
            let (at, text) = (Instant::now(), line.to_string());
            self.panel().orders.push(Order { at, text });
        }
        Ok(vm.is_on())
    }
}

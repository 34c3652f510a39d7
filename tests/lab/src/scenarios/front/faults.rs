//! What is done to a front service on the node that has its address, and how it is mended.

use anyhow::Result;

use super::services::{FRONTS, Front};
use crate::machine::Machine;

/// A fault of one service.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What clients see.
    pub front: &'static Front,
    /// The unit it is done to.
    pub unit: &'static str,
    /// How.
    pub kind: Kind,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// All of its processes stand still: it is there, accepts connections, and does not answer.
    Hang,
    /// All of its processes are killed.
    Kill,
    /// Its configuration is broken, and somebody restarts it.
    Config,
}

/// Each service that clients see, and each way in which it stops answering.
pub const FAULTS: [Fault; 10] = {
    let [web, haproxy, memcached] = [&FRONTS[0], &FRONTS[1], &FRONTS[2]];
    [
        of(web, "nginx", Kind::Hang),
        of(web, "nginx", Kind::Kill),
        of(web, "nginx", Kind::Config),
        of(web, "gunicorn", Kind::Hang),
        of(web, "gunicorn", Kind::Kill),
        of(haproxy, "haproxy", Kind::Hang),
        of(haproxy, "haproxy", Kind::Kill),
        of(haproxy, "haproxy", Kind::Config),
        of(memcached, "memcached", Kind::Hang),
        of(memcached, "memcached", Kind::Kill),
    ]
};

const fn of(front: &'static Front, unit: &'static str, kind: Kind) -> Fault {
    Fault { front, unit, kind }
}

impl Fault {
    /// For the report.
    pub fn name(&self) -> String {
        let kind = match self.kind {
            Kind::Hang => "hangs",
            Kind::Kill => "killed",
            Kind::Config => "configuration broken",
        };
        format!("{} {kind}", self.unit)
    }

    /// True when the service may answer again before its probe has failed often enough: what was killed is behind the one that
    /// the address follows, and is started again after a second.
    pub fn may_stay(&self) -> bool {
        self.kind == Kind::Kill && self.unit == "gunicorn"
    }

    /// Does it.
    pub fn strike(&self, machine: &Machine) -> Result<()> {
        let script = match self.kind {
            Kind::Hang => format!("systemctl kill --signal=STOP {}", self.unit),
            Kind::Kill => format!("systemctl kill --signal=KILL {}", self.unit),
            // Fails, as it does for whoever wrote that.
            Kind::Config => format!("{}; systemctl restart {} || true", spoil(self.unit), self.unit),
        };
        machine.sh(&script).map(drop)
    }

    /// Mends it; the service is up again when Holdfast has restarted it.
    pub fn mend(&self, machine: &Machine) -> Result<()> {
        if self.kind == Kind::Config {
            machine.sh(mended(self.unit))?;
        }
        Ok(())
    }
}

/// Writes a configuration that does not load.
pub fn spoil(unit: &str) -> &'static str {
    if unit == "nginx" {
        "echo 'no such directive;' >/etc/nginx/conf.d/spoilt.conf"
    } else {
        "cp /etc/haproxy/haproxy.cfg /root/haproxy.cfg && echo 'no such directive' >>/etc/haproxy/haproxy.cfg"
    }
}

/// Takes it back.
pub fn mended(unit: &str) -> &'static str {
    if unit == "nginx" {
        "rm -f /etc/nginx/conf.d/spoilt.conf"
    } else {
        "cp /root/haproxy.cfg /etc/haproxy/haproxy.cfg"
    }
}

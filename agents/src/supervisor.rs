//! The agents' thread: hands what `had` asks for to the task of the group it concerns.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use holdfast_proto::agent::{FenceDevice, GroupStatus};

use crate::agent::PermitView;
use crate::clock;
use crate::group::{Group, Handle, Order, Surroundings, store};
use crate::guard::{Command, Request};
use crate::jobs::Jobs;
use crate::register::Register;
use crate::sbd::keeper::Keeper;
use holdfast_proto::time::Time;

/// Longest time for taking marks off shared disks when this process ends: systemd waits 10 s.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// Where maintenance is remembered.
fn maintenance_file(state_dir: &Path) -> PathBuf {
    state_dir.join("maintenance")
}

/// Whether maintenance was on when had-agentd ended.
#[must_use]
pub fn saved_maintenance(state_dir: &Path) -> bool {
    maintenance_file(state_dir).exists()
}

/// What `had` is told of the groups of an earlier had-agentd before they were looked at: a group that is not named
/// would count as stopped.
#[must_use]
pub fn first_report(loaded: &[store::Loaded]) -> Vec<GroupStatus> {
    let may_run = loaded
        .iter()
        .filter(|(_, saved)| saved.as_ref().map_or(true, store::SavedGroup::may_run));
    let status = |(name, saved): &store::Loaded| GroupStatus {
        group: name.clone(),
        epoch: saved.as_ref().map_or(0, |saved| saved.epoch),
        run: match saved {
            Ok(saved) if saved.run == "running" => "running".into(),
            Ok(_) => "stopping".into(),
            Err(_) => "unknown".into(),
        },
        detail: "had-agentd was restarted and looks at it".into(),
        since_us: clock::now().0,
        ..GroupStatus::default()
    };
    may_run.map(status).collect()
}

/// All groups of this node.
pub struct Supervisor {
    around: Surroundings,
    groups: BTreeMap<String, Handle>,
    disks: Keeper,
    register: Register,
    jobs: Jobs,
}

impl Supervisor {
    /// Takes over the groups that an earlier had-agentd left running.
    #[must_use]
    pub fn new(around: Surroundings, loaded: Vec<store::Loaded>, disks: Keeper) -> Supervisor {
        let spawn = |(name, saved): store::Loaded| {
            let handle = Group::spawn(&name, around.clone(), Some(saved));
            (name, handle)
        };
        let groups = loaded.into_iter().map(spawn).collect();
        let register = Register::new(around.guard.clone());
        let jobs = Jobs::new(around.state_dir.clone(), around.guard.clone());
        Supervisor {
            jobs,
            around,
            groups,
            disks,
            register,
        }
    }

    /// Gives up what others may rely on, so that the watchdog can be disarmed.
    pub fn finish(&mut self) {
        if !self.disks.finish(FINISH_MAX) {
            tracing::warn!(
                "marks are left on shared disks: the watchdog stays armed for the next had-agentd"
            );
        }
    }

    /// Carries out one request.
    pub fn obey(&mut self, request: Request) {
        match request {
            Request::Start {
                permit,
                spec,
                lease,
                storage,
            } => {
                let view = PermitView {
                    epoch: permit.epoch,
                    until: Time(permit.until_us),
                };
                self.tell(
                    &permit.group,
                    Order::Start {
                        permit: view,
                        spec,
                        lease,
                        storage,
                    },
                );
            }
            Request::Group(group, order) => self.tell(&group, order),
            Request::Fence { device, own } => self.fence(device, own),
            Request::Maintenance(on) => self.maintenance(on),
            Request::Disks(watched, witness) => {
                self.disks.follow(watched);
                self.register.follow(witness);
            }
            Request::Register(call) => self.register.call(call),
            Request::Job(order) => self.jobs.obey(order),
            Request::Ping => {
                self.disks.poll();
                let _ = self.around.guard.send(Command::Alive);
            }
        }
    }

    fn tell(&mut self, group: &str, order: Order) {
        if group.is_empty() {
            return;
        }
        let around = &self.around;
        let handle = self
            .groups
            .entry(group.to_owned())
            .or_insert_with(|| Group::spawn(group, around.clone(), None));
        if !handle.tell(order) {
            // Its task panicked: that it cannot be controlled any more is all that is known.
            let _ = self.around.guard.send(Command::Status(GroupStatus {
                group: group.to_owned(),
                run: "unknown".into(),
                detail: "its task in had-agentd failed; restart had-agentd".into(),
                since_us: clock::now().0,
                ..GroupStatus::default()
            }));
        }
    }

    fn fence(&self, device: FenceDevice, own: String) {
        let (guard, fencer) = (self.around.guard.clone(), self.around.fencer.clone());
        tokio::spawn(async move {
            let outcome = fencer.run(&device, &own).await;
            let _ = guard.send(Command::Fenced(outcome));
        });
    }

    fn maintenance(&mut self, on: bool) {
        self.around.maintenance = on;
        let file = maintenance_file(&self.around.state_dir);
        let saved = if on {
            fs::write(&file, "")
        } else {
            fs::remove_file(&file)
        };
        if let Err(error) = saved
            && (on || error.kind() != io::ErrorKind::NotFound)
        {
            tracing::error!("{}: {error}", file.display());
        }
        self.groups
            .values()
            .for_each(|group| _ = group.tell(Order::Maintenance(on)));
    }
}

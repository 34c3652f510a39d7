//! The end of had-agentd, and what it does to the watchdog.
//!
//! When the last one who has the device open closes it, the kernel begins its count anew: it is one more petting, and systemd,
//! which keeps the device open beside us, closes it when the service is stopped. So had-agentd ends only in an instant in which
//! it might pet. While something runs beyond its permit others already count down to the reset of this node, and it stays, for
//! as long as systemd lets it; then the node is ended before that petting can come.

use std::io;
use std::time::Duration;

use holdfast_proto::time::Time;
use holdfast_sbd::Command as DiskCommand;
use tokio::sync::oneshot;

use super::Guard;
use super::petting::Refusal;
use crate::clock;

/// How long the end is held back. The agents' thread may have taken half of systemd's TimeoutStopSec before.
pub const HELD_MAX: Duration = Duration::from_secs(4);

/// An end that was asked for.
pub struct Leaving {
    answer: oneshot::Sender<()>,
    /// Until when it may be held back.
    until: Time,
    /// The node was to be ended.
    tried: bool,
}

impl Leaving {
    /// Asked for at `now`; `answer` is who waits for it.
    pub fn new(answer: oneshot::Sender<()>, now: Time) -> Leaving {
        Leaving {
            answer,
            until: now + HELD_MAX,
            tried: false,
        }
    }

    /// How long it may still be held back; `None` when nothing follows that.
    pub fn held_for(&self, now: Time) -> Option<Duration> {
        (!self.tried).then(|| now.until(self.until))
    }
}

impl Guard {
    /// Ends, if that was asked for and is no petting out of turn. True when it did.
    pub(super) fn leave(&mut self) -> bool {
        let now = clock::now();
        let refused = self.may_leave(now).err();
        let Some(leaving) = &mut self.leaving else {
            return false;
        };
        if let Some(why) = refused {
            if leaving.held_for(now) == Some(Duration::ZERO) {
                leaving.tried = true;
                let text = format!("this node ends itself, because had-agentd is to end: {why}");
                self.end.end(DiskCommand::Reset, &text, Duration::ZERO);
            }
            return false;
        }
        self.let_go();
        if let Some(leaving) = self.leaving.take() {
            let _ = leaving.answer.send(());
        }
        true
    }

    fn may_leave(&self, now: Time) -> Result<(), Refusal> {
        match (&self.petting, self.left_alone) {
            (Some(_), _) => self.may_pet(now),
            // systemd, or an earlier had-agentd that still ends, has it open.
            (None, true) if !self.is_settled(now) => Err("a group may run beyond its permit"),
            (None, _) => Ok(()),
        }
    }

    /// Once nothing can run beyond its permit any more, the next had-agentd may hold the watchdog.
    pub(super) fn end_when_settled(&self) -> io::Result<()> {
        if self.is_settled(clock::now()) {
            let text = "nothing runs beyond its permit any more: starting anew, to hold the watchdog";
            tracing::info!("{text}");
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    fn is_settled(&self, now: Time) -> bool {
        self.permits.may_pet(now) && self.book.open().all(|group| self.permits.is_armed(group))
    }

    /// With something running, or with somebody relying on the watch on shared disks, the watchdog stays armed: the next
    /// had-agentd pets it in time, or the node goes.
    fn let_go(&mut self) {
        if let Some(petting) = &mut self.petting
            && self.permits.is_idle()
            && !self.disks.is_tied()
        {
            petting.disarm();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use holdfast_proto::agent::GroupStatus;
    use tokio::sync::{mpsc, watch};

    use super::super::{Admission, Command, Parts, spawn};
    use super::*;
    use crate::agent::PermitView;
    use crate::group::Order;
    use crate::permits::Armed;
    use crate::sbd::end::EndNode;
    use crate::watchdog::Watchdog;

    /// A watchdog whose end is seen: the kernel pets a device that is closed.
    struct Dog {
        disarmed: Arc<AtomicBool>,
        closed: Arc<AtomicBool>,
    }

    impl Watchdog for Dog {
        fn pet(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn disarm(&mut self) -> io::Result<()> {
            self.disarmed.store(true, Ordering::SeqCst);
            Ok(())
        }

        fn timeout(&self) -> Duration {
            Duration::from_secs(60)
        }

        fn identity(&self) -> &str {
            "test"
        }
    }

    impl Drop for Dog {
        fn drop(&mut self) {
            self.closed.store(true, Ordering::SeqCst);
        }
    }

    struct Ended(mpsc::UnboundedSender<String>);

    impl EndNode for Ended {
        fn end(&self, _order: DiskCommand, why: &str, _patience: Duration) {
            let _ = self.0.send(why.to_owned());
        }
    }

    struct Bench {
        commands: mpsc::UnboundedSender<Command>,
        ended: mpsc::UnboundedReceiver<String>,
        disarmed: Arc<AtomicBool>,
        closed: Arc<AtomicBool>,
        _requests: mpsc::Receiver<super::super::Request>,
        _dir: tempfile::TempDir,
    }

    fn guard(with_watchdog: bool) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let (commands, from_agents) = mpsc::unbounded_channel();
        let (to_agents, requests) = mpsc::channel(8);
        let (end, ended) = mpsc::unbounded_channel();
        let (disarmed, closed) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let dog = Dog {
            disarmed: Arc::clone(&disarmed),
            closed: Arc::clone(&closed),
        };
        let parts = Parts {
            listener: UnixListener::bind(dir.path().join("socket")).unwrap(),
            admission: Admission::read(),
            commands: from_agents,
            requests: to_agents,
            watchdog: with_watchdog.then(|| Box::new(dog) as Box<dyn Watchdog>),
            left_alone: !with_watchdog,
            end: Arc::new(Ended(end)),
            kinds: Vec::new(),
            maintenance: false,
            groups: (!with_watchdog).then(overdue).into_iter().collect(),
            state_dir: dir.path().to_path_buf(),
            disks: Arc::default(),
            gate: None,
        };
        drop(spawn(parts).unwrap());
        Bench {
            commands,
            ended,
            disarmed,
            closed,
            _requests: requests,
            _dir: dir,
        }
    }

    /// What an earlier had-agentd left running beyond its permit.
    fn overdue() -> GroupStatus {
        GroupStatus {
            group: "redis".into(),
            epoch: 1,
            run: "stopping".into(),
            ..GroupStatus::default()
        }
    }

    impl Bench {
        /// A group whose permit is over, and whose stop hangs. Returns when that was acted on.
        async fn lapsed(&self) {
            let permit = PermitView {
                epoch: 1,
                until: clock::now(),
            };
            let (runner, mut orders) = mpsc::unbounded_channel();
            let armed = Armed {
                permit,
                cutters: Vec::new(),
                view: watch::Sender::new(permit),
                runner,
            };
            let group = "redis".to_owned();
            assert!(self.commands.send(Command::Arm { group, armed }).is_ok());
            assert!(matches!(orders.recv().await, Some(Order::Lapsed { .. })));
        }

        fn shut_down(&self) -> oneshot::Receiver<()> {
            let (done, answered) = oneshot::channel();
            assert!(self.commands.send(Command::Shutdown(done)).is_ok());
            answered
        }

        /// It is there, and has heard all that it was told before.
        async fn lives(&self) -> bool {
            let (done, answered) = oneshot::channel();
            self.commands.send(Command::Ping(done)).is_ok() && answered.await.is_ok()
        }
    }

    #[tokio::test]
    async fn an_end_during_a_hung_stop_does_not_pet_the_watchdog() {
        let bench = guard(true);
        bench.lapsed().await;
        let mut ended = bench.shut_down();
        assert!(
            bench.lives().await,
            "it ended, and the kernel petted the watchdog"
        );
        assert!(ended.try_recv().is_err() && !bench.closed.load(Ordering::SeqCst));
        // The stop came to its end after all.
        assert!(bench.commands.send(Command::Disarm("redis".into())).is_ok());
        assert_eq!(ended.await, Ok(()));
        assert!(bench.disarmed.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_node_whose_stop_goes_on_hanging_is_ended_before_its_had_agentd_is() {
        let mut bench = guard(true);
        bench.lapsed().await;
        let mut ended = bench.shut_down();
        let why = bench.ended.recv().await.unwrap();
        assert!(why.contains("a group without permit"), "{why}");
        assert!(ended.try_recv().is_err() && !bench.closed.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_watchdog_that_was_left_alone_is_not_petted_by_the_end_either() {
        let mut bench = guard(false);
        bench.lapsed().await;
        let mut ended = bench.shut_down();
        assert!(bench.ended.recv().await.is_some());
        assert!(ended.try_recv().is_err() && bench.lives().await);
    }

    #[tokio::test]
    async fn with_nothing_beyond_its_permit_it_ends_at_once() {
        let bench = guard(true);
        assert_eq!(bench.shut_down().await, Ok(()));
        assert!(bench.disarmed.load(Ordering::SeqCst));
    }
}

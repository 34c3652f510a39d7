//! The witness that is kept on shared disks: this process owns this node's blocks on them, and writes nothing there before the
//! write before it has ended. One thread runs the algorithm ([`holdfast_sbd::register`]), and one per disk does the I/O, so that
//! a disk that hangs holds back nothing else.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use holdfast_proto::agent::{Attach, Note, RegisterAnswer, RegisterCall};
use holdfast_proto::ids::ClusterId;
use holdfast_proto::time::Time;
use holdfast_sbd::Disk;
use holdfast_sbd::register::{Done, Me, Op, Outcome, Processor, Region, Stored, Work};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock;
use crate::guard::Command;

/// Stack of a thread: it may be locked in memory.
const STACK_BYTES: usize = 256 << 10;
/// Work on a disk is waited for until it has ended, however long that takes: only then the next may begin.
const UNTIL_IT_ENDS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// A thread with nothing to do looks so often whether something came.
const IDLE: Duration = Duration::from_secs(3600);

/// Which disks, and for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    devices: Vec<PathBuf>,
    node: u8,
    boot: u128,
    cluster: u64,
}

impl Settings {
    /// What `had` said when it attached; None if the witness is kept elsewhere.
    #[must_use]
    pub fn of(attach: &Attach) -> Option<Settings> {
        let disks = attach.sbd.as_ref().filter(|disks| !disks.witness.is_empty())?;
        Some(Settings {
            devices: disks.witness.iter().map(PathBuf::from).collect(),
            node: u8::try_from(disks.node_id).ok()?,
            boot: u128::from_str_radix(&disks.boot, 16).ok()?,
            cluster: disks.cluster_id,
        })
    }
}

enum Event {
    Call(RegisterCall),
    Done(usize, Done<Stored>),
    End,
}

/// The threads, as the configuration wants them.
pub struct Register {
    guard: UnboundedSender<Command>,
    wanted: Option<Settings>,
    current: Option<(Settings, Sender<Event>, JoinHandle<()>)>,
    /// Those of earlier settings, until their work on the disks has ended.
    ending: Vec<JoinHandle<()>>,
}

impl Register {
    /// No register yet. Answers and notes go to `guard`.
    #[must_use]
    pub fn new(guard: UnboundedSender<Command>) -> Register {
        Register {
            guard,
            wanted: None,
            current: None,
            ending: Vec::new(),
        }
    }

    /// Follows the configuration.
    pub fn follow(&mut self, wanted: Option<Settings>) {
        self.wanted = wanted;
        let stays = |current: &mut (Settings, _, _)| Some(&current.0) != self.wanted.as_ref();
        if let Some((_, events, thread)) = self.current.take_if(stays) {
            let _ = events.send(Event::End);
            self.ending.push(thread);
        }
    }

    /// Carries out a call; one that is under way is given up.
    pub fn call(&mut self, call: RegisterCall) {
        let id = call.id;
        let refused = match self.begin() {
            Err(why) => Some(why),
            Ok(events) => events
                .send(Event::Call(call))
                .err()
                .map(|_| "its thread ended".to_string()),
        };
        if let Some(error) = refused {
            let answer = RegisterAnswer {
                id,
                error,
                ..RegisterAnswer::default()
            };
            let _ = self.guard.send(Command::Registered(answer));
        }
    }

    fn begin(&mut self) -> Result<&Sender<Event>, String> {
        self.ending.retain(|thread| !thread.is_finished());
        if self.current.is_none() {
            if !self.ending.is_empty() {
                return Err("work on the shared disks of before has not ended".into());
            }
            let settings = self
                .wanted
                .clone()
                .ok_or("this had-agentd was not told which disks")?;
            let (events, thread) = start(&settings, self.guard.clone())?;
            self.current = Some((settings, events, thread));
        }
        let current = self.current.as_ref().ok_or("it was not started")?;
        Ok(&current.1)
    }
}

fn start(
    settings: &Settings,
    guard: UnboundedSender<Command>,
) -> Result<(Sender<Event>, JoinHandle<()>), String> {
    let mut run = [0; 16];
    SystemRandom::new()
        .fill(&mut run)
        .map_err(|_| "the kernel gives no random numbers")?;
    let me = Me {
        node: settings.node,
        boot: settings.boot,
        run: u128::from_le_bytes(run),
    };
    let (events, queue) = channel();
    let mut disks = Vec::new();
    for (index, path) in settings.devices.iter().enumerate() {
        let (jobs, works) = channel();
        let (path, cluster, done) = (path.clone(), settings.cluster, events.clone());
        let thread = spawn(move || {
            serve(&path, cluster, &works, |ended| {
                drop(done.send(Event::Done(index, ended)))
            })
        })?;
        disks.push((jobs, thread));
    }
    let paths = settings.devices.clone();
    let thread = spawn(move || {
        Server {
            processor: Processor::new(me, disks.len()),
            begun: Instant::now(),
            told: vec![String::new(); disks.len()],
            jobs: disks.iter().map(|(jobs, _)| jobs.clone()).collect(),
            paths,
            guard,
        }
        .run(&queue);
        for (jobs, thread) in disks {
            drop(jobs);
            let _ = thread.join();
        }
    })?;
    Ok((events, thread))
}

fn spawn(work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    let thread = Builder::new().name("register".into()).stack_size(STACK_BYTES);
    thread
        .spawn(work)
        .map_err(|error| format!("there is no thread for it: {error}"))
}

/// The thread that runs the algorithm.
struct Server {
    processor: Processor<Stored>,
    jobs: Vec<Sender<Work<Stored>>>,
    paths: Vec<PathBuf>,
    guard: UnboundedSender<Command>,
    /// When the present call began.
    begun: Instant,
    /// What was said last about each disk.
    told: Vec<String>,
}

impl Server {
    fn run(mut self, events: &Receiver<Event>) {
        loop {
            let now = clock::now();
            let wait = self.processor.poll_timeout().map_or(IDLE, |at| now.until(at));
            match events.recv_timeout(wait) {
                Ok(Event::Call(call)) => self.call(call),
                Ok(Event::Done(disk, done)) => self.processor.handle(clock::now(), disk, done),
                Err(RecvTimeoutError::Timeout) => self.processor.timeout(clock::now()),
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return,
            }
            while let Some(ask) = self.processor.poll_ask() {
                // Its thread lives as long as this one.
                let _ = self.jobs[ask.disk].send(ask.work);
            }
            if let Some((id, outcome)) = self.processor.poll_answer() {
                self.answer(id, outcome);
            }
        }
    }

    fn call(&mut self, call: RegisterCall) {
        let op = if call.swap {
            Op::Swap {
                expect: (!call.expect.is_empty()).then_some(call.expect),
                write: Stored {
                    head: call.head,
                    body: call.body,
                },
            }
        } else {
            Op::Read
        };
        let now: Time = clock::now();
        self.begun = Instant::now();
        let until = now + Duration::from_millis(call.patience_ms.into());
        self.processor.call(now, call.id, op, until);
    }

    fn answer(&mut self, id: u64, outcome: Outcome<Stored>) {
        let mut answer = RegisterAnswer {
            id,
            took_us: u32::try_from(self.begun.elapsed().as_micros()).unwrap_or(u32::MAX),
            ..RegisterAnswer::default()
        };
        match outcome {
            Outcome::Swapped => answer.swapped = true,
            Outcome::Content(None) => {}
            Outcome::Content(Some(held)) => (answer.head, answer.body) = (held.head, held.body),
            Outcome::Failed(why) => answer.error = why,
        }
        let _ = self.guard.send(Command::Registered(answer));
        self.tell_of_disks();
    }

    /// Once when a disk fails, and once when it works again.
    fn tell_of_disks(&mut self) {
        for (disk, trouble) in self.processor.troubles().enumerate() {
            let told = &mut self.told[disk];
            if trouble.is_empty() == told.is_empty() {
                continue;
            }
            let path = self.paths[disk].display();
            let (level, text) = if trouble.is_empty() {
                ("info", format!("the witness is read and written on {path} again"))
            } else {
                (
                    "warn",
                    format!("the witness cannot be read or written on one of its disks: {trouble}"),
                )
            };
            *told = trouble.to_string();
            let _ = self.guard.send(Command::Note(Note {
                level: level.into(),
                kind: "witness-disk".into(),
                text,
                at_us: clock::now().0,
                ..Note::default()
            }));
        }
    }
}

/// The thread of a disk: one piece of work after the other, each to its end.
fn serve(path: &Path, cluster: u64, works: &Receiver<Work<Stored>>, ended: impl Fn(Done<Stored>)) {
    let mut region = None;
    for work in works {
        let opened = match region.take() {
            Some(region) => Ok(region),
            None => open(path, cluster),
        };
        let done = match (opened, work) {
            (Ok(mut open), Work::Read { wanted }) => {
                let read = open.read(wanted).map_err(|error| error.to_string());
                region = read.is_ok().then_some(open);
                Done::Read(read)
            }
            (
                Ok(mut open),
                Work::Write {
                    register,
                    place,
                    block,
                },
            ) => {
                let wrote = open
                    .write(register, place, &block)
                    .map_err(|error| error.to_string());
                region = wrote.is_ok().then_some(open);
                Done::Wrote(wrote)
            }
            (Err(why), Work::Read { .. }) => Done::Read(Err(why)),
            (Err(why), Work::Write { .. }) => Done::Wrote(Err(why)),
        };
        ended(done);
    }
}

fn open(path: &Path, cluster: u64) -> Result<Region, String> {
    let disk = Disk::open(path, UNTIL_IT_ENDS).map_err(|error| error.to_string())?;
    let region = Region::open(disk).map_err(|error| error.to_string())?;
    let made_for = region.header().cluster;
    if made_for == cluster {
        return Ok(region);
    }
    let (path, made_for) = (path.display(), ClusterId(made_for));
    Err(format!(
        "{path}: its register was made for cluster {made_for}, this one is {}",
        ClusterId(cluster)
    ))
}

#[cfg(test)]
mod tests {
    use holdfast_sbd::register::layout::Header;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    fn disks(count: u128, register: u128) -> Vec<tempfile::NamedTempFile> {
        let made = |_| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            file.as_file().set_len(16 << 20).expect("room");
            let header = Header {
                cluster: 0xaa,
                register,
                nodes: 2,
            };
            Region::create(Disk::open(file.path(), UNTIL_IT_ENDS).expect("a disk"), header).expect("made");
            file
        };
        (0..count).map(made).collect()
    }

    fn settings(files: &[tempfile::NamedTempFile], node: u8) -> Settings {
        Settings {
            devices: files.iter().map(|file| file.path().to_path_buf()).collect(),
            node,
            boot: u128::from(node),
            cluster: 0xaa,
        }
    }

    struct Node {
        register: Register,
        answers: UnboundedReceiver<Command>,
        id: u64,
    }

    impl Node {
        fn new(settings: Settings) -> Node {
            let (guard, answers) = unbounded_channel();
            let mut register = Register::new(guard);
            register.follow(Some(settings));
            Node {
                register,
                answers,
                id: 0,
            }
        }

        fn ask(&mut self, swap: Option<(&str, &str)>, patience_ms: u32) -> RegisterAnswer {
            self.id += 1;
            self.register.call(RegisterCall {
                id: self.id,
                swap: swap.is_some(),
                expect: swap.map_or(String::new(), |(expect, _)| expect.into()),
                head: swap.map_or(String::new(), |(_, head)| head.into()),
                body: vec![7; 5000],
                patience_ms,
            });
            loop {
                match self.answers.blocking_recv().expect("the register lives") {
                    Command::Registered(answer) if answer.id == self.id => return answer,
                    _ => {}
                }
            }
        }

        fn held(&mut self) -> String {
            let answer = self.ask(None, 60_000);
            assert_eq!(answer.error, "");
            answer.head
        }
    }

    #[test]
    fn two_nodes_see_what_the_other_wrote_and_only_one_swap_of_two_is_carried_out() {
        for count in [1, 3] {
            let files = disks(count, 5);
            let (mut one, mut other) = (Node::new(settings(&files, 1)), Node::new(settings(&files, 2)));
            assert_eq!(one.held(), "");
            assert!(one.ask(Some(("", "a")), 60_000).swapped);
            let refused = other.ask(Some(("", "b")), 60_000);
            assert_eq!((refused.swapped, refused.head.as_str()), (false, "a"));
            assert_eq!(refused.body, vec![7; 5000]);
            assert!(other.ask(Some(("a", "b")), 60_000).swapped);
            assert_eq!(one.held(), "b");
            let mut restarted = Node::new(settings(&files, 1));
            assert_eq!(restarted.held(), "b");
        }
    }

    #[test]
    fn of_three_disks_one_may_be_gone_and_of_one_none() {
        let files = disks(3, 5);
        let mut node = Node::new(settings(&files, 1));
        assert!(node.ask(Some(("", "a")), 60_000).swapped);
        files[1].as_file().set_len(0).expect("cut off");
        let mut other = Node::new(settings(&files, 2));
        assert_eq!(other.held(), "a");
        assert!(other.ask(Some(("a", "b")), 60_000).swapped);
        assert_eq!(node.held(), "b");
        files[0].as_file().set_len(0).expect("cut off");
        let failed = node.ask(None, 500);
        assert!(
            failed.error.contains("disk 1: ") && failed.error.contains("disk 2: "),
            "{}",
            failed.error
        );
    }

    #[test]
    fn disks_of_two_registers_or_of_another_cluster_are_refused_in_words() {
        let mut files = disks(1, 5);
        files.extend(disks(1, 6));
        files.extend(disks(1, 7));
        let error = Node::new(settings(&files, 1)).ask(None, 60_000).error;
        assert!(error.contains("not made for one register"), "{error}");
        let another = Settings {
            cluster: 0xbb,
            ..settings(&files[..1], 1)
        };
        let error = Node::new(another).ask(None, 300).error;
        assert!(error.contains("made for cluster 00000000000000aa"), "{error}");
        let error = Node::new(settings(&files[..1], 3)).ask(None, 60_000).error;
        assert!(error.contains("no blocks of node 3"), "{error}");
    }
}

//! Two Redis on addresses of the loopback, their agents, and a stand-in for the register.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpListener};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_agents::agent::{AgentContext, AgentError, AgentEvent, EventSink, PermitView, ResourceAgent};
use holdfast_agents::clock;
use holdfast_agents::roles::{Copies, CopySink, CopyStatus, InSync, Peer, RolesView};
use holdfast_proto::time::Time;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Far beyond anything that is waited for: reaching it is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const LEASE: Duration = Duration::from_millis(1000);

/// Where Redis is. The same tests are built a second time for Valkey (`tests/valkey.rs`): the machine's own, or the one that `cargo
/// xtask test unit` unpacks beside, because Debian 12 has none.
const REDIS: [&str; 1] = ["/usr/bin/redis-server"];
const VALKEY: [&str; 2] = [
    "/usr/bin/valkey-server",
    "/var/tmp/holdfast/valkey-trixie/launch/valkey-server",
];

/// Where the program is, or nothing with a word about it.
pub fn server() -> Option<&'static str> {
    let (places, name) = match env!("CARGO_CRATE_NAME") {
        "valkey" => (&VALKEY[..], "valkey-server"),
        _ => (&REDIS[..], "redis-server"),
    };
    let found = places.iter().find(|path| std::path::Path::new(path).exists());
    if found.is_none() {
        eprintln!("not run: {name} is not installed");
    }
    found.copied()
}

/// A pair of addresses that no other test of this or another process has, and a port that is free on both.
fn addresses() -> ([IpAddr; 2], u16) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    let own = NEXT.fetch_add(1, Ordering::Relaxed);
    let at = |last: u8| {
        IpAddr::from([
            127,
            (pid % 200 + 1) as u8,
            own,
            (pid / 200 % 100 * 2) as u8 + last,
        ])
    };
    let pair = [at(1), at(2)];
    loop {
        let first = TcpListener::bind((pair[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        if TcpListener::bind((pair[1], port)).is_ok() {
            return (pair, port);
        }
    }
}

/// What is committed.
#[derive(Clone, Default)]
pub struct Committed {
    pub primary: Option<usize>,
    pub epoch: u64,
    pub in_sync: InSync,
    /// Wishes are not committed while this is set.
    pub deaf: bool,
}

/// One node.
pub struct Node {
    pub agent: Box<dyn ResourceAgent>,
    pub address: IpAddr,
    pub copies: watch::Receiver<Copies>,
    pub failures: mpsc::UnboundedReceiver<(usize, AgentEvent)>,
    pub notes: mpsc::Receiver<(usize, AgentEvent)>,
    context: AgentContext,
}

impl Node {
    pub fn copy(&self) -> CopyStatus {
        self.copies.borrow().get(&0).cloned().unwrap_or_default()
    }

    /// Of the process, 0 for none.
    pub fn pid(&self) -> i32 {
        let saved: serde_json::Value = serde_json::from_str(&self.agent.saved()).unwrap_or_default();
        saved["pid"].as_i64().unwrap_or_default() as i32
    }

    pub fn kill(&self) {
        signal(self.pid(), nix::sys::signal::Signal::SIGKILL);
    }

    /// As the runner does it after a failure: stop, then start.
    pub async fn restart(&mut self) {
        self.agent.stop(soon()).await.unwrap();
        self.agent.start(soon()).await.unwrap();
    }

    pub async fn failure(&mut self) -> String {
        let event = tokio::time::timeout(PATIENCE, self.failures.recv()).await;
        match event.expect("a failure").expect("a sender").1 {
            AgentEvent::Failed(reason) => reason,
            other => panic!("no failure: {other:?}"),
        }
    }

    /// Until it says that it is of no use as the primary.
    pub async fn giving_way(&mut self) -> String {
        let event = tokio::time::timeout(PATIENCE, self.failures.recv()).await;
        match event.expect("giving way").expect("a sender").1 {
            AgentEvent::GiveWay(reason) => reason,
            other => panic!("it does not give way: {other:?}"),
        }
    }

    /// Until it says this.
    pub async fn note(&mut self, kind: &str) -> String {
        let heard = async {
            loop {
                match self.notes.recv().await.expect("a sender").1 {
                    AgentEvent::Note { kind: said, text, .. } if said == kind => return text,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.expect(kind)
    }

    /// had-agentd is restarted: another agent takes over what runs.
    pub async fn succeed(&mut self) {
        self.context.saved = self.agent.saved();
        self.agent = holdfast_agents::registry::build("redis", self.context.clone()).unwrap();
        assert_eq!(self.agent.probe().await, holdfast_agents::agent::Presence::Active);
        self.agent.adopt().await.unwrap();
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let pid = self.pid();
        signal(pid, nix::sys::signal::Signal::SIGKILL);
        if pid > 0 {
            let _ = nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None);
        }
    }
}

pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    if pid > 0 {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    }
}

pub fn soon() -> Time {
    clock::now() + Duration::from_secs(30)
}

/// Both nodes.
pub struct Pair {
    pub nodes: Vec<Node>,
    pub port: u16,
    pub sentinel_port: u16,
    pub committed: Arc<Mutex<Committed>>,
    register: tokio::task::JoinHandle<()>,
    roles: Vec<watch::Sender<RolesView>>,
    configs: Vec<String>,
    disks: Vec<std::path::PathBuf>,
    folder: tempfile::TempDir,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.register.abort();
        for disk in &self.disks {
            let _ = nix::mount::umount2(disk, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

const NAMES: [&str; 2] = ["db1", "db2"];

fn peer(index: usize, addresses: &[IpAddr; 2]) -> Peer {
    Peer {
        name: NAMES[index].into(),
        id: index as u32 + 1,
        addresses: vec![addresses[index]],
    }
}

fn tell(roles: &[watch::Sender<RolesView>], committed: &Committed) {
    for sender in roles {
        sender.send_if_modified(|view| {
            let mut next = view.clone();
            next.primary = committed.primary.map(|index| NAMES[index].to_owned());
            next.epoch = committed.epoch;
            next.in_sync = committed.in_sync.clone();
            std::mem::replace(view, next.clone()) != next
        });
    }
}

impl Pair {
    /// Two nodes, not started. `config` is added to the configuration of both, `params` to the parameters.
    pub fn new(program: &str, config: &str, params: &[(&str, &str)]) -> Pair {
        let folder = tempfile::tempdir().unwrap();
        let (addresses, port) = addresses();
        let sentinel_port = loop {
            let other = TcpListener::bind((addresses[0], 0))
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            if other != port {
                break other;
            }
        };
        let (mut nodes, mut roles, mut configs) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..2 {
            let dir = folder.path().join(NAMES[index]);
            std::fs::create_dir(&dir).unwrap();
            let (dir, address) = (dir.display().to_string(), addresses[index]);
            let file = format!("{dir}/redis.conf");
            configs.push(format!(
                "bind {address}\nport {port}\nunixsocket {dir}/sock\ndir {dir}\nprotected-mode no\nlogfile {dir}/log\n\
                 repl-diskless-sync-delay 0\n{config}\n"
            ));
            let view = RolesView {
                own: peer(index, &addresses),
                others: vec![peer(1 - index, &addresses)],
                ..RolesView::default()
            };
            let (sender, receiver) = watch::channel(view);
            roles.push(sender);
            let given = [
                ("command", format!("{program}\n{file}")),
                ("port", port.to_string()),
                ("socket", format!("{dir}/sock")),
                ("sentinel_port", sentinel_port.to_string()),
            ];
            let mut all: BTreeMap<String, String> = given
                .into_iter()
                .map(|(key, value)| (key.into(), value))
                .collect();
            all.extend(params.iter().map(|(key, value)| ((*key).into(), (*value).into())));
            nodes.push(node(all, address, receiver, dir.into()));
        }
        let committed = Arc::new(Mutex::new(Committed::default()));
        let register = tokio::spawn(register(
            Arc::clone(&committed),
            roles.clone(),
            nodes.iter().map(|node| node.copies.clone()).collect(),
        ));
        let pair = Pair {
            nodes,
            port,
            sentinel_port,
            committed,
            register,
            roles,
            configs,
            disks: Vec::new(),
            folder,
        };
        (0..2).for_each(|index| pair.configure(index));
        pair
    }

    /// Where a node keeps its data.
    pub fn dir(&self, index: usize) -> std::path::PathBuf {
        self.folder.path().join(NAMES[index])
    }

    /// Writes its configuration.
    pub fn configure(&self, index: usize) {
        std::fs::write(self.dir(index).join("redis.conf"), &self.configs[index]).unwrap();
    }

    /// Gives a node that was not started a disk of its own that holds so much. False when that is not allowed here.
    pub fn small_disk(&mut self, index: usize, bytes: usize) -> bool {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        // Of this thread and those it starts, and gone with them.
        let own = unshare(CloneFlags::CLONE_NEWNS).and_then(|()| {
            mount(
                None::<&str>,
                "/",
                None::<&str>,
                MsFlags::MS_REC | MsFlags::MS_PRIVATE,
                None::<&str>,
            )
        });
        if own.is_err() {
            eprintln!("not run: mounting needs root");
            return false;
        }
        let (disk, size) = (self.dir(index), format!("size={bytes}"));
        mount(
            Some("none"),
            &disk,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(size.as_str()),
        )
        .unwrap();
        self.disks.push(disk);
        self.configure(index);
        true
    }

    pub async fn start(&mut self) {
        for node in &mut self.nodes {
            node.agent.start(soon()).await.unwrap();
        }
    }

    /// Commits who is primary, and promotes it.
    pub async fn promote(&mut self, index: usize) -> Result<(), AgentError> {
        self.commit(Some(index));
        self.nodes[index].agent.promote(soon()).await
    }

    pub fn commit(&self, primary: Option<usize>) {
        let mut committed = self.committed.lock().unwrap();
        committed.primary = primary;
        committed.epoch += 1;
        tell(&self.roles, &committed);
    }

    /// The register hears wishes, or does not.
    pub fn deaf(&self, deaf: bool) {
        self.committed.lock().unwrap().deaf = deaf;
    }

    pub fn in_sync(&self) -> Vec<String> {
        self.committed
            .lock()
            .unwrap()
            .in_sync
            .nodes
            .iter()
            .cloned()
            .collect()
    }

    /// Until the set is these nodes.
    pub async fn until_in_sync(&self, names: &[&str]) {
        wait_for(&format!("{names:?} to be in the set"), || self.in_sync() == names).await;
    }

    pub async fn client(&self, index: usize) -> Client {
        Client::connect(self.nodes[index].address, self.port)
            .await
            .expect("a redis")
    }

    /// Starts both, promotes the first and waits until both are whole.
    pub async fn up(&mut self) {
        self.start().await;
        self.promote(0).await.unwrap();
        self.until_in_sync(&NAMES).await;
        wait_for("the register to be heard", || {
            self.nodes[1].copy().possible_loss.is_empty()
        })
        .await;
    }

    /// A planned change as the runners of both sides carry it out.
    pub async fn switch_over(&mut self, to: usize) {
        let toward = self.roles[to].borrow().own.clone();
        self.nodes[1 - to]
            .agent
            .demote(Some(&toward), soon())
            .await
            .unwrap();
        self.promote(to).await.unwrap();
    }
}

fn node(
    params: BTreeMap<String, String>,
    address: IpAddr,
    roles: watch::Receiver<RolesView>,
    dir: std::path::PathBuf,
) -> Node {
    let (notes, notes_in) = mpsc::channel(1000);
    let (failures, failures_in) = mpsc::unbounded_channel();
    let copies = watch::Sender::default();
    let context = AgentContext {
        group: "cache".into(),
        resource: "redis".into(),
        params,
        lease: LEASE,
        permit: watch::channel(PermitView {
            epoch: 1,
            until: Time(u64::MAX),
        })
        .1,
        events: EventSink::new(0, notes, failures),
        saved: String::new(),
        state_dir: dir,
        roles,
        copy: CopySink::new(0, copies),
        gate: None,
    };
    Node {
        agent: holdfast_agents::registry::build("redis", context.clone()).unwrap(),
        address,
        copies: context.copy.subscribe(),
        failures: failures_in,
        notes: notes_in,
        context,
    }
}

/// Commits what the primary wishes.
async fn register(
    committed: Arc<Mutex<Committed>>,
    roles: Vec<watch::Sender<RolesView>>,
    mut copies: Vec<watch::Receiver<Copies>>,
) {
    loop {
        {
            let mut committed = committed.lock().unwrap();
            if let Some(index) = committed.primary.filter(|_| !committed.deaf) {
                let wish = copies[index]
                    .borrow_and_update()
                    .get(&0)
                    .and_then(|copy| copy.wish.clone());
                if let Some(wish) = wish.filter(|wish| wish.generation > committed.in_sync.generation) {
                    committed.in_sync = wish;
                    tell(&roles, &committed);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let waited = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waited).await.is_ok(),
        "waited for {what}"
    );
}

/// A client as applications have one.
pub struct Client(BufReader<TcpStream>);

impl Client {
    pub async fn connect(address: IpAddr, port: u16) -> Option<Client> {
        let stream = TcpStream::connect((address, port)).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Client(BufReader::new(stream)))
    }

    /// The answer to a command in one line: what follows the type, or a bulk's text. None when the connection ended.
    pub async fn ask(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.0.get_mut().write_all(text.as_bytes()).await.ok()?;
        let mut line = String::new();
        if self.0.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        let Some(length) = line
            .strip_prefix('$')
            .and_then(|length| length.parse::<usize>().ok())
        else {
            return Some(line.to_owned());
        };
        let mut bulk = vec![0; length + 2];
        self.0.read_exact(&mut bulk).await.ok()?;
        bulk.truncate(length);
        Some(String::from_utf8_lossy(&bulk).into_owned())
    }
}

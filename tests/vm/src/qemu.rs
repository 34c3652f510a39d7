//! How QEMU is called: software emulation, a watchdog on PCI, and nothing that a server would not have.

use std::path::{Path, PathBuf};

use crate::image::Image;
use crate::net::{LANS, port};

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// What the watchdog calls itself.
pub const WATCHDOG: &str = "i6300ESB timer";
/// Memory of a machine: a database that has to share less with its page cache waits for its own program.
const MEMORY: &str = "640";
/// Translated code that is kept, in MiB.
const CODE: &str = "128";

/// Where a machine keeps what; all in one folder.
#[derive(Clone, Debug)]
pub struct Files {
    dir: PathBuf,
}

impl Files {
    /// Those in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Files {
        Files { dir }
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Disk `name` (`root` or `data`).
    #[must_use]
    pub fn disk(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.qcow2"))
    }

    /// Sockets `qmp`, `events` and `agent`; files `console` and `qemu.log`.
    #[must_use]
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// QEMU's arguments for the machine `name` with number `host`. With `saved` it goes on from that state.
#[must_use]
pub fn arguments(name: &str, host: u8, files: &Files, image: &Image, saved: Option<&Path>) -> Vec<String> {
    let path = |file: &str| files.at(file).display().to_string();
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|word| (*word).to_string()));
    add(&[
        "-name",
        name,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
    ]);
    add(&[
        "-machine",
        "q35,hpet=off",
        "-accel",
        &format!("tcg,thread=multi,tb-size={CODE}"),
    ]);
    add(&["-cpu", "max", "-smp", "1", "-m", MEMORY, "-uuid", &uuid(host)]);
    add(&["-serial", &format!("file:{}", path("console"))]);
    for (id, file) in [("qmp", "qmp"), ("events", "events")] {
        add(&[
            "-chardev",
            &format!("socket,id={id},path={},server=on,wait=off", path(file)),
        ]);
        add(&["-mon", &format!("chardev={id},mode=control")]);
    }
    add(&["-kernel", &image.kernel().display().to_string()]);
    add(&["-initrd", &image.initrd().display().to_string()]);
    add(&["-append", &command_line(name, host)]);
    for disk in ["root", "data"] {
        let file = files.disk(disk);
        // Never `unsafe`: a QEMU that is killed would lose what the machine had flushed.
        add(&[
            "-drive",
            &format!("if=none,id={disk},file={},cache=writeback", file.display()),
        ]);
        add(&["-device", &format!("virtio-blk-pci,drive={disk}")]);
    }
    add(&["-device", "virtio-serial-pci"]);
    add(&[
        "-chardev",
        &format!("socket,id=agent,path={},server=on,wait=off", path("agent")),
    ]);
    add(&[
        "-device",
        "virtserialport,chardev=agent,name=org.qemu.guest_agent.0",
    ]);
    add(&[
        "-object",
        "rng-random,id=rng,filename=/dev/urandom",
        "-device",
        "virtio-rng-pci,rng=rng",
    ]);
    add(&["-device", "i6300esb", "-action", "watchdog=reset"]);
    add(&["-device", "pvpanic-pci", "-action", "panic=none"]);
    for lan in 0..LANS {
        let tap = port(name, lan);
        add(&[
            "-netdev",
            &format!("tap,id=e{lan},ifname={tap},script=no,downscript=no"),
        ]);
        let mac = format!("52:54:82:{lan:02x}:00:{host:02x}");
        add(&[
            "-device",
            &format!("virtio-net-pci,netdev=e{lan},mac={mac},romfile="),
        ]);
    }
    if let Some(saved) = saved {
        add(&["-incoming", &format!("exec:zstd -dcq {}", saved.display())]);
    }
    args
}

/// What the machine calls itself, in its firmware and by its management board.
#[must_use]
pub fn uuid(host: u8) -> String {
    format!("a1234567-89ab-4cde-8a12-3456789abc{host:02x}")
}

/// A kernel that panics hangs (`panic=0`): only the watchdog or the board ends it.
fn command_line(name: &str, host: u8) -> String {
    format!(
        "console=ttyS0 quiet root=/dev/vda net.ifnames=0 panic=0 mitigations=off audit=0 tsc=reliable no_timer_check \
         cryptomgr.notests rcupdate.rcu_expedited=1 random.trust_cpu=on systemd.hostname={name} \
         systemd.machine_id={host:032x} vm.node={host} udev.event_timeout=900"
    )
}

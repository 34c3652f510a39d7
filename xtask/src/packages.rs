//! Debian packages the tests need: installed when missing, if this is Debian and we are root.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

/// A program and the Debian package that brings it.
pub type Need = (&'static str, &'static str);

/// For packages: `dpkg-deb`, `strip`.
pub const DEB: &[Need] = &[("dpkg-deb", "dpkg"), ("strip", "binutils")];

/// For the tests of the crates: namespaces, a real fence agent with a simulated BMC, SBD for its
/// disks, etcd, and MariaDB. They skip what is not there.
pub const UNIT: &[Need] = &[
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("ipmi_sim", "openipmi"),
    ("ipmitool", "ipmitool"),
    ("fence_ipmilan", "fence-agents"),
    ("sbd", "sbd"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
    ("mkfs.xfs", "xfsprogs"),
    ("etcd", "etcd-server"),
    // OCF agents, which the tests read, and what their tester reads ours with.
    ("ocf-tester", "resource-agents"),
    ("xmllint", "libxml2-utils"),
    ("mariadbd", "mariadb-server-core"),
    ("/usr/lib/galera/libgalera_smm.so", "galera-4"),
    // Its scripts for state transfers, which the core package does not have.
    ("wsrep_sst_rsync", "mariadb-server"),
    ("rsync", "rsync"),
    ("mariadb-binlog", "mariadb-client-core"),
    ("mariadb-backup", "mariadb-backup"),
    ("redis-server", "redis-server"),
    (
        "/usr/lib/python3/dist-packages/redis/sentinel.py",
        "python3-redis",
    ),
];

/// For the fuzz targets: libFuzzer is written in C++.
pub const FUZZ: &[Need] = &[("c++", "g++")];

/// For the demo: the kernel's tools.
pub const DEMO: &[Need] = &[("ip", "iproute2")];

/// For the lab: nodes are Debian roots booted in containers.
pub const LAB: &[Need] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ethtool", "ethtool"),
    ("sysctl", "procps"),
    ("nsenter", "util-linux"),
    ("ipmi_sim", "openipmi"),
    ("etcd", "etcd-server"),
    ("etcdctl", "etcd-client"),
];

/// For the virtual machines: QEMU, what makes their disk and kernel, and their management boards.
pub const VM: &[Need] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("cpio", "cpio"),
    ("depmod", "kmod"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("strip", "binutils"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("ipmi_sim", "openipmi"),
    // The client of the database in them.
    ("mariadb", "mariadb-client"),
];

/// For the bench: the cluster managers that Holdfast is compared with, and their tools.
pub const BENCH: &[Need] = &[
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("keepalived", "keepalived"),
    ("corosync", "corosync"),
    ("pacemakerd", "pacemaker"),
    ("crm_simulate", "pacemaker-cli-utils"),
    // IPaddr2, which moves Pacemaker's address.
    ("ocf-tester", "resource-agents"),
];

/// For OCF agents beside Pacemaker's executor: that, the agents, and what they drive.
pub const OCF: &[Need] = &[
    ("crm_resource", "pacemaker-cli-utils"),
    ("ocf-tester", "resource-agents"),
    ("arping", "iputils-arping"),
    // The agents of the provider `pacemaker`.
    ("pacemakerd", "pacemaker"),
    ("ip", "iproute2"),
    ("ping", "iputils-ping"),
    ("unshare", "util-linux"),
    ("iptables", "iptables"),
    ("mail", "bsd-mailx"),
    ("nginx", "nginx-light"),
    ("curl", "curl"),
    ("apache2", "apache2"),
    ("wget", "wget"),
    ("mariadbd", "mariadb-server"),
    ("psql", "postgresql"),
    ("named", "bind9"),
    ("host", "bind9-host"),
    ("rndc", "bind9-utils"),
    ("dhcpd", "isc-dhcp-server"),
    ("rsync", "rsync"),
    ("squid", "squid"),
    ("netstat", "net-tools"),
    ("dovecot", "dovecot-core"),
    ("postfix", "postfix"),
    ("rsyslogd", "rsyslog"),
    ("redis-server", "redis-server"),
    ("exportfs", "nfs-kernel-server"),
    // What the agent is told to run, and with what: another Java on the path does not do.
    ("/usr/lib/jvm/default-java", "default-jre-headless"),
    ("/usr/share/tomcat10/bin/catalina.sh", "tomcat10"),
];

/// Makes sure that the programs are there, or says what to install.
///
/// Installing one package may remove another: apt resolves a conflict that way when it is not asked for both (a `qemu-utils` from
/// backports goes when `qemu-system-x86` comes from stable). So there is a second look, and a second round.
pub fn ensure(needs: &[Need]) -> Result<()> {
    for _ in 0..2 {
        let missing = missing(needs);
        if missing.is_empty() {
            return Ok(());
        }
        if !nix::unistd::geteuid().is_root() || !on_path("apt-get") {
            bail!(
                "these packages are missing: {}; install them, or run this as root on Debian",
                missing.join(" ")
            );
        }
        println!("installing {}", missing.join(" "));
        run::done(apt().args(["update", "-qq"]))?;
        run::done(
            apt()
                .args(["install", "-qq", "-y", "--no-install-recommends"])
                .args(&missing),
        )?;
    }
    let missing = missing(needs);
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "apt-get installed {0} and removed or left out what it is needed for; see what is in conflict with `apt-get install -s {0}`",
        missing.join(" ")
    );
}

/// The packages of those programs that are not there.
fn missing(needs: &[Need]) -> Vec<&'static str> {
    let absent = needs.iter().filter(|(program, _)| !on_path(program));
    let mut packages: Vec<_> = absent.map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// True if Debian's archive can be reached.
pub fn archive_answers() -> bool {
    let update = ["-o", "APT::Update::Error-Mode=any", "update", "-qq"];
    on_path("apt-get") && run::done(apt().args(update)).is_ok()
}

/// True if nothing of `needs` is missing.
pub fn are_there(needs: &[Need]) -> bool {
    needs.iter().all(|(program, _)| on_path(program))
}

/// `apt-get` that asks nothing and waits for another one to finish.
fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    command.stdout(std::process::Stdio::null());
    command
}

fn on_path(program: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin"])
        .any(|dir| Path::new(dir).join(program).exists())
}

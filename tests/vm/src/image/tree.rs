//! The Debian tree on the machines' disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::net::{LANS, address};
use crate::sh;

const SUITE: &str = "trixie";
/// What the nodes need beyond a minimal Debian: systemd, the agent that carries our commands, fencing over IPMI;
/// a database on a replicated disk.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,kmod,iproute2,iputils-ping,procps,nftables,e2fsprogs,\
                        qemu-guest-agent,busybox-static,ipmitool,fence-agents-ipmilan,init-system-helpers,\
                        drbd-utils,mariadb-server";
/// Left out, for size.
const EXCLUDE: &[&str] = &["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];
/// Fetched, not installed: its scripts would make an initrd that nobody boots.
const FETCH_KERNEL: &str = "--customize-hook=chroot \"$1\" sh -c 'cd /var/tmp && apt-get -q download \
                            $(apt-cache depends linux-image-amd64 | sed -n \"s/.*Depends: //p\" | grep ^linux-image)'";
/// What the cluster starts, and nobody else.
const DISABLED: &[&str] = &["mariadb.service", "drbd.service"];
/// An emulated processor that has to share the host's may take minutes for what a server does in a second. A device that is
/// given up then is a network that never comes up.
const PATIENT: &str = "[Manager]\nDefaultDeviceTimeoutSec=15min\nDefaultTimeoutStartSec=15min\n";
/// What costs boot time and serves nobody here.
const MASKED: &[&str] = &[
    "systemd-logind.service",
    "systemd-pstore.service",
    "systemd-timesyncd.service",
    "systemd-networkd.service",
    "systemd-binfmt.service",
    "e2scrub_reap.service",
    "getty@tty1.service",
    "serial-getty@ttyS0.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "dpkg-db-backup.timer",
];

/// Installs Debian at `root`, with the kernel's package beside it.
pub fn make(root: &Path) -> Result<()> {
    let mut args = vec![
        "--quiet".to_string(),
        "--mode=root".into(),
        "--variant=minbase".into(),
        "--aptopt=Apt::Install-Recommends false".into(),
    ];
    args.extend(
        EXCLUDE
            .iter()
            .map(|path| format!("--dpkgopt=path-exclude={path}")),
    );
    args.push(format!("--include={PACKAGES}"));
    args.extend([FETCH_KERNEL.into(), SUITE.into(), root.display().to_string()]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    sh::run("mmdebstrap", &args).map(|_| ())
}

/// Makes a machine of it that knows its number from the kernel's command line.
pub fn configure(root: &Path) -> Result<()> {
    let write = |path: &str, text: &str| -> Result<()> {
        let file = root.join(path);
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir)?;
        }
        fs::write(&file, text).with_context(|| file.display().to_string())
    };
    write("usr/local/sbin/vm-net", &net_script())?;
    fs::set_permissions(
        root.join("usr/local/sbin/vm-net"),
        fs::Permissions::from_mode(0o755),
    )?;
    let cards: String = (0..LANS)
        .map(|lan| format!(" sys-subsystem-net-devices-eth{lan}.device"))
        .collect();
    write(
        "etc/systemd/system/vm-net.service",
        &format!(
            "[Unit]\nDescription=addresses\nDefaultDependencies=no\nBefore=network.target\nAfter={cards}\n\
             Wants=network.target{cards}\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/local/sbin/vm-net\n\
             [Install]\nWantedBy=multi-user.target\n"
        ),
    )?;
    // Before anything opens a watchdog: so it is always the first one.
    write("etc/modules-load.d/vm.conf", "i6300esb\n")?;
    write("etc/hostname", "node\n")?;
    // The initrd mounts / for writing.
    write("etc/fstab", "")?;
    // Each machine has its own from its kernel's command line; without any the first boot would ask questions.
    write("etc/machine-id", "00000000000000000000000000000001\n")?;
    let journal = "[Journal]\nStorage=persistent\nSyncIntervalSec=1s\nForwardToConsole=no\n";
    write("etc/systemd/journald.conf.d/vm.conf", journal)?;
    write("etc/systemd/system.conf.d/vm.conf", PATIENT)?;
    let root = root.display().to_string();
    sh::run("systemctl", &["--root", &root, "enable", "vm-net.service"])?;
    sh::run(
        "systemctl",
        &["--root", &root, "set-default", "multi-user.target"],
    )?;
    sh::run("systemctl", &[&["--root", &root, "disable"], DISABLED].concat())?;
    sh::run("systemctl", &[&["--root", &root, "mask"], MASKED].concat())?;
    Ok(())
}

/// Gives each card its address from `vm.node=K` on the kernel's command line.
fn net_script() -> String {
    let mut script = String::from(
        "#!/bin/sh\nset -e\nk=$(sed -n 's/.*vm.node=\\([0-9]*\\).*/\\1/p' /proc/cmdline)\nip link set lo up\n",
    );
    for lan in 0..LANS {
        let prefix = address(lan, 0);
        let prefix = prefix.trim_end_matches('0');
        script.push_str(&format!(
            "ip addr add {prefix}$k/24 dev eth{lan}\nip link set eth{lan} up\n"
        ));
    }
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_gets_the_address_of_its_network() {
        assert!(
            net_script().contains("ip addr add 10.82.2.$k/24 dev eth2\n"),
            "{}",
            net_script()
        );
    }
}

//! The Debian root that every node is a copy of: made once by mmdebstrap, cached by what it is made of.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::place::HOME;
use crate::sh;

const SUITE: &str = "trixie";
/// What the nodes need beyond a minimal Debian: systemd, the tools of the tests, the services, a fence agent.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,iproute2,iputils-ping,procps,nftables,redis-server,\
                        mariadb-server,mariadb-client,mariadb-backup,galera-arbitrator-4,rabbitmq-server,\
                        nginx-light,haproxy,memcached,gunicorn,fence-agents-ipmilan,ipmitool";
/// Units that no node starts by itself: Holdfast does, or a test.
const DISABLED: &str = "mariadb redis-server rabbitmq-server epmd.socket nginx haproxy memcached garb";
/// Left out, for size.
const EXCLUDE: &[&str] = &["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"];

/// The root's folder, made now if it is not there.
pub fn root() -> Result<PathBuf> {
    fs::create_dir_all(HOME).context(HOME)?;
    let dir = Path::new(HOME).join(format!("root-{:016x}", key()));
    let lock = File::create(Path::new(HOME).join("root.lock"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    if dir.is_dir() {
        return Ok(dir);
    }
    eprintln!("lab: making a Debian root in {} (once)", dir.display());
    let making = dir.with_extension("part");
    if making.exists() {
        fs::remove_dir_all(&making)?;
    }
    let mut args = vec![
        "--quiet".to_string(),
        "--mode=root".into(),
        "--variant=minbase".into(),
    ];
    args.extend(
        EXCLUDE
            .iter()
            .map(|path| format!("--dpkgopt=path-exclude={path}")),
    );
    args.push(format!(
        "--customize-hook=chroot \"$1\" systemctl disable {DISABLED}"
    ));
    args.push(format!("--include={PACKAGES}"));
    args.push(SUITE.into());
    args.push(making.display().to_string());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    sh::run("mmdebstrap", &args)?;
    fs::rename(&making, &dir)?;
    Ok(dir)
}

/// FNV-1a of what determines the root's content.
fn key() -> u64 {
    let text = format!("{SUITE} {PACKAGES} {DISABLED} {}", EXCLUDE.join(" "));
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

//! MySQL for the tests: Debian has it in sid only, so its packages are unpacked into a folder of their own and run from there,
//! with their own libraries. Nothing of them is installed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// Where the tests look for it.
const ROOT: &str = "/var/tmp/holdfast/mysql-sid";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const SOURCE: &str = "http://deb.debian.org/debian sid main";
/// Folders that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Unpacks it once. Where Debian's archive cannot be reached that is said, and its tests say that they did not run.
pub fn ensure() {
    let missing = !Path::new(ROOT).exists();
    if missing && let Err(error) = unpack() {
        println!("MySQL is not unpacked, its tests are skipped: {error:#}");
    }
}

fn unpack() -> Result<()> {
    let making = PathBuf::from(format!("{ROOT}.part"));
    let apt = PathBuf::from(format!("{ROOT}.apt"));
    let _ = fs::remove_dir_all(&making);
    let _ = fs::remove_dir_all(&apt);
    println!("unpacking MySQL in {ROOT} (once)");
    let done = download(&apt).and_then(|()| extract(&apt, &making));
    let _ = fs::remove_dir_all(&apt);
    if done.is_err() {
        let _ = fs::remove_dir_all(&making);
    }
    done?;
    fs::rename(&making, ROOT).context(ROOT)
}

/// apt with folders of its own, in which nothing is installed: so it fetches every library too.
fn apt(folder: &Path) -> Command {
    let list = folder.join("sid.list");
    let mut command = Command::new("apt-get");
    for option in [
        format!("Dir={}", folder.display()),
        format!("Dir::State::status={}", folder.join("status").display()),
        format!("Dir::Etc::sourcelist={}", list.display()),
        "Dir::Etc::sourceparts=-".into(),
        "APT::Sandbox::User=root".into(),
        "APT::Update::Error-Mode=any".into(),
    ] {
        command.args(["-o", &option]);
    }
    command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq");
    command.stdout(std::process::Stdio::null());
    command
}

fn download(folder: &Path) -> Result<()> {
    for part in [
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
    ] {
        fs::create_dir_all(folder.join(part))?;
    }
    fs::write(folder.join("status"), "")?;
    fs::write(
        folder.join("sid.list"),
        format!("deb [signed-by={KEYS}] {SOURCE}\n"),
    )?;
    run::done(apt(folder).arg("update"))?;
    let mut install = apt(folder);
    install.args(["install", "-y", "--download-only", "--no-install-recommends"]);
    run::done(install.args(["mysql-server-core", "mysql-client-core"]))
}

fn extract(folder: &Path, root: &Path) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(root.join("usr").join(name))?;
        symlink(Path::new("usr").join(name), root.join(name))?;
    }
    let mut count = 0;
    for entry in fs::read_dir(folder.join("var/cache/apt/archives"))? {
        let package = entry?.path();
        if package.extension().is_none_or(|end| end != "deb") {
            continue;
        }
        let script = "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" --keep-directory-symlink --exclude=./usr/share/doc \
                      --exclude=./usr/share/man --exclude=./usr/share/locale";
        let mut shell = Command::new("sh");
        shell.args(["-ec", script, "unpack"]).arg(&package).arg(root);
        run::done(&mut shell)?;
        count += 1;
    }
    if count == 0 || !root.join("usr/sbin/mysqld").exists() {
        bail!("no mysqld is in the {count} packages that were fetched");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_told_to_touch_nothing_of_the_machine() {
        let command = apt(Path::new("/nowhere"));
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        assert!(words.contains(&"Dir=/nowhere".to_owned()), "{words:?}");
        assert!(words.contains(&"Dir::State::status=/nowhere/status".to_owned()));
    }
}

//! Servers for the tests that the machine's own Debian does not have: their packages are unpacked into a folder of their own and
//! run from there, with their own libraries. Nothing of them is installed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// One server.
struct Unpacked {
    name: &'static str,
    /// Where the tests look for it.
    root: &'static str,
    suite: &'static str,
    packages: &'static [&'static str],
    /// The program that has to be there.
    program: &'static str,
    /// Programs that get a launcher in `launch`, a script that runs them with their own libraries.
    launched: &'static [&'static str],
}

/// All of them.
const SERVERS: [Unpacked; 2] = [
    // Debian has it in sid only.
    Unpacked {
        name: "MySQL",
        root: "/var/tmp/holdfast/mysql-sid",
        suite: "sid",
        packages: &["mysql-server-core", "mysql-client-core"],
        program: "usr/sbin/mysqld",
        launched: &[],
    },
    // Debian has it from 13 on.
    Unpacked {
        name: "Valkey",
        root: "/var/tmp/holdfast/valkey-trixie",
        suite: "trixie",
        packages: &["valkey-server", "valkey-tools"],
        program: "usr/bin/valkey-server",
        launched: &["valkey-server", "valkey-check-aof", "valkey-check-rdb"],
    },
];
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const ARCHIVE: &str = "http://deb.debian.org/debian";
/// The list of archives, below apt's folder.
const LIST: &str = "archives.list";
/// Folders that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Unpacks each once. Where Debian's archive cannot be reached that is said, and their tests say that they did not run.
pub fn ensure() {
    for server in SERVERS {
        let missing = !Path::new(server.root).exists();
        if missing && let Err(error) = server.unpack() {
            println!(
                "{} is not unpacked, its tests are skipped: {error:#}",
                server.name
            );
        }
    }
}

impl Unpacked {
    fn unpack(&self) -> Result<()> {
        let making = PathBuf::from(format!("{}.part", self.root));
        let apt = PathBuf::from(format!("{}.apt", self.root));
        let _ = fs::remove_dir_all(&making);
        let _ = fs::remove_dir_all(&apt);
        println!("unpacking {} in {} (once)", self.name, self.root);
        let done = self
            .download(&apt)
            .and_then(|()| extract(&apt, &making))
            .and_then(|count| {
                if making.join(self.program).exists() {
                    return self.write_launchers(&making);
                }
                bail!("no {} is in the {count} packages that were fetched", self.program)
            });
        let _ = fs::remove_dir_all(&apt);
        if done.is_err() {
            let _ = fs::remove_dir_all(&making);
        }
        done?;
        fs::rename(&making, self.root).context(self.root)
    }

    fn write_launchers(&self, making: &Path) -> Result<()> {
        let folder = making.join("launch");
        fs::create_dir_all(&folder)?;
        for name in self.launched {
            let (file, root) = (folder.join(name), self.root);
            let text = format!(
                "#!/bin/sh\nexec {root}/usr/lib64/ld-linux-x86-64.so.2 --library-path {root}/usr/lib/x86_64-linux-gnu \
                 {root}/usr/bin/{name} \"$@\"\n"
            );
            fs::write(&file, text)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    fn download(&self, folder: &Path) -> Result<()> {
        for part in [
            "etc/apt/preferences.d",
            "var/lib/apt/lists/partial",
            "var/cache/apt/archives/partial",
        ] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("status"), "")?;
        fs::write(
            folder.join(LIST),
            format!("deb [signed-by={KEYS}] {ARCHIVE} {} main\n", self.suite),
        )?;
        run::done(apt(folder).arg("update"))?;
        let mut install = apt(folder);
        install.args(["install", "-y", "--download-only", "--no-install-recommends"]);
        run::done(install.args(self.packages))
    }
}

/// apt with folders of its own, in which nothing is installed: so it fetches every library too.
fn apt(folder: &Path) -> Command {
    let list = folder.join(LIST);
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

/// How many packages there were.
fn extract(folder: &Path, root: &Path) -> Result<usize> {
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
    Ok(count)
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

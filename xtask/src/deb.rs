//! `cargo xtask deb`: the Debian packages, put together with `dpkg-deb`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{glibc, packages, run};

/// Whom the packages name; the project has no mail address.
const MAINTAINER: &str = "The Holdfast developers <holdfast@localhost>";

/// One package.
struct Package {
    name: &'static str,
    summary: &'static str,
    description: &'static str,
    conflicts: &'static str,
    /// Programs, with the man page section of each.
    programs: &'static [(&'static str, u8)],
    /// Units in the order in which an upgrade restarts them.
    units: &'static [&'static str],
}

const PACKAGES: &[Package] = &[
    Package {
        name: "holdfast",
        summary: "high availability for pairs of servers",
        description: " Holdfast keeps services up on a pair of servers: heartbeats over QUIC,\n \
                      quorum with a witness, fencing with proof, virtual IP addresses and\n \
                      services that move.\n .\n \
                      This package is for the servers; install holdfast-witness on the third\n \
                      machine.",
        conflicts: "holdfast-witness",
        programs: &[("had", 8), ("had-agentd", 8), ("hactl", 1)],
        units: &["had-agentd.service", "had.service"],
    },
    Package {
        name: "holdfast-witness",
        summary: "high availability for pairs of servers (witness)",
        description: " The third vote of a Holdfast pair. It runs no resources and needs no privileges.",
        conflicts: "holdfast",
        programs: &[("had", 8), ("hactl", 1)],
        units: &["had-witness.service"],
    },
];

/// What packages are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be given away: as small as they get.
    Release,
    /// To be installed in the lab at once: made as fast as it gets.
    Lab,
}

impl Purpose {
    /// Options of `dpkg-deb`.
    fn compression(self) -> &'static [&'static str] {
        match self {
            Purpose::Release => &[],
            Purpose::Lab => &["-Zgzip", "-z1"],
        }
    }
}

/// Builds both packages into `out` and names them.
pub fn build(out: &Path, suffix: &str, purpose: Purpose) -> Result<Vec<PathBuf>> {
    packages::ensure(packages::DEB)?;
    run::build_release()?;
    let out = if out.is_absolute() {
        out.to_path_buf()
    } else {
        run::root().join(out)
    };
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    PACKAGES
        .iter()
        .map(|package| package.build(&out, suffix, purpose))
        .collect()
}

impl Package {
    fn build(&self, out: &Path, suffix: &str, purpose: Purpose) -> Result<PathBuf> {
        let version = format!("{}{suffix}", env!("CARGO_PKG_VERSION"));
        let architecture = run::output(Command::new("dpkg").arg("--print-architecture"))?;
        let architecture = architecture.trim();
        let stage = out.join(format!(".{}-{}", self.name, std::process::id()));
        if stage.exists() {
            fs::remove_dir_all(&stage)?;
        }
        let libc = self.stage(&stage)?;
        write(
            &stage.join("DEBIAN/control"),
            0o644,
            &self.control(&version, architecture, libc, size_kib(&stage)?),
        )?;
        let file = out.join(format!("{}_{version}_{architecture}.deb", self.name));
        let made = run::output(
            Command::new("dpkg-deb")
                .args(purpose.compression())
                .args(["--build", "--root-owner-group"])
                .arg(&stage)
                .arg(&file),
        );
        fs::remove_dir_all(&stage)?;
        made.map(|_| file)
    }

    /// Lays out the package's files; the C library version its programs need.
    fn stage(&self, stage: &Path) -> Result<glibc::Version> {
        let root = run::root();
        let mut libc = (0, 0);
        for (program, section) in self.programs {
            let from = run::target_dir().join("release").join(program);
            let to = stage.join("usr/bin").join(program);
            copy(&from, &to, 0o755)?;
            run::done(Command::new("strip").arg("--strip-unneeded").arg(&to))?;
            libc = libc
                .max(glibc::needed(&fs::read(&to)?).with_context(|| format!("{program} names no glibc"))?);
            self.manual(stage, program, *section)?;
        }
        if libc > glibc::OLDEST_SUPPORTED {
            let (major, minor) = libc;
            bail!(
                "the programs need glibc {major}.{minor}, which Debian 12 has not: build the packages on Debian 12"
            );
        }
        for unit in self.units {
            copy(
                &root.join("systemd").join(unit),
                &stage.join("usr/lib/systemd/system").join(unit),
                0o644,
            )?;
        }
        if self.programs.iter().any(|(program, _)| *program == "had-agentd") {
            ocf_agents(stage)?;
        }
        copy(
            &root.join("systemd/holdfast.sysusers"),
            &stage.join("usr/lib/sysusers.d/holdfast.conf"),
            0o644,
        )?;
        copy(
            &root.join("systemd/holdfast.tmpfiles"),
            &stage.join("usr/lib/tmpfiles.d/holdfast.conf"),
            0o644,
        )?;
        copy(
            &root.join("LICENSE"),
            &stage.join("usr/share/doc").join(self.name).join("copyright"),
            0o644,
        )?;
        self.papers(stage)?;
        self.completions(stage)?;
        for script in ["postinst", "prerm", "postrm"] {
            let text = fs::read_to_string(root.join("systemd/maintainer").join(script))?;
            write(&stage.join("DEBIAN").join(script), 0o755, &self.fill(&text))?;
        }
        Ok(libc)
    }

    /// Debian's changelog, the project's own, and what lintian is to overlook, with reasons.
    fn papers(&self, stage: &Path) -> Result<()> {
        let doc = stage.join("usr/share/doc").join(self.name);
        let date =
            run::output(
                Command::new("git")
                    .current_dir(run::root())
                    .args(["log", "-1", "--format=%aD"]),
            )?;
        let changelog = doc.join("changelog");
        write(
            &changelog,
            0o644,
            &format!(
                "{} ({}) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n -- {MAINTAINER}  {}\n",
                self.name,
                env!("CARGO_PKG_VERSION"),
                date.trim()
            ),
        )?;
        compress(&changelog)?;
        let own = doc.join("CHANGELOG.md");
        copy(&run::root().join("CHANGELOG.md"), &own, 0o644)?;
        compress(&own)?;
        let overrides = fs::read_to_string(run::root().join("systemd/maintainer/lintian-overrides"))?;
        let to = stage.join("usr/share/lintian/overrides").join(self.name);
        write(&to, 0o644, &self.fill(&overrides))
    }

    /// The man pages that hactl renders, or the hand-written one of a daemon.
    fn manual(&self, stage: &Path, program: &str, section: u8) -> Result<()> {
        let dir = stage.join(format!("usr/share/man/man{section}"));
        if program == "hactl" {
            run::done(
                Command::new(run::target_dir().join("release/hactl"))
                    .arg("man")
                    .arg(&dir),
            )?;
        } else {
            let page = format!("{program}.{section}");
            copy(
                &run::root().join("systemd/man").join(&page),
                &dir.join(&page),
                0o644,
            )?;
        }
        for entry in fs::read_dir(&dir)? {
            let page = entry?.path();
            if page.extension().is_some_and(|end| end != "gz") {
                compress(&page)?;
            }
        }
        Ok(())
    }

    /// Completions of `hactl` for the shells Debian ships.
    fn completions(&self, stage: &Path) -> Result<()> {
        for (shell, file) in [
            ("bash", "usr/share/bash-completion/completions/hactl"),
            ("zsh", "usr/share/zsh/vendor-completions/_hactl"),
            ("fish", "usr/share/fish/vendor_completions.d/hactl.fish"),
        ] {
            let hactl = run::target_dir().join("release/hactl");
            let text = run::output(Command::new(hactl).args(["completions", shell]))?;
            write(&stage.join(file), 0o644, &text)?;
        }
        Ok(())
    }

    fn fill(&self, script: &str) -> String {
        let stop: Vec<&str> = self.units.iter().rev().copied().collect();
        script
            .replace("@PACKAGE@", self.name)
            .replace("@UNITS@", &self.units.join(" "))
            .replace("@STOP@", &stop.join(" "))
    }

    fn control(&self, version: &str, architecture: &str, libc: glibc::Version, size_kib: u64) -> String {
        let (major, minor) = libc;
        let Package {
            name,
            summary,
            description,
            conflicts,
            ..
        } = self;
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: {architecture}\nSection: admin\nPriority: optional\n\
             Maintainer: {MAINTAINER}\nInstalled-Size: {size_kib}\n\
             Depends: libc6 (>= {major}.{minor}), libgcc-s1 (>= 4.2), systemd (>= 252), init-system-helpers (>= 1.54)\n\
             Suggests: fence-agents\nConflicts: {conflicts}\nDescription: {summary}\n{description}\n"
        )
    }
}

/// What the staged files take once installed.
fn size_kib(dir: &Path) -> Result<u64> {
    let mut kib = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        kib += if about.is_dir() {
            size_kib(&entry.path())?
        } else {
            about.len().div_ceil(1024)
        };
    }
    Ok(kib)
}

fn compress(file: &Path) -> Result<()> {
    run::done(Command::new("gzip").args(["-9", "-n", "-f"]).arg(file))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let bytes = fs::read(from).with_context(|| from.display().to_string())?;
    put(to, mode, &bytes)
}

fn write(to: &Path, mode: u32, text: &str) -> Result<()> {
    put(to, mode, text.as_bytes())
}

fn put(to: &Path, mode: u32, bytes: &[u8]) -> Result<()> {
    let dir = to.parent().context("a file needs a directory")?;
    fs::create_dir_all(dir)?;
    fs::write(to, bytes).with_context(|| to.display().to_string())?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))?;
    Ok(())
}

/// Our own agents for clusters run by Pacemaker.
fn ocf_agents(stage: &Path) -> Result<()> {
    let folder = stage.join("usr/lib/ocf/resource.d/holdfast");
    for agent in ["exec", "filesystem", "systemd", "vip"] {
        copy(&run::root().join("systemd/ocf/agent"), &folder.join(agent), 0o755)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_restart_agents_first_and_stop_decisions_first() {
        let filled = PACKAGES[0].fill("@PACKAGE@ | @UNITS@ | @STOP@");
        assert_eq!(
            filled,
            "holdfast | had-agentd.service had.service | had.service had-agentd.service"
        );
    }

    #[test]
    fn control_names_the_needed_c_library() {
        let control = PACKAGES[1].control("0.1.0", "amd64", (2, 34), 9);
        assert!(control.contains("Depends: libc6 (>= 2.34),"), "{control}");
        assert!(control.contains("Conflicts: holdfast\n"), "{control}");
    }
}

//! What every machine boots: a Debian disk, its kernel as an ELF file, and a small initrd. Made once, cached by what it
//! is made of.

mod initrd;
mod kernel;
mod tree;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};

use crate::place::CACHE;
use crate::sh;

/// Size of the disk; the file is sparse.
const DISK: &str = "3G";

/// The files that QEMU is given.
#[derive(Clone, Debug)]
pub struct Image {
    /// Where they are.
    dir: PathBuf,
}

impl Image {
    /// The image, made now if it is not there. The lock is held as long as the cache is used.
    pub fn get(_lock: &Lock) -> Result<Image> {
        let dir = place();
        if !is_there() {
            let begun = Instant::now();
            eprintln!("vm: making the machines' disk in {} (once)", dir.display());
            make(&dir).context("make the machines' disk")?;
            eprintln!("vm: made in {:.0} s", begun.elapsed().as_secs_f64());
        }
        Ok(Image { dir })
    }

    /// The disk, which nobody writes to.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.dir.join("root.img")
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinux")
    }

    /// The initrd.
    #[must_use]
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }

    /// What distinguishes it from other images.
    #[must_use]
    pub fn name(&self) -> String {
        self.dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    }
}

/// True if the image is in the cache, so that none has to be fetched.
#[must_use]
pub fn is_there() -> bool {
    place().is_dir()
}

fn place() -> PathBuf {
    Path::new(CACHE).join(format!("image-{:016x}", key()))
}

/// The cache belongs to one run at a time.
#[derive(Debug)]
pub struct Lock {
    _file: Flock<File>,
}

impl Lock {
    /// Waits for the end of every other run.
    pub fn take() -> Result<Lock> {
        fs::create_dir_all(CACHE).context(CACHE)?;
        let open = || File::create(Path::new(CACHE).join("lock"));
        let file = match Flock::lock(open()?, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err(_) => {
                eprintln!("vm: waiting for another run to end");
                Flock::lock(open()?, FlockArg::LockExclusive).map_err(|(_, error)| error)?
            }
        };
        Ok(Lock { _file: file })
    }
}

/// Makes the image, and forgets those before it, with every state that was saved on top of them.
fn make(dir: &Path) -> Result<()> {
    for old in fs::read_dir(CACHE)?
        .flatten()
        .filter(|entry| entry.path().is_dir())
    {
        fs::remove_dir_all(old.path())?;
    }
    let making = dir.with_extension("part");
    let root = making.join("root");
    fs::create_dir_all(&making)?;
    tree::make(&root)?;
    let version = kernel::install(&root, &making)?;
    initrd::make(&root, &version, &making)?;
    tree::configure(&root)?;
    let (from, image) = (
        root.display().to_string(),
        making.join("root.img").display().to_string(),
    );
    sh::run(
        "mke2fs",
        &[
            "-q",
            "-t",
            "ext4",
            "-d",
            &from,
            "-m",
            "0",
            "-E",
            "lazy_itable_init=0,root_owner=0:0",
            &image,
            DISK,
        ],
    )?;
    fs::remove_dir_all(&root)?;
    fs::rename(&making, dir)?;
    Ok(())
}

/// FNV-1a of what determines the content: the code of this module says all of it.
fn key() -> u64 {
    let parts = [
        include_str!("mod.rs"),
        include_str!("tree.rs"),
        include_str!("kernel.rs"),
        include_str!("initrd.rs"),
    ];
    let bytes = parts.iter().flat_map(|part| part.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

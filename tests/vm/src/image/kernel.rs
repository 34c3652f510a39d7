//! Debian's kernel: the ELF file inside the package's vmlinuz, which QEMU boots by PVH with no firmware and no slow
//! unpacking, and those of its modules that a machine without hardware can use.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::sh;

/// Modules that are kept: files, or folders with all that is in them.
const MODULES: &[&str] = &[
    "arch/x86/crypto/crc32c-intel.ko",
    "crypto",
    "lib",
    "fs/ext4",
    "fs/jbd2",
    "fs/mbcache.ko",
    "net",
    "drivers/block/virtio_blk.ko",
    "drivers/block/drbd",
    "drivers/block/loop.ko",
    "drivers/char/hw_random",
    "drivers/char/virtio_console.ko",
    "drivers/md",
    "drivers/misc/pvpanic",
    "drivers/net/dummy.ko",
    "drivers/net/net_failover.ko",
    "drivers/net/virtio_net.ko",
    "drivers/virtio",
    "drivers/watchdog",
];
/// Lists that depmod needs.
const LISTS: [&str; 3] = ["modules.builtin", "modules.order", "modules.builtin.modinfo"];

/// Takes the kernel out of the package in `root`: the ELF file to `out`, the modules into `root`. Returns its version.
pub fn install(root: &Path, out: &Path) -> Result<String> {
    let package = only(&root.join("var/tmp"), "linux-image-")?;
    let unpacked = out.join("kernel");
    let (from, to) = (package.display().to_string(), unpacked.display().to_string());
    sh::run("dpkg-deb", &["-x", &from, &to])?;
    fs::remove_file(&package)?;
    let vmlinuz = fs::read(only(&unpacked.join("boot"), "vmlinuz-")?)?;
    fs::write(out.join("vmlinux"), elf(&vmlinuz, out)?)?;
    let modules = ["usr/lib/modules", "lib/modules"].map(|dir| unpacked.join(dir));
    let modules = modules
        .iter()
        .find(|dir| dir.is_dir())
        .context("a kernel without modules")?;
    let source = only(modules, "")?;
    let version = source
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let target = root.join("usr/lib/modules").join(&version);
    for module in MODULES {
        take(&source, &target, module)?;
    }
    for list in LISTS {
        fs::copy(source.join(list), target.join(list)).with_context(|| list.to_string())?;
    }
    // Unpacked they load faster, and the initrd's insmod takes no others.
    let unpack = format!("find {} -name '*.ko.xz' -exec xz -d {{}} +", target.display());
    sh::run("sh", &["-c", &unpack])?;
    sh::run("depmod", &["-b", &root.display().to_string(), &version])?;
    fs::remove_dir_all(&unpacked)?;
    Ok(version)
}

/// Copies one module or folder of modules.
fn take(source: &Path, target: &Path, module: &str) -> Result<()> {
    let kernel = source.join("kernel");
    let ends = ["", ".xz"].map(|end| kernel.join(format!("{module}{end}")));
    // What is built in needs no module.
    let Some(from) = ends.iter().find(|path| path.exists()) else {
        return Ok(());
    };
    let to = target.join("kernel").join(module);
    let into = to.parent().unwrap_or(target);
    fs::create_dir_all(into)?;
    sh::run(
        "cp",
        &["-r", &from.display().to_string(), &format!("{}/", into.display())],
    )
    .map(|_| ())
}

/// The only entry of `dir` whose name begins so.
fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .flatten();
    let mut found = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with(prefix)
    });
    let first = found
        .next()
        .with_context(|| format!("no {prefix}* in {}", dir.display()))?;
    ensure!(
        found.next().is_none(),
        "more than one {prefix}* in {}",
        dir.display()
    );
    Ok(first)
}

/// The ELF file inside a bzImage; offsets are those of the kernel's boot protocol.
fn elf(image: &[u8], scratch: &Path) -> Result<Vec<u8>> {
    let word = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("a kernel that is too short")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    let sectors = match image.get(0x1f1) {
        Some(0) | None => 4,
        Some(sectors) => usize::from(*sectors),
    };
    let from = (sectors + 1) * 512 + word(0x248)?;
    let payload = image
        .get(from..from + word(0x24c)?)
        .context("a kernel that is too short")?;
    let unpack = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz -dc --single-stream",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd -dcq",
        [0x1f, 0x8b, ..] => "gzip -dcq",
        _ => bail!("a kernel that is packed in an unknown way"),
    };
    // Behind the packed data stands its size, which is none of it.
    let (packed, plain) = (scratch.join("payload"), scratch.join("payload.elf"));
    fs::write(&packed, &payload[..payload.len().saturating_sub(4)])?;
    let script = format!("{unpack} < {} > {}", packed.display(), plain.display());
    let said = sh::run("sh", &["-c", &script]);
    let data = fs::read(&plain)?;
    fs::remove_file(&packed)?;
    fs::remove_file(&plain)?;
    if !data.starts_with(b"\x7fELF") {
        said?;
        bail!("the kernel's image holds no ELF file");
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_elf_is_found_and_unpacked() {
        let dir = std::env::temp_dir().join(format!("vm-kernel-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("plain"), b"\x7fELF and more").unwrap();
        let file = dir.join("plain").display().to_string();
        sh::run("gzip", &[&file]).unwrap();
        let packed = fs::read(dir.join("plain.gz")).unwrap();
        let mut image = vec![0u8; 0x400];
        image[0x1f1] = 1;
        image[0x248..0x24c].copy_from_slice(&0u32.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&u32::try_from(packed.len() + 4).unwrap().to_le_bytes());
        image.extend_from_slice(&packed);
        image.extend_from_slice(&[0; 4]);
        assert_eq!(elf(&image, &dir).unwrap(), b"\x7fELF and more");
        fs::remove_dir_all(&dir).unwrap();
    }
}

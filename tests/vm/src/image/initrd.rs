//! The initrd: busybox, the modules of the disk, and ten lines that mount it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use crate::sh;

/// Modules without which there is no disk.
const NEEDED: [&str; 4] = ["virtio_pci", "virtio_blk", "crc32c_generic", "ext4"];

const INIT: &str = r#"#!/bin/busybox sh
B=/bin/busybox
$B mount -t devtmpfs d /dev; $B mount -t proc p /proc
for m in $($B cat /mods); do $B insmod /m/$m; done
n=0; while [ ! -b /dev/vda ] && [ $n -lt 300 ]; do $B usleep 10000; n=$((n+1)); done
$B mount -t ext4 -o rw /dev/vda /r || exec $B sh
$B umount /proc; $B mount -o move /dev /r/dev
exec $B switch_root /r /sbin/init
"#;

/// Makes it at `out` from what is in `root`.
pub fn make(root: &Path, version: &str, out: &Path) -> Result<()> {
    let modules = root.join("usr/lib/modules").join(version);
    let order = load_order(
        &fs::read_to_string(modules.join("modules.dep"))?,
        &fs::read_to_string(modules.join("modules.builtin"))?,
    )?;
    let tree = out.join("initrd.d");
    for dir in ["bin", "m", "r", "dev", "proc"] {
        fs::create_dir_all(tree.join(dir))?;
    }
    fs::copy(root.join("bin/busybox"), tree.join("bin/busybox"))?;
    let mut names = String::new();
    for file in &order {
        let name = file.rsplit('/').next().unwrap_or(file);
        fs::copy(modules.join(file), tree.join("m").join(name)).with_context(|| file.clone())?;
        names.push_str(name);
        names.push('\n');
    }
    fs::write(tree.join("mods"), names)?;
    fs::write(tree.join("init"), INIT)?;
    fs::set_permissions(tree.join("init"), fs::Permissions::from_mode(0o755))?;
    let pack = format!(
        "cd {} && find . | cpio -o -H newc --quiet > {}",
        tree.display(),
        out.join("initrd").display()
    );
    sh::run("sh", &["-c", &pack])?;
    fs::remove_dir_all(&tree)?;
    Ok(())
}

/// Files of the needed modules and of all that they need, in the order in which they are loaded.
fn load_order(dep: &str, builtin: &str) -> Result<Vec<String>> {
    let lines = dep.lines().filter_map(|line| line.split_once(':'));
    let needs: BTreeMap<&str, Vec<&str>> = lines
        .map(|(file, needs)| (file, needs.split_whitespace().collect()))
        .collect();
    let mut order: Vec<String> = Vec::new();
    for module in NEEDED {
        if builtin.lines().any(|file| name(file) == module) {
            continue;
        }
        let file = needs.keys().find(|file| name(file) == module);
        let file = *file.with_context(|| format!("the kernel has no {module}"))?;
        let before = needs[file].iter().rev();
        for file in before.chain([&file]) {
            if !order.iter().any(|known| known == file) {
                order.push((*file).to_string());
            }
        }
    }
    Ok(order)
}

/// A module's name, as the kernel says it.
fn name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let dep = "a/virtio_blk.ko: b/virtio_ring.ko b/virtio.ko\na/virtio_pci.ko: b/virtio_ring.ko b/virtio.ko\n\
                   c/ext4.ko: d/jbd2.ko\nb/virtio.ko:\nb/virtio_ring.ko: b/virtio.ko\nd/jbd2.ko:\n";
        let order = load_order(dep, "kernel/crypto/crc32c-generic.ko\n").unwrap();
        let wanted = [
            "b/virtio.ko",
            "b/virtio_ring.ko",
            "a/virtio_pci.ko",
            "a/virtio_blk.ko",
            "d/jbd2.ko",
            "c/ext4.ko",
        ];
        assert_eq!(order, wanted);
        assert!(load_order("", "").unwrap_err().to_string().contains("virtio_pci"));
    }
}

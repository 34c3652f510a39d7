//! The filesystem agent on real file systems: ext4 and xfs on loop devices, folders shown twice. Each test has a mount
//! namespace of its own, on a thread of its own, and leaves nothing mounted. Needs root and loop devices; without them
//! the tests say so and pass.

mod lab;

use std::fs;
use std::io::Write;
use std::time::Duration;

use holdfast_agents::agent::Presence;
use lab::*;

#[test]
fn a_device_is_found_by_uuid_mounted_and_unmounted() {
    in_namespace("uuid", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let uuid = run(&format!("blkid -p -o value -s UUID {device}"));
        let place = lab.path("data");
        let mut rig = Rig::new(&[("device", &format!("UUID={uuid}")), ("path", &lab.text("data"))]);
        assert_eq!(rig.agent.probe().await, Presence::Inactive);
        rig.start().await.unwrap();
        assert!(is_mounted(&place));
        assert!(
            rig.agent.detail().contains("(ext4) at "),
            "{}",
            rig.agent.detail()
        );
        fs::write(place.join("file"), "kept").unwrap();
        rig.start().await.unwrap();
        assert_eq!(rig.agent.probe().await, Presence::Active);
        rig.stop(LONG).await.unwrap();
        assert!(!is_mounted(&place));
        rig.stop(LONG).await.unwrap();
        rig.start().await.unwrap();
        assert_eq!(fs::read_to_string(place.join("file")).unwrap(), "kept");
        rig.stop(LONG).await.unwrap();
        // Files that lie under the mount are told of.
        fs::write(place.join("stray"), "").unwrap();
        rig.start().await.unwrap();
        assert!(rig.notes().contains("mount-hides-files"));
        rig.stop(LONG).await.unwrap();
        // Another file system is not taken for it.
        let mut wrong = Rig::new(&[
            ("device", &device),
            ("path", &lab.text("data")),
            ("uuid", "1-2-3"),
        ]);
        says(wrong.start().await, &["not the right device", &uuid, "1-2-3"]);
        let mut wrong = Rig::new(&[
            ("device", &device),
            ("path", &lab.text("data")),
            ("fstype", "xfs"),
        ]);
        says(wrong.start().await, &["holds ext4", "says xfs"]);
        let mut wrong = Rig::new(&[("device", "UUID=77-88"), ("path", &lab.text("data"))]);
        says(wrong.start().await, &["no device has UUID=77-88"]);
        wrong.stop(LONG).await.unwrap();
    });
}

#[test]
fn an_image_is_mounted_by_loop_device_and_let_go() {
    let xfs = fs::read_to_string("/proc/filesystems")
        .unwrap_or_default()
        .contains("xfs");
    for fstype in ["ext4", "xfs"] {
        let maker: &[&str] = if fstype == "xfs" {
            &["mkfs.xfs"]
        } else {
            &["mkfs.ext4"]
        };
        if fstype == "xfs" && !xfs {
            eprintln!("not run: the kernel has no xfs");
            continue;
        }
        in_namespace(
            if fstype == "xfs" { "xfs" } else { "loop" },
            maker,
            async move |lab| {
                let image = lab.image("image", fstype);
                let mut rig = Rig::new(&[
                    ("device", image.to_str().unwrap()),
                    ("path", &lab.text("data")),
                    ("options", "noatime"),
                ]);
                rig.start().await.unwrap();
                fs::write(lab.path("data").join("file"), "kept").unwrap();
                assert_eq!(rig.agent.probe().await, Presence::Active);
                let mut second = Rig::new(&[("device", image.to_str().unwrap()), ("path", &lab.text("two"))]);
                says(second.start().await, &["is mounted already", "/data"]);
                rig.stop(LONG).await.unwrap();
                assert_eq!(run(&format!("losetup -j {}", image.display())), "");
            },
        );
    }
}

#[test]
fn a_folder_is_shown_twice() {
    in_namespace("bind", &[], async |lab| {
        fs::create_dir_all(lab.path("source/sub")).unwrap();
        let mut rig = Rig::new(&[("device", &lab.text("source/sub")), ("path", &lab.text("seen"))]);
        rig.start().await.unwrap();
        fs::write(lab.path("source/sub/file"), "").unwrap();
        assert!(lab.path("seen/file").exists());
        assert_eq!(rig.agent.probe().await, Presence::Active);
        assert!(rig.agent.freeze().is_err());
        // Whoever uses the folder by its own path is not in the way.
        let pid = lab.sitter("echo; exec sleep 1000", &lab.path("source/sub"));
        lab.ready();
        let user = lab.sitter("echo; exec sleep 1000", &lab.path("seen"));
        lab.ready();
        rig.stop(LONG).await.unwrap();
        let said = rig.notes();
        assert!(
            said.contains(&user.to_string()) && !said.contains(&format!("{pid} (")),
            "{said}"
        );
        assert!(lab.ended(1) && !lab.ended(0));
        assert!(!is_mounted(&lab.path("seen")) && lab.path("source/sub/file").exists());
    });
}

#[test]
fn what_is_taken_is_refused() {
    in_namespace("taken", &["mkfs.ext4"], async |lab| {
        let (one, two) = (lab.device("one", "ext4"), lab.device("two", "ext4"));
        fs::create_dir_all(lab.path("elsewhere")).unwrap();
        fs::create_dir_all(lab.path("data")).unwrap();
        run(&format!("mount {one} {}", lab.text("elsewhere")));
        let mut rig = Rig::new(&[("device", &one), ("path", &lab.text("data"))]);
        says(rig.start().await, &[&one, "is mounted already", "/elsewhere"]);
        // A mount that others made keeps this node from being called stopped.
        says(rig.stop(SHORT).await, &["by somebody else", "/elsewhere"]);
        let mut other = Rig::new(&[("device", &two), ("path", &lab.text("elsewhere"))]);
        says(other.start().await, &["is taken", &one]);
        other.stop(LONG).await.unwrap();
        assert!(is_mounted(&lab.path("elsewhere")));
        assert_eq!(other.agent.probe().await, Presence::Inactive);
        rig.kill(LONG).await.unwrap();
        assert!(!is_mounted(&lab.path("elsewhere")));
    });
}

#[test]
fn who_is_in_the_way_is_named_and_ended() {
    in_namespace("users", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let place = lab.path("data");
        let mut rig = Rig::new(&[("device", &device), ("path", &lab.text("data"))]);
        rig.start().await.unwrap();
        let polite = lab.sitter("echo; exec sleep 1000", &place);
        lab.ready();
        let deaf = lab.sitter(
            "trap '' TERM; exec 7>file; cd /; echo; while :; do sleep 1000; done",
            &place,
        );
        lab.ready();
        let mut careful = Rig::resumed(
            &[
                ("device", &device),
                ("path", &lab.text("data")),
                ("kill_users", "false"),
            ],
            rig.agent.saved(),
        );
        assert_eq!(careful.agent.probe().await, Presence::Active);
        says(
            careful.stop(SHORT).await,
            &[
                "cannot be unmounted: used by",
                &format!("{polite} (sleep 1000; cwd)"),
                &deaf.to_string(),
            ],
        );
        says(careful.kill(SHORT).await, &["used by"]);
        assert!(!lab.ended(0) && !lab.ended(1));
        rig.stop(Duration::from_secs(4)).await.unwrap();
        assert!(!is_mounted(&place) && lab.ended(0) && lab.ended(1));
        assert!(rig.notes().contains("unmount-busy"));
    });
}

#[test]
fn a_lazy_unmount_is_no_unmount() {
    in_namespace("lazy", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let place = lab.path("data");
        let mut rig = Rig::new(&[("device", &device), ("path", &lab.text("data"))]);
        rig.start().await.unwrap();
        let pid = lab.sitter("echo; exec sleep 1000", &place);
        lab.ready();
        run(&format!("umount -l {}", place.display()));
        assert!(rig.failure().await.contains("was unmounted by somebody else"));
        says(
            rig.stop(SHORT).await,
            &["is still in use", "lazily", &pid.to_string()],
        );
        rig.kill(LONG).await.unwrap();
        assert!(lab.ended(0));
    });
}

#[test]
fn a_mount_in_another_namespace_holds_the_device() {
    in_namespace("namespace", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let mut rig = Rig::new(&[("device", &device), ("path", &lab.text("data"))]);
        rig.start().await.unwrap();
        let dir = lab.dir.clone();
        let pid = lab.sitter(
            "exec unshare -m --propagation private sh -c 'echo; exec sleep 1000'",
            &dir,
        );
        lab.ready();
        says(
            rig.stop(SHORT).await,
            &["another mount namespace", &pid.to_string(), "its mount namespace"],
        );
        says(rig.start().await, &["another mount namespace"]);
        rig.kill(LONG).await.unwrap();
        rig.start().await.unwrap();
        rig.stop(LONG).await.unwrap();
    });
}

#[test]
fn read_only_is_noticed() {
    in_namespace("readonly", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let mut rig = Rig::new(&[
            ("device", &device),
            ("path", &lab.text("data")),
            ("options", "errors=remount-ro"),
        ]);
        rig.start().await.unwrap();
        run(&format!("mount -o remount,ro {}", lab.text("data")));
        assert!(rig.failure().await.contains("became read-only"));
        assert!(matches!(rig.agent.probe().await, Presence::Partial(_)));
        rig.stop(LONG).await.unwrap();
        rig.start().await.unwrap();
        let name = device.trim_start_matches("/dev/");
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        fs::OpenOptions::new()
            .write(true)
            .open(trigger)
            .unwrap()
            .write_all(b"test")
            .unwrap();
        let reason = rig.failure().await;
        assert!(
            reason.contains("became read-only after an error (trigger_test_error"),
            "{reason}"
        );
        rig.stop(LONG).await.unwrap();
        // The next start has it checked.
        rig.start().await.unwrap();
        rig.stop(LONG).await.unwrap();
        let mut reader = Rig::new(&[
            ("device", &device),
            ("path", &lab.text("data")),
            ("options", "ro"),
        ]);
        reader.start().await.unwrap();
        assert_eq!(reader.agent.probe().await, Presence::Active);
        reader.stop(LONG).await.unwrap();
    });
}

#[test]
fn a_restarted_agentd_takes_it_over() {
    in_namespace("adopt", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let params = [("device", device.as_str()), ("path", &lab.text("data"))];
        let mut first = Rig::new(&params);
        first.start().await.unwrap();
        let saved = first.agent.saved();
        drop(first);
        let mut second = Rig::resumed(&params, saved);
        assert_eq!(second.agent.probe().await, Presence::Active);
        second.agent.adopt().await.unwrap();
        run(&format!("mount -t tmpfs none {}", lab.text("data")));
        assert!(second.failure().await.contains("was mounted over"));
        assert!(matches!(second.agent.probe().await, Presence::Partial(_)));
        says(second.stop(SHORT).await, &["is covered by none (tmpfs)"]);
        second.kill(LONG).await.unwrap();
        assert!(!is_mounted(&lab.path("data")));
    });
}

#[test]
fn a_halt_ends_all_writing_and_keeps_what_was_synced() {
    in_namespace("halt", &["mkfs.ext4"], async |lab| {
        let device = lab.device("disk", "ext4");
        let params = [("device", device.as_str()), ("path", &lab.text("data"))];
        let mut rig = Rig::new(&params);
        let halter = rig.agent.halter().unwrap();
        rig.start().await.unwrap();
        let file = fs::File::create(lab.path("data/file")).unwrap();
        (&file).write_all(b"synced").unwrap();
        file.sync_all().unwrap();
        halter().unwrap();
        let late = (&file).write_all(b"late").and_then(|()| file.sync_all());
        assert!(late.is_err(), "a write after the halt was taken");
        drop(file);
        assert!(rig.failure().await.contains("/data"));
        rig.kill(LONG).await.unwrap();
        // A halted agent starts nothing any more; one that is built anew does.
        says(rig.start().await, &["the permit lapsed"]);
        rig.kill(LONG).await.unwrap();
        let mut rig = Rig::new(&params);
        rig.start().await.unwrap();
        assert_eq!(fs::read_to_string(lab.path("data/file")).unwrap(), "synced");
        rig.stop(LONG).await.unwrap();
    });
}

#[test]
fn damage_is_mended_or_refused() {
    in_namespace("fsck", &["mkfs.ext4", "debugfs"], async |lab| {
        let device = lab.device("disk", "ext4");
        let params = [("device", device.as_str()), ("path", &lab.text("data"))];
        // A wrong count is safe to mend; two files in one place are not.
        run(&format!(
            "debugfs -w -R 'set_super_value free_blocks_count 7' {device}; debugfs -w -R 'set_super_value state 2' {device}"
        ));
        let mut rig = Rig::new(&params);
        rig.start().await.unwrap();
        assert!(rig.notes().contains("fsck-corrected"));
        for name in ["one", "two"] {
            fs::write(lab.path("data").join(name), vec![7; 8192]).unwrap();
        }
        rig.stop(LONG).await.unwrap();
        run(&format!(
            "block=$(debugfs -R 'bmap one 0' {device} 2>/dev/null); debugfs -w -R \"clri one\" {device}; \
             debugfs -w -R 'set_inode_field two mode 0170000' {device}; debugfs -w -R 'set_super_value state 2' {device}"
        ));
        let checked = rig.start().await;
        says(checked, &["does not repair by itself"]);
        rig.stop(LONG).await.unwrap();
    });
}

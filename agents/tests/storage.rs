//! Storage devices from the side of the node that they shut out: a program with the contract of a fence agent, in place of
//! `fence_scsi`, which needs a disk with reservations.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use common::{Agentd, Had, LONG, shell};
use holdfast_proto::agent::agent_request::Body as Ask;
use holdfast_proto::agent::{FenceDevice, GroupSpec, Permit, StartGroup};

/// The device, whose state is the file `door`.
struct Door(PathBuf);

impl Door {
    /// `on` is what the device does for that action.
    fn new(agentd: &Agentd, on: &str) -> Door {
        let door = Door(agentd.file("door"));
        let (program, state) = (door.program(), door.0.display());
        let script = format!(
            "#!/bin/sh\nwhile read -r line; do case $line in action=*) action=${{line#action=}};; esac; done\n\
             case $action in\n on) {on} ;;\n status) echo \"Status: $(cat {state})\"; [ \"$(cat {state})\" = on ] || exit 2 ;;\n \
             *) exit 1 ;;\nesac\n"
        );
        // Another test's fork must not hold it open for writing when it is run.
        let draft = program.with_extension("draft");
        std::fs::write(&draft, script).unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
        let copied = std::process::Command::new("cp").args([&draft, &program]).status();
        assert!(copied.unwrap().success());
        door.set("off");
        door
    }

    fn works(agentd: &Agentd) -> Door {
        let on = format!("echo on >{}", agentd.file("door").display());
        Door::new(agentd, &on)
    }

    fn program(&self) -> PathBuf {
        self.0.with_extension("sh")
    }

    fn set(&self, state: &str) {
        std::fs::write(&self.0, format!("{state}\n")).unwrap();
    }

    fn state(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap().trim().to_owned()
    }

    fn start(&self, had: &mut Had, spec: &GroupSpec) {
        let permit = Permit {
            group: spec.name.clone(),
            epoch: 1,
            until_us: (holdfast_agents::clock::now() + LONG).0,
        };
        let device = FenceDevice {
            node: "db1".into(),
            agent: "exec".into(),
            params: BTreeMap::from([("program".into(), self.program().display().to_string())]),
            timeout_ms: 20_000,
            ..FenceDevice::default()
        };
        had.ask(Ask::Start(StartGroup {
            permit: Some(permit),
            spec: Some(spec.clone()),
            storage: vec![device],
        }));
    }
}

#[test]
fn a_node_that_was_shut_out_is_let_in_before_anything_starts() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let door = Door::works(&agentd);
    let spec = shell(&format!("grep -q on {} && exec sleep 1000", door.0.display()));
    door.start(&mut had, &spec);
    had.group("running");
    let told = had.note("storage-admitted").text;
    assert!(
        told.contains("let db1 at its storage again") && told.contains("status read says on"),
        "{told}"
    );
}

#[test]
fn storage_that_does_not_let_the_node_in_fails_the_start_and_says_so() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let door = Door::new(&agentd, "echo 'no such key'; exit 1");
    let mut spec = shell("exec sleep 1000");
    spec.name = "db".into();
    door.start(&mut had, &spec);
    let failed = had.group("failed");
    assert!(
        failed.detail.contains("does not let db1 at its storage") && failed.detail.contains("no such key"),
        "{}",
        failed.detail
    );
}

#[test]
fn a_node_on_which_something_may_still_write_is_not_let_in() {
    let agentd = Agentd::start();
    let mut had = agentd.attach();
    let door = Door::works(&agentd);
    door.start(&mut had, &shell("exec sleep 1000"));
    had.group("running");
    door.set("off");
    let mut second = shell("exec sleep 1000");
    second.name = "db".into();
    door.start(&mut had, &second);
    let failed = had.group("failed");
    assert!(
        failed
            .detail
            .contains("web may still hold what was to be written there: restart this node"),
        "{}",
        failed.detail
    );
    assert_eq!(door.state(), "off");
}

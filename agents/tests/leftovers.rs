//! A fence agent must not outlive the had-agentd that ran it.

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use common::{Agentd, lives, wait_for};
use holdfast_proto::agent::FenceDevice;
use holdfast_proto::agent::agent_request::Body as Ask;

/// Found by torture: had-agentd was killed while fence_ipmilan waited for a board that could not be reached; when the network
/// was back that powered the node off, and nobody was there to switch it on again.
#[test]
fn a_fence_agent_and_its_children_end_with_the_start_of_the_next_had_agentd() {
    let mut agentd = Agentd::start();
    let mut had = agentd.attach();
    let (program, pids) = (agentd.file("device"), agentd.file("pids"));
    // The child leaves the process group, as a tool that daemonises would.
    let script = format!(
        "#!/bin/sh\nsetsid sleep 1000 &\necho $! >{0}.new; echo $$ >>{0}.new; mv {0}.new {0}\nwait\n",
        pids.display()
    );
    let draft = agentd.file("draft");
    std::fs::write(&draft, script).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    // Another test's fork must not hold it open for writing when it is run.
    let copied = std::process::Command::new("cp").args([&draft, &program]).status();
    assert!(copied.unwrap().success());
    had.ask(Ask::Fence(FenceDevice {
        id: 1,
        node: "b".into(),
        agent: "exec".into(),
        params: BTreeMap::from([("program".into(), program.display().to_string())]),
        action: "off".into(),
        timeout_ms: 600_000,
        ..FenceDevice::default()
    }));
    wait_for("the fence agent to run", || pids.exists());
    let text = std::fs::read_to_string(&pids).unwrap();
    let running: Vec<i32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!(running.len() == 2 && running.iter().all(|pid| lives(*pid)));
    agentd.crash();
    assert!(running.iter().all(|pid| lives(*pid)), "nothing ends them yet");
    agentd.restart();
    let _had = agentd.attach();
    assert!(
        running.iter().all(|pid| !lives(*pid)),
        "ended before had could attach"
    );
}

//! Fence devices: scripts that work, fail, lie, hang and babble; and the real fence_ipmilan against a simulated BMC.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdfast_agents::fence::Fencer;
use holdfast_proto::agent::{FenceDevice, FenceOutcome, Note};

/// A device whose power state is the file `power`, as a shell script: `body` runs with `$action` set, in the folder.
struct Script {
    folder: tempfile::TempDir,
    notes: Arc<Mutex<Vec<Note>>>,
    fencer: Fencer,
}

const WORKS: &str = r#"
case $action in
  on|off) echo $action >power; echo "Success: Powered $action" ;;
  status) echo "Status: $(cat power)"; [ "$(cat power)" = on ] || exit 2 ;;
  *) exit 1 ;;
esac"#;

impl Script {
    fn new(body: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("power"), "on\n").unwrap();
        let read = "while read -r line; do echo \"$line\" >>input; case $line in action=*) action=${line#action=};; esac; done";
        let path = folder.path().join("device");
        // Not written in place: another test's fork could hold it open for writing (ETXTBSY).
        let text = format!(
            "#!/bin/sh\ncd {}\n{read}\necho $action >>actions\n{body}\n",
            folder.path().display()
        );
        let made = std::process::Command::new("sh")
            .args(["-c", "printf %s \"$1\" >\"$0\" && chmod 755 \"$0\""])
            .arg(&path)
            .arg(text)
            .status();
        assert!(made.unwrap().success());
        let notes = Arc::new(Mutex::new(Vec::new()));
        let sink = notes.clone();
        let fencer = Fencer::new(move |note| sink.lock().unwrap().push(note));
        Script {
            folder,
            notes,
            fencer,
        }
    }

    fn request(&self, action: &str, timeout_ms: u32) -> FenceDevice {
        FenceDevice {
            id: 7,
            node: "db2".into(),
            agent: "exec".into(),
            params: BTreeMap::from([(
                "program".into(),
                self.folder.path().join("device").display().to_string(),
            )]),
            action: action.into(),
            timeout_ms,
            ..FenceDevice::default()
        }
    }

    async fn run(&self, action: &str, timeout_ms: u32) -> FenceOutcome {
        self.fencer.run(&self.request(action, timeout_ms), "db1").await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }
}

#[tokio::test]
async fn a_working_device_proves() {
    let script = Script::new(WORKS);
    let outcome = script.run("status", 20_000).await;
    assert!(!outcome.off_read_back && outcome.error.is_empty(), "{outcome:?}");
    let outcome = script.run("off", 20_000).await;
    assert!(
        outcome.off_read_back && outcome.error.is_empty() && outcome.id == 7,
        "{outcome:?}"
    );
    assert!(outcome.evidence.contains("Status: off"), "{outcome:?}");
    assert_eq!(script.read("actions"), "status\noff\nstatus\n");
    // Already off is a success, read anew.
    let outcome = script.run("off", 20_000).await;
    assert!(outcome.off_read_back, "{outcome:?}");
    assert!(script.run("status", 20_000).await.off_read_back);
    assert!(script.read("input").contains("nodename=db2"));
}

#[tokio::test]
async fn reboot_proves_before_it_switches_on() {
    let script = Script::new(WORKS);
    let outcome = script.run("reboot", 20_000).await;
    assert!(outcome.off_read_back, "{outcome:?}");
    let switched_on = async {
        while script.notes.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), switched_on)
        .await
        .unwrap();
    assert_eq!(script.notes.lock().unwrap()[0].kind, "fence-on");
    assert_eq!(script.read("actions"), "off\nstatus\non\n");
    assert_eq!(script.read("power"), "on\n");
}

#[tokio::test]
async fn a_test_changes_nothing_and_holds_up_no_fencing() {
    let script = Script::new(WORKS);
    let outcome = script.run("test", 20_000).await;
    assert!(outcome.error.is_empty() && !outcome.off_read_back, "{outcome:?}");
    assert_eq!(
        (script.read("actions"), script.read("power")),
        ("status\n".into(), "on\n".into())
    );
    // The first look never ends by itself.
    let body = format!("[ \"$(wc -l <actions)\" != 1 ] || sleep 300\n{WORKS}");
    let script = Script::new(&body);
    let fencing = async {
        while script.read("actions").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        script.run("off", 60_000).await
    };
    let (test, fenced) = tokio::join!(script.run("test", 60_000), fencing);
    assert!(test.skipped && test.took_ms < 60_000, "{test:?}");
    assert!(fenced.off_read_back, "{fenced:?}");
}

#[tokio::test]
async fn a_liar_does_not_prove() {
    for body in [
        "exit 0",
        "echo 'Success: Powered OFF'; exit 0",
        // Wrong arguments end with 2 as well.
        "echo \"usage: device [-h]\" >&2; exit 2",
        "case $action in off) exit 0;; *) echo 'Status: ON'; exit 2;; esac",
        "case $action in off) exit 0;; *) echo 'Status: OFF'; exit 0;; esac",
    ] {
        let outcome = Script::new(body).run("off", 1500).await;
        assert!(
            !outcome.off_read_back && !outcome.error.is_empty(),
            "{body}: {outcome:?}"
        );
        assert!(outcome.error.contains("was not read back as off"), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_failing_device_says_why() {
    let outcome = Script::new("echo 'Failed: Unable to connect' >&2; exit 3")
        .run("off", 1000)
        .await;
    assert!(!outcome.off_read_back, "{outcome:?}");
    assert!(
        outcome.error.contains("refused the login") && outcome.error.contains("Unable to connect"),
        "{outcome:?}"
    );
    let outcome = Script::new("kill -9 $$").run("off", 1000).await;
    assert!(
        !outcome.off_read_back && outcome.error.contains("signal"),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_slow_device_is_waited_for() {
    let body = "case $action in
      off) (sleep 1; echo off >power) >/dev/null 2>&1 & ;;
      status) cat power; [ \"$(cat power)\" = on ] || exit 2 ;;
    esac";
    let outcome = Script::new(body).run("off", 30_000).await;
    assert!(outcome.off_read_back, "{outcome:?}");
}

#[tokio::test]
async fn a_hanging_device_ends_in_time_with_all_its_processes() {
    let script = Script::new("sleep 300 & echo $! >>children; wait");
    let outcome = script.run("off", 1500).await;
    assert!(
        !outcome.off_read_back && outcome.error.contains("was killed"),
        "{outcome:?}"
    );
    let children = script.read("children");
    assert!(!children.is_empty());
    for child in children.lines() {
        let stat = format!("/proc/{child}/stat");
        let gone = async {
            while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
    }
}

#[tokio::test]
async fn a_child_that_keeps_the_pipe_does_not_hold_us() {
    let body = format!("sleep 300 &\n{WORKS}");
    let outcome = Script::new(&body).run("off", 30_000).await;
    assert!(outcome.off_read_back, "{outcome:?}");
}

#[tokio::test]
async fn garbage_and_floods_are_bounded() {
    let body = "head -c 3000000 /dev/urandom; head -c 3000000 /dev/urandom >&2; exit 1";
    let outcome = Script::new(body).run("off", 4000).await;
    assert!(!outcome.off_read_back, "{outcome:?}");
    assert!(
        outcome.error.len() < 8000 && !outcome.error.contains(char::is_control),
        "{}",
        outcome.error.len()
    );
}

#[tokio::test]
async fn secrets_stay_secret() {
    let script = Script::new("grep -h password= input; env; cat /proc/$$/cmdline; exit 1");
    let file = script.folder.path().join("secret");
    std::fs::write(&file, "hunter2\n").unwrap();
    let mut request = script.request("off", 1500);
    request
        .params
        .insert("password_file".into(), file.display().to_string());
    let outcome = script.fencer.run(&request, "db1").await;
    assert!(script.read("input").contains("password=hunter2"));
    assert!(!format!("{outcome:?}").contains("hunter2"), "{outcome:?}");
    assert!(outcome.error.contains("password=***"), "{outcome:?}");
}

#[tokio::test]
async fn one_action_at_a_time_on_a_device() {
    let body = "mkdir busy || { echo 'two at once' >overlap; }; sleep 0.1; rmdir busy; ".to_owned() + WORKS;
    let script = Script::new(&body);
    let request = script.request("off", 30_000);
    let both = tokio::join!(
        script.fencer.run(&request, "db1"),
        script.fencer.run(&request, "db1")
    );
    assert!(both.0.off_read_back && both.1.off_read_back);
    assert_eq!(script.read("overlap"), "");
}

#[tokio::test]
async fn refusals_in_words() {
    let script = Script::new(WORKS);
    let run = async |change: &dyn Fn(&mut FenceDevice)| {
        let mut request = script.request("off", 5000);
        change(&mut request);
        let outcome = script.fencer.run(&request, "db1").await;
        assert!(!outcome.off_read_back);
        outcome.error
    };
    assert!(
        run(&|r| drop(r.params.insert("plug".into(), "db1".into())))
            .await
            .contains("which is this node")
    );
    assert!(
        run(&|r| r.params.clear())
            .await
            .contains("needs the parameter \"program\"")
    );
    assert!(
        run(&|r| drop(r.params.insert("program".into(), "/nonexistent".into())))
            .await
            .contains("not an executable")
    );
    assert!(
        run(&|r| r.agent = "fence_ipmilann".into())
            .await
            .contains("not installed")
    );
    assert!(
        run(&|r| r.agent = "rm".into())
            .await
            .contains("not the name of a fence agent")
    );
    assert!(
        run(&|r| r.action = "explode".into())
            .await
            .contains("no fence action")
    );
    assert_eq!(script.read("actions"), "");
}

/// A simulated BMC of OpenIPMI; killed with its test.
struct Bmc {
    child: std::process::Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Drop for Bmc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bmc {
    fn new() -> Option<Self> {
        let missing = [
            "/usr/bin/ipmi_sim",
            "/usr/sbin/fence_ipmilan",
            "/usr/bin/ipmitool",
        ]
        .into_iter()
        .find(|path| !Path::new(path).exists());
        if let Some(path) = missing {
            eprintln!("skipped: {path} is missing (packages openipmi, fence-agents, ipmitool)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let port = std::net::UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let control = format!(
            "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in\nget) cat {0} | sed 's/^/power:/';;\nset) [ \"$2\" = power ] && echo $3 >{0};;\nesac; shift; done\n",
            at("power")
        );
        std::fs::write(at("control"), control).unwrap();
        std::fs::set_permissions(at("control"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(at("power"), "1\n").unwrap();
        let lan = format!(
            "name \"bmc\"\nset_working_mc 0x20\n  startlan 1\n    addr 127.0.0.1 {port}\n    priv_limit admin\n    \
             allowed_auths_callback none md5\n    allowed_auths_user none md5\n    allowed_auths_operator none md5\n    \
             allowed_auths_admin none md5\n    guid a123456789abcdefa123456789abcdef\n  endlan\n  \
             chassis_control \"{}\"\n  user 1 true \"\" \"test\" user 10 none md5\n  user 2 true \"ha\" \"hunter2\" admin 10 none md5\n",
            at("control")
        );
        std::fs::write(at("lan.conf"), lan).unwrap();
        std::fs::write(at("bmc.emu"), "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr\nmc_enable 0x20\n").unwrap();
        std::fs::create_dir(at("state")).unwrap();
        let child = std::process::Command::new("/usr/bin/ipmi_sim")
            .args([
                "-c",
                &at("lan.conf"),
                "-f",
                &at("bmc.emu"),
                "-s",
                &at("state"),
                "-n",
            ])
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Some(Bmc { child, folder, port })
    }

    fn request(&self, action: &str) -> FenceDevice {
        let secret = self.folder.path().join("secret");
        std::fs::write(&secret, "hunter2\n").unwrap();
        let pairs = [
            ("ipaddr", "127.0.0.1".to_owned()),
            ("ipport", self.port.to_string()),
            ("username", "ha".to_owned()),
            ("password_file", secret.display().to_string()),
            ("lanplus", "1".to_owned()),
            ("cipher", "3".to_owned()),
        ];
        FenceDevice {
            id: 1,
            node: "db2".into(),
            agent: "fence_ipmilan".into(),
            params: pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            action: action.into(),
            timeout_ms: 60_000,
            ..FenceDevice::default()
        }
    }
}

#[tokio::test]
async fn fence_ipmilan_on_a_simulated_bmc() {
    let Some(bmc) = Bmc::new() else { return };
    let fencer = Fencer::new(|_| {});
    let power = || {
        std::fs::read_to_string(bmc.folder.path().join("power"))
            .unwrap()
            .trim()
            .to_owned()
    };
    // The simulator needs a moment; the agent retries by itself within its timeout.
    let mut outcome = FenceOutcome::default();
    for _ in 0..20 {
        outcome = fencer.run(&bmc.request("status"), "db1").await;
        if outcome.error.is_empty() {
            break;
        }
    }
    assert!(outcome.error.is_empty() && !outcome.off_read_back, "{outcome:?}");
    let mut wrong = bmc.request("test");
    wrong.params.insert("pasword".into(), "x".into());
    let outcome = fencer.run(&wrong, "db1").await;
    assert!(outcome.error.contains("did you mean \"password\""), "{outcome:?}");
    let outcome = fencer.run(&bmc.request("test"), "db1").await;
    assert!(outcome.error.is_empty(), "{outcome:?}");
    let outcome = fencer.run(&bmc.request("off"), "db1").await;
    eprintln!("{}", outcome.evidence);
    assert!(outcome.off_read_back, "{outcome:?}");
    assert_eq!(power(), "0");
    let outcome = fencer.run(&bmc.request("status"), "db1").await;
    assert!(outcome.off_read_back, "{outcome:?}");
    // A wrong password proves nothing, and does not show.
    let mut refused = bmc.request("off");
    refused.params.remove("password_file");
    refused.params.insert("password".into(), "wrong-one".into());
    refused.timeout_ms = 15_000;
    let outcome = fencer.run(&refused, "db1").await;
    assert!(
        !outcome.off_read_back && !format!("{outcome:?}").contains("wrong-one"),
        "{outcome:?}"
    );
    eprintln!("{}", outcome.error);
}

#[tokio::test]
async fn our_own_ipmi_verifies_the_machine_and_is_as_strict() {
    let Some(bmc) = Bmc::new() else { return };
    let fencer = Fencer::new(|_| {});
    let own = |action: &str, uuid: &str| {
        let mut request = bmc.request(action);
        request.agent = "ipmi".into();
        let ip = request.params.remove("ipaddr").unwrap();
        request.params.insert("ip".into(), ip);
        request.params.remove("lanplus");
        request.params.insert("privlvl".into(), "administrator".into());
        if !uuid.is_empty() {
            request.params.insert("uuid".into(), uuid.into());
        }
        request
    };
    let power = || {
        std::fs::read_to_string(bmc.folder.path().join("power"))
            .unwrap()
            .trim()
            .to_owned()
    };
    let mut outcome = FenceOutcome::default();
    for _ in 0..20 {
        outcome = fencer.run(&own("test", ""), "db1").await;
        if outcome.error.is_empty() {
            break;
        }
    }
    assert!(outcome.evidence.contains("give that as uuid"), "{outcome:?}");
    let (_, rest) = outcome.evidence.split_once("it is machine ").unwrap();
    let machine = rest.split_once(':').unwrap().0.to_owned();
    let other = "00000000-0000-0000-0000-000000000001";
    for action in ["test", "off", "on"] {
        let mut wrong = own(action, other);
        wrong.timeout_ms = 4_000;
        let outcome = fencer.run(&wrong, "db1").await;
        assert!(!outcome.off_read_back && power() == "1", "{outcome:?}");
        assert!(
            action == "on" || outcome.error.contains("belongs to machine"),
            "{outcome:?}"
        );
    }
    // The attempt to switch on still has the device.
    let mut outcome = fencer.run(&own("test", &machine), "db1").await;
    while outcome.skipped {
        tokio::time::sleep(Duration::from_millis(20)).await;
        outcome = fencer.run(&own("test", &machine), "db1").await;
    }
    assert!(outcome.evidence.contains("verified: machine"), "{outcome:?}");
    let outcome = fencer.run(&own("off", &machine), "db1").await;
    eprintln!("{} ms: {}", outcome.took_ms, outcome.evidence);
    assert!(outcome.off_read_back && power() == "0", "{outcome:?}");
    let outcome = fencer.run(&own("status", &machine), "db1").await;
    assert!(outcome.off_read_back, "{outcome:?}");
    let secret = bmc.folder.path().join("wrong");
    std::fs::write(&secret, "wrong-one\n").unwrap();
    let mut refused = own("off", "");
    refused
        .params
        .insert("password_file".into(), secret.display().to_string());
    refused.timeout_ms = 8_000;
    let outcome = fencer.run(&refused, "db1").await;
    assert!(
        !outcome.off_read_back && !format!("{outcome:?}").contains("wrong-one"),
        "{outcome:?}"
    );
}

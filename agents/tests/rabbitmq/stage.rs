//! Files and ports of real brokers on this machine. The tests of cluster mode, which reach into the crate, have it too.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A folder with all that brokers share; ends what uses it.
pub struct Stage {
    pub folder: tempfile::TempDir,
    pub epmd: u16,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Stage {
    /// None, and that is said, where RabbitMQ is not installed.
    pub fn new() -> Option<Stage> {
        if !Path::new(SERVER).exists() {
            eprintln!("not run: rabbitmq-server is not installed");
            return None;
        }
        let stage = Stage {
            folder: tempfile::tempdir().unwrap(),
            epmd: free_port(),
        };
        let cookie = stage.cookie();
        std::fs::write(&cookie, "HOLDFASTTEST").unwrap();
        std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400)).unwrap();
        std::fs::write(stage.file("enabled_plugins"), "[].\n").unwrap();
        Some(stage)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn cookie(&self) -> PathBuf {
        self.file(".erlang.cookie")
    }

    /// Writes the configuration of a broker whose files are called `name`, with `settings` in it: its port, and the parameters of
    /// its agent.
    pub fn broker(&self, name: &str, settings: &str) -> (u16, BTreeMap<String, String>) {
        let dir = self.folder.path().display();
        let (port, dist, epmd) = (free_port(), free_port(), self.epmd);
        let conf = format!("listeners.tcp.local = 127.0.0.1:{port}\n{settings}");
        std::fs::write(self.file(&format!("{name}.conf")), conf).unwrap();
        let env = format!(
            "HOME={dir}\nRABBITMQ_MNESIA_BASE={dir}/{name}\nRABBITMQ_LOG_BASE={dir}/log\nRABBITMQ_DIST_PORT={dist}\n\
             ERL_EPMD_PORT={epmd}\nERL_EPMD_ADDRESS=127.0.0.1\nRABBITMQ_CONFIG_FILE={dir}/{name}.conf\n\
             RABBITMQ_CONF_ENV_FILE={dir}/none\nRABBITMQ_ENABLED_PLUGINS_FILE={dir}/enabled_plugins\n\
             RABBITMQ_PID_FILE={dir}/{name}.pid"
        );
        let params = [
            ("command", SERVER.to_owned()),
            ("env", env),
            ("data_dir", format!("{dir}/{name}")),
            ("port", port.to_string()),
            ("probe_interval_ms", "200".into()),
        ];
        let params = params.map(|(key, value)| (key.to_owned(), value));
        (port, params.into())
    }

    /// Processes that were started with its folder as their home: brokers, their helpers, epmd.
    pub fn processes(&self) -> Vec<Pid> {
        let mark = format!("HOME={}", self.folder.path().display());
        let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment
                .split(|byte| *byte == 0)
                .any(|line| line == mark.as_bytes())
        })
        .map(Pid::from_raw)
        .collect()
    }

    pub fn signal(&self, signal: Signal) {
        for pid in self.processes() {
            let _ = kill(pid, signal);
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}

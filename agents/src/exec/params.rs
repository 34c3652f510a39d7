//! Parameters of the `exec` agent.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::unistd::{Uid, User, getgrouplist};

use crate::agent::{AgentError, AgentMeta, ParamMeta};
use crate::sys::Identity;
use crate::sys::launch::Step;

/// What systemd tells had-agentd.
const NOT_FOR_PROGRAMS: [&str; 5] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PID",
    "LISTEN_FDS",
];

/// The agent's description.
pub const META: AgentMeta = AgentMeta {
    kind: "exec",
    summary: "runs a program in the foreground and supervises it",
    params: &[
        ParamMeta::required(
            "command",
            "the program's absolute path, then its arguments; no shell",
        ),
        ParamMeta::optional("user", "the user it runs as (default: had-agentd's own)"),
        ParamMeta::optional("cwd", "its working folder (default: /)"),
        ParamMeta::optional("env", "NAME=VALUE for each variable added to its environment"),
    ],
};

/// Checked parameters.
pub struct Params {
    pub program: String,
    pub arguments: Vec<String>,
    pub user: Option<String>,
    pub cwd: String,
    pub env: Vec<(String, String)>,
}

impl Params {
    pub fn read(params: &BTreeMap<String, String>) -> Result<Params, AgentError> {
        if params.values().any(|value| value.contains('\0')) {
            return Err(AgentError::new("agent exec: a parameter holds a NUL byte"));
        }
        let mut words = params
            .get("command")
            .map(String::as_str)
            .unwrap_or_default()
            .split('\n')
            .map(str::to_owned);
        let program = words.next().unwrap_or_default();
        if !program.starts_with('/') {
            return Err(AgentError(format!(
                "agent exec: command {program:?} is not an absolute path"
            )));
        }
        let env = params.get("env").map(String::as_str).unwrap_or_default();
        let env = env.lines().filter(|line| !line.trim().is_empty()).map(|line| {
            // The value may be a secret: name only the variable.
            line.split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .ok_or_else(|| AgentError::new("agent exec: each line of env is NAME=VALUE, one has no ="))
        });
        Ok(Params {
            arguments: words.collect(),
            user: params.get("user").filter(|user| !user.is_empty()).cloned(),
            cwd: params
                .get("cwd")
                .filter(|cwd| !cwd.is_empty())
                .cloned()
                .unwrap_or_else(|| "/".into()),
            env: env.collect::<Result<_, _>>()?,
            program,
        })
    }

    /// Ids of `user`. None when nothing has to change.
    pub fn identity(&self) -> Result<Option<Identity>, AgentError> {
        let Some(name) = &self.user else { return Ok(None) };
        let absent = || {
            AgentError(format!(
                "agent exec: there is no user {name:?} on this node; create it"
            ))
        };
        let user = User::from_name(name).ok().flatten().ok_or_else(absent)?;
        if user.uid == Uid::current() {
            return Ok(None);
        }
        let c_name = CString::new(name.as_str()).map_err(|_| absent())?;
        let groups = getgrouplist(&c_name, user.gid).map_err(|error| {
            AgentError(format!(
                "agent exec: the groups of user {name:?} cannot be read: {error}"
            ))
        })?;
        let groups = groups.into_iter().map(nix::unistd::Gid::as_raw).collect();
        Ok(Some(Identity {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups,
        }))
    }
}

impl Params {
    /// Program, arguments and working folder as the kernel takes them.
    pub fn command(&self) -> Result<(CString, Vec<CString>, CString), AgentError> {
        let args = self.arguments.iter().map(|word| c_string(word.as_bytes()));
        Ok((
            c_string(self.program.as_bytes())?,
            args.collect::<Result<_, _>>()?,
            c_string(self.cwd.as_bytes())?,
        ))
    }

    /// Our own environment, without what systemd tells had-agentd, then the parameter's variables, then `told`, which
    /// cannot be overridden.
    pub fn environment(&self, told: &[(&str, &str)]) -> Result<Vec<CString>, AgentError> {
        let mut all: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        all.retain(|name, _| !NOT_FOR_PROGRAMS.iter().any(|hidden| name == hidden));
        let own = self.env.iter();
        all.extend(own.map(|(name, value)| (name.into(), value.into())));
        all.extend(told.iter().map(|(name, value)| (name.into(), value.into())));
        let line = |(name, value): (OsString, OsString)| {
            c_string(&[name.as_bytes(), b"=", value.as_bytes()].concat())
        };
        all.into_iter().map(line).collect()
    }

    /// Why the program could not be started.
    pub fn explain(&self, step: Step, error: &io::Error) -> String {
        let program = &self.program;
        match step {
            Step::Prepare | Step::Enter => format!("cannot prepare to run {program}: {error}"),
            Step::Identity => {
                let user = self.user.as_deref().unwrap_or_default();
                format!("cannot run {program} as user {user}: {error}")
            }
            Step::Folder => format!("cannot run {program} in {}: {error}", self.cwd),
            Step::Execute if error.raw_os_error() == Some(libc::ENOEXEC) => {
                format!(
                    "cannot run {program}: it is neither a program for this machine nor a script that begins with #!"
                )
            }
            Step::Execute => format!("cannot run {program}: {error}"),
        }
    }
}

/// A parameter as the kernel takes it. NUL bytes were refused before.
fn c_string(bytes: &[u8]) -> Result<CString, AgentError> {
    CString::new(bytes).map_err(|_| AgentError::new("agent exec: a parameter holds a NUL byte"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Params, AgentError> {
        Params::read(
            &pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    #[test]
    fn good_parameters_are_split() {
        let params = read(&[("command", "/bin/x\n-a\nb c"), ("env", "A=1\n\nB=x=y")]).unwrap();
        assert_eq!(params.arguments, ["-a", "b c"]);
        assert_eq!(
            params.env,
            [
                ("A".to_owned(), "1".to_owned()),
                ("B".to_owned(), "x=y".to_owned())
            ]
        );
        assert_eq!(params.cwd, "/");
    }

    #[test]
    fn what_holdfast_tells_a_program_cannot_be_overridden() {
        let params = read(&[("command", "/bin/x"), ("env", "HOLDFAST_EPOCH=9\nMODE=a")]).unwrap();
        let all = params.environment(&[("HOLDFAST_EPOCH", "4")]).unwrap();
        let lines: Vec<&str> = all.iter().filter_map(|line| line.to_str().ok()).collect();
        assert!(
            lines.contains(&"HOLDFAST_EPOCH=4") && lines.contains(&"MODE=a"),
            "{lines:?}"
        );
        assert!(!lines.contains(&"HOLDFAST_EPOCH=9"), "{lines:?}");
    }

    #[test]
    fn bad_parameters_are_refused_without_showing_values() {
        assert!(read(&[("command", "x")]).is_err());
        let error = read(&[("command", "/bin/x"), ("env", "hunter2")])
            .map(|_| ())
            .unwrap_err();
        assert!(!error.0.contains("hunter2"), "{error}");
        let params = read(&[("command", "/bin/x"), ("user", "no-such-user")]).unwrap();
        assert!(params.identity().unwrap_err().0.contains("no-such-user"));
    }
}

//! Pacemaker's executor: `crm_resource --force-*` on a CIB in a file runs the agent itself, without a cluster.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_agents::ocf::environment::ATTRIBUTES;

use crate::cases::Case;
use crate::inside::{Host, WORK};

const CIB: &str = "/run/cib.xml";
/// The resource, called as Holdfast calls it, because agents put it into the names of files.
pub const INSTANCE: &str = "shop.db";

/// Runs one case.
pub struct Runner;

impl Runner {
    pub fn new(case: &Case) -> Result<Runner> {
        let empty = Command::new("cibadmin").arg("--empty").output()?;
        ensure!(empty.status.success(), "cibadmin --empty failed");
        std::fs::write(CIB, empty.stdout)?;
        let (provider, kind) = case.agent.split_once(':').context("PROVIDER:TYPE")?;
        let mut pairs = String::new();
        for (place, (name, value)) in case.params.iter().enumerate() {
            let value = value
                .replace('&', "&amp;")
                .replace('"', "&quot;")
                .replace('<', "&lt;");
            write!(
                pairs,
                "<nvpair id=\"p{place}\" name=\"{name}\" value=\"{value}\"/>"
            )?;
        }
        let primitive = format!(
            "<primitive id=\"{INSTANCE}\" class=\"ocf\" provider=\"{provider}\" type=\"{kind}\">\
             <instance_attributes id=\"ia\">{pairs}</instance_attributes></primitive>"
        );
        let resource = if case.promotable {
            format!(
                "<clone id=\"c\"><meta_attributes id=\"m\"><nvpair id=\"mp\" name=\"promotable\" value=\"true\"/>\
                 </meta_attributes>{primitive}</clone>"
            )
        } else {
            primitive
        };
        let made = Command::new("cibadmin")
            .args(["-o", "resources", "-C", "-X", &resource])
            .env("CIB_file", CIB)
            .output()?;
        ensure!(
            made.status.success(),
            "the CIB refuses it: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Ok(Runner)
    }
}

/// Agents' calls of `crm_master` and the like are answered as under Holdfast: there is no cluster to answer them.
fn tools() -> Result<Vec<(&'static str, String)>> {
    let folder = holdfast_agents::ocf::tools::install(Path::new("/run/tools")).context("the stand-ins")?;
    let folder = folder.display().to_string();
    let node = nix::unistd::gethostname()?.to_string_lossy().into_owned();
    Ok(vec![
        (
            "PATH",
            format!("{folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ),
        ("HA_SBIN_DIR", folder),
        (ATTRIBUTES, "/run/attributes".to_owned()),
        ("OCF_RESKEY_CRM_meta_on_node", node),
    ])
}

impl Host for Runner {
    fn action(&mut self, action: &str) -> Result<(Option<i32>, String)> {
        let flag = match action {
            "monitor" => "--force-check".to_owned(),
            other => format!("--force-{other}"),
        };
        // Daemons keep the pipe open that they inherit, so what it prints goes to a file.
        let path = format!("{WORK}/.said");
        let said = std::fs::File::create(&path)?;
        let status = Command::new("timeout")
            .args(["180", "crm_resource", &flag, "-r", INSTANCE])
            .env("CIB_file", CIB)
            .envs(tools()?)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .status()?;
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let code = text
            .lines()
            .filter(|line| line.starts_with("Operation "))
            .find_map(|line| line.split(" returned ").nth(1)?.split(' ').next()?.parse().ok());
        let reason = text
            .lines()
            .filter_map(|line| line.split("ocf-exit-reason:").nth(1))
            .next_back();
        let words = reason.map_or_else(|| format!("crm_resource ended with {status}"), str::to_owned);
        Ok((code, words))
    }

    fn noticed(&mut self) -> Option<String> {
        None
    }
}

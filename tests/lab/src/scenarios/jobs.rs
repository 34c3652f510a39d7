//! Jobs on a replica, each minute, across power loss: of the node on which one runs, and of the primary a moment before the
//! next is due.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use holdfast_proto::control::{EventView, GroupView, StatusView};

use crate::cluster::{Cluster, Shape, fences};
use crate::lab::Lab;
use crate::machine::Machine;
use crate::sh;

/// The group whose replica they run on. The name is part of the file that its redis includes.
const GROUP: &str = "redis";
/// A run of it that is interrupted is not begun again.
const ONCE: &str = "once";
/// A run of it that is interrupted is begun again, on the primary if need be.
const AGAIN: &str = "again";
/// How long it may take until both copies are whole, or until the next minute's run.
const WHOLE: Duration = Duration::from_secs(150);
/// Where each node's jobs write what they did.
const LOG: &str = "/var/log/lab-job";

/// One line of that log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    job: String,
    occurrence: u64,
    attempt: u32,
    run: u64,
    node: String,
}

/// The replica dies in the middle of its runs; then the primary dies just before the next ones are due.
pub fn jobs(lab: &mut Lab) -> Result<String> {
    lab.discard();
    let lab = &*lab;
    let cluster = Cluster::boot(lab, Shape::Trio)?;
    let done = form(lab, &cluster).and_then(|()| run(&cluster));
    lab.power.wire(&[]);
    if done.is_err() {
        let look = |machine: &std::sync::Arc<Machine>| {
            machine.look(&format!("hactl job list; hactl job history; cat {LOG}"))
        };
        let said: String = cluster.data().iter().map(look).collect();
        lab.log("jobs-nodes", &(cluster.report() + &said))?;
    }
    done
}

fn form(lab: &Lab, cluster: &Cluster) -> Result<()> {
    cluster.provision(lab)?;
    cluster.join()?;
    let files = lab.source.join("tests/lab/files");
    for machine in cluster.data() {
        machine
            .node()
            .put(&files.join("failovers-redis"), "/root/redis")?;
        machine.node().put(&files.join("job"), "/usr/local/bin/lab-job")?;
        machine.sh("sh /root/redis && chmod 755 /usr/local/bin/lab-job")?;
    }
    let job = |name: &str, more: &str| {
        format!(
            "[[job]]\nname = \"{name}\"\ngroup = \"{GROUP}\"\non = \"replica\"\ncalendar = \"* * * * *\"\n\
             command = [\"/usr/local/bin/lab-job\"]\ntimeout = \"40s\"\ncatch_up = \"50s\"\n{more}\n"
        )
    };
    let text = format!(
        "{}[[group]]\nname = \"{GROUP}\"\nprefer = [\"n1\"]\n\n\
         [[group.resource]]\nname = \"redis\"\ntype = \"redis\"\nunit = \"redis-server.service\"\n\n{}{}",
        fences(),
        job(ONCE, ""),
        job(AGAIN, "on_interrupt = \"rerun\"\nfallback = \"primary\"\n")
    );
    cluster.machines[0]
        .sh_with("/root/provision/services.sh", &text)
        .map(drop)
}

fn run(cluster: &Cluster) -> Result<String> {
    whole(cluster)?;
    let interrupted =
        lose_the_replica(cluster).context("the replica loses its power in the middle of a run")?;
    whole(cluster)?;
    let late = lose_the_primary(cluster).context("the primary loses its power before a run is due")?;
    whole(cluster)?;
    // And one that is as it should be.
    begun_after(cluster, AGAIN, now())?;
    let last = begun_after(cluster, ONCE, now() - 60)?;
    ended(cluster, &last)?;
    let counted = account(cluster, last.occurrence)?;
    Ok(format!("{interrupted}; {late}; {counted}"))
}

/// The node on which both jobs run loses its power. One run is over for good, the other is begun again on the primary.
fn lose_the_replica(cluster: &Cluster) -> Result<String> {
    let primary = primary(cluster)?;
    let replica = cluster.other(&primary);
    let once = begun_after(cluster, ONCE, now())?;
    let again = sh::wait("the other job to begin", WHOLE, || {
        entries(cluster, "begin")
            .into_iter()
            .find(|entry| entry.job == AGAIN && entry.occurrence == once.occurrence)
    })?;
    for entry in [&once, &again] {
        ensure!(entry.node == replica.name, "{entry:?} did not run on the replica");
    }
    replica.node().power_off()?;
    let second = sh::wait("the second try", WHOLE, || {
        entries(cluster, "begin")
            .into_iter()
            .find(|entry| entry.job == AGAIN && entry.occurrence == again.occurrence && entry.attempt == 2)
    })?;
    ensure!(
        second.node == primary,
        "{second:?} did not run on {primary}, where its group is"
    );
    replica.node().power_on()?;
    whole(cluster)?;
    ended(cluster, &second)?;
    sh::wait("the interrupted run in the history", WHOLE, || {
        history(cluster)
            .iter()
            .filter_map(|event| event.job.as_ref())
            .any(|run| run.job == ONCE && run.run == once.run && run.state == "interrupted")
            .then_some(())
    })?;
    Ok(format!(
        "run {} on {} interrupted, run {} began again on {} as run {}",
        once.run, once.node, again.run, second.node, second.run
    ))
}

/// The primary is gone when the next time comes: its replica is the primary now, and what has to run on a replica waits for one.
fn lose_the_primary(cluster: &Cluster) -> Result<String> {
    let primary = primary(cluster)?;
    let other = cluster.other(&primary);
    // What runs now ends first.
    sh::wait("a moment before the next minute", WHOLE, || {
        (now() % 60 == 57).then_some(())
    })?;
    let due = now() / 60 * 60 + 60;
    cluster.machine(&primary).node().power_off()?;
    other.wait_status("the replica to be promoted", WHOLE, |view| {
        group(view).is_some_and(|group| group.state == "running" && group.node == other.name)
    })?;
    sh::wait("the next minute", WHOLE, || (now() >= due).then_some(()))?;
    cluster.machine(&primary).node().power_on()?;
    let again = begun_after(cluster, AGAIN, due - 1)?;
    let once = begun_after(cluster, ONCE, due - 1)?;
    let late = now().saturating_sub(once.occurrence);
    Ok(format!(
        "{primary} lost its power 3 s before a time: {AGAIN} began on {}, {ONCE} on {} {late} s late",
        again.node, once.node
    ))
}

/// What every node's jobs wrote down: nothing began twice, and each minute until `last` is accounted for.
fn account(cluster: &Cluster, last: u64) -> Result<String> {
    let begun = entries(cluster, "begin");
    let mut tries: BTreeMap<(&str, u64), Vec<&Entry>> = BTreeMap::new();
    for entry in &begun {
        tries
            .entry((&entry.job, entry.occurrence))
            .or_default()
            .push(entry);
    }
    let mut runs = BTreeSet::new();
    for entry in &begun {
        ensure!(runs.insert(entry.run), "run {} began twice: {begun:?}", entry.run);
    }
    let history = history(cluster);
    let told: Vec<_> = history.iter().filter_map(|event| event.job.as_ref()).collect();
    for ((job, occurrence), tries) in &tries {
        let attempts: BTreeSet<u32> = tries.iter().map(|entry| entry.attempt).collect();
        ensure!(
            attempts.len() == tries.len() && (*job == AGAIN || tries.len() == 1),
            "{job} of {occurrence} began more than once: {tries:?}"
        );
        for entry in tries {
            let known = told
                .iter()
                .any(|run| run.run == entry.run && run.node == entry.node);
            ensure!(known, "{entry:?} is not in the history");
        }
    }
    let mut left_out = 0;
    for job in [ONCE, AGAIN] {
        let mine = tries.keys().filter(|(name, _)| *name == job);
        let first = mine.map(|(_, at)| *at).min().context("no run at all")?;
        for at in (first..=last).step_by(60) {
            let stamp = stamp_of(at)?;
            let skipped = told
                .iter()
                .any(|run| run.job == job && run.state == "skipped" && run.occurrence.starts_with(&stamp));
            let began = tries.contains_key(&(job, at));
            ensure!(
                began || skipped,
                "{job} of {stamp} did not begin, and nobody said why"
            );
            left_out += u32::from(!began);
        }
    }
    Ok(format!(
        "{} runs of {} times, none twice, {left_out} left out with a reason",
        begun.len(),
        tries.len()
    ))
}

/// As `hactl` writes it, to the minute.
fn stamp_of(at: u64) -> Result<String> {
    let said = sh::run("date", &["-u", "-d", &format!("@{at}"), "+%Y-%m-%dT%H:%M"])?;
    Ok(said.trim().to_string())
}

/// Waits for the first run of `job` for a time later than `after`.
fn begun_after(cluster: &Cluster, job: &str, after: u64) -> Result<Entry> {
    sh::wait(&format!("the next run of {job}"), WHOLE, || {
        let begun = entries(cluster, "begin").into_iter();
        begun
            .filter(|entry| entry.job == job && entry.occurrence > after)
            .min()
    })
}

fn ended(cluster: &Cluster, run: &Entry) -> Result<()> {
    sh::wait(&format!("{} to come to its end", run.job), WHOLE, || {
        entries(cluster, "end").contains(run).then_some(())
    })
}

/// What both nodes' jobs wrote down, as far as they have power.
fn entries(cluster: &Cluster, word: &str) -> Vec<Entry> {
    let of = |machine: &std::sync::Arc<Machine>| {
        let text = machine.sh(&format!("cat {LOG} 2>/dev/null || true"));
        let lines: Vec<Entry> = text
            .unwrap_or_default()
            .lines()
            .filter_map(|line| entry(line, word, &machine.name))
            .collect();
        lines
    };
    cluster.data().iter().flat_map(of).collect()
}

fn entry(line: &str, word: &str, node: &str) -> Option<Entry> {
    let mut words = line.split(' ');
    (words.next()? == word).then_some(())?;
    Some(Entry {
        job: words.next()?.into(),
        occurrence: words.next()?.parse().ok()?,
        run: words.next()?.parse().ok()?,
        attempt: words.next()?.parse().ok()?,
        node: node.into(),
    })
}

/// What both nodes heard of.
fn history(cluster: &Cluster) -> Vec<EventView> {
    let of = |machine: &std::sync::Arc<Machine>| {
        let text = machine
            .sh("hactl --json job history --last 500")
            .unwrap_or_default();
        let events: Vec<EventView> = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        events
    };
    cluster.data().iter().flat_map(of).collect()
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

fn group(view: &StatusView) -> Option<&GroupView> {
    view.groups.iter().find(|group| group.name == GROUP)
}

fn primary(cluster: &Cluster) -> Result<String> {
    let view = cluster.data().iter().find_map(|machine| machine.status());
    let view = view.context("no node answers hactl")?;
    let node = group(&view).map(|group| group.node.clone());
    node.filter(|node| !node.is_empty()).context("nobody is promoted")
}

/// Waits until both copies run and hold everything.
fn whole(cluster: &Cluster) -> Result<()> {
    cluster.whole(WHOLE)?;
    for machine in cluster.data() {
        machine.wait_status("both copies to be whole", WHOLE, |view| {
            let well = |group: &GroupView| {
                let members = group.members.iter();
                let whole = members.filter(|member| member.in_sync && member.state == "running");
                group.state == "running" && whole.count() == 2
            };
            group(view).is_some_and(well)
        })?;
    }
    Ok(())
}

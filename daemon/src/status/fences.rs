//! Fence devices, as the tests from this node showed them.

use holdfast_proto::config::FenceKind;
use holdfast_proto::control::{FenceDeviceView, FenceTestView};
use holdfast_proto::ids::NodeId;
use holdfast_proto::time::Time;

use crate::fence_tests::{DeviceTest, Shown};
use crate::shell::api::Snapshot;

/// The devices of `member`.
#[must_use]
pub fn devices(snapshot: &Snapshot, member: NodeId) -> Vec<FenceDeviceView> {
    let tests = snapshot.fence_tests.iter();
    tests
        .filter(|test| test.section.node == member)
        .map(|test| device(test, snapshot.now))
        .collect()
}

/// The answer to a test of the devices of `member`.
#[must_use]
pub fn tested(snapshot: &Snapshot, member: NodeId, tests: &[DeviceTest]) -> FenceTestView {
    let devices: Vec<FenceDeviceView> = tests.iter().map(|test| device(test, snapshot.now)).collect();
    FenceTestView {
        node: snapshot.config.name_of(member),
        from: snapshot.config.name_of(snapshot.view.node),
        ok: !devices.is_empty() && devices.iter().all(|device| device.state == "proven"),
        devices,
    }
}

fn device(test: &DeviceTest, now: Time) -> FenceDeviceView {
    let ago = |at: Option<Time>| at.map(|at| at.until(now).as_secs());
    FenceDeviceView {
        agent: test.section.agent.clone(),
        level: test.section.level.into(),
        kind: match test.section.kind {
            FenceKind::Power => "power",
            FenceKind::Storage => "storage",
        }
        .into(),
        state: match test.shown {
            Shown::Nothing => "untested",
            Shown::Proven => "proven",
            Shown::Failing => "failing",
        }
        .into(),
        tested_s_ago: ago(test.tested_at),
        proven_s_ago: ago(test.proven_at),
        took_ms: test.took_ms,
        detail: test.text.clone(),
        method: test.section.method.clone().unwrap_or_default(),
    }
}

/// One line for each device of `member`, for people.
#[must_use]
pub fn lines(snapshot: &Snapshot, member: NodeId) -> Vec<String> {
    let own = member == snapshot.view.node;
    let line = |device: FenceDeviceView| {
        let shown = match (device.state.as_str(), device.proven_s_ago) {
            ("untested", _) if own => "tested by the other nodes".into(),
            ("untested", _) => "not tested yet".into(),
            ("proven", Some(ago)) => format!("proven {}", age(ago)),
            (_, Some(ago)) => format!("failing, last proven {}", age(ago)),
            (_, None) => "failing".into(),
        };
        let method = match device.method.as_str() {
            "" => String::new(),
            method => format!(", method {method}"),
        };
        format!("{} (level {}{method}): {shown}", device.agent, device.level)
    };
    devices(snapshot, member).into_iter().map(line).collect()
}

/// A sentence for each device that would be of no use now.
pub fn warnings(snapshot: &Snapshot) -> impl Iterator<Item = String> {
    let failing = snapshot.fence_tests.iter();
    failing
        .filter(|test| test.shown == Shown::Failing)
        .map(|test| {
            let node = snapshot.config.name_of(test.section.node);
            format!(
                "the fence device {} of {node} would be of no use now: {}; after mending it, `hactl fence test {node}`",
                test.section.agent, test.text
            )
        })
}

/// How long ago, in one unit.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => "just now".into(),
        60..7200 => format!("{} min ago", seconds / 60),
        7200..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fence_tests::{FenceTests, Shown};
    use crate::status::fixture;

    fn snapshot(shown: Shown) -> Snapshot {
        let mut snapshot = fixture::healthy();
        let config = fixture::with_fences();
        let mut tests = FenceTests::new(&config, NodeId(1), Time::ZERO).picture();
        for test in tests.iter_mut().filter(|test| test.section.node == NodeId(2)) {
            test.shown = shown.clone();
            test.tested_at = Some(Time::ZERO);
            test.proven_at = (shown == Shown::Proven).then_some(Time::ZERO);
            test.text = "it says so".into();
        }
        snapshot.config = config.into();
        snapshot.fence_tests = tests;
        snapshot.now = Time(3 * 3_600_000_000);
        snapshot
    }

    #[test]
    fn the_status_says_how_long_ago_fencing_was_proven() {
        let snapshot = snapshot(Shown::Proven);
        assert_eq!(lines(&snapshot, NodeId(2)), ["exec (level 1): proven 3 h ago"]);
        assert_eq!(
            lines(&snapshot, NodeId(1)),
            ["exec (level 1): tested by the other nodes"]
        );
        assert_eq!(warnings(&snapshot).count(), 0);
        assert!(tested(&snapshot, NodeId(2), &snapshot.fence_tests[1..]).ok);
    }

    #[test]
    fn a_device_that_fails_is_warned_of() {
        let snapshot = snapshot(Shown::Failing);
        let warnings: Vec<String> = warnings(&snapshot).collect();
        assert!(
            warnings[0].contains("of db2 would be of no use now: it says so"),
            "{warnings:?}"
        );
        assert_eq!(crate::status::status(&snapshot).health, "degraded");
        assert!(!tested(&snapshot, NodeId(2), &snapshot.fence_tests[1..]).ok);
        assert!(
            !tested(&snapshot, NodeId(2), &[]).ok,
            "a node without a device is not proven"
        );
    }
}

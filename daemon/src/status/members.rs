//! Members of groups: roles, and what is seen of copies.

use holdfast_core::view::MemberView as CoreMember;
use holdfast_proto::config::Config;
use holdfast_proto::control::MemberView;
use holdfast_proto::peer::CopyReport;

/// A member, for people and programs.
pub fn member(config: &Config, core: &CoreMember) -> MemberView {
    let report = core.report.as_deref();
    let copy = report.and_then(|report| report.copy.as_ref());
    let state = match report {
        _ if !core.online => "lost",
        Some(report) => report.run.as_str(),
        None => "",
    };
    let text = |of: fn(&CopyReport) -> &String| copy.map(of).cloned().unwrap_or_default();
    MemberView {
        node: config.name_of(core.node),
        role: core.role.into(),
        state: state.into(),
        in_sync: core.in_sync,
        lag_ms: copy.and_then(|copy| copy.lag_ms),
        position: copy.map(position).unwrap_or_default(),
        possible_loss: text(|copy| &copy.possible_loss),
        obstacle: text(|copy| &copy.obstacle),
        readable: core.online && copy.is_some_and(|copy| copy.readable),
        detail: report.map(|report| report.detail.clone()).unwrap_or_default(),
    }
}

fn position(copy: &CopyReport) -> String {
    match (copy.position_text.as_str(), copy.position) {
        ("", 0) => String::new(),
        ("", number) => number.to_string(),
        (text, _) => text.into(),
    }
}

//! `hactl config`.

use std::io::Read;
use std::path::Path;

use holdfast_proto::config::{self, CONFIG_BYTES_MAX, Config, Diagnostic, Diagnostics};
use holdfast_proto::control::control_reply::Body as Reply;
use holdfast_proto::control::control_request::Body as Request;
use holdfast_proto::control::{ConfigRequest, Empty, TimerRow, TimersView};
use serde::Serialize;

use super::guards::Warned;
use super::wait::{Step, ask_and_tell, carry_out, waiting_for};
use crate::cli::ConfigCommand;
use crate::client::Endpoint;
use crate::outcome::{Exit, Failure};
use crate::ui::text::{clean, one_line, pad, widest, wrap};
use crate::ui::{Paint, Tone, Ui};

/// Runs the command.
///
/// # Errors
/// When the file is invalid, the cluster refuses, or the time is over.
pub fn run(had: &Endpoint, command: ConfigCommand, ui: &Ui) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file, root } => check(&file, root.as_deref(), ui),
        ConfigCommand::Show => show(had, ui),
        ConfigCommand::Timers { file } => timers(had, file.as_deref(), ui),
        ConfigCommand::Apply { file, dry_run, wait } => {
            let valid = load(&file, ui)?;
            let request = Request::ConfigApply(ConfigRequest {
                text: valid.source,
                dry_run,
            });
            if dry_run {
                return ask_and_tell(had, request, ui);
            }
            carry_out(
                had,
                request,
                &wait,
                ui,
                |before| before.groups.iter().map(|group| group.name.clone()).collect(),
                |_, view| {
                    let busy = |state: &str| matches!(state, "starting" | "stopping" | "moving");
                    view.groups.iter().find(|group| busy(&group.state)).map_or_else(
                        || Step::Done(format!("the configuration is in force as state {}", view.version)),
                        waiting_for,
                    )
                },
            )
        }
    }
}

/// The JSON document of `config check`.
#[derive(Serialize)]
struct CheckJson<'a> {
    ok: bool,
    file: String,
    errors: &'a [Diagnostic],
    /// What OCF agents of this node refuse, and what its DRBD configuration contradicts.
    agent_errors: &'a [String],
    warnings: &'a [String],
    /// What the services' own files say, where they were looked at.
    services: &'a [Warned],
}

/// Reads a file, bounded.
///
/// # Errors
/// When it cannot be read or is too long.
pub fn read(file: &Path) -> anyhow::Result<String> {
    let at = file.display();
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(CONFIG_BYTES_MAX as u64 + 1).read_to_end(&mut bytes))
        .map_err(|error| Failure::new(Exit::Failed, format!("{at} cannot be read: {error}")))?;
    if bytes.len() > CONFIG_BYTES_MAX {
        return Err(Failure::new(
            Exit::InvalidConfig,
            format!(
                "{at} is longer than the {} MB a configuration may have",
                CONFIG_BYTES_MAX >> 20
            ),
        )
        .into());
    }
    String::from_utf8(bytes).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Failure::new(
            Exit::InvalidConfig,
            format!("{at} is not UTF-8 text (byte {place})"),
        )
        .into()
    })
}

/// Reads and checks a file.
fn load(file: &Path, ui: &Ui) -> anyhow::Result<Config> {
    let text = read(file)?;
    config::parse(&text, &file.display().to_string()).map_err(|errors| {
        match print_errors(file, &errors, ui) {
            Ok(()) => Failure::already_printed(Exit::InvalidConfig).into(),
            Err(error) => error.into(),
        }
    })
}

/// The errors with the lines they are about, on standard error; as JSON on standard output.
fn print_errors(file: &Path, errors: &Diagnostics, ui: &Ui) -> std::io::Result<()> {
    if ui.json() {
        let file = file.display().to_string();
        return ui.document(&CheckJson {
            ok: false,
            file,
            errors: errors.entries(),
            agent_errors: &[],
            warnings: &[],
            services: &[],
        });
    }
    ui.note(errors.render(ui.err_paint().is_on()));
    Ok(())
}

fn check(file: &Path, root: Option<&Path>, ui: &Ui) -> anyhow::Result<()> {
    let valid = load(file, ui)?;
    let mut warnings = config::warnings(&valid);
    warnings.extend(super::sbd::warnings(&valid));
    let mut agents = super::ocf::findings(&valid);
    warnings.extend(agents.warnings);
    let (contradictions, more) = super::drbd::findings(&valid);
    agents.errors.extend(contradictions);
    warnings.extend(more);
    let services = super::guards::warned(&valid, root);
    let is_valid = agents.errors.is_empty();
    if ui.json() {
        let file = file.display().to_string();
        ui.document(&CheckJson {
            ok: is_valid,
            file,
            errors: &[],
            agent_errors: &agents.errors,
            warnings: &warnings,
            services: &services,
        })?;
    } else {
        for warning in warnings.iter().chain(services.iter().map(|warned| &warned.text)) {
            ui.warn(clean(warning));
        }
        agents.errors.iter().for_each(|error| ui.note(clean(error)));
    }
    if !is_valid {
        return Err(Failure::already_printed(Exit::InvalidConfig).into());
    }
    if ui.json() {
        return Ok(());
    }
    ui.line(format_args!(
        "{} {}",
        ui.paint().tone(Tone::Good, "valid:"),
        summary(&valid)
    ))?;
    Ok(())
}

fn summary(config: &Config) -> String {
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let witness = if !config.witness_disks().is_empty() {
        "a witness on shared disks"
    } else if config.register.is_some() {
        "a witness in etcd"
    } else if config.has_witness() {
        "a witness"
    } else {
        "no witness"
    };
    let needs = |node: &&config::NodeSection| config.requires_watchdog(node.id);
    let needing: Vec<&str> = config
        .nodes
        .iter()
        .filter(needs)
        .map(|node| node.name.as_str())
        .collect();
    let watchdog = match needing.as_slice() {
        [] => String::new(),
        names => format!(", watchdog required on {}", names.join(" and ")),
    };
    format!(
        "cluster {}: {}, {witness}, {}, {}, lease {} ms{watchdog}",
        config.cluster.name,
        count(config.nodes.len(), "node"),
        count(config.fences.len(), "fence device"),
        count(config.groups.len(), "group"),
        config.cluster.detection_ms
    )
}

/// The JSON document of `config show`.
#[derive(Serialize)]
struct ShowJson {
    text: String,
}

fn show(had: &Endpoint, ui: &Ui) -> anyhow::Result<()> {
    let text = had.ask(Request::ConfigShow(Empty {}))?;
    if ui.json() {
        ui.document(&ShowJson { text })?;
    } else {
        ui.raw(&text)?;
        if !text.ends_with('\n') {
            ui.raw("\n")?;
        }
    }
    Ok(())
}

fn timers(had: &Endpoint, file: Option<&Path>, ui: &Ui) -> anyhow::Result<()> {
    let view = match file {
        Some(file) => timers_of(&load(file, ui)?),
        None => had.fetch(Request::Timers(Empty {}), |reply| match reply {
            Reply::Timers(view) => Some(view),
            _ => None,
        })?,
    };
    if ui.json() {
        ui.document(&view)?;
    } else {
        ui.lines(&render_timers(&view, ui.paint(), ui.columns()))?;
    }
    Ok(())
}

/// The timers that a configuration leads to, without measurements.
fn timers_of(config: &Config) -> TimersView {
    let row = |(name, value, meaning): (&str, std::time::Duration, &str)| TimerRow {
        name: name.into(),
        value_ms: value.as_secs_f64() * 1000.0,
        meaning: meaning.into(),
    };
    TimersView {
        rows: config.timers().rows().into_iter().map(row).collect(),
        findings: Vec::new(),
    }
}

/// The timers as a table.
#[must_use]
pub fn render_timers(view: &TimersView, paint: Paint, columns: usize) -> Vec<String> {
    let names = widest(view.rows.iter().map(|row| row.name.as_str()), 0);
    let mut lines = Vec::new();
    for row in &view.rows {
        let value = milliseconds(row.value_ms);
        let head = format!("{}  {value:>12}", pad(&row.name, names));
        let indent = names + 16;
        let meaning = one_line(&row.meaning);
        if indent + meaning.chars().count() <= columns {
            lines.push(format!("{head}  {meaning}"));
        } else {
            lines.push(head);
            lines.extend(wrap(&meaning, 4, columns));
        }
    }
    for finding in &view.findings {
        lines.extend(
            wrap(&clean(finding), 2, columns)
                .into_iter()
                .enumerate()
                .map(|(index, line)| {
                    if index == 0 {
                        format!("{} {}", paint.tone(Tone::Warn, "!"), line.trim_start())
                    } else {
                        line
                    }
                }),
        );
    }
    lines
}

/// Whole milliseconds where that is exact enough.
fn milliseconds(value: f64) -> String {
    if value.fract().abs() < 0.05 {
        format!("{value:.0} ms")
    } else {
        format!("{value:.1} ms")
    }
}

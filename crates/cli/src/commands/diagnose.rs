//! `convox deploy-debug`: what stands in the way of an app.

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use rack_api::diagnose::{AppDiagnosticReport, Event, Options, Overview, Pod, Summary};

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::ui::{Colour, Table, Ui};
use crate::view::{Repeat, Shown};

/// Most events of an app that are shown.
const MOST_EVENTS: usize = 15;
/// Most lines of a log that are shown.
const MOST_LINES: usize = 50;
/// Longest hint in a table.
const HINT: usize = 60;

/// A report on an app.
#[derive(Debug, Args)]
pub(crate) struct DeployDebug {
    /// seconds during which a healthy process counts as new
    #[arg(short = 'A', long, value_name = "age", default_value_t = Options::default().age)]
    age: i64,
    /// show healthy processes too
    #[arg(long)]
    all: bool,
    /// what to look at: overview, init, services; all of it if nothing is given
    #[arg(short, long, value_name = "checks", value_delimiter = ',')]
    checks: Vec<String>,
    /// log lines per process
    #[arg(short = 'n', long, value_name = "lines", default_value_t = Options::default().lines)]
    lines: usize,
    /// leave out what happened to processes
    #[arg(long)]
    no_events: bool,
    /// leave out the logs of processes before the present ones
    #[arg(long)]
    no_previous: bool,
    /// form of the report
    #[arg(short, long, value_name = "output", value_enum, default_value_t = Output::Terminal)]
    output: Output,
    /// print JSON: the same as --output json
    #[arg(long)]
    json: bool,
    /// only these services, with commas between them
    #[arg(short, long = "service", value_name = "service", value_delimiter = ',')]
    services: Vec<String>,
    #[command(flatten)]
    repeat: Repeat,
    #[command(flatten)]
    app: AppArgs,
}

/// Forms of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// In full, for people.
    Terminal,
    /// Tables.
    Summary,
    /// As the rack gives it.
    Json,
}

impl DeployDebug {
    /// Asks the rack for a report and shows it.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let options = Options {
            checks: self.checks,
            services: self.services,
            age: self.age,
            all: self.all,
            lines: self.lines,
            events: !self.no_events,
            previous: !self.no_previous,
        };
        let output = if self.json { Output::Json } else { self.output };
        let read = async || Ok(rack.client.app_diagnose(&name, &options).await?);
        let ui = &context.ui;
        let print = |report: AppDiagnosticReport| match output {
            Output::Json => ui.json(&report),
            Output::Summary => summary(ui, report),
            Output::Terminal => ui.text(Page::new(ui).report(&report)),
        };
        self.repeat
            .show(ui, output != Output::Json, read, print)
            .await
    }
}

/// Services, then processes that are not well.
fn summary(ui: &Ui, report: AppDiagnosticReport) -> Result<(), Error> {
    let services = report.overview.unwrap_or_default().services;
    if !services.is_empty() {
        let mut table = Table::new(["SERVICE", "DESIRED", "READY", "STATUS"]);
        for service in services {
            let mark = if service.stall_reason.is_empty() {
                ""
            } else {
                " *"
            };
            table.row(vec![
                service.name,
                service.desired_replicas.to_string(),
                service.ready_replicas.to_string(),
                format!("{}{mark}", service.status),
            ]);
        }
        Shown::from(table).print(ui)?;
        ui.line("")?;
    }
    if report.pods.is_empty() {
        return ui.line(nothing(report.summary, ""));
    }
    let mut table = Table::new([
        "PROCESS", "SERVICE", "STATUS", "READY", "RESTARTS", "AGE", "HINT",
    ]);
    for pod in report.pods {
        let status = if pod.state_detail.is_empty() {
            pod.phase
        } else {
            pod.state_detail
        };
        table.row(vec![
            pod.name,
            pod.service,
            status,
            pod.ready,
            pod.restarts.to_string(),
            age(pod.age_seconds),
            shortened(&pod.hint),
        ]);
    }
    Shown::from(table).print(ui)
}

/// What is said where no process is to be shown.
fn nothing(summary: Option<Summary>, praise: &str) -> String {
    match summary {
        Some(summary) if summary.total > 0 && summary.unhealthy == 0 && summary.not_ready == 0 => {
            format!("All {} processes healthy{praise}.", summary.total)
        }
        _ => "No processes found.".to_owned(),
    }
}

fn shortened(hint: &str) -> String {
    if hint.chars().count() <= HINT {
        return hint.to_owned();
    }
    let kept: String = hint.chars().take(HINT - 3).collect();
    format!("{kept}...")
}

/// An age in its largest unit.
fn age(seconds: i64) -> String {
    match seconds {
        ..0 => "unknown".to_owned(),
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The report for people, as it is written.
struct Page<'a> {
    ui: &'a Ui,
    now: Timestamp,
    text: String,
}

impl<'a> Page<'a> {
    fn new(ui: &'a Ui) -> Self {
        Self {
            ui,
            now: Timestamp::now(),
            text: String::new(),
        }
    }

    fn line(&mut self, indent: usize, text: &str) {
        let line = format!("{:indent$}{text}", "");
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A label before a value.
    fn label(&self, text: &str) -> String {
        self.ui.paint(Colour::Header, text)
    }

    fn report(mut self, report: &AppDiagnosticReport) -> String {
        self.line(0, "");
        let title = self.label("Deploy Diagnostics:");
        let (app, rack) = (plain(&report.app), plain(&report.rack));
        self.line(0, &format!("{title} {app} on {rack}"));
        let label = self.label("Namespace:");
        self.line(0, &format!("{label} {}", plain(&report.namespace)));
        let label = self.label("Time:");
        let time = report.timestamp.map(rack_api::time::whole_seconds);
        self.line(0, &format!("{label}      {}", time.unwrap_or_default()));
        self.line(0, "");
        if let Some(overview) = &report.overview {
            self.overview(overview);
        }
        self.pods(report);
        if let Some(summary) = report.summary {
            self.line(0, "");
            self.counts(summary);
        }
        self.line(0, "");
        let legend = [
            (Colour::Bad, "unhealthy"),
            (Colour::Pending, "not-ready"),
            (Colour::Process, "new"),
            (Colour::Ok, "healthy"),
        ]
        .map(|(colour, word)| format!("{} {word}", self.ui.paint(colour, "●")));
        let label = self.label("Legend:");
        self.line(0, &format!("{label} {}", legend.join("  ")));
        self.line(0, "");
        self.text
    }

    fn overview(&mut self, overview: &Overview) {
        let title = self.label("--- Service Status ---");
        self.line(0, &title);
        if overview.services.is_empty() {
            self.line(2, "No services found.");
        }
        for service in &overview.services {
            let (colour, mark, word) = match service.status.as_str() {
                "running" => (Colour::Ok, "●", "RUNNING"),
                "stalled" => (Colour::Bad, "●", "STALLED"),
                "deploying" => (Colour::Pending, "●", "DEPLOYING"),
                "scaled-down" => (Colour::Header, "○", "SCALED DOWN"),
                other => (Colour::Header, "●", other),
            };
            let agent = if service.agent { " (agent)" } else { "" };
            let processes = if service.desired_replicas == 1 {
                "process"
            } else {
                "processes"
            };
            self.line(
                2,
                &format!(
                    "{} {}{agent}  {}/{} {processes} ready  {}",
                    self.ui.paint(colour, mark),
                    plain(&service.name),
                    service.ready_replicas,
                    service.desired_replicas,
                    self.ui.paint(colour, &plain(word)),
                ),
            );
            if !service.stall_reason.is_empty() {
                let reason = self.ui.paint(Colour::Bad, &plain(&service.stall_reason));
                self.line(6, &reason);
            }
        }
        if !overview.events.is_empty() {
            self.line(0, "");
            let title = self.label("Warning Events:");
            self.line(2, &title);
            for event in overview.events.iter().take(MOST_EVENTS) {
                let text = format!(
                    "[{} ago] {} on {}: {}",
                    self.since(event),
                    plain(&event.reason),
                    plain(&event.object),
                    plain(&event.message),
                );
                self.line(4, &text);
                let hint = self.label(&plain(&event.hint));
                if !event.hint.is_empty() {
                    self.line(13, &hint);
                }
            }
            if let Some(more) = overview.events.len().checked_sub(MOST_EVENTS)
                && more > 0
            {
                self.line(4, &format!("... and {more} more events"));
            }
        }
        self.line(0, "");
    }

    fn pods(&mut self, report: &AppDiagnosticReport) {
        let title = self.label("--- Processes ---");
        self.line(0, &title);
        if report.pods.is_empty() {
            self.line(2, &nothing(report.summary, " -- no issues detected"));
        }
        for pod in &report.pods {
            self.pod(pod);
        }
    }

    fn pod(&mut self, pod: &Pod) {
        let colour = match pod.classification.as_str() {
            "unhealthy" => Colour::Bad,
            "not-ready" => Colour::Pending,
            "new" => Colour::Process,
            "healthy" => Colour::Ok,
            _ => Colour::Value,
        };
        self.line(0, "");
        let mark = self.ui.paint(colour, "●");
        let class = self.ui.paint(colour, &plain(&pod.classification));
        self.line(2, &format!("{mark} {}  {class}", plain(&pod.service)));
        let label = self.label("process:");
        self.line(4, &format!("{label} {}", plain(&pod.name)));
        let facts = [
            ("state:", plain(&pod.phase)),
            ("ready:", plain(&pod.ready)),
            ("age:", age(pod.age_seconds)),
            ("restarts:", pod.restarts.to_string()),
        ]
        .map(|(label, value)| format!("{} {value}", self.label(label)));
        self.line(4, &facts.join("    "));
        for (label, value, colour) in [
            ("detail:", &pod.state_detail, colour),
            ("hint:  ", &pod.hint, Colour::Value),
        ] {
            if !value.is_empty() {
                let value = self.ui.paint(colour, &plain(value));
                let label = self.label(label);
                self.line(4, &format!("{label}  {value}"));
            }
        }
        let lines = pod.logs.trim_end().lines().count();
        self.log(&format!("Current Logs (last {lines} lines)"), &pod.logs);
        self.log("Previous Container Logs", &pod.previous_logs);
        if !pod.events.is_empty() {
            self.line(0, "");
            let title = self.label("--- Events ---");
            self.line(4, &title);
            for event in &pod.events {
                let text = format!(
                    "{} ago  {:<8} {:<20} {}",
                    self.since(event),
                    plain(&event.kind),
                    plain(&event.reason),
                    plain(&event.message)
                );
                self.line(4, &text);
            }
        }
    }

    fn log(&mut self, title: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        self.line(0, "");
        let title = self.label(&format!("--- {title} ---"));
        self.line(4, &title);
        let lines: Vec<_> = text.trim_end().lines().collect();
        let left_out = lines.len().saturating_sub(MOST_LINES);
        if left_out > 0 {
            let note = self.label(&format!("... ({left_out} lines truncated) ..."));
            self.line(4, &note);
        }
        for line in &lines[left_out..] {
            self.line(4, &plain(line));
        }
    }

    fn counts(&mut self, summary: Summary) {
        let label = self.label("Summary:");
        let mut text = format!("{label} {} total", summary.total);
        for (count, word, colour) in [
            (summary.unhealthy, "unhealthy", Colour::Bad),
            (summary.not_ready, "not-ready", Colour::Pending),
            (summary.new, "new", Colour::Process),
            (summary.healthy, "healthy", Colour::Ok),
        ] {
            if count > 0 {
                text.push_str("  ");
                text.push_str(&self.ui.paint(colour, &format!("{count} {word}")));
            }
        }
        self.line(0, &text);
    }

    fn since(&self, event: &Event) -> String {
        let Some(time) = event.timestamp else {
            return age(-1);
        };
        age(self.now.duration_since(time).as_secs().max(0))
    }
}

/// What a process or a rack says must not command the terminal.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_have_one_unit() {
        for (seconds, text) in [
            (-1, "unknown"),
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7199, "1h"),
            (86_400, "1d"),
        ] {
            assert_eq!(age(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn long_hints_are_shortened_by_letters() {
        assert_eq!(shortened("short"), "short");
        let hint = shortened(&"ü".repeat(61));
        assert_eq!(hint.chars().count(), 60);
        assert!(hint.ends_with("..."));
    }
}

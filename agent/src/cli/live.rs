//! Shows the answers to a command: a line per event, a progress bar, tables, or JSON lines.

use super::{Stop, ended};
use crate::control::{Response, Unblocked};
use crate::text::{columns, kebab, minute};
use slipway_machine::record::Ending;
use slipway_protocol::{Event, Report};
use std::io::{IsTerminal, Write};

/// What has been shown so far.
pub(super) struct Shown {
    json: bool,
    terminal: bool,
    /// A progress line stands on the terminal and is to be overwritten.
    open_line: bool,
    ending: Option<Result<Option<Ending>, Stop>>,
}

impl Shown {
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: std::io::stdout().is_terminal(), open_line: false, ending: None }
    }

    pub(super) fn show(&mut self, response: Response) {
        // A reader that went away (`| head`) is no reason to stop an update.
        let _ = self.print(&response);
        self.ending = match response {
            Response::Done(ending) => Some(Ok(ending)),
            Response::Refused(refusal) => Some(Err(refusal.into())),
            Response::Unblocked(_) | Response::Status(_) | Response::Trust(_) | Response::History(_) => Some(Ok(None)),
            Response::Report(_) => return,
        };
    }

    pub(super) fn finish(self, back: bool) -> Result<(), Stop> {
        match self.ending {
            Some(Ok(ending)) => ended(ending.as_ref(), back),
            Some(Err(stop)) => Err(stop),
            None => Err(Stop::Failed("interrupted; the agent continues the update when it runs again".into())),
        }
    }

    fn print(&mut self, response: &Response) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            let line = match response {
                Response::Status(status) => serde_json::to_string_pretty(status)?,
                Response::Trust(view) => serde_json::to_string_pretty(view)?,
                Response::History(reports) => {
                    let lines: Result<Vec<String>, _> = reports.iter().map(serde_json::to_string).collect();
                    lines?.join("\n")
                }
                Response::Report(report) => serde_json::to_string(report)?,
                Response::Unblocked(unblocked) => serde_json::to_string(unblocked)?,
                Response::Done(ending) => serde_json::to_string(ending)?,
                Response::Refused(refusal) => serde_json::to_string(refusal)?,
            };
            return if line.is_empty() { Ok(()) } else { writeln!(out, "{line}") };
        }
        match response {
            Response::Status(status) => write!(out, "{}", status.table()),
            Response::Trust(view) => write!(out, "{}", view.table()),
            Response::History(reports) => write!(out, "{}", table(reports)),
            Response::Unblocked(unblocked) => write!(out, "{}", describe(unblocked)),
            Response::Report(report) if report.event == Event::Progress => {
                if self.terminal {
                    let percent = usize::from(report.percent.unwrap_or(0)).min(100);
                    let bar = "█".repeat(percent.div_euclid(4));
                    write!(out, "\r{:<12} {bar:<25} {percent:>3} %", report.state)?;
                    self.open_line = true;
                    out.flush()?;
                }
                Ok(())
            }
            Response::Report(report) => {
                if std::mem::take(&mut self.open_line) {
                    write!(out, "\r\u{1b}[K")?;
                }
                writeln!(out, "{}", line(report))
            }
            Response::Done(_) | Response::Refused(_) => {
                if std::mem::take(&mut self.open_line) {
                    writeln!(out)
                } else {
                    Ok(())
                }
            }
        }
    }
}

fn line(report: &Report) -> String {
    let version = report.to.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let why = report.refusal.as_ref().map(|refusal| format!(": {}", refusal.code)).unwrap_or_default();
    format!("{} {}{version}{why}", report.component, kebab(report.event))
}

fn describe(unblocked: &Unblocked) -> String {
    let Unblocked { component, releases, cost, freeze, expired } = unblocked;
    let mut lines: Vec<String> = releases.iter().map(|version| format!("unblocked {version}")).collect();
    lines.extend(cost.then(|| "reset the count of downloaded bytes".to_owned()));
    lines.extend(freeze.as_ref().map(|version| format!("dismissed the freeze warning for {version}")));
    lines.extend(expired.iter().map(|(role, version)| format!("cleared the recorded expiry of {role} version {version}")));
    if lines.is_empty() {
        lines.push("nothing to unblock".to_owned());
    }
    lines.into_iter().map(|line| format!("{component}: {line}\n")).collect()
}

fn table(reports: &[Report]) -> String {
    let header = ["SEQ", "TIME", "COMPONENT", "EVENT", "FROM", "TO", "CODE"].map(str::to_owned);
    let row = |report: &Report| {
        let version =
            |version: &Option<slipway_protocol::Version>| version.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
        [
            report.seq.to_string(),
            minute(report.time),
            report.component.to_string(),
            kebab(report.event),
            version(&report.from),
            version(&report.to),
            report.refusal.as_ref().map_or_else(|| "-".to_owned(), |refusal| refusal.code.to_string()),
        ]
    };
    columns(&std::iter::once(header).chain(reports.iter().map(row)).collect::<Vec<_>>())
}

//! Carries out one health check: an HTTP request or a command.

use super::{Check, Probe, Subject};
use crate::process::supervisor::exec::{self, Failed};
use slipway_protocol::refusal::printable;
use std::error::Error;
use tokio::time::timeout;

/// The check's answer: well, or what was seen and wanted in one printable line.
pub(super) async fn run(http: &reqwest::Client, check: &Check, subject: &Subject) -> Result<(), String> {
    let outcome = match &check.probe {
        Probe::Http { url, status } => match timeout(check.timeout, ask(http, url, *status)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {:?}", check.timeout)),
        },
        Probe::Command(command) => execute(command, check, subject).await,
    };
    outcome.map_err(|why| printable(&why))
}

async fn ask(http: &reqwest::Client, url: &url::Url, wanted: Option<u16>) -> Result<(), String> {
    let mut answer = http.get(url.clone()).send().await.map_err(|error| cause(&error))?;
    let status = answer.status();
    if wanted.map_or(status.is_success(), |wanted| status.as_u16() == wanted) {
        return Ok(());
    }
    // The first line of the answer often says why.
    let body = answer.chunk().await.ok().flatten().unwrap_or_default();
    let body = String::from_utf8_lossy(body.get(..body.len().min(512)).unwrap_or_default());
    let line = body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let wanted = wanted.map_or_else(|| "200 to 299".to_owned(), |wanted| wanted.to_string());
    Err(format!("status {}, expected {wanted}: {line}", status.as_u16()))
}

/// The last cause is the one that a person understands: "connection refused".
fn cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(next) = last.source() {
        last = next;
    }
    last.to_string()
}

async fn execute(words: &[String], check: &Check, subject: &Subject) -> Result<(), String> {
    let mut words = words.iter();
    let mut command = exec::command(words.next().map(String::as_str).unwrap_or_default());
    command
        .args(words)
        .env("SLIPWAY_COMPONENT", subject.component.as_str())
        .env("SLIPWAY_VERSION", subject.version.to_string())
        .env("SLIPWAY_SLOT", &subject.dir);
    match exec::run(command, check.timeout).await {
        Ok(ran) if ran.status.success() => Ok(()),
        Ok(ran) => Err(format!("{}, expected 0: {}", exec::ending(ran.status), ran.last_line())),
        Err(failed @ Failed::Timeout(_)) => Err(format!("{failed}; killed")),
        Err(failed) => Err(failed.to_string()),
    }
}

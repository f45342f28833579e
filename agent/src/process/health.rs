//! Health of a release on probation: its process and the configured checks.
//!
//! One [`Prober::sample`] is one look at everything at once, bounded in time. What a series of samples means is judged by
//! [`slipway_machine::judge`]. The defaults come from edgecore: without its cloud and on a fresh database it answers `/healthz` from the
//! first probe and dies 28 seconds later, so a soak of 30 seconds would commit a dying release.

mod probe;

use crate::process::supervisor::Supervisor;
use serde::Deserialize;
use slipway_machine::record::{CheckResult, Sample, SlotName};
use slipway_protocol::{ComponentName, Refusal, Version};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

slipway_protocol::refusals! {
    pub CLIENT = "SLW-A-HEALTH-CLIENT", System, Device, "HTTP client for health checks could not be created",
        "check the agent's TLS settings; the release is not at fault";
}

/// Checks of one component at most: each sample runs them all at once.
const CHECKS_LIMIT: usize = 32;
/// Longest time for one check: an answer that takes longer says nothing about now.
const TIMEOUT_LIMIT: Duration = Duration::from_secs(60);
/// Shortest pause between samples: below it the device would mostly check.
const INTERVAL_LEAST: Duration = Duration::from_millis(100);

/// A component's `health` table.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Written")]
pub struct HealthSettings {
    /// How long everything required must be well without a break.
    pub soak: Duration,
    /// By when that must have happened, counted from activation; longer than the soak.
    pub deadline: Duration,
    /// Pause between two samples.
    pub interval: Duration,
    /// Required checks that may fail in a row, once they were well.
    pub failures: u32,
    /// Whether the node must have reached its broker: for the agent itself, which nobody could reach otherwise.
    pub broker: bool,
    /// What is checked besides the process.
    pub checks: Vec<Check>,
}

/// One `[[component.health.check]]`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "WrittenCheck")]
pub struct Check {
    /// Its name in reports.
    pub name: String,
    /// Whether the release is rolled back for it; else it only warns.
    pub required: bool,
    /// How long it may take.
    pub timeout: Duration,
    /// What it does.
    pub probe: Probe,
}

/// What a check does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Probe {
    /// Asks a URL. Redirects are not followed and no proxy is used.
    Http {
        /// Which.
        url: url::Url,
        /// The only status that is well; without it any of 200 to 299.
        status: Option<u16>,
    },
    /// Runs a program: exit status 0 is well.
    Command(Vec<String>),
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self { soak: soak(), deadline: deadline(), interval: interval(), failures: failures(), broker: false, checks: Vec::new() }
    }
}

/// The table as it is written, before it is known to make sense.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default = "soak", with = "crate::duration")]
    soak: Duration,
    #[serde(default = "deadline", with = "crate::duration")]
    deadline: Duration,
    #[serde(default = "interval", with = "crate::duration")]
    interval: Duration,
    #[serde(default = "failures")]
    failures: u32,
    #[serde(default)]
    broker: bool,
    #[serde(default)]
    check: Vec<Check>,
}

const fn soak() -> Duration {
    Duration::from_secs(90)
}
const fn deadline() -> Duration {
    Duration::from_secs(300)
}
const fn interval() -> Duration {
    Duration::from_secs(2)
}
const fn failures() -> u32 {
    3
}

impl TryFrom<Written> for HealthSettings {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { soak, deadline, interval, failures, broker, check: checks } = written;
        if soak < Duration::from_secs(1) {
            return Err(format!("`soak` is {soak:?}: expected at least \"1s\", and 60 to 90 seconds for edgecore"));
        }
        if deadline <= soak {
            return Err(format!(
                "`deadline` is {deadline:?}: expected more than the soak of {soak:?}, or nothing would ever be committed"
            ));
        }
        if interval < INTERVAL_LEAST || interval > soak {
            return Err(format!("`interval` is {interval:?}: expected {INTERVAL_LEAST:?} to the soak of {soak:?}"));
        }
        if failures == 0 {
            return Err("`failures` is 0: expected at least 1".into());
        }
        if checks.len() > CHECKS_LIMIT {
            return Err(format!("`check` has {} tables: expected at most {CHECKS_LIMIT}", checks.len()));
        }
        let mut names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        names.sort_unstable();
        if let Some(name) = names.windows(2).find_map(|pair| (pair.first() == pair.last()).then(|| pair.first()).flatten()) {
            return Err(format!("`name` is {name:?} in two checks: reports could not tell them apart"));
        }
        Ok(Self { soak, deadline, interval, failures, broker, checks })
    }
}

/// A check as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCheck {
    name: String,
    #[serde(default = "required")]
    required: bool,
    #[serde(default = "check_timeout", with = "crate::duration")]
    timeout: Duration,
    http: Option<String>,
    status: Option<u16>,
    command: Option<Vec<String>>,
}

const fn required() -> bool {
    true
}
const fn check_timeout() -> Duration {
    Duration::from_secs(5)
}

impl TryFrom<WrittenCheck> for Check {
    type Error = String;
    fn try_from(written: WrittenCheck) -> Result<Self, String> {
        let WrittenCheck { name, required, timeout, http, status, command } = written;
        if name.is_empty() || name.len() > 64 || name.contains(char::is_control) {
            return Err(format!("`name` is {name:?}: expected 1 to 64 printable characters"));
        }
        if timeout.is_zero() || timeout > TIMEOUT_LIMIT {
            return Err(format!("`timeout` of check {name:?} is {timeout:?}: expected up to {TIMEOUT_LIMIT:?}"));
        }
        let probe = match (http, command) {
            (Some(text), None) => {
                let wanted =
                    || format!("`http` of check {name:?} is {text:?}: expected a URL such as \"http://127.0.0.1:10350/healthz\"");
                let url = url::Url::parse(&text).map_err(|_| wanted())?;
                if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
                    return Err(wanted());
                }
                if status.is_some_and(|status| !(100..=599).contains(&status)) {
                    return Err(format!("`status` of check {name:?} is not an HTTP status"));
                }
                Probe::Http { url, status }
            }
            (None, Some(command)) => {
                if status.is_some() {
                    return Err(format!(
                        "`status` of check {name:?} belongs to `http`; a command is healthy when it exits with 0"
                    ));
                }
                if !command.first().is_some_and(|program| program.starts_with('/')) {
                    return Err(format!("`command` of check {name:?} does not begin with an absolute path"));
                }
                if command.iter().any(|word| word.contains('\0')) {
                    return Err(format!("`command` of check {name:?} has a NUL character, which an argument cannot have"));
                }
                Probe::Command(command)
            }
            (Some(_), Some(_)) => return Err(format!("`http` and `command` of check {name:?} are both set: expected one")),
            (None, None) => return Err(format!("`http` or `command` of check {name:?} is missing")),
        };
        Ok(Self { name, required, timeout, probe })
    }
}

/// What is on probation, for the environment of command checks.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which component: SLIPWAY_COMPONENT.
    pub component: ComponentName,
    /// Its version: SLIPWAY_VERSION.
    pub version: Version,
    /// Its slot's name; SLIPWAY_SLOT is the directory.
    pub slot: SlotName,
    /// That directory.
    pub dir: PathBuf,
}

/// Looks at components.
#[derive(Clone, Debug)]
pub struct Prober {
    http: reqwest::Client,
}

impl Prober {
    /// One that uses these TLS settings for `https` endpoints.
    pub fn new(tls: &Arc<rustls::ClientConfig>) -> Result<Self, Refusal> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(rustls::ClientConfig::clone(tls))
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            // A kept connection would be answered by whoever accepted it, not by who listens now.
            .pool_max_idle_per_host(0)
            .build()
            .map_err(|error| CLIENT.with(error, "a client"))?;
        Ok(Self { http })
    }

    /// One look at the process and all checks, at the same time. A refusal says that the service manager gave no answer: then nothing is
    /// known, and the deadline goes on.
    pub async fn sample(&self, settings: &HealthSettings, supervisor: &Supervisor, subject: &Subject) -> Result<Sample, Refusal> {
        // Dropping the set ends the checks, should this look be given up.
        let mut running = JoinSet::new();
        for (index, check) in settings.checks.iter().enumerate() {
            let (http, check, subject) = (self.http.clone(), check.clone(), subject.clone());
            running.spawn(async move { (index, probe::run(&http, &check, &subject).await) });
        }
        let all = async {
            let mut outcomes = vec![Err("the check was not carried out".to_owned()); settings.checks.len()];
            while let Some(done) = running.join_next().await {
                if let Ok((index, outcome)) = done
                    && let Some(place) = outcomes.get_mut(index)
                {
                    *place = outcome;
                }
            }
            outcomes
        };
        let (process, outcomes) = tokio::join!(supervisor.look(), all);
        let checks = settings.checks.iter().zip(outcomes);
        let checks =
            checks.map(|(check, outcome)| CheckResult { name: check.name.clone(), required: check.required, outcome }).collect();
        Ok(Sample { process: process?, checks })
    }
}

#[cfg(test)]
mod tests;

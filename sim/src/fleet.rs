//! The fleet of the demo: an operator, a broker and three devices, with checks of their state.

use crate::live::Live;
use crate::screen::{Screen, seconds};
use anyhow::{Context as _, Result, bail, ensure};
use slipway_agent::status::ComponentStatus;
use slipway_agent::text::kebab;
use slipway_operator::mqtt::{self, Audience, Broker};
use slipway_protocol::notice::NOTICE_FORMAT;
use slipway_protocol::{Event, FleetName, Notice, Report};
use slipway_sim::factory::{edgecore_name, stable};
use slipway_sim::{AgentProgram, Device, DeviceOptions, Factory, broker};
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Long enough for a machine that does much else; every wait ends as soon as its condition holds.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// Between two looks at what only looking shows.
const TICK: Duration = Duration::from_millis(50);
/// How long a release must be well in this story; on a device it is 90 s.
pub(crate) const SOAK: Duration = Duration::from_secs(4);

/// Everything that plays.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) factory: Factory,
    pub(crate) devices: Vec<Device>,
    pub(crate) screen: Screen,
    live: Arc<Live>,
    broker: Broker,
    runtime: tokio::runtime::Runtime,
}

/// Since when a chapter listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Since {
    mark: usize,
    began: Instant,
}

impl Since {
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

impl Fleet {
    /// Starts broker, release server and three agents.
    pub(crate) fn start(screen: Screen) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this very program")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let broker = Broker { url: broker::start()?, ..Broker::default() };
        let live = Live::start(&broker, &fleet_name()?)?;
        let factory = Factory::new(&program)?;
        let root = factory.root()?;
        let agent = AgentProgram { exe: program, first: vec!["agent".into()] };
        let mut devices = Vec::new();
        for name in ["edge-1", "edge-2", "edge-3"] {
            let mut options = DeviceOptions::named(name);
            options.repository = Some(format!("{}/", factory.server.url()));
            options.broker = Some(broker.url.clone());
            options.soak = SOAK;
            let mut device = Device::new(&agent, &root, options)?;
            device.start()?;
            devices.push(device);
        }
        Ok(Self { factory, devices, screen, live, broker, runtime })
    }

    /// From now on.
    pub(crate) fn now(&self) -> Since {
        Since { mark: self.live.mark(), began: Instant::now() }
    }

    /// Announces a version at the broker, to the whole fleet.
    pub(crate) fn notify(&self, version: &str) -> Result<()> {
        let notice = Notice {
            v: NOTICE_FORMAT,
            component: Some(edgecore_name()),
            channel: Some(stable()),
            version: Some(version.parse().map_err(anyhow::Error::msg)?),
            timestamp_version: Some(self.factory.repo()?.timestamp_version()),
        };
        let audience = Audience::Fleet(fleet_name()?);
        self.runtime.block_on(mqtt::notify(&self.broker, &audience, &notice)).context("the notice was not taken")
    }

    /// Waits until every device has reported `wanted`, and shows meanwhile where each of them is. `look` is called again and again,
    /// for what only looking shows. Another end of the same release is an error at once. Returns the reports, by device.
    pub(crate) fn all_report(
        &mut self,
        since: Since,
        wanted: &Wanted<'_>,
        mut look: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<Vec<Report>> {
        let names: Vec<String> = self.devices.iter().map(|device| device.name().to_owned()).collect();
        let mut course: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
        let mut now: BTreeMap<&str, String> = BTreeMap::new();
        let mut found: BTreeMap<&str, Report> = BTreeMap::new();
        let mut next = since.mark;
        while found.len() < names.len() {
            if since.elapsed() > LIMIT {
                let said: Vec<String> = now.iter().map(|(name, state)| format!("{name}: {state}")).collect();
                bail!("expected every device to report: {wanted}; seen within {}: {}", seconds(LIMIT), or_nothing(&said));
            }
            let coming = self.live.since(next, TICK)?;
            next += coming.len();
            for report in coming {
                let Some(name) = names.iter().find(|name| **name == *report.node.as_str()) else { continue };
                now.insert(name, doing(&report));
                let events = course.entry(name).or_default();
                // The very first start may be heard late, and devices look by their own timers too: that belongs to no chapter.
                let stray = if report.event == Event::Started { events.is_empty() } else { !wanted.about(&report) };
                if stray || report.event == Event::Progress || found.contains_key(name.as_str()) {
                    continue;
                }
                events.push(report.event);
                let time = since.elapsed();
                if wanted.is(&report) {
                    let line =
                        format!("   {} {name}  {:>6}  {}", self.screen.tick(true), seconds(time), journey(events, &report));
                    self.screen.line(&line);
                    found.insert(name, report);
                } else if wanted.excludes(&report) {
                    let why = report
                        .refusal
                        .as_ref()
                        .map(|refusal| format!(": found {}, expected {}", refusal.seen, refusal.wanted))
                        .unwrap_or_default();
                    bail!("{name}: expected {wanted}, found {}{why}", doing(&report));
                } else {
                    self.screen.event(&format!("     {name}  {:>6}  {}", seconds(time), doing(&report)));
                }
            }
            let still: Vec<String> = names
                .iter()
                .filter(|name| !found.contains_key(name.as_str()))
                .map(|name| format!("{name} {}", now.get(name.as_str()).map_or("…", String::as_str)))
                .collect();
            self.screen.waiting(&format!("     {:>6}  {}", seconds(since.elapsed()), still.join("   ")));
            self.agents_run()?;
            look(self)?;
        }
        Ok(found.into_values().collect())
    }

    /// Waits until a condition holds that only looking shows.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
        let began = Instant::now();
        while !holds(self)? {
            ensure!(began.elapsed() <= LIMIT, "expected within {}: {what}; it did not come", seconds(LIMIT));
            self.agents_run()?;
            self.screen.waiting(&format!("     {:>6}  {what}", seconds(began.elapsed())));
            std::thread::sleep(TICK);
        }
        Ok(())
    }

    /// An agent that ended unasked is told at once, not when everything has waited for it.
    fn agents_run(&mut self) -> Result<()> {
        let gone = self.devices.iter_mut().find_map(|device| (!device.runs()).then(|| device.name().to_owned()));
        gone.map_or(Ok(()), |name| bail!("{name}: expected its agent to run, found that it ended"))
    }

    /// What has been reported, of one device.
    pub(crate) fn reported(&self, since: Since, device: &str) -> Result<Vec<Report>> {
        let reports = self.live.since(since.mark, Duration::ZERO)?;
        Ok(reports.into_iter().filter(|report| report.node.as_str() == device).collect())
    }

    /// Whether this version runs on every device: in the agent's record, by the link, and by its own answer.
    pub(crate) fn runs(&mut self, version: &str) -> Result<()> {
        self.until(&format!("edgecore {version} answers its health check everywhere"), |fleet| {
            Ok(fleet.devices.iter().all(Device::healthy))
        })?;
        // A device may be looking once more, by its own timer.
        self.until("every device is idle", |fleet| {
            let idle = |device: &Device| component(device).is_ok_and(|component| component.state == "idle");
            Ok(fleet.devices.iter().all(idle))
        })?;
        for device in &self.devices {
            let name = device.name();
            let committed = device.committed().map(|version| version.to_string());
            fact(&format!("{name}: committed version"), committed.as_deref(), Some(version))?;
            let link = device.current().unwrap_or_default();
            ensure!(
                link.starts_with(&format!("{version}-")),
                "{name}: expected the link `current` to name {version}, found {link:?}"
            );
        }
        Ok(())
    }

    /// Whether every device keeps that refusal in its history, and its last attempt ended so.
    pub(crate) fn refused(&self, wanted: &Wanted<'_>) -> Result<()> {
        for device in &self.devices {
            let name = device.name();
            let last = component(device)?.last.with_context(|| format!("{name}: expected an ending, found none"))?;
            fact(&format!("{name}: last attempt"), last.event, wanted.event)?;
            let code = last.refusal.map(|refusal| refusal.code.into_owned());
            fact(&format!("{name}: code of the last attempt"), code.as_deref(), wanted.code)?;
            let kept = device.history()?.iter().any(|report| wanted.is(report));
            ensure!(kept, "{name}: expected in `history`: {wanted}; found no such report");
        }
        Ok(())
    }

    /// Requests for an artifact so far.
    pub(crate) fn asked_for(&self, artifact: &str) -> usize {
        self.factory.server.requests_for(artifact).len()
    }

    /// The end of every device's log.
    pub(crate) fn logs(&self) -> String {
        let tail = |device: &Device| {
            let log = device.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.get(lines.len().saturating_sub(15)..).unwrap_or_default();
            format!("\nlog of {}, its end:\n  {}\n", device.name(), last.join("\n  "))
        };
        self.devices.iter().map(tail).collect()
    }
}

/// The one component of a device, as its agent's `status` shows it.
pub(crate) fn component(device: &Device) -> Result<ComponentStatus> {
    let status = device.status().with_context(|| format!("{}: no status", device.name()))?;
    status
        .components
        .into_iter()
        .next()
        .with_context(|| format!("{}: expected a component in its status, found none", device.name()))
}

/// A report that a chapter waits for: how the attempt to take a release ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) event: Event,
    pub(crate) version: &'a str,
    /// The reason, if there is one.
    pub(crate) code: Option<&'a str>,
}

impl Wanted<'_> {
    fn about(&self, report: &Report) -> bool {
        report.to.as_ref().is_some_and(|to| to.as_str() == self.version)
    }

    /// Whether it is this very report.
    pub(crate) fn is(&self, report: &Report) -> bool {
        let code = report.refusal.as_ref().map(|refusal| refusal.code.as_ref());
        report.event == self.event && self.about(report) && code == self.code
    }

    /// Whether it tells that the attempt ended, and in another way.
    fn excludes(&self, report: &Report) -> bool {
        let end =
            matches!(report.event, Event::Committed | Event::Inconsistent | Event::Refused | Event::RolledBack | Event::UpToDate);
        end && self.about(report) && !self.is(report)
    }
}

impl std::fmt::Display for Wanted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", kebab(self.event), self.version)?;
        self.code.map_or(Ok(()), |code| write!(f, "  {code}"))
    }
}

/// A fact as it is, and as it must be.
pub(crate) fn fact<T: PartialEq + Debug>(what: &str, seen: T, wanted: T) -> Result<()> {
    ensure!(seen == wanted, "{what}: expected {wanted:?}, found {seen:?}");
    Ok(())
}

fn fleet_name() -> Result<FleetName> {
    "factory".parse().map_err(anyhow::Error::msg)
}

fn or_nothing(said: &[String]) -> String {
    if said.is_empty() { "nothing".to_owned() } else { said.join(", ") }
}

/// A report in a few words.
fn doing(report: &Report) -> String {
    let what = match (report.event, report.percent) {
        (Event::Progress, Some(percent)) => format!("{} {percent} %", report.state),
        (event, _) => kebab(event),
    };
    let version = report.to.as_ref().filter(|_| report.percent.is_none()).map(|to| format!(" {to}")).unwrap_or_default();
    let code = report.refusal.as_ref().map(|refusal| format!("  {}", refusal.code)).unwrap_or_default();
    format!("{what}{version}{code}")
}

/// The way that ended in `last`, in one line. `staging` is left out once it is `staged`.
fn journey(events: &[Event], last: &Report) -> String {
    let mut steps: Vec<String> = Vec::new();
    let earlier = events.iter().take(events.len().saturating_sub(1)).map(|event| kebab(*event));
    for step in earlier.chain([doing(last)]) {
        if steps.last().is_some_and(|before| before.split("ing").next().is_some_and(|stem| step.starts_with(stem))) {
            steps.pop();
        }
        steps.push(step);
    }
    steps.join(" → ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(event: &str, more: &str) -> Report {
        let text = format!(
            r#"{{"v":1,"node":"edge-1","fleet":"factory","seq":1,"time":"2026-01-01T00:00:00Z","component":"edgecore",
                "event":{event:?},"state":"downloading"{more}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_journey_reads_as_one_line() {
        let last = report("committed", r#","to":"v1.2.3""#);
        let events = [Event::Checking, Event::Checking, Event::Downloading, Event::Committed];
        assert_eq!(journey(&events, &last), "checking → downloading → committed v1.2.3");
        assert_eq!(journey(&[], &last), "committed v1.2.3");
        let back = [Event::Staged, Event::Activated, Event::RollingBack, Event::RolledBack];
        assert_eq!(journey(&back, &report("rolled-back", "")), "staged → activated → rolled-back");
    }

    #[test]
    fn progress_shows_percent_and_everything_else_its_version() {
        assert_eq!(doing(&report("progress", r#","to":"v1.2.3","percent":40"#)), "downloading 40 %");
        assert_eq!(doing(&report("staged", r#","to":"v1.2.3""#)), "staged v1.2.3");
        assert_eq!(doing(&report("started", "")), "started");
    }

    #[test]
    fn only_the_asked_for_report_counts_and_another_end_is_noticed() {
        let refused = |code: &str| {
            let refusal = format!(
                r#","to":"v1.2.3","refusal":{{"code":{code:?},"class":"policy","actor":"operator","check":"c","seen":"","wanted":"",
                    "advice":""}}"#
            );
            report("refused", &refusal)
        };
        let wanted = Wanted { event: Event::Refused, version: "v1.2.3", code: Some("SLW-V-SIGNATURE") };
        for (report, is, excludes) in [
            (refused("SLW-V-SIGNATURE"), true, false),
            (refused("SLW-A-DIGEST"), false, true),
            (report("committed", r#","to":"v1.2.3""#), false, true),
            (report("committed", r#","to":"v1.2.2""#), false, false),
            (report("staged", r#","to":"v1.2.3""#), false, false),
            (report("refused", ""), false, false),
        ] {
            assert_eq!((wanted.is(&report), wanted.excludes(&report)), (is, excludes), "{report:?}");
        }
    }
}

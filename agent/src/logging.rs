//! Log lines on stderr: text or JSON, with priorities where systemd's journal reads them.

use crate::config::Mistake;
use slipway_protocol::{Event as Kind, Refusal, Report};
use std::fmt;
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// How log lines are written: `--log-format`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// One line per event: time, level, message, fields.
    #[default]
    Text,
    /// One JSON object per event: `timestamp`, `level`, `message` and the fields beside them.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is not a log format; choose text or json")),
        }
    }
}

/// What [`init`] found and chose, for [`explain`].
#[derive(Clone, Copy, Debug)]
struct Output {
    format: LogFormat,
    journal: bool,
}

static OUTPUT: OnceLock<Output> = OnceLock::new();

/// The filter of a command that shows what happens by itself: errors, and how it ends.
pub const ONE_SHOT: &str = "error,slipway_agent::logging=info";

/// Writes events to stderr from now on; `RUST_LOG` overrides `default`. A second call in one process (tests) changes nothing.
pub fn init(format: LogFormat, default: &str) {
    let output = *OUTPUT.get_or_init(|| Output { format, journal: is_journal() });
    let asked = std::env::var("RUST_LOG").ok();
    let (filter, mistake) = filter(asked.as_deref(), default);
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let _ = tracing::dispatcher::set_global_default(dispatch(output, filter, colour, std::io::stderr));
    if let Some((found, error)) = mistake {
        tracing::error!(found, error, expected = "a level, or target=level,…", used = default, "RUST_LOG is not a valid filter");
    }
}

/// The filter that `RUST_LOG` asks for, or the default; and what was found and what is wrong with it where it cannot be read.
fn filter<'a>(asked: Option<&'a str>, default: &str) -> (Targets, Option<(&'a str, String)>) {
    let asked = asked.map(str::trim).filter(|text| !text.is_empty());
    let (filter, mistake) = match asked.map(|text| (text, text.parse::<Targets>())) {
        Some((_, Ok(filter))) => return (filter, None),
        Some((text, Err(error))) => (default, Some((text, error.to_string()))),
        None => (default, None),
    };
    (filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO)), mistake)
}

fn dispatch<W>(output: Output, filter: Targets, colour: bool, writer: W) -> tracing::Dispatch
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    let lines = match (output.format, output.journal) {
        (LogFormat::Text, false) => lines.with_ansi(colour).boxed(),
        // The journal has a time of its own for each line.
        (LogFormat::Text, true) => lines.with_ansi(false).without_time().map_event_format(Prioritized).boxed(),
        (LogFormat::Json, false) => lines.json().flatten_event(true).boxed(),
        (LogFormat::Json, true) => lines.json().flatten_event(true).map_event_format(Prioritized).boxed(),
    };
    tracing_subscriber::registry().with(lines).with(filter).into()
}

/// Whether systemd connected stderr to the journal: `JOURNAL_STREAM` holds the device and inode of that stream, see systemd.exec(5).
/// A child that redirected stderr inherits the variable but not the stream.
fn is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else { return false };
    let Ok(stream) = std::io::stderr().as_fd().try_clone_to_owned().map(File::from) else { return false };
    stream.metadata().is_ok_and(|stream| named.to_str() == Some(&format!("{}:{}", stream.dev(), stream.ino())))
}

/// The journal's priority of an event: sd-daemon(3), after syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

/// Puts `<N>` before each line: the journal takes every line of stderr for an entry of its own, so a text of several lines would keep its
/// priority on the first one only.
fn prioritized(level: Level, text: &str) -> String {
    text.lines().map(|line| format!("<{}>{line}\n", priority(level))).collect()
}

/// Another format, with each line's priority.
struct Prioritized<F>(F);

impl<S, N, F> FormatEvent<S, N> for Prioritized<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        self.0.format_event(context, Writer::new(&mut text), event)?;
        writer.write_str(&prioritized(*event.metadata().level(), &text))
    }
}

/// A level that is known at run time only, with the same fields.
macro_rules! event {
    ($level:expr, $($rest:tt)+) => {
        match $level {
            Level::ERROR => tracing::error!($($rest)+),
            Level::WARN => tracing::warn!($($rest)+),
            _ => tracing::info!($($rest)+),
        }
    };
}

/// Logs what is reported: what went wrong with an update, refusals and rollbacks among it, at warning or error.
pub fn report(report: &Report) {
    let refusal = report.refusal.as_ref();
    event!(
        level(report.event, refusal.is_some()),
        component = %report.component,
        event = %crate::text::kebab(report.event),
        to = report.to.as_ref().map(display),
        from = report.from.as_ref().map(display),
        state = %report.state,
        code = refusal.map(|refusal| display(&refusal.code)),
        check = refusal.and_then(|refusal| some(&refusal.check)),
        found = refusal.and_then(|refusal| some(&refusal.seen)),
        expected = refusal.and_then(|refusal| some(&refusal.wanted)),
        fix = refusal.and_then(|refusal| some(&refusal.advice)),
        evidence = report.text.as_deref(),
        "{}",
        words(report.event)
    );
}

/// Omits an empty field.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn level(event: Kind, refused: bool) -> Level {
    match event {
        Kind::Inconsistent => Level::ERROR,
        Kind::Refused | Kind::RollingBack | Kind::RolledBack | Kind::Healed | Kind::Retrying => Level::WARN,
        // A wave that has not come is how a rollout is meant to go, though it comes with a code.
        Kind::Waiting => Level::INFO,
        _ if refused => Level::WARN,
        _ => Level::INFO,
    }
}

/// The event in words.
const fn words(event: Kind) -> &'static str {
    match event {
        Kind::Activated => "release activated; probation begins",
        Kind::Activating => "activating release",
        Kind::Checking => "checking for a release",
        Kind::Committed => "release committed",
        Kind::Downloading => "downloading release",
        Kind::Unblocked => "release unblocked",
        Kind::Healed => "damage repaired",
        Kind::Inconsistent => "no release can be made to run; an operator is needed",
        Kind::Progress => "progress",
        Kind::Refused => "update refused",
        Kind::Retrying => "attempt failed; retrying",
        Kind::RolledBack => "rolled back",
        Kind::RollingBack => "rolling back",
        Kind::Staged => "release staged",
        Kind::Staging => "staging release",
        Kind::Started => "agent started",
        Kind::UpToDate => "component is up to date",
        Kind::Waiting => "update waits for its wave or window",
        Kind::Unlisted(_) => "event of a newer agent",
    }
}

/// Says why a command ends as it does: in several lines to a person, as one event to a collector.
pub fn explain(level: Level, refusal: &Refusal) {
    if is_json() {
        let Refusal { code, check, seen, wanted, advice, .. } = refusal;
        event!(level, %code, check = some(check), found = some(seen), expected = some(wanted), fix = some(advice), "command refused");
    } else {
        plain(level, &refusal.explain());
    }
}

/// Shows a mistake in a configuration file as compilers do, so that editors find the place.
pub fn mistake(file: &Path, mistake: &Mistake) {
    let file = file.display();
    if is_json() {
        let Mistake { line, refusal: Refusal { code, seen, wanted, advice, .. } } = mistake;
        tracing::error!(%file, line, %code, found = some(seen), expected = some(wanted), fix = some(advice), "mistake in the configuration");
    } else {
        plain(Level::ERROR, &format!("{file}:{mistake}\n"));
    }
}

/// The same as [`explain`] for what has no code.
pub fn say(level: Level, message: &str) {
    if is_json() {
        event!(level, "{message}");
    } else {
        plain(level, &format!("slipway-agent: {message}\n"));
    }
}

fn is_json() -> bool {
    OUTPUT.get().is_some_and(|output| output.format == LogFormat::Json)
}

fn plain(level: Level, text: &str) {
    // Wrong usage is found before anything is set up.
    let journal = OUTPUT.get().map_or_else(is_journal, |output| output.journal);
    let mut err = std::io::stderr().lock();
    let _ = if journal { write!(err, "{}", prioritized(level, text)) } else { write!(err, "{text}") };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is logged in one format.
    fn logged(format: LogFormat, journal: bool, act: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let dispatch = dispatch(Output { format, journal }, filter(Some("debug"), "").0, false, move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, act);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn reported(event: Kind) -> Report {
        let refused = matches!(event, Kind::Refused | Kind::RolledBack | Kind::RollingBack | Kind::Waiting);
        let refusal = refused.then(|| slipway_machine::refusals::DIED.with("exit code 2", "a running process"));
        Report {
            v: 1,
            node: "edge-7".parse().unwrap(),
            fleet: "factory".parse().unwrap(),
            seq: 0,
            boot: None,
            time: jiff::Timestamp::UNIX_EPOCH,
            component: "edgecore".parse().unwrap(),
            event,
            state: "idle".to_owned(),
            from: None,
            to: Some("v1.23.0".parse().unwrap()),
            percent: None,
            refusal,
            text: None,
            signature: None,
            more: Default::default(),
        }
    }

    /// Shown to fail: with `=` in place of `,` as what separates directives, and with `default` ignored.
    #[test]
    fn rust_log_is_a_level_or_targets_with_levels_and_a_mistake_in_it_is_named() {
        let passes = |text: Option<&str>, target: &str, level: Level| filter(text, "info").0.would_enable(target, &level);
        for (text, here, level, expected) in [
            (None, "slipway_agent", Level::INFO, true),
            (None, "slipway_agent", Level::DEBUG, false),
            (Some("  "), "slipway_agent", Level::INFO, true),
            (Some("debug"), "rumqttc", Level::DEBUG, true),
            (Some("DEBUG"), "rumqttc", Level::DEBUG, true),
            (Some("off"), "slipway_agent", Level::ERROR, false),
            (Some("slipway_agent::mqtt=debug,info"), "slipway_agent::mqtt::link", Level::DEBUG, true),
            (Some("slipway_agent::mqtt=debug,info"), "slipway_agent::fetch", Level::DEBUG, false),
            (Some("slipway_agent::mqtt=debug,info"), "slipway_agent::fetch", Level::INFO, true),
            (Some(ONE_SHOT), "slipway_agent::logging", Level::INFO, true),
            (Some(ONE_SHOT), "slipway_agent::fetch", Level::WARN, false),
            (Some("slipway_agent=loud"), "slipway_agent", Level::INFO, true),
        ] {
            assert_eq!(passes(text, here, level), expected, "{text:?} {here} {level}");
        }
        let (found, error) = filter(Some("slipway_agent=loud"), "info").1.expect("a mistake");
        assert_eq!(found, "slipway_agent=loud");
        assert!(error.contains("level"), "{error}");
    }

    #[test]
    fn each_line_for_the_journal_has_its_priority() {
        let lines = logged(LogFormat::Text, true, || {
            tracing::error!(why = %"one\ntwo", "failed");
            tracing::info!("well");
            tracing::debug!("detail");
        });
        assert_eq!(lines, "<3>ERROR failed why=one\n<3>two\n<6> INFO well\n<7>DEBUG detail\n");
        // A file or a terminal has a time instead.
        let lines = logged(LogFormat::Text, false, || tracing::warn!(component = "edgecore", "health probe failed"));
        assert!(!lines.contains('<') && lines.ends_with("Z  WARN health probe failed component=\"edgecore\"\n"), "{lines}");
    }

    #[test]
    fn refusals_and_rollbacks_are_warnings_and_what_goes_well_is_not() {
        for (event, start) in [
            (Kind::Refused, "<4> WARN update refused component=edgecore event=refused to=v1.23.0 "),
            (Kind::RollingBack, "<4> WARN rolling back component=edgecore "),
            (Kind::RolledBack, "<4> WARN rolled back component=edgecore "),
            (Kind::Inconsistent, "<3>ERROR "),
            (Kind::Retrying, "<4> WARN "),
            (Kind::Healed, "<4> WARN "),
            (Kind::Waiting, "<6> INFO "),
            (Kind::Committed, "<6> INFO release committed component=edgecore event=committed to=v1.23.0 state=idle\n"),
        ] {
            let lines = logged(LogFormat::Text, true, || report(&reported(event)));
            assert!(lines.starts_with(start), "{lines}");
        }
        let lines = logged(LogFormat::Text, true, || report(&reported(Kind::RolledBack)));
        assert!(lines.contains("code=SLW-A-DIED ") && lines.contains("found=\"exit code 2\""), "{lines}");
    }

    #[test]
    fn json_is_one_object_with_the_fields_beside_the_message() {
        let all = || {
            report(&reported(Kind::Refused));
            tracing::info!(text = "one\ntwo", "well");
        };
        let lines = logged(LogFormat::Json, false, all);
        let objects: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let first = &objects[0];
        for (key, value) in [
            ("level", "WARN"),
            ("message", "update refused"),
            ("component", "edgecore"),
            ("event", "refused"),
            ("to", "v1.23.0"),
            ("code", "SLW-A-DIED"),
            ("found", "exit code 2"),
        ] {
            assert_eq!(first[key], value, "{lines}");
        }
        assert!(first["timestamp"].is_string() && first.get("evidence").is_none(), "{lines}");
        assert_eq!((objects.len(), &objects[1]["text"]), (2, &"one\ntwo".into()));
        let lines = logged(LogFormat::Json, true, all);
        assert!(lines.starts_with("<4>{") && lines.contains("\n<6>{"), "the journal takes the priority off: {lines}");
    }

    #[test]
    fn formats_have_names() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("xml".parse::<LogFormat>().unwrap_err().contains("choose text or json"));
    }
}

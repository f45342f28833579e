//! The command line of `slipway-agent`: the service and the commands on the device.

use crate::config::{self, Config};
use crate::control::{self, Request};
use crate::driver::{Driver, Mode};
use crate::effects::Executor;
use crate::logging::{self, LogFormat};
use crate::process::supervisor::Tools;
use crate::storage::slots::{SlotDamage, Slots};
use crate::storage::store::Store;
use crate::storage::{durable, store};
use crate::text::kebab;
use crate::{mqtt, status};
use help::Command;
use lexopt::prelude::{Long, Short, Value, ValueExt};
use slipway_machine::record::Ending;
use slipway_machine::refusals::ByHand;
use slipway_protocol::{ComponentName, Event, Refusal, Sha256};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::sync::mpsc;
use tracing::Level;

mod config_check;
mod help;
mod live;
mod restore;
mod verify;

/// How long another holder of the state is waited for.
const BUSY: Duration = Duration::from_secs(10);

/// Why a command ends other than well.
#[derive(Debug)]
enum Stop {
    Usage(String),
    Refused(Box<Refusal>),
    /// A configuration has mistakes, which were shown.
    Mistaken,
    RolledBack,
    Failed(String),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}
impl From<lexopt::Error> for Stop {
    fn from(error: lexopt::Error) -> Self {
        Self::Usage(error.to_string())
    }
}
impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// All options; each command takes what it needs.
#[derive(Default)]
struct Args {
    config: Option<PathBuf>,
    component: Option<ComponentName>,
    json: bool,
    limit: Option<usize>,
    artifact: Option<Sha256>,
    freeze: bool,
    expiry: bool,
    /// What follows `config`.
    verb: Option<OsString>,
    file: Option<OsString>,
    log_format: LogFormat,
    bundle: Option<PathBuf>,
    policy: Option<PathBuf>,
    trusted_root: Option<PathBuf>,
    name: Option<String>,
    version: Option<slipway_protocol::Version>,
    watch: bool,
    state: Option<PathBuf>,
    /// Whose help is wanted.
    of: Option<&'static Command>,
}

/// Runs the command that `args` (without the program's name) say.
#[must_use]
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let stopped = match parse(args).and_then(|(command, args)| run(&command, &args)) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(stopped) => stopped,
    };
    let code = match stopped {
        Stop::Usage(why) => {
            logging::say(Level::ERROR, &format!("{why}\nRun `slipway-agent --help`, or add `--help` after a command."));
            2
        }
        Stop::Refused(refusal) => {
            logging::explain(Level::ERROR, &refusal);
            3
        }
        Stop::Mistaken => 3,
        Stop::RolledBack => 4,
        Stop::Failed(why) => {
            logging::say(Level::ERROR, &why);
            1
        }
    };
    ExitCode::from(code)
}

fn run(command: &str, args: &Args) -> Result<(), Stop> {
    // What happens in a command that a person gives is shown by `live`; the log would say it twice.
    logging::init(args.log_format, if matches!(command, "run" | "restore") { "info" } else { logging::ONE_SHOT });
    match command {
        "help" => Ok(write!(std::io::stdout(), "{}", args.help())?),
        "version" => Ok(writeln!(std::io::stdout(), "slipway-agent {}", env!("CARGO_PKG_VERSION"))?),
        "config" => config_check::run(args),
        "verify" => verify::run(args),
        "restore" => restore::run(args),
        "run" => service(args),
        "status" => ask(args, |_| Ok(Request::Status)),
        "trust" => ask(args, |_| Ok(Request::Trust)),
        "history" => ask(args, |_| Ok(Request::History { component: args.component.clone(), limit: args.limit.unwrap_or(20) })),
        "check" => ask(args, |config| Ok(Request::Check { component: args.component(config)? })),
        "rollback" => ask(args, |config| Ok(Request::Rollback { component: args.component(config)? })),
        "unblock" => ask(args, |config| {
            let component = args.component(config)?;
            match (args.freeze, args.expiry) {
                (true, true) => Err(Stop::Usage("`--freeze` and `--expiry` cannot be combined; run one after the other".into())),
                (true, false) => Ok(Request::Dismiss { component }),
                (false, true) => Ok(Request::ForgetExpired { component }),
                (false, false) => Ok(Request::Unblock { component, artifact: args.artifact }),
            }
        }),
        "install" => {
            let file = args.file.clone().ok_or_else(|| Stop::Usage("`install` requires the path of an offline bundle".into()))?;
            let path = std::path::absolute(PathBuf::from(&file))?;
            if !path.exists() {
                return Err(Stop::Failed(format!("{}: no such file", path.display())));
            }
            ask(args, |config| Ok(Request::Install { component: args.component(config)?, path }))
        }
        other => Err(Stop::Usage(format!("unknown command {other:?}"))),
    }
}

fn parse(args: impl IntoIterator<Item = OsString>) -> Result<(String, Args), Stop> {
    let mut parser = lexopt::Parser::from_args(args);
    let (mut command, mut args, mut given) = (None::<&'static Command>, Args::default(), Vec::new());
    while let Some(arg) = parser.next()? {
        given.extend(match &arg {
            Long(name) => Some((*name).to_owned()),
            Short('n') => Some("limit".to_owned()),
            _ => None,
        });
        match arg {
            Short('h') | Long("help") => {
                args.of = command;
                return Ok(("help".into(), args));
            }
            Short('V') | Long("version") => return Ok(("version".into(), args)),
            Short('c') | Long("config") => args.config = Some(parser.value()?.into()),
            Long("component") => args.component = Some(parser.value()?.parse()?),
            Long("watch") => args.watch = true,
            Long("state") => args.state = Some(parser.value()?.into()),
            Long("json") => args.json = true,
            Short('n') | Long("limit") => args.limit = Some(parser.value()?.parse()?),
            Long("artifact") => args.artifact = Some(parser.value()?.parse()?),
            Long("freeze") => args.freeze = true,
            Long("expiry") => args.expiry = true,
            Long("bundle") => args.bundle = Some(parser.value()?.into()),
            Long("policy") => args.policy = Some(parser.value()?.into()),
            Long("trusted-root") => args.trusted_root = Some(parser.value()?.into()),
            Long("name") => args.name = Some(parser.value()?.string()?),
            Long("log-format") => args.log_format = parser.value()?.parse()?,
            Long("release-version") => args.version = Some(parser.value()?.parse()?),
            Value(value) if command.is_none() => {
                let name = value.string()?;
                command = Some(Command::of(&name).ok_or_else(|| Stop::Usage(format!("unknown command {name:?}")))?);
            }
            Value(value) if args.verb.is_none() && command.is_some_and(Command::takes_verb) => args.verb = Some(value),
            Value(value) if args.file.is_none() => args.file = Some(value),
            other => return Err(other.unexpected().into()),
        }
    }
    let command = command.ok_or_else(|| Stop::Usage("missing command".into()))?;
    let strange = given.iter().find(|option| !command.takes(option)).map(|option| format!("--{option}"));
    let strange = strange.or_else(|| args.file.as_ref().filter(|_| !command.takes_file()).map(|file| file.display().to_string()));
    match strange {
        Some(strange) => Err(Stop::Usage(format!("`{}` does not accept {strange}", command.name))),
        None => Ok((command.name.to_owned(), args)),
    }
}

impl Args {
    fn help(&self) -> String {
        self.of.map_or_else(help::overview, Command::help)
    }

    fn config(&self) -> Result<Config, Refusal> {
        Config::load(&self.config.clone().unwrap_or_else(|| config::DEFAULT_PATH.into()))
    }

    fn component(&self, config: &Config) -> Result<ComponentName, Stop> {
        match (&self.component, config.components.as_slice()) {
            (Some(name), _) if config.component(name).is_some() => Ok(name.clone()),
            (None, [only]) => Ok(only.name.clone()),
            (named, all) => {
                let known = all.iter().map(|component| component.name.to_string()).collect::<Vec<_>>().join(", ");
                let seen = named.as_ref().map_or_else(|| "no component given".to_owned(), ToString::to_string);
                Err(status::UNKNOWN_COMPONENT.with(seen, format_args!("--component with one of {known}")).into())
            }
        }
    }
}

/// Opens everything. A command that looks something up holds the state for a moment: whoever comes second waits for it.
async fn open(config: &Config, mode: Mode) -> Result<Driver, Refusal> {
    let node = config.node_name()?;
    let state = &config.node.state;
    durable::create_dir_all_durable(state).map_err(|error| durable::refusal(state, &error))?;
    let lock = store::wait_for_lock(state, BUSY).await?;
    let (mut store, damage) = Store::open_locked(lock, state, &Slots::new(state))?;
    store.set_broker(config.mqtt.is_some());
    for refusal in &damage {
        tracing::error!(%refusal, "state was damaged; repaired");
    }
    let executor = Executor::open(config, node.clone(), store, &Tools::default())?;
    let mut driver = Driver::new(config, node, executor, mode)?;
    driver.healed(damage);
    Ok(driver)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

fn service(args: &Args) -> Result<(), Stop> {
    let config = args.config()?;
    tokio::task::LocalSet::new().block_on(&runtime()?, async {
        let listener = control::listen(&config.node.socket).await?;
        let mut driver = open(&config, Mode::Service).await?;
        if let Some(settings) = &config.mqtt {
            driver.set_broker(mqtt::start(settings.clone(), &config.node_name()?, &config.node.fleet)?);
        }
        let (requests, coming) = mpsc::channel(8);
        tokio::task::spawn_local(control::serve(listener, requests));
        driver.adopt()?;
        driver.run(coming, signalled()).await;
        let _ = std::fs::remove_file(&config.node.socket);
        Ok(())
    })
}

/// Resolves on SIGTERM or SIGINT.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

/// Asks the running agent; where none runs, this process is the agent for as long as it takes.
fn ask(args: &Args, request: impl FnOnce(&Config) -> Result<Request, Stop>) -> Result<(), Stop> {
    let config = args.config()?;
    if args.component.is_some() {
        args.component(&config)?;
    }
    let request = request(&config)?;
    let back = matches!(request, Request::Rollback { .. });
    let mut shown = live::Shown::new(args.json);
    tokio::task::LocalSet::new().block_on(&runtime()?, async {
        let asked = control::ask(&config.node.socket, &request, |response| shown.show(response)).await?;
        if asked.is_none() {
            let mut driver = open(&config, Mode::OneShot).await?;
            if let Some(response) = driver.look_up(&request) {
                shown.show(response);
                return Ok(());
            }
            let (requests, coming) = mpsc::channel(1);
            let (answers, mut responses) = mpsc::channel(256);
            let _ = requests.send((request, answers)).await;
            drop(requests);
            let printing = async {
                while let Some(response) = responses.recv().await {
                    shown.show(response);
                }
            };
            driver.adopt()?;
            let working = async move {
                driver.run(coming, signalled()).await;
                // Lets go of the answers that it still owes when it was interrupted: printing would wait for them forever.
                drop(driver);
            };
            tokio::join!(working, printing);
        }
        Ok::<(), Refusal>(())
    })?;
    shown.finish(back)
}

/// What an ending means for the exit code; `back` when to go back, or to call it off, was what was asked for.
fn ended(ending: Option<&Ending>, back: bool) -> Result<(), Stop> {
    let by_hand = ending.and_then(|ending| ending.refusal.as_ref()).and_then(ByHand::of);
    if back && by_hand.is_some() {
        return Ok(());
    }
    match ending {
        Some(Ending { event: Event::Retrying, refusal: Some(refusal), .. }) => {
            Err(Stop::Failed(format!("not done yet; the agent retries while it runs\n{}", refusal.explain().trim_end())))
        }
        Some(Ending { event: Event::Refused | Event::Inconsistent, refusal: Some(refusal), .. }) => {
            Err(Stop::Refused(Box::new(refusal.clone())))
        }
        Some(Ending { event: Event::RolledBack, refusal, .. }) => match refusal {
            Some(_) if by_hand == Some(ByHand::RolledBack) => Ok(()),
            // What was lost is back: that is what was wanted.
            Some(refusal) if SlotDamage::of(refusal).is_some() => {
                logging::explain(Level::WARN, refusal);
                Ok(())
            }
            Some(refusal) => {
                logging::explain(Level::ERROR, refusal);
                Err(Stop::RolledBack)
            }
            None => Err(Stop::RolledBack),
        },
        Some(Ending { event: Event::Waiting, refusal: Some(refusal), .. }) => {
            logging::explain(Level::INFO, refusal);
            Ok(())
        }
        Some(Ending { event, .. }) => {
            tracing::debug!(event = %kebab(*event), "command ended");
            Ok(())
        }
        None => Ok(()),
    }
}

//! `slipway`, the operator's tool. Reads the command line, reads the clock, calls the library, prints.

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use jiff::Timestamp;
use slipway_operator::channel::parse_wave;
use slipway_operator::mqtt::{Audience, Broker, notify, watch};
use slipway_operator::release::{ArtifactArg, KubeEdge};
use slipway_operator::{ArtifactOptions, ChannelChange, InitOptions, Lifetimes, ReleaseOptions, Repo};
use slipway_protocol::channel::Wave;
use slipway_protocol::notice::NOTICE_FORMAT;
use slipway_protocol::{ChannelName, ComponentName, FleetName, NodeName, Notice, Platform, Refusal, Report, Version};
use std::io::{Write as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod verify;

const EXIT_CODES: &str =
    "Exit codes: 0 done; 1 failed; 2 wrong usage; 3 refused, with a code such as SLW-V-POLICY-SOURCE on stderr.";

/// Keys, releases, channels and notices for fleets that run slipway-agent.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys and an empty repository
    Init {
        /// Folder to make it in
        dir: PathBuf,
        #[command(flatten)]
        days: Days,
    },
    /// What a component's provenance must say
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Sigstore's trusted root, by which devices judge signatures
    #[command(subcommand)]
    Sigstore(SigstoreCommand),
    /// Add a release; devices take it when a channel points at it
    Release(ReleaseArgs),
    /// Point a channel at a release, or halt, resume, withdraw
    Channel(ChannelArgs),
    /// Ring the doorbell: devices look for updates now
    Notify(NotifyArgs),
    /// Show the reports of a fleet as they come in
    Watch {
        #[command(flatten)]
        broker: BrokerArgs,
        /// Fleet to watch
        #[arg(long)]
        fleet: FleetName,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Offline bundles
    #[command(subcommand)]
    Bundle(BundleCommand),
    /// Verify an artifact's provenance against a policy, as devices do
    #[command(after_help = EXIT_CODES)]
    Verify(verify::Verify),
    /// Verify a Sigstore bundle: who signed the artifact, and when
    #[command(after_help = EXIT_CODES)]
    VerifyBundle(verify::VerifyBundle),
    /// Roles, expiries, keys, channels
    Status {
        /// The repository
        dir: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Sign snapshot and timestamp again; run it daily from a timer
    Refresh {
        /// The repository
        dir: PathBuf,
    },
}

#[derive(Args)]
struct Days {
    /// Days that a root is believed
    #[arg(long, default_value_t = Lifetimes::default().root)]
    root_days: u32,
    /// Days that policies and delegations are believed
    #[arg(long, default_value_t = Lifetimes::default().targets)]
    targets_days: u32,
    /// Days that releases are believed
    #[arg(long, default_value_t = Lifetimes::default().releases)]
    releases_days: u32,
    /// Days that channels are believed
    #[arg(long, default_value_t = Lifetimes::default().channels)]
    channels_days: u32,
    /// Days that a snapshot is believed
    #[arg(long, default_value_t = Lifetimes::default().snapshot)]
    snapshot_days: u32,
    /// Days that a timestamp is believed: how long devices can be shown an old state
    #[arg(long, default_value_t = Lifetimes::default().timestamp)]
    timestamp_days: u32,
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Add or replace a component's policy
    Add {
        /// The repository
        dir: PathBuf,
        /// The policy, TOML
        file: PathBuf,
    },
    /// Say in words what a policy accepts
    Explain {
        /// The policy, TOML
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum SigstoreCommand {
    /// Add or replace the trusted root
    Add {
        /// The repository
        dir: PathBuf,
        /// trusted_root.json
        file: PathBuf,
    },
}

#[derive(Args)]
struct ReleaseArgs {
    /// The repository
    dir: PathBuf,
    /// Component that is released
    #[arg(long, default_value = "edgecore")]
    component: ComponentName,
    /// Its version; read from KubeEdge's file names
    #[arg(long)]
    version: Option<Version>,
    /// PLATFORM=FILE[,member=PATH][,name=NAME]; just FILE for KubeEdge's archives. PLATFORM is linux/amd64, linux/arm64,
    /// linux/arm or any; member is the program's path in an archive (without it, FILE is the program itself); name is the
    /// artifact's name in its provenance, if it is not the file's. Repeat for more platforms
    #[arg(long = "artifact", required = true, value_name = "ARTIFACT")]
    artifacts: Vec<ArtifactArg>,
    /// Sigstore bundle that proves the build: FILE for all artifacts, or PLATFORM=FILE
    #[arg(long, required = true, value_name = "FILE")]
    provenance: Vec<String>,
    /// Folder by URL where the artifacts also are, tried first. Repeat for more
    #[arg(long = "url")]
    urls: Vec<String>,
    /// Sign without verifying the provenance; devices verify it all the same
    #[arg(long)]
    unsafe_skip_verify: bool,
}

#[derive(Args)]
struct ChannelArgs {
    /// The repository
    dir: PathBuf,
    /// Component
    #[arg(long, default_value = "edgecore")]
    component: ComponentName,
    /// Channel
    #[arg(long, default_value = "stable")]
    channel: ChannelName,
    /// Release that devices shall run
    #[arg(long)]
    release: Option<Version>,
    /// Lowest version that devices accept from now on
    #[arg(long)]
    floor: Option<Version>,
    /// No device begins an update
    #[arg(long)]
    halt: bool,
    /// Devices begin updates again
    #[arg(long, conflicts_with = "halt")]
    resume: bool,
    /// Version that must not be installed any more. Repeat for more
    #[arg(long)]
    withdraw: Vec<Version>,
    /// TIME=PERCENT: from then on this share of the fleet. Repeat, rising
    #[arg(long = "wave", value_parser = parse_wave, value_name = "TIME=PERCENT")]
    waves: Vec<Wave>,
    /// Until when offline bundles may be installed although their timestamp has expired
    #[arg(long)]
    offline_until: Option<Timestamp>,
}

#[derive(Args)]
struct BrokerArgs {
    /// mqtt://host:1883 or mqtts://host:8883, with user:password@ if needed
    #[arg(long, env = "SLIPWAY_BROKER", hide_env_values = true)]
    broker: String,
    /// Roots to believe, PEM; the system's by default
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Our certificate, PEM
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
}

impl BrokerArgs {
    fn broker(self) -> Broker {
        Broker { url: self.broker, ca: self.ca, cert: self.cert, key: self.key }
    }
}

#[derive(Args)]
struct NotifyArgs {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Fleet to notify
    #[arg(long)]
    fleet: FleetName,
    /// Only this node
    #[arg(long)]
    node: Option<NodeName>,
    /// Component that changed
    #[arg(long)]
    component: Option<ComponentName>,
    /// Channel that moved
    #[arg(long)]
    channel: Option<ChannelName>,
    /// Version that is out: a device that cannot find it reports a freeze
    #[arg(long)]
    version: Option<Version>,
    /// Repository whose state is announced, for the same purpose
    #[arg(long)]
    repo: Option<PathBuf>,
}

#[derive(Subcommand)]
enum BundleCommand {
    /// Pack a channel's release and everything that proves it into one file
    Make {
        /// The repository
        dir: PathBuf,
        /// Component
        #[arg(long, default_value = "edgecore")]
        component: ComponentName,
        /// Channel
        #[arg(long, default_value = "stable")]
        channel: ChannelName,
        /// Platform to pack; all by default. Repeat for more
        #[arg(long)]
        platform: Vec<Platform>,
        /// File to write
        #[arg(short, long)]
        output: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let broken_pipe = error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe);
            if broken_pipe {
                return ExitCode::SUCCESS;
            }
            // With stderr gone too there is nobody left to tell.
            let (text, code) = match error.downcast_ref::<Refusal>() {
                Some(refusal) => (refusal.explain().trim_end().to_owned(), ExitCode::from(3)),
                None => (format!("{error:#}"), ExitCode::FAILURE),
            };
            let _unheard = writeln!(stderr(), "slipway: {text}");
            code
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the operator's tool reads the clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Init { dir, days } => init(&dir, &days),
        Command::Policy(PolicyCommand::Add { dir, file }) => {
            let path = Repo::open(&dir)?.add_policy(&read(&file)?, now())?;
            say(&format!("published {path}"))
        }
        Command::Policy(PolicyCommand::Explain { file }) => verify::explain_policy(&file),
        Command::Sigstore(SigstoreCommand::Add { dir, file }) => {
            Repo::open(&dir)?.add_sigstore_root(&read(&file)?, now())?;
            say(&format!("published {}", slipway_operator::repo::SIGSTORE_ROOT))
        }
        Command::Release(args) => release(args),
        Command::Channel(args) => channel(args),
        Command::Notify(args) => block_on(ring(args)),
        Command::Watch { broker, fleet, json } => block_on(follow(broker.broker(), fleet, json)),
        Command::Bundle(BundleCommand::Make { dir, component, channel, platform, output }) => {
            let members = Repo::open(&dir)?.bundle(&component, &channel, &platform, &output)?;
            members.iter().try_for_each(|member| say(member))?;
            say(&format!("wrote {}", output.display()))
        }
        Command::Verify(args) => args.run(),
        Command::VerifyBundle(args) => args.run(),
        Command::Status { dir, json } => {
            let status = Repo::open(&dir)?.status(now())?;
            if json { say(&serde_json::to_string_pretty(&status)?) } else { say(status.to_string().trim_end()) }
        }
        Command::Refresh { dir } => {
            let mut repo = Repo::open(&dir)?;
            repo.refresh(now())?;
            say(&format!("timestamp is now version {}", repo.timestamp_version()))
        }
    }
}

fn init(dir: &Path, days: &Days) -> anyhow::Result<()> {
    let days = Lifetimes {
        root: days.root_days,
        targets: days.targets_days,
        releases: days.releases_days,
        channels: days.channels_days,
        snapshot: days.snapshot_days,
        timestamp: days.timestamp_days,
    };
    Repo::init(dir, &InitOptions { days }, now())?;
    let dir = dir.display();
    say(&format!(
        "made a repository in {dir}

serve            {dir}/public with any web server
copy to devices  {dir}/public/metadata/1.root.json as /etc/slipway/root.json
take offline     {dir}/keys/root.pem now, targets.pem once the policies are in, releases.pem between releases
keep here        {dir}/keys/channels.pem, snapshot.pem, timestamp.pem
run daily        slipway refresh {dir}
next             slipway policy add {dir} edgecore.toml"
    ))
}

fn release(args: ReleaseArgs) -> anyhow::Result<()> {
    let file_name = |path: &Path| path.file_name().and_then(|name| name.to_str()).and_then(KubeEdge::of);
    let version = args
        .version
        .or_else(|| args.artifacts.iter().find_map(|artifact| Some(file_name(&artifact.file)?.version)))
        .context("no file name tells the version: give --version")?;
    let mut artifacts = Vec::new();
    for artifact in args.artifacts {
        let named = |given: &String| {
            let (platform, path) = given.split_once('=')?;
            (platform.parse() == Ok(artifact.platform)).then(|| path.to_owned())
        };
        let common = |given: &&String| given.split_once('=').is_none_or(|(platform, _)| platform.parse::<Platform>().is_err());
        let provenance = args.provenance.iter().find_map(named).or_else(|| args.provenance.iter().find(common).cloned());
        artifacts.push(ArtifactOptions {
            platform: artifact.platform,
            file: artifact.file,
            name: artifact.name,
            member: artifact.member,
            provenance: provenance.with_context(|| format!("no --provenance for {}", artifact.platform))?.into(),
            urls: args.urls.clone(),
        });
    }
    let options = ReleaseOptions { component: args.component, version, artifacts, unsafe_skip_verify: args.unsafe_skip_verify };
    let manifest = Repo::open(&args.dir)?.release(&options, now())?;
    say(&format!("released {} {}", manifest.component, manifest.version))?;
    for artifact in &manifest.artifacts {
        say(&format!("{:<12} {:>12} bytes  sha256:{}  {}", artifact.platform, artifact.size, artifact.sha256, artifact.name))?;
        say(&format!("{:<12} installs {}", "", artifact.member.as_deref().unwrap_or("the file itself")))?;
    }
    let verified = if options.unsafe_skip_verify { "NOT verified here" } else { "verified with the repository's policy" };
    say(&format!("provenance {verified}"))?;
    say(&format!(
        "next: slipway channel {} --component {} --release {}",
        args.dir.display(),
        manifest.component,
        manifest.version
    ))
}

fn channel(args: ChannelArgs) -> anyhow::Result<()> {
    let change = ChannelChange {
        release: args.release,
        floor: args.floor,
        halted: if args.halt { Some(true) } else { args.resume.then_some(false) },
        withdraw: args.withdraw,
        waves: (!args.waves.is_empty()).then_some(args.waves),
        offline_until: args.offline_until,
    };
    let mut repo = Repo::open(&args.dir)?;
    let channel = repo.channel(&args.component, &args.channel, &change, now())?;
    let state = if channel.halted { ", halted" } else { "" };
    say(&format!(
        "{} of {} is {}{state}; timestamp is now version {}",
        channel.channel,
        channel.component,
        channel.release,
        repo.timestamp_version()
    ))
}

async fn ring(args: NotifyArgs) -> anyhow::Result<()> {
    let timestamp_version = match &args.repo {
        Some(dir) => Some(Repo::open(dir)?.timestamp_version()),
        None => None,
    };
    let notice =
        Notice { v: NOTICE_FORMAT, component: args.component, channel: args.channel, version: args.version, timestamp_version };
    let audience = match args.node {
        Some(node) => Audience::Node(args.fleet, node),
        None => Audience::Fleet(args.fleet),
    };
    notify(&args.broker.broker(), &audience, &notice).await?;
    say("the broker has the notice")
}

async fn follow(broker: Broker, fleet: FleetName, json: bool) -> anyhow::Result<()> {
    let mut failed = None;
    watch(&broker, &fleet, |report| {
        let line = if json { serde_json::to_string(&report).map_err(Into::into) } else { Ok(line(&report)) };
        failed = line.and_then(|line| say(&line)).err();
        failed.is_none()
    })
    .await?;
    failed.map_or(Ok(()), Err)
}

fn line(report: &Report) -> String {
    let event = serde_json::to_value(report.event).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default();
    let version = report.to.as_ref().or(report.from.as_ref()).map_or("-", Version::as_str);
    let percent = report.percent.map(|percent| format!("{percent}% ")).unwrap_or_default();
    let why = report.refusal.as_ref().map(ToString::to_string).or_else(|| report.text.clone()).unwrap_or_default();
    let text = slipway_protocol::refusal::printable(&format!("{percent}{why}"));
    let time = report.time.strftime("%H:%M:%S");
    format!("{time}  {:<20} {:<12} {event:<13} {version:<16} {text}", report.node, report.component).trim_end().to_owned()
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(work)
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// One line on standard output; a closed pipe is an error that ends the program quietly.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

//! `slipway notify` and `slipway watch`: send notices to devices, and show their reports.

use crate::say;
use anyhow::Context as _;
use clap::Args;
use slipway_operator::Repo;
use slipway_operator::mqtt::{Audience, Broker, notify, watch};
use slipway_protocol::notice::NOTICE_FORMAT;
use slipway_protocol::{ChannelName, ComponentName, FleetName, NodeName, Notice, Report, Version};
use std::path::PathBuf;

#[derive(Args)]
struct BrokerArgs {
    /// mqtt://host:1883 or mqtts://host:8883, with user:password@ if needed
    #[arg(long, env = "SLIPWAY_BROKER", hide_env_values = true)]
    broker: String,
    /// CA certificates to trust, PEM; the system's by default
    #[arg(long)]
    ca: Option<PathBuf>,
    /// Client certificate, PEM
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Key of the client certificate, PEM
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
}

impl BrokerArgs {
    fn broker(self) -> Broker {
        Broker { url: self.broker, ca: self.ca, cert: self.cert, key: self.key }
    }
}

#[derive(Args)]
pub(crate) struct Notify {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Fleet to notify
    #[arg(long)]
    fleet: FleetName,
    /// Only this node
    #[arg(long)]
    node: Option<NodeName>,
    /// Component with a new release
    #[arg(long)]
    component: Option<ComponentName>,
    /// Channel that changed
    #[arg(long)]
    channel: Option<ChannelName>,
    /// Released version: a device that cannot find it reports a possible freeze
    #[arg(long)]
    version: Option<Version>,
    /// Repository whose timestamp version the notice names, for the same purpose
    #[arg(long)]
    repo: Option<PathBuf>,
}

impl Notify {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        block_on(self.keyring())
    }

    async fn keyring(self) -> anyhow::Result<()> {
        let timestamp_version = match &self.repo {
            Some(dir) => Some(Repo::open(dir)?.timestamp_version()),
            None => None,
        };
        let notice = Notice {
            v: NOTICE_FORMAT,
            component: self.component,
            channel: self.channel,
            version: self.version,
            timestamp_version,
        };
        let audience = match self.node {
            Some(node) => Audience::Node(self.fleet, node),
            None => Audience::Fleet(self.fleet),
        };
        notify(&self.broker.broker(), &audience, &notice).await?;
        say("notice published")
    }
}

#[derive(Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    broker: BrokerArgs,
    /// Fleet to watch
    #[arg(long)]
    fleet: FleetName,
    /// Print one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        block_on(follow(self.broker.broker(), self.fleet, self.json))
    }
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

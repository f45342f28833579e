//! `slipway init`, `status` and `refresh`: the repository as a whole.

use crate::{now, say};
use clap::Args;
use slipway_operator::{InitOptions, Lifetimes, Repo};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Init {
    /// Folder to make it in
    dir: PathBuf,
    #[command(flatten)]
    days: Days,
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

impl Init {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let days = self.days;
        let days = Lifetimes {
            root: days.root_days,
            targets: days.targets_days,
            releases: days.releases_days,
            channels: days.channels_days,
            snapshot: days.snapshot_days,
            timestamp: days.timestamp_days,
        };
        Repo::init(&self.dir, &InitOptions { days }, now())?;
        let dir = self.dir.display();
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
}

#[derive(Args)]
pub(crate) struct Status {
    /// The repository
    dir: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let status = Repo::open(&self.dir)?.status(now())?;
        if self.json { say(&serde_json::to_string_pretty(&status)?) } else { say(status.to_string().trim_end()) }
    }
}

#[derive(Args)]
pub(crate) struct Refresh {
    /// The repository
    dir: PathBuf,
}

impl Refresh {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut repo = Repo::open(&self.dir)?;
        repo.refresh(now())?;
        say(&format!("timestamp is now version {}", repo.timestamp_version()))
    }
}

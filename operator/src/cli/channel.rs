//! `slipway channel`: what devices shall run, and since when.

use crate::cli::signing::{Signing, conclude};
use crate::now;
use clap::Args;
use jiff::Timestamp;
use slipway_operator::ChannelChange;
use slipway_operator::channel::parse_wave;
use slipway_protocol::channel::Wave;
use slipway_protocol::{ChannelName, ComponentName, Version};
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Channel {
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
    #[command(flatten)]
    signing: Signing,
}

impl Channel {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let change = ChannelChange {
            release: self.release,
            floor: self.floor,
            halted: if self.halt { Some(true) } else { self.resume.then_some(false) },
            withdraw: self.withdraw,
            waves: (!self.waves.is_empty()).then_some(self.waves),
            offline_until: self.offline_until,
        };
        let mut repo = self.signing.open(&self.dir)?;
        let channel = repo.channel(&self.component, &self.channel, &change, now())?;
        let state = if channel.halted { ", halted" } else { "" };
        let done = format!(
            "{} of {} is {}{state}; timestamp is now version {}",
            channel.channel,
            channel.component,
            channel.release,
            repo.timestamp_version()
        );
        conclude(&repo, &done)
    }
}

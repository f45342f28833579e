//! `slipway channel`: which release devices run, and from when.

use crate::cli::signing::{Signing, conclude};
use crate::{now, say};
use clap::Args;
use jiff::Timestamp;
use slipway_operator::channel::parse_wave;
use slipway_operator::error::CHANNEL;
use slipway_operator::status::audience;
use slipway_operator::{ChannelChange, Repo};
use slipway_protocol::channel::Wave;
use slipway_protocol::{ChannelName, ComponentName, Version};
use std::io::{Write as _, stderr};
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
    /// Release that devices install. A new release without --wave goes to all devices at once
    #[arg(long)]
    release: Option<Version>,
    /// Lowest version that devices accept from now on
    #[arg(long)]
    floor: Option<Version>,
    /// Halt: no device begins an update
    #[arg(long)]
    halt: bool,
    /// Resume a halted rollout
    #[arg(long, conflicts_with = "halt")]
    resume: bool,
    /// Version that must not be installed any more. Repeat for more
    #[arg(long)]
    withdraw: Vec<Version>,
    /// TIME=PERCENT: share of the fleet from then on. Repeat in rising order; end with 100, or some devices never get the release
    #[arg(long = "wave", value_parser = parse_wave, value_name = "TIME=PERCENT")]
    waves: Vec<Wave>,
    /// Time until which offline bundles may be installed after their timestamp has expired
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
        if change == ChannelChange::default() {
            let known = Repo::open(&self.dir)?.read_channel(&self.component, &self.channel)?;
            let missing = || CHANNEL.with(format_args!("no channel {}", self.channel), "--release VERSION, which creates it");
            return say(&describe(&known.ok_or_else(missing)?));
        }
        let mut repo = self.signing.open(&self.dir)?;
        let channel = repo.channel(&self.component, &self.channel, &change, now())?;
        if let Some(last) = channel.waves.last().filter(|last| last.percent < 100) {
            let rest = 100_u8.saturating_sub(last.percent);
            writeln!(stderr(), "slipway: the last wave is {}%; {rest}% of the fleet never get the release", last.percent)?;
        }
        conclude(&repo, &format!("{}; timestamp is now version {}", describe(&channel), repo.timestamp_version()))
    }
}

fn describe(channel: &slipway_protocol::Channel) -> String {
    let state = if channel.halted { "halted".to_owned() } else { format!("to {}", audience(channel)) };
    format!("{} of {} is {}, {state}", channel.channel, channel.component, channel.release)
}

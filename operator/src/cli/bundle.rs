//! `slipway bundle`: offline bundles.

use crate::say;
use clap::Subcommand;
use slipway_operator::Repo;
use slipway_protocol::{ChannelName, ComponentName, Platform};
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Bundle {
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

impl Bundle {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let Self::Make { dir, component, channel, platform, output } = self;
        let members = Repo::open(&dir)?.bundle(&component, &channel, &platform, &output)?;
        members.iter().try_for_each(|member| say(member))?;
        say(&format!("wrote {}", output.display()))
    }
}

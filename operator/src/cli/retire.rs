//! `slipway retire` and `slipway migrate`: what the repository signs for, and in which format.

use crate::cli::signing::{Signing, conclude};
use crate::{now, say};
use clap::Args;
use slipway_operator::overlap::OVERLAP_DAYS;
use slipway_operator::retire::KEEP;
use slipway_operator::{Outcome, Repo};
use slipway_protocol::ComponentName;
use std::path::PathBuf;

#[derive(Args)]
pub(crate) struct Retire {
    /// The repository
    dir: PathBuf,
    /// Component; all of them unless named
    #[arg(long)]
    component: Option<ComponentName>,
    /// How many releases of a component stay: the newest, and always those that a channel names
    #[arg(long, default_value_t = KEEP, value_name = "N")]
    keep: usize,
    #[command(flatten)]
    signing: Signing,
}

impl Retire {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut repo = self.signing.open(&self.dir)?;
        let retired = repo.retire(self.component.as_ref(), self.keep, now())?;
        if retired.is_empty() {
            return say("nothing to retire");
        }
        let verb = if matches!(repo.outcome(), Outcome::Staged(_)) { "prepared to retire" } else { "retired" };
        for release in &retired {
            let why = if release.withdrawn { "withdrawn" } else { "old" };
            say(&format!("{verb} {} {}  {why}", release.component, release.version))?;
        }
        let dir = self.dir.display();
        let again = format!(
            "devices that run one go on running it; none installs it any more\n\
             again: slipway release {dir} --from-archive --component COMPONENT --version VERSION"
        );
        conclude(&repo, &again)
    }
}

#[derive(Args)]
pub(crate) struct Migrate {
    /// The repository
    dir: PathBuf,
    /// For how many days agents of formats-1 can follow and update themselves; 0 for not at all
    #[arg(long, default_value_t = OVERLAP_DAYS, value_name = "DAYS")]
    overlap: u32,
    /// End that time now
    #[arg(long, conflicts_with = "overlap")]
    finish: bool,
    #[command(flatten)]
    signing: Signing,
}

impl Migrate {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut repo = self.signing.open(&self.dir)?;
        repo.migrate(if self.finish { 0 } else { self.overlap }, now())?;
        if *repo.outcome() == Outcome::Nothing {
            return say("nothing to migrate");
        }
        conclude(&repo, &done(&repo))
    }
}

fn done(repo: &Repo) -> String {
    let served = repo.overlap_until().map_or_else(
        || "agents of formats-1 are not served".to_owned(),
        |until| format!("agents of formats-1 are served until {until}; update them before"),
    );
    format!("releases are in indexes; {served}; timestamp is now version {}", repo.timestamp_version())
}

//! The updates that a sweep interrupts, and what a device needs for them.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The release that runs at first.
pub const OLD: &str = "v1.0.0";
/// What happens to the device.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Scenario {
    /// A good release: committed.
    Commit,
    /// A release that rewrites its configuration and dies: rolled back and condemned.
    RollBack,
    /// The program of the committed release is found changed: its slot is set aside, and it is fetched and proven again.
    Repair,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Commit, Self::RollBack, Self::Repair];
    /// Those in which another release comes.
    pub const UPDATES: [Self; 2] = [Self::Commit, Self::RollBack];

    /// As on the command line, and the channel that devices follow.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::RollBack => "rollback",
            Self::Repair => "repair",
        }
    }

    /// The release that comes.
    #[must_use]
    pub const fn new_version(self) -> &'static str {
        match self {
            Self::Commit => "v1.1.0",
            Self::RollBack => "v1.2.0",
            Self::Repair => OLD,
        }
    }

    /// The release that runs in the end.
    #[must_use]
    pub const fn ends_at(self) -> &'static str {
        match self {
            Self::Commit => self.new_version(),
            Self::RollBack | Self::Repair => OLD,
        }
    }

    /// What the agent must pass on its way, or interrupting it there shows nothing.
    #[must_use]
    pub const fn needed(self) -> &'static [&'static str] {
        match self {
            Self::Commit | Self::RollBack => {
                &["record: after ", "effect: before ", "link: ", "slot: ", "take: ", "witness: ", "store: "]
            }
            Self::Repair => &[
                "effect: before set-aside",
                "slot: before it is set aside",
                "slot: after it is set aside",
                "effect: after set-aside",
                "effect: before check",
                "effect: after restore",
            ],
        }
    }
}

impl std::str::FromStr for Scenario {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|one| one.name() == text).with_context(|| format!("no scenario {text:?}"))
    }
}

/// What a device, and whoever judges it, has to know of its world.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Setting {
    /// The repository's URL.
    pub url: String,
    /// The agent's program.
    pub agent: PathBuf,
    /// The TUF root that devices are born with.
    pub root: String,
    /// SHA-256 in hex of each release's program, and its version.
    pub programs: BTreeMap<String, String>,
}

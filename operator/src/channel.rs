//! Points a channel at a release, with the rollout key.

use crate::error::{CHANNEL, NO_RELEASE, REPOSITORY};
use crate::files::to_compact;
use crate::repo::Repo;
use crate::role::Role;
use jiff::Timestamp;
use slipway_protocol::channel::Wave;
use slipway_protocol::json::Members;
use slipway_protocol::{Channel, ChannelName, ComponentName, Manifest, Refusal, Version};

/// What changes in a channel. What is `None` stays as it is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ChannelChange {
    /// Which release devices shall run; needed for a new channel.
    pub release: Option<Version>,
    /// The lowest version acceptable from now on; never lowered here.
    pub floor: Option<Version>,
    /// Halts the rollout, or lets it go on.
    pub halted: Option<bool>,
    /// Versions that must not be installed any more, added to those already withdrawn.
    pub withdraw: Vec<Version>,
    /// The rollout's steps. With a new release they replace the old ones, even by none; otherwise only if given.
    pub waves: Option<Vec<Wave>>,
    /// Until when offline bundles may be installed after their timestamp expired.
    pub offline_until: Option<Timestamp>,
}

impl Repo {
    /// Changes a channel and publishes it.
    ///
    /// # Errors
    /// `SLW-O-NO-RELEASE` for a release that is not here, `SLW-O-CHANNEL` for a contradiction.
    pub fn channel(
        &mut self,
        component: &ComponentName,
        name: &ChannelName,
        change: &ChannelChange,
        now: Timestamp,
    ) -> Result<Channel, Refusal> {
        let target = Channel::target(component, name);
        let old = self.read_channel(component, name)?;
        let Some(release) = change.release.clone().or_else(|| old.as_ref().map(|old| old.release.clone())) else {
            return Err(CHANNEL.with(format_args!("new channel {name} without a release"), "--release VERSION"));
        };
        if self.manifest(component, &release)?.is_none() {
            return Err(NO_RELEASE.with(Manifest::target(component, &release), "a release of this repository"));
        }
        let moved = old.as_ref().is_none_or(|old| old.release != release);
        let mut channel = old.unwrap_or_else(|| Channel {
            v: 1,
            component: component.clone(),
            channel: name.clone(),
            release: release.clone(),
            floor: None,
            halted: false,
            withdrawn: Vec::new(),
            waves: Vec::new(),
            offline_until: None,
            critical: Vec::new(),
            more: Members::new(),
        });
        channel.release = release;
        if let Some(floor) = &change.floor {
            if channel.floor.as_ref().is_some_and(|old| old > floor) {
                return Err(CHANNEL.with(format_args!("floor {floor}"), format_args!("{:?} or above", channel.floor)));
            }
            channel.floor = Some(floor.clone());
        }
        if let Some(halted) = change.halted {
            channel.halted = halted;
        }
        for version in &change.withdraw {
            if !channel.withdrawn.contains(version) {
                channel.withdrawn.push(version.clone());
            }
        }
        match &change.waves {
            Some(waves) => channel.waves.clone_from(waves),
            None if moved => channel.waves.clear(),
            None => {}
        }
        channel.offline_until = change.offline_until.or(channel.offline_until);
        if channel.withdrawn.contains(&channel.release) {
            let version = &channel.release;
            return Err(if change.withdraw.contains(version) {
                CHANNEL.with(
                    format_args!("{version}, the release of the channel, withdrawn"),
                    format_args!("another release in the same step: --release OTHER --withdraw {version}"),
                )
            } else {
                CHANNEL.with(
                    format_args!("{version}, which was withdrawn"),
                    "another release: a withdrawal is permanent; release the same files under a new version",
                )
            });
        }
        let bytes = to_compact(&channel)?;
        Channel::parse(&bytes).map_err(|why| CHANNEL.with(why, "a channel that devices can follow"))?;
        let mut edits = self.edit(Role::Channels, &target, &bytes)?;
        self.also_list(&mut edits, &channel, now)?;
        self.commit(edits, now)?;
        Ok(channel)
    }

    /// A channel as it is published, if there is one.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn read_channel(&self, component: &ComponentName, name: &ChannelName) -> Result<Option<Channel>, Refusal> {
        let parse = |bytes: Vec<u8>| Channel::parse(&bytes).map_err(|why| REPOSITORY.with(why, "a channel"));
        self.target(&Channel::target(component, name))?.map(parse).transpose()
    }
}

/// `TIME=PERCENT` as written on a command line.
///
/// # Errors
/// Says which half is wrong.
pub fn parse_wave(text: &str) -> Result<Wave, String> {
    let (start, percent) = text.split_once('=').ok_or_else(|| format!("{text:?}: write TIME=PERCENT, 2026-11-22T06:00Z=10"))?;
    Ok(Wave {
        start: start.parse().map_err(|error| format!("{start:?} is not a time: {error}"))?,
        percent: percent.trim_end_matches('%').parse().map_err(|error| format!("{percent:?} is not a percentage: {error}"))?,
        more: Members::new(),
    })
}

//! The state of a repository: roles, expiry, signers, the change that waits, releases, channels.

use crate::error::EXPIRES;
use crate::index::{components, of_manifest};
use crate::limits::Usage;
use crate::quorum::Quorum;
use crate::repo::Repo;
use crate::role::Role;
use crate::staged::Waiting;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use slipway_protocol::{Channel, Manifest, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A repository at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Every role, root first.
    pub roles: Vec<RoleStatus>,
    /// What waits for signatures.
    pub staged: Option<StagedStatus>,
    /// `component version` of every release, policy and the like: all target paths but channels.
    pub targets: Vec<String>,
    /// Every channel.
    pub channels: Vec<Channel>,
    /// Whether `slipway migrate` is to be run.
    pub formats_1: bool,
    /// How agents of formats-1 are served beside newer ones; absent when they are not.
    pub overlap: Option<OverlapStatus>,
    /// Limits of devices that are half reached.
    pub limits: Vec<Usage>,
}

/// The time in which agents of formats-1 are served.
#[derive(Clone, Debug, Serialize)]
pub struct OverlapStatus {
    /// When it ends.
    pub until: Timestamp,
    /// Whole days until then; negative once it has ended.
    pub days_left: i64,
    /// Channels that name a release which those agents cannot see before the release keys sign again.
    pub behind: Vec<String>,
}

/// One role.
#[derive(Clone, Debug, Serialize)]
pub struct RoleStatus {
    /// Its name.
    pub role: String,
    /// Its version.
    pub version: u64,
    /// When devices stop believing it.
    pub expires: Timestamp,
    /// Whole days until then; negative once it has.
    pub days_left: i64,
    /// Whether they have stopped.
    pub expired: bool,
    /// How many signatures it needs.
    pub threshold: u32,
    /// Its keys.
    pub keys: Vec<KeyStatus>,
}

/// One key of a role.
#[derive(Clone, Debug, Serialize)]
pub struct KeyStatus {
    /// Its id.
    pub id: String,
    /// What people call it.
    pub name: Option<String>,
    /// Whether its secret is at hand.
    pub here: bool,
    /// Whether it signed the published version.
    pub signed: bool,
}

/// A change that waits.
#[derive(Clone, Debug, Serialize)]
pub struct StagedStatus {
    /// The file to carry to those who sign.
    pub file: String,
    /// Roles and the versions they shall have.
    pub roles: Vec<(Role, u64)>,
    /// For whom it waits; nobody when `slipway publish` is all that is missing.
    pub waiting: Vec<Waiting>,
}

impl Repo {
    /// What the repository holds as of `now`.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn status(&self, now: Timestamp) -> Result<Status, Refusal> {
        let mut roles = Vec::new();
        for role in Role::ALL.into_iter().filter(|_| self.is_published()) {
            roles.push(self.role_status(role, now)?);
        }
        let mut channels = Vec::new();
        for path in self.state.roles.get(&Role::Channels).iter().flat_map(|role| role.targets.keys()) {
            let bytes = self.target(path)?.unwrap_or_default();
            channels.push(Channel::parse(&bytes).map_err(|why| crate::error::REPOSITORY.with(why, "a channel"))?);
        }
        let mut targets: Vec<String> =
            self.state.roles.get(&Role::Targets).iter().flat_map(|role| role.targets.keys().cloned()).collect();
        if let Some(role) = self.state.roles.get(&Role::Releases) {
            let mut releases: BTreeSet<String> =
                role.targets.keys().filter(|path| of_manifest(path).is_some()).cloned().collect();
            for component in components(role) {
                let all = self.releases(role, &BTreeMap::new(), &component)?;
                releases.extend(all.keys().map(|version| format!("releases/{component}/{version}.json")));
            }
            targets.extend(releases);
        }
        let staged = match self.staged() {
            none if none.is_empty() => None,
            change => Some(StagedStatus {
                file: self.staged_file().display().to_string(),
                roles: change.next.iter().map(|(role, envelope)| (*role, envelope.version())).collect(),
                waiting: change.waiting()?,
            }),
        };
        let overlap = self.overlap(&channels, now);
        let limits = self.limits()?.into_iter().filter(Usage::is_half).collect();
        Ok(Status { roles, staged, targets, channels, formats_1: self.is_formats_1(), overlap, limits })
    }

    fn overlap(&self, channels: &[Channel], now: Timestamp) -> Option<OverlapStatus> {
        let releases = self.state.roles.get(&Role::Releases)?;
        let until = releases.overlap_until?;
        let listed = |channel: &&Channel| releases.targets.contains_key(&Manifest::target(&channel.component, &channel.release));
        let behind = channels.iter().filter(|channel| !listed(channel));
        let behind = behind.map(|channel| format!("{}/{}", channel.component, channel.channel)).collect();
        Some(OverlapStatus { until, days_left: days_left(until, now), behind })
    }

    fn role_status(&self, role: Role, now: Timestamp) -> Result<RoleStatus, Refusal> {
        let quorum: Quorum = self.state.quorum(role)?;
        let signed = self.state.envelopes.get(&role).map(|out| quorum.signed(out)).transpose()?.unwrap_or_default();
        let (version, expires) = self.state.header(role).map_or((0, now), |header| (header.version, header.expires));
        let key = |(id, key): (&String, &crate::public_key::PublicKey)| KeyStatus {
            id: id.clone(),
            name: key.name.clone(),
            here: self.keys.has(key),
            signed: signed.contains(id),
        };
        Ok(RoleStatus {
            role: role.name().to_owned(),
            version,
            expires,
            days_left: days_left(expires, now),
            expired: expires <= now,
            threshold: quorum.threshold,
            keys: quorum.keys.iter().map(key).collect(),
        })
    }

    /// The roles among `roles` that expire within `days`, or within the last third of their life if that is shorter: a timestamp
    /// of a week is not about to expire on its second day.
    #[must_use]
    pub fn expiring(&self, roles: &[Role], days: u32, now: Timestamp) -> Vec<Refusal> {
        let mut found = Vec::new();
        for role in roles.iter().filter(|_| self.is_published()) {
            let Some(header) = self.state.header(*role) else { continue };
            let within = i64::from(days).saturating_mul(24).min(i64::from(self.days.of(*role)).saturating_mul(8));
            if header.expires.duration_since(now) < SignedDuration::from_hours(within) {
                let verb = if header.expires <= now { "expired" } else { "expires" };
                let seen = format_args!("{role} version {} {verb} at {}", header.version, header.expires);
                found.push(EXPIRES.with(seen, format_args!("a later version; now it is {now:.0}")));
            }
        }
        found
    }
}

fn days_left(expires: Timestamp, now: Timestamp) -> i64 {
    expires.duration_since(now).as_secs().div_euclid(24 * 60 * 60)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.roles.is_empty() {
            writeln!(f, "nothing is published yet: the first root waits for its signatures")?;
        } else {
            writeln!(f, "{:<10} {:>7}  {:<20} {:>9}  KEYS (* has signed)", "ROLE", "VERSION", "EXPIRES", "DAYS LEFT")?;
        }
        for role in &self.roles {
            let left = if role.expired { "EXPIRED".to_owned() } else { role.days_left.to_string() };
            write!(f, "{:<10} {:>7}  {:<20} {left:>9}  {} of", role.role, role.version, role.expires, role.threshold)?;
            for (nth, key) in role.keys.iter().enumerate() {
                let (comma, star) = (if nth == 0 { "" } else { "," }, if key.signed { "*" } else { "" });
                let name = key.name.as_ref().unwrap_or(&key.id);
                let place = if key.here { "" } else { " elsewhere" };
                write!(f, "{comma} {name}{star}{place}")?;
            }
            writeln!(f)?;
        }
        if let Some(staged) = &self.staged {
            let roles: Vec<String> = staged.roles.iter().map(|(role, version)| format!("{role} version {version}")).collect();
            writeln!(f, "\nSTAGED     {}", roles.join(", "))?;
            for waiting in &staged.waiting {
                writeln!(f, "waits for  {waiting}")?;
            }
            let todo = if staged.waiting.is_empty() { "has all signatures: `slipway publish`" } else { "carry to them" };
            writeln!(f, "file       {}  {todo}", staged.file)?;
        }
        if !self.channels.is_empty() {
            writeln!(f, "\n{:<16} {:<12} {:<16} {:<16} STATE", "COMPONENT", "CHANNEL", "RELEASE", "FLOOR")?;
        }
        for channel in &self.channels {
            let floor = channel.floor.as_ref().map_or("-", |floor| floor.as_str());
            let state = if channel.halted { "halted".to_owned() } else { audience(channel) };
            write!(f, "{:<16} {:<12} {:<16} {floor:<16} {state}", channel.component, channel.channel, channel.release)?;
            let withdrawn: Vec<&str> = channel.withdrawn.iter().map(|version| version.as_str()).collect();
            writeln!(f, "{}{}", if withdrawn.is_empty() { "" } else { ", withdrawn " }, withdrawn.join(", "))?;
        }
        if self.formats_1 {
            writeln!(f, "\nFORMAT     older: run `slipway migrate` with the release keys")?;
        }
        if let Some(OverlapStatus { until, days_left, behind }) = &self.overlap {
            match days_left {
                0.. => writeln!(f, "\nOVERLAP    agents of formats-1 are served until {until}, {days_left} days left")?,
                _ => writeln!(
                    f,
                    "\nOVERLAP    ended at {until}: the next signature of releases, or `slipway migrate --finish`, drops it"
                )?,
            }
            if !behind.is_empty() {
                writeln!(f, "           not yet for {}: run `slipway migrate` with the release keys", behind.join(", "))?;
            }
        }
        for usage in &self.limits {
            writeln!(f, "\nLIMIT      {usage}")?;
        }
        if !self.targets.is_empty() {
            writeln!(f, "\nTARGETS")?;
        }
        self.targets.iter().try_for_each(|target| writeln!(f, "{target}"))
    }
}

/// Who gets a channel's release, and when.
#[must_use]
pub fn audience(channel: &Channel) -> String {
    if channel.waves.is_empty() {
        return "everyone now".to_owned();
    }
    let wave = |wave: &slipway_protocol::channel::Wave| format!("{}% from {}", wave.percent, wave.start);
    channel.waves.iter().map(wave).collect::<Vec<_>>().join(", ")
}

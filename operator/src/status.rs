//! What a repository holds: roles, expiries, keys, releases, channels.

use crate::metadata::{Header, RoleKeys};
use crate::repo::{Repo, Signer};
use jiff::Timestamp;
use serde::Serialize;
use slipway_protocol::{Channel, Refusal};
use std::fmt;

/// A repository at a glance.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Every role, root first.
    pub roles: Vec<RoleStatus>,
    /// `component version` of every release, policy and the like: all target paths but channels.
    pub targets: Vec<String>,
    /// Every channel.
    pub channels: Vec<Channel>,
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
    /// Whether its secret is in the repository's `keys` folder.
    pub here: bool,
}

impl Repo {
    /// What the repository holds as of `now`.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn status(&self, now: Timestamp) -> Result<Status, Refusal> {
        let mut headers: Vec<(&str, &Header)> = vec![("root", &self.root.header)];
        headers.extend(self.roles.iter().map(|(signer, role)| (signer.name(), &role.header)));
        headers.push(("snapshot", &self.snapshot.header));
        headers.push(("timestamp", &self.timestamp.header));
        let mut roles = Vec::new();
        for (name, header) in headers {
            roles.push(self.role_status(name, header, &self.binding(name)?, now));
        }
        let mut channels = Vec::new();
        for path in self.roles.get(&Signer::Channels).iter().flat_map(|role| role.targets.keys()) {
            let bytes = self.target(path)?.unwrap_or_default();
            channels.push(Channel::parse(&bytes).map_err(|why| crate::error::REPOSITORY.with(why, "a channel"))?);
        }
        let targets = self.target_paths().filter(|path| !path.starts_with("channels/")).map(str::to_owned).collect();
        Ok(Status { roles, targets, channels })
    }

    fn role_status(&self, role: &str, header: &Header, binding: &RoleKeys, now: Timestamp) -> RoleStatus {
        let key = |id: &String| KeyStatus { id: id.clone(), here: self.keys.by_id(id).is_some() };
        RoleStatus {
            role: role.to_owned(),
            version: header.version,
            expires: header.expires,
            days_left: header.expires.duration_since(now).as_hours().div_euclid(24),
            threshold: binding.threshold,
            keys: binding.keyids.iter().map(key).collect(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10} {:>7}  {:<20} {:>9}  KEYS", "ROLE", "VERSION", "EXPIRES", "DAYS LEFT")?;
        for role in &self.roles {
            let left = if role.days_left < 0 { "expired".to_owned() } else { role.days_left.to_string() };
            write!(f, "{:<10} {:>7}  {:<20} {left:>9}  {} of", role.role, role.version, role.expires, role.threshold)?;
            for key in &role.keys {
                write!(f, " {:.12}{}", key.id, if key.here { "" } else { " (elsewhere)" })?;
            }
            writeln!(f)?;
        }
        if !self.channels.is_empty() {
            writeln!(f, "\n{:<16} {:<12} {:<16} {:<16} STATE", "COMPONENT", "CHANNEL", "RELEASE", "FLOOR")?;
        }
        for channel in &self.channels {
            let floor = channel.floor.as_ref().map_or("-", |floor| floor.as_str());
            let state = if channel.halted { "halted".to_owned() } else { waves(channel) };
            writeln!(f, "{:<16} {:<12} {:<16} {floor:<16} {state}", channel.component, channel.channel, channel.release)?;
        }
        if !self.targets.is_empty() {
            writeln!(f, "\nTARGETS")?;
        }
        self.targets.iter().try_for_each(|target| writeln!(f, "{target}"))
    }
}

fn waves(channel: &Channel) -> String {
    if channel.waves.is_empty() {
        return "everyone".to_owned();
    }
    let wave = |wave: &slipway_protocol::channel::Wave| format!("{}% from {}", wave.percent, wave.start);
    channel.waves.iter().map(wave).collect::<Vec<_>>().join(", ")
}

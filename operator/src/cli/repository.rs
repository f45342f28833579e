//! `slipway init`, `status` and `refresh`: the repository as a whole.

use crate::cli::signing::{Passwords, Signing, conclude, warn_idle};
use crate::{now, say};
use clap::Args;
use clap::builder::RangedI64ValueParser;
use slipway_operator::error::ROLE;
use slipway_operator::keyring::Keyring;
use slipway_operator::keys::read_public;
use slipway_operator::limits::Usage;
use slipway_operator::{InitOptions, Lifetimes, Repo, Role, RoleOptions};
use slipway_protocol::Refusal;
use std::collections::BTreeMap;
use std::io::{Write as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Args)]
pub(crate) struct Init {
    /// Folder for the repository
    dir: PathBuf,
    /// ROLE=FILE: key of a role, its public half where the secret is elsewhere. Repeat for more. A role without one gets a new key
    /// in the repository's `keys` folder. Roles: root, targets, releases, channels, snapshot, timestamp
    #[arg(long = "key", value_parser = pair::<PathBuf>, value_name = "ROLE=FILE")]
    keys: Vec<(Role, PathBuf)>,
    /// ROLE=N: how many keys of a role must sign; 1 by default
    #[arg(long = "threshold", value_parser = pair::<u32>, value_name = "ROLE=N")]
    thresholds: Vec<(Role, u32)>,
    /// Do not encrypt new keys. Those of snapshot and timestamp never are: `slipway refresh` uses them unattended
    #[arg(long)]
    unencrypted: bool,
    /// For how many days agents of formats-1, which know no index of releases, can follow this repository, too
    #[arg(long, default_value_t = 0, value_name = "DAYS")]
    overlap: u32,
    #[command(flatten)]
    passwords: Passwords,
    #[command(flatten)]
    days: Days,
}

fn pair<T: std::str::FromStr>(text: &str) -> Result<(Role, T), String>
where
    T::Err: std::fmt::Display,
{
    let (role, value) = text.split_once('=').ok_or_else(|| format!("{text:?}: write ROLE=VALUE"))?;
    Ok((role.parse()?, value.parse().map_err(|error| format!("{value:?}: {error}"))?))
}

/// What clap accepts as a lifetime. How long each role may live is the repository's to say, with
/// the reason.
fn life() -> RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

#[derive(Args)]
struct Days {
    /// Lifetime of a root in days; at most 400, like that of the other roles that people sign
    #[arg(long, default_value_t = Lifetimes::default().root, value_parser = life())]
    root_days: u32,
    /// Lifetime of policies and delegations in days
    #[arg(long, default_value_t = Lifetimes::default().targets, value_parser = life())]
    targets_days: u32,
    /// Lifetime of releases in days
    #[arg(long, default_value_t = Lifetimes::default().releases, value_parser = life())]
    releases_days: u32,
    /// Lifetime of channels in days
    #[arg(long, default_value_t = Lifetimes::default().channels, value_parser = life())]
    channels_days: u32,
    /// Lifetime of a snapshot in days; at most 30
    #[arg(long, default_value_t = Lifetimes::default().snapshot, value_parser = life())]
    snapshot_days: u32,
    /// Lifetime of a timestamp in days, which limits how long devices can be shown an old state; at most 30
    #[arg(long, default_value_t = Lifetimes::default().timestamp, value_parser = life())]
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
        let mut keyring = Keyring::new(Some(self.passwords.ask()));
        let mut roles: BTreeMap<Role, RoleOptions> = BTreeMap::new();
        for (role, path) in &self.keys {
            let options = roles.entry(*role).or_insert_with(|| RoleOptions { keys: Vec::new(), threshold: 1 });
            options.keys.push(read_public(path)?);
            if std::fs::read_to_string(path).is_ok_and(|pem| pem.contains("PRIVATE KEY")) {
                keyring.add_file(path)?;
            }
        }
        for (role, threshold) in &self.thresholds {
            roles.entry(*role).or_default().threshold = *threshold;
        }
        if let Some((role, _)) = roles.iter().find(|(_, options)| options.keys.is_empty() && options.threshold > 1) {
            return Err(ROLE
                .with(format_args!("a threshold for {role} without keys"), format_args!("--key {role}=FILE for each"))
                .into());
        }
        let offline_keys_are_made = Role::BY_HAND.iter().any(|role| !self.keys.iter().any(|(known, _)| known == role));
        let password = self.passwords.new_password("the new keys", self.unencrypted || !offline_keys_are_made)?;
        let repo =
            Repo::init_with(&self.dir, &InitOptions { days, roles, password, overlap_days: self.overlap }, keyring, now())?;
        let dir = self.dir.display();
        if !repo.is_published() {
            return conclude(&repo, "");
        }
        let offline: Vec<String> = Role::BY_HAND
            .iter()
            .filter(|role| **role != Role::Channels && !self.keys.iter().any(|(known, _)| known == *role))
            .map(|role| format!("{dir}/keys/{role}.pem"))
            .collect();
        say(&format!(
            "made a repository in {dir}

serve            {dir}/public with any web server
copy to devices  {dir}/public/metadata/1.root.json as /etc/slipway/root.json"
        ))?;
        if !offline.is_empty() {
            say(&format!("take offline     {}; to sign with one, put it back or name it with --key", offline.join(", ")))?;
        }
        say(&format!(
            "keep here        the keys of channels, snapshot, timestamp
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
    /// For monitoring: exit code 3 when a role expires within so many days, or within the last third of its life if that is shorter;
    /// and when half of a limit of devices is reached
    #[arg(long, value_name = "DAYS", num_args = 0..=1, require_equals = true, default_missing_value = "30")]
    check: Option<u32>,
}

impl Status {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let repo = Repo::open(&self.dir)?;
        let status = repo.status(now())?;
        if self.json {
            say(&serde_json::to_string_pretty(&status)?)?
        } else {
            say(status.to_string().trim_end())?
        }
        let mut expiring = self.check.map(|days| repo.expiring(&Role::ALL, days, now())).unwrap_or_default();
        if self.check.is_some() {
            expiring.extend(status.limits.iter().map(Usage::refusal));
        }
        let last = expiring.pop();
        warn(&expiring)?;
        last.map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

#[derive(Args)]
pub(crate) struct Refresh {
    /// The repository
    dir: PathBuf,
    #[command(flatten)]
    signing: Signing,
}

impl Refresh {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut repo = self.signing.open(&self.dir)?;
        let soon = repo.refresh(now())?;
        warn_idle(&repo)?;
        say(&format!("timestamp is now version {}", repo.timestamp_version()))?;
        warn(&soon)?;
        Ok(if soon.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(4) })
    }
}

fn warn(refusals: &[Refusal]) -> anyhow::Result<()> {
    Ok(refusals.iter().try_for_each(|refusal| writeln!(stderr(), "slipway: {}", refusal.explain().trim_end()))?)
}

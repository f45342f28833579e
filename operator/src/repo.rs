//! The repository's folder: `public/` is what a web server serves, `keys/` is what must not leave.
//!
//! ```text
//! public/metadata/   1.root.json  7.snapshot.json  3.targets.json  5.releases.json  9.channels.json  timestamp.json
//! public/targets/    policies/<digest>.edgecore.toml  releases/edgecore/<digest>.v1.23.1.json  …
//! public/artifacts/  edgecore/v1.23.1/<digest>.kubeedge-v1.23.1-linux-amd64.tar.gz
//! keys/              root.pem  targets.pem  releases.pem  channels.pem  snapshot.pem  timestamp.pem
//! slipway.toml       how many days each role lives
//! ```
//!
//! Every file but `timestamp.json` has a name of its own for every version, and `timestamp.json` is replaced last, in one step:
//! a device that reads during a publication sees the old state or the new one.

use crate::error::{BUSY, EXISTS, REPOSITORY, TIME, file};
use crate::files;
use crate::keys::{Keyring, SecretKey};
use crate::metadata::{self, DelegatedRole, Delegations, Header, Pin, Pins, RoleKeys, Root, TargetFile, Targets};
use jiff::{SignedDuration, Timestamp};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use slipway_protocol::{Refusal, json};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// How many days each role lives. Longer for keys that are hard to reach; the timestamp's is how long a device can be frozen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// Signed by hand, offline.
    pub root: u32,
    /// Signed by hand, offline.
    pub targets: u32,
    /// Signed with every release.
    pub releases: u32,
    /// Signed with every rollout step.
    pub channels: u32,
    /// Signed again by `slipway refresh`.
    pub snapshot: u32,
    /// Signed again by `slipway refresh`.
    pub timestamp: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { root: 365, targets: 365, releases: 365, channels: 365, snapshot: 30, timestamp: 7 }
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    days: Lifetimes,
}

/// How a repository begins.
#[derive(Clone, Copy, Debug, Default)]
pub struct InitOptions {
    /// How many days each role lives.
    pub days: Lifetimes,
}

/// Who signs a target.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Signer {
    /// Policies and Sigstore's trusted root.
    Targets,
    /// Manifests.
    Releases,
    /// Channels.
    Channels,
}

impl Signer {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Targets, Self::Releases, Self::Channels];

    /// The role's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Targets => "targets",
            Self::Releases => "releases",
            Self::Channels => "channels",
        }
    }
}

/// An open repository; while it is open nobody else can change it.
#[derive(Debug)]
pub struct Repo {
    dir: PathBuf,
    days: Lifetimes,
    pub(crate) keys: Keyring,
    pub(crate) root: Root,
    pub(crate) timestamp: Pins,
    pub(crate) snapshot: Pins,
    pub(crate) roles: BTreeMap<Signer, Targets>,
    _lock: Flock<File>,
}

impl Repo {
    /// Makes six keys and version 1 of everything in `dir`, which must not hold a repository.
    ///
    /// # Errors
    /// `SLW-O-EXISTS`, or what could not be written.
    pub fn init(dir: &Path, options: &InitOptions, now: Timestamp) -> Result<Self, Refusal> {
        for taken in ["public", "keys", "slipway.toml"] {
            if dir.join(taken).exists() {
                return Err(EXISTS.with(dir.join(taken).display(), "an empty folder"));
            }
        }
        fs::create_dir_all(dir).map_err(|error| file(dir, &error))?;
        let lock = lock(dir)?;
        let settings = toml::to_string(&Settings { days: options.days }).map_err(|error| REPOSITORY.with(error, "settings"))?;
        files::write(dir, "slipway.toml", settings.as_bytes())?;

        let secrets = dir.join("keys");
        DirBuilder::new().mode(0o700).create(&secrets).map_err(|error| file(&secrets, &error))?;
        let mut keys = Keyring::default();
        let mut made = BTreeMap::new();
        for role in ["root", "targets", "releases", "channels", "snapshot", "timestamp"] {
            let key = SecretKey::generate()?;
            key.write(&secrets.join(format!("{role}.pem")))?;
            keys.add(key.clone());
            made.insert(role, key);
        }
        let alone =
            |role: &str| RoleKeys { keyids: made.get(role).map(|key| key.id().to_owned()).into_iter().collect(), threshold: 1 };
        let public = |roles: &[&str]| {
            roles.iter().filter_map(|role| made.get(role)).map(|key| (key.id().to_owned(), key.public().clone())).collect()
        };
        let top = ["root", "targets", "snapshot", "timestamp"];
        let root = Root {
            header: Header::new("root", 1, expiry(now, options.days.root)?),
            consistent_snapshot: true,
            keys: public(&top),
            roles: top.iter().map(|role| ((*role).to_owned(), alone(role))).collect(),
        };
        let delegated = |name: &str| DelegatedRole {
            name: name.to_owned(),
            keys: alone(name),
            terminating: true,
            paths: vec![format!("{name}/*/*")],
        };
        let mut roles: BTreeMap<Signer, Targets> = BTreeMap::new();
        for signer in Signer::ALL {
            let delegations = (signer == Signer::Targets).then(|| Delegations {
                keys: public(&["releases", "channels"]),
                roles: vec![delegated("releases"), delegated("channels")],
            });
            roles.insert(signer, Targets { header: Header::new("targets", 0, now), targets: BTreeMap::new(), delegations });
        }
        let pins = |kind: &str| Pins { header: Header::new(kind, 0, now), meta: BTreeMap::new() };
        let (timestamp, snapshot) = (pins("timestamp"), pins("snapshot"));
        let mut repo = Self { dir: dir.to_owned(), days: options.days, keys, root, timestamp, snapshot, roles, _lock: lock };
        let signed = metadata::sign(&repo.root, "root", &repo.binding("root")?, &repo.keys)?;
        files::write(&repo.metadata_dir(), "1.root.json", &signed)?;
        repo.commit(repo.roles.clone(), &Signer::ALL, now)?;
        Ok(repo)
    }

    /// Opens a repository for use by this program alone.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY`, `SLW-O-BUSY`, `SLW-O-KEY`.
    pub fn open(dir: &Path) -> Result<Self, Refusal> {
        let metadata = dir.join("public/metadata");
        if !metadata.join("timestamp.json").is_file() {
            return Err(REPOSITORY.with(format_args!("no {}", metadata.join("timestamp.json").display()), "a repository"));
        }
        let lock = lock(dir)?;
        let text = String::from_utf8_lossy(&files::read(&dir.join("slipway.toml"))?).into_owned();
        let settings: Settings = toml::from_str(&text)
            .map_err(|error| REPOSITORY.with(format_args!("slipway.toml: {error}"), "days for each role"))?;
        let root = (1..).take_while(|version| metadata.join(format!("{version}.root.json")).is_file()).last().unwrap_or(1_u64);
        let root: Root = load(&metadata, &format!("{root}.root.json"))?;
        let timestamp: Pins = load(&metadata, "timestamp.json")?;
        let snapshot: Pins = load(&metadata, &pinned(&timestamp, "snapshot")?)?;
        let mut roles = BTreeMap::new();
        for signer in Signer::ALL {
            roles.insert(signer, load(&metadata, &pinned(&snapshot, signer.name())?)?);
        }
        let keys = Keyring::read(&dir.join("keys"))?;
        Ok(Self { dir: dir.to_owned(), days: settings.days, keys, root, timestamp, snapshot, roles, _lock: lock })
    }

    /// Adds or replaces a component's policy: what its provenance must say. Devices with another opinion keep refusing.
    ///
    /// # Errors
    /// When the policy does not parse, or the targets key is not here.
    pub fn add_policy(&mut self, policy: &[u8], now: Timestamp) -> Result<String, Refusal> {
        let text = std::str::from_utf8(policy).map_err(|error| REPOSITORY.with(error, "a policy in UTF-8"))?;
        let parsed = slipway_verify::Policy::parse(text)?;
        let path = format!("policies/{}.toml", parsed.component());
        self.publish(Signer::Targets, &path, policy, now)?;
        Ok(path)
    }

    /// Adds or replaces Sigstore's trusted root, by which devices judge who signed provenance, and when.
    ///
    /// # Errors
    /// When it does not parse, or the targets key is not here.
    pub fn add_sigstore_root(&mut self, trusted_root: &[u8], now: Timestamp) -> Result<(), Refusal> {
        slipway_verify::SigstoreRoot::parse(trusted_root)?;
        self.publish(Signer::Targets, SIGSTORE_ROOT, trusted_root, now)
    }

    /// Signs snapshot and timestamp again, so that they do not expire.
    ///
    /// # Errors
    /// When their keys are not here.
    pub fn refresh(&mut self, now: Timestamp) -> Result<(), Refusal> {
        self.commit(self.roles.clone(), &[], now)
    }

    /// The folder that a web server serves.
    #[must_use]
    pub fn public_dir(&self) -> PathBuf {
        self.dir.join("public")
    }

    /// The folder with metadata, below [`Self::public_dir`].
    #[must_use]
    pub fn metadata_dir(&self) -> PathBuf {
        self.dir.join("public/metadata")
    }

    /// The root that devices are born with: version 1, from which every newer one follows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn initial_root(&self) -> Result<Vec<u8>, Refusal> {
        files::read(&self.metadata_dir().join("1.root.json"))
    }

    /// The timestamp's version, for notices.
    #[must_use]
    pub fn timestamp_version(&self) -> u64 {
        self.timestamp.header.version
    }

    /// A target's bytes, if it is signed for and intact.
    ///
    /// # Errors
    /// When the file is unreadable or is not what was signed.
    pub fn target(&self, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(known) = self.roles.values().find_map(|role| role.targets.get(path)) else { return Ok(None) };
        let place = self.public_dir().join("targets").join(known.place(path));
        let bytes = files::read(&place)?;
        if TargetFile::of(&bytes) != *known {
            return Err(REPOSITORY.with(format_args!("{} was changed", place.display()), "the bytes that were signed"));
        }
        Ok(Some(bytes))
    }

    /// Every target path that is signed for, in order.
    pub fn target_paths(&self) -> impl Iterator<Item = &str> {
        self.roles.values().flat_map(|role| role.targets.keys()).map(String::as_str)
    }

    /// Signs for a target and publishes it.
    pub(crate) fn publish(&mut self, signer: Signer, path: &str, bytes: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let known = TargetFile::of(bytes);
        let place = self.public_dir().join("targets").join(known.place(path));
        let (Some(folder), Some(name)) = (place.parent(), place.file_name().and_then(|name| name.to_str())) else {
            return Err(REPOSITORY.with(path, "a target path"));
        };
        let mut roles = self.roles.clone();
        if let Some(role) = roles.get_mut(&signer) {
            role.targets.insert(path.to_owned(), known);
        }
        files::write(folder, name, bytes)?;
        self.commit(roles, &[signer], now)
    }

    /// Publishes `roles`, of which `changed` get a new version: signs everything first, so that a missing key changes nothing, then
    /// writes new files, and the timestamp last of all.
    fn commit(&mut self, mut roles: BTreeMap<Signer, Targets>, changed: &[Signer], now: Timestamp) -> Result<(), Refusal> {
        let (mut snapshot, mut timestamp) = (self.snapshot.clone(), self.timestamp.clone());
        let mut new_files = Vec::new();
        for signer in changed {
            let Some(role) = roles.get_mut(signer) else { continue };
            renew(&mut role.header, self.lifetime(*signer), now)?;
            let bytes = metadata::sign(role, signer.name(), &self.binding(signer.name())?, &self.keys)?;
            snapshot.meta.insert(format!("{}.json", signer.name()), Pin::of(role.header.version, &bytes));
            new_files.push((format!("{}.{}.json", role.header.version, signer.name()), bytes));
        }
        renew(&mut snapshot.header, self.days.snapshot, now)?;
        let bytes = metadata::sign(&snapshot, "snapshot", &self.binding("snapshot")?, &self.keys)?;
        renew(&mut timestamp.header, self.days.timestamp, now)?;
        timestamp.meta = [("snapshot.json".to_owned(), Pin::of(snapshot.header.version, &bytes))].into();
        new_files.push((format!("{}.snapshot.json", snapshot.header.version), bytes));
        let bytes = metadata::sign(&timestamp, "timestamp", &self.binding("timestamp")?, &self.keys)?;
        new_files.push(("timestamp.json".to_owned(), bytes));
        for (name, bytes) in new_files {
            files::write(&self.metadata_dir(), &name, &bytes)?;
        }
        (self.roles, self.snapshot, self.timestamp) = (roles, snapshot, timestamp);
        Ok(())
    }

    /// Who signs a role.
    pub(crate) fn binding(&self, role: &str) -> Result<RoleKeys, Refusal> {
        let delegations = self.roles.get(&Signer::Targets).and_then(|targets| targets.delegations.as_ref());
        let delegated = || delegations?.roles.iter().find(|known| known.name == role).map(|known| &known.keys);
        self.root.roles.get(role).or_else(delegated).cloned().ok_or_else(|| REPOSITORY.with(format_args!("no role {role}"), role))
    }

    fn lifetime(&self, signer: Signer) -> u32 {
        match signer {
            Signer::Targets => self.days.targets,
            Signer::Releases => self.days.releases,
            Signer::Channels => self.days.channels,
        }
    }
}

/// The target path of Sigstore's trusted root.
pub const SIGSTORE_ROOT: &str = "sigstore/trusted_root.json";

/// Bounds for reading our own metadata back.
const OWN_LIMITS: json::Limits = json::Limits { bytes: 16 * 1024 * 1024, depth: 32 };

fn load<T: serde::de::DeserializeOwned>(folder: &Path, name: &str) -> Result<T, Refusal> {
    let bytes = files::read(&folder.join(name))?;
    json::check(&bytes, OWN_LIMITS).map_err(|error| REPOSITORY.with(format_args!("{name}: {error}"), "metadata"))?;
    Ok(metadata::parse::<T>(&bytes, name)?.signed)
}

fn pinned(pins: &Pins, role: &str) -> Result<String, Refusal> {
    let pin = pins.meta.get(&format!("{role}.json"));
    pin.map(|pin| format!("{}.{role}.json", pin.version)).ok_or_else(|| REPOSITORY.with(format_args!("no pin for {role}"), role))
}

fn renew(header: &mut Header, days: u32, now: Timestamp) -> Result<(), Refusal> {
    header.version = header.version.saturating_add(1);
    header.expires = expiry(now, days)?;
    Ok(())
}

/// `days` after `now`, in whole seconds as TUF writes them.
fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, Refusal> {
    let bad = |error: jiff::Error| TIME.with(error, format_args!("{days} days after {now}"));
    let later = now.checked_add(SignedDuration::from_hours(i64::from(days).saturating_mul(24))).map_err(bad)?;
    Timestamp::from_second(later.as_second()).map_err(bad)
}

fn lock(dir: &Path) -> Result<Flock<File>, Refusal> {
    let path = dir.join(".lock");
    let opened = File::create(&path).map_err(|error| file(&path, &error))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| BUSY.with(error, path.display()))
}

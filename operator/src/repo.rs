//! The repository's folder: `public/` for the web server, `keys/` that must stay private.
//!
//! ```text
//! public/metadata/   1.root.json  7.snapshot.json  3.targets.json  5.releases.json  9.channels.json  timestamp.json
//! public/targets/    policies/<digest>.edgecore.toml  releases/edgecore/<digest>.index  releases/edgecore/<digest>.v1.23.1.json  …
//! public/artifacts/  edgecore/v1.23.1/<digest>.kubeedge-v1.23.1-linux-amd64.tar.gz
//! keys/              the keys that are here, each with its public half beside it: root.pem, root.pub, …
//! archive/           edgecore/v1.20.0.json: manifests of retired releases, which can be published again
//! staged/            change.json: what waits for signatures. It is not public before it has all of them
//! slipway.toml       how many days each role lives
//! ```
//!
//! How a change gets in is `change`'s business.

use crate::authority::{Authority, RoleOptions};
use crate::error::{BUSY, EXISTS, KEY, REPOSITORY, STAGED, WAITING, file};
use crate::files;
use crate::keyring::Keyring;
use crate::keys::{KeyType, Password, SecretKey};
use crate::metadata::TargetFile;
use crate::role::{Lifetimes, Role, expiry};
use crate::staged::{self, Change, Edits, Waiting};
use crate::state::State;
use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use slipway_protocol::Refusal;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    #[serde(default)]
    days: Lifetimes,
}

/// How a repository begins.
#[derive(Clone, Debug, Default)]
pub struct InitOptions {
    /// How many days each role lives.
    pub days: Lifetimes,
    /// Keys and thresholds of roles. A role that is not here gets a new key in `keys/`.
    pub roles: BTreeMap<Role, RoleOptions>,
    /// Encrypts the new keys of all roles but snapshot and timestamp, which are used unattended.
    pub password: Option<Password>,
    /// For so many days agents of formats-1 can follow this repository, too.
    pub overlap_days: u32,
}

/// What became of a change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Outcome {
    /// There was none.
    #[default]
    Nothing,
    /// Devices see it.
    Published,
    /// It waits in `staged/` for these; for none, if only the snapshot and timestamp keys are missing.
    Staged(Vec<Waiting>),
}

/// An open repository; while it is open nobody else can change it.
#[derive(Debug)]
pub struct Repo {
    pub(crate) dir: PathBuf,
    pub(crate) days: Lifetimes,
    pub(crate) keys: Keyring,
    pub(crate) state: State,
    pub(crate) staged: Change,
    pub(crate) outcome: Outcome,
    _lock: Flock<File>,
}

impl Repo {
    /// Makes a repository in `dir`, which must not hold one: version 1 of everything, signed by the keys that are given or
    /// made here. Where those are not enough, everything waits for the first signatures.
    ///
    /// # Errors
    /// `SLW-O-EXISTS`, `SLW-O-ROLE`, or what could not be written.
    pub fn init(dir: &Path, options: &InitOptions, now: Timestamp) -> Result<Self, Refusal> {
        Self::init_with(dir, options, Keyring::default(), now)
    }

    /// [`Self::init`] with keys from elsewhere.
    ///
    /// # Errors
    /// As [`Self::init`].
    pub fn init_with(dir: &Path, options: &InitOptions, mut keys: Keyring, now: Timestamp) -> Result<Self, Refusal> {
        for taken in ["public", "keys", "staged", "slipway.toml"] {
            if dir.join(taken).exists() {
                return Err(EXISTS.with(dir.join(taken).display(), "an empty folder"));
            }
        }
        options.days.check()?;
        let overlap_until = Some(options.overlap_days).filter(|days| *days > 0).map(|days| expiry(now, days)).transpose()?;
        let mut roles = options.roles.clone();
        let mut made = Vec::new();
        for role in Role::ALL {
            let options = roles.entry(role).or_insert_with(|| RoleOptions { keys: Vec::new(), threshold: 1 });
            if options.keys.is_empty() {
                let key = SecretKey::generate(KeyType::P256)?.named(role.name());
                options.keys.push(key.public().clone());
                made.push((role, key));
            }
        }
        let state = State::unpublished();
        let mut authority = Authority { root: state.root.clone(), targets: state.targets()?.clone() };
        authority.set(&roles)?;

        fs::create_dir_all(dir).map_err(|error| file(dir, &error))?;
        let lock = lock(dir)?;
        let secrets = dir.join("keys");
        DirBuilder::new().mode(0o700).create(&secrets).map_err(|error| file(&secrets, &error))?;
        for (role, key) in made {
            let password = options.password.as_ref().filter(|_| !Role::ONLINE.contains(&role));
            key.write(&secrets.join(format!("{role}.pem")), password)?;
            keys.add(key);
        }
        let settings = toml::to_string(&Settings { days: options.days }).map_err(|error| REPOSITORY.with(error, "settings"))?;
        files::write(dir, "slipway.toml", settings.as_bytes())?;
        let mut edits = Edits { root: Some(authority.root), roles: state.roles.clone(), ..Edits::default() };
        edits.roles.insert(Role::Targets, authority.targets);
        if let Some(releases) = edits.roles.get_mut(&Role::Releases) {
            releases.overlap_until = overlap_until;
        }
        let (staged, outcome) = (Change::default(), Outcome::default());
        let mut repo = Self { dir: dir.to_owned(), days: options.days, keys, state, staged, outcome, _lock: lock };
        repo.commit(edits, now)?;
        Ok(repo)
    }

    /// Opens a repository for use by this program alone, with the keys in its `keys` folder.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY`, `SLW-O-BUSY`, `SLW-O-KEY`.
    pub fn open(dir: &Path) -> Result<Self, Refusal> {
        Self::open_with(dir, Keyring::default())
    }

    /// [`Self::open`] with more keys, and a way to ask for passwords.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(dir: &Path, mut keys: Keyring) -> Result<Self, Refusal> {
        let (metadata, staged) = (dir.join("public/metadata"), dir.join("staged/change.json"));
        let published = metadata.join("timestamp.json").is_file();
        if !published && !staged.is_file() {
            return Err(REPOSITORY.with(format_args!("no {}", metadata.join("timestamp.json").display()), "a repository"));
        }
        let lock = lock(dir)?;
        let text = String::from_utf8_lossy(&files::read(&dir.join("slipway.toml"))?).into_owned();
        let settings: Settings = toml::from_str(&text)
            .map_err(|error| REPOSITORY.with(format_args!("slipway.toml: {error}"), "days for each role"))?;
        settings.days.check()?;
        let state = if published { State::load(&metadata)? } else { State::unpublished() };
        let mut change = if staged.is_file() { Change::read(&staged)? } else { Change::default() };
        // What an interrupted publication brought out already no longer waits.
        change.next.retain(|role, envelope| state.envelopes.get(role).is_none_or(|out| out.signed != envelope.signed));
        keys.add_folder(&dir.join("keys"))?;
        let mut repo = Self {
            dir: dir.to_owned(),
            days: settings.days,
            keys,
            state,
            staged: change,
            outcome: Outcome::default(),
            _lock: lock,
        };
        repo.staged.base = repo.base(&repo.staged);
        Ok(repo)
    }

    /// Adds or replaces a component's policy: what its provenance must say. Devices with another opinion keep refusing.
    ///
    /// # Errors
    /// When the policy does not parse, or nothing can be written.
    pub fn add_policy(&mut self, policy: &[u8], now: Timestamp) -> Result<String, Refusal> {
        let text = std::str::from_utf8(policy).map_err(|error| REPOSITORY.with(error, "a policy in UTF-8"))?;
        let parsed = slipway_verify::Policy::parse(text)?;
        let path = format!("policies/{}.toml", parsed.component());
        self.put(Role::Targets, &path, policy, now)?;
        Ok(path)
    }

    /// Adds or replaces Sigstore's trusted root, by which devices judge who signed provenance, and when.
    ///
    /// # Errors
    /// When it does not parse, or nothing can be written.
    pub fn add_sigstore_root(&mut self, trusted_root: &[u8], now: Timestamp) -> Result<(), Refusal> {
        slipway_verify::SigstoreRoot::parse(trusted_root)?;
        self.put(Role::Targets, SIGSTORE_ROOT, trusted_root, now)
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
        self.state.timestamp.header.version
    }

    /// A target's bytes, if it is signed for and intact.
    ///
    /// # Errors
    /// When the file is unreadable or is not what was signed.
    pub fn target(&self, path: &str) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(known) = self.state.roles.values().find_map(|role| role.targets.get(path)) else { return Ok(None) };
        let place = self.public_dir().join("targets").join(known.place(path));
        let bytes = files::read(&place)?;
        if TargetFile::of(&bytes) != *known {
            return Err(REPOSITORY.with(format_args!("{} was changed", place.display()), "the bytes that were signed"));
        }
        Ok(Some(bytes))
    }

    /// What became of the last change.
    #[must_use]
    pub fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// The file with the change that waits for signatures, to be carried to whoever signs.
    #[must_use]
    pub fn staged_file(&self) -> PathBuf {
        self.dir.join("staged/change.json")
    }

    /// The change that waits for signatures.
    #[must_use]
    pub fn staged(&self) -> &Change {
        &self.staged
    }

    /// Whether devices see anything at all: not before the first root has its signatures.
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.state.is_published()
    }

    /// Takes one more key, unlocked.
    ///
    /// # Errors
    /// `SLW-O-KEY`, `SLW-O-PASSWORD`.
    pub fn unlock(&mut self, path: &Path) -> Result<(), Refusal> {
        self.keys.unlock_file(path).map(drop)
    }

    /// Adds the signatures of this key to what waits, and publishes it if that completes it. Returns the roles it signed.
    ///
    /// # Errors
    /// `SLW-O-STAGED` when nothing waits, `SLW-O-KEY` when this key has no say.
    pub fn sign(&mut self, key: Option<&SecretKey>, now: Timestamp) -> Result<Vec<Role>, Refusal> {
        if self.staged.is_empty() {
            return Err(STAGED.with("nothing", "a change to sign"));
        }
        let mut change = self.staged.clone();
        let signed = match key {
            Some(key) => change.sign(key)?,
            None => {
                let before = change.next.clone();
                self.sign_here(&mut change)?;
                change.next.iter().filter(|(role, now)| before.get(role) != Some(now)).map(|(role, _)| *role).collect()
            }
        };
        self.publish_or_stage(change, now)?;
        Ok(signed)
    }

    /// Takes the signatures of copies that come back, and publishes what waits if it has all of them.
    ///
    /// # Errors
    /// `SLW-O-STAGED` for a copy of something else, `SLW-O-WAITING` when signatures are still missing.
    pub fn publish(&mut self, copies: &[PathBuf], now: Timestamp) -> Result<(), Refusal> {
        if self.staged.is_empty() {
            return Err(STAGED.with("nothing", "a change to publish"));
        }
        let mut change = self.staged.clone();
        for copy in copies {
            change.merge(&Change::read(copy)?)?;
        }
        self.publish_or_stage(change, now)?;
        match &self.outcome {
            Outcome::Staged(waiting) if waiting.is_empty() => {
                Err(KEY.with("some are missing", "the snapshot and timestamp keys"))
            }
            Outcome::Staged(waiting) => {
                Err(WAITING.with(waiting.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "), "all of them"))
            }
            _ => Ok(()),
        }
    }

    /// Drops what waits for signatures.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn discard(&mut self) -> Result<(), Refusal> {
        self.staged = Change::default();
        staged::remove(&self.dir.join("staged"))
    }

    /// Signs snapshot and timestamp again, so that they do not expire; the snapshot only if half its life is over. Returns the
    /// roles that people must sign again soon.
    ///
    /// # Errors
    /// When their keys are not here, and `SLW-O-EXPIRES` when a role that people sign has expired: devices refuse everything then.
    pub fn refresh(&mut self, now: Timestamp) -> Result<Vec<Refusal>, Refusal> {
        if !self.is_published() {
            return Err(WAITING.with("nothing is published yet", "the signatures under the first root"));
        }
        if let Some(expired) = self.expiring(&Role::BY_HAND, 0, now).into_iter().next() {
            return Err(expired);
        }
        self.publish_change(&Change::default(), now)?;
        self.prune_targets()?;
        Ok(self.expiring(&Role::BY_HAND, WARN_DAYS, now))
    }
}

/// How long before a role expires that people sign `refresh` begins to say so: long enough to bring them together.
pub const WARN_DAYS: u32 = 30;

/// The target path of Sigstore's trusted root.
pub const SIGSTORE_ROOT: &str = "sigstore/trusted_root.json";

fn lock(dir: &Path) -> Result<Flock<File>, Refusal> {
    let path = dir.join(".lock");
    let opened = File::create(&path).map_err(|error| file(&path, &error))?;
    Flock::lock(opened, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| BUSY.with(error, path.display()))
}
